//! From a command's name to its number: an open-addressed hash table made for this one purpose.
//!
//! Every request is looked up here, by a name that the client chose. The names *in* the table are nobody's choice but
//! that of Redis and the upstream, so the hash needs no secret seed; and INVARIANT: a name that is in the table is at
//! most [`MAX_PROBES`] slots from where it belongs, so a lookup never takes more steps than that, whatever is looked
//! up. A name that would break this is not taken in, and so its command unknown.
//!
//! Looking up is case-insensitive, allocates nothing and copies nothing. The names themselves stay in the specs.

use super::spec::{CommandId, Spec};

/// Longest full name (`container|sub`) that a table can hold; longer names are unknown without a search.
pub(super) const MAX_NAME_BYTES: usize = 64;
/// Slots that a lookup sees at most.
const MAX_PROBES: usize = 16;
/// Slots for each name at least: most names are found at the first look.
const SLOTS_PER_NAME: usize = 4;
/// An upstream that reports names which collide in a table of this size (and no command of Redis does) is not worth more.
const MAX_SLOTS: usize = 1 << 20;

/// Where the names of a table of specs are.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// The number of a spec in each slot. Its length is a power of two, or zero.
    slots: Box<[Option<CommandId>]>,
}

impl Names {
    /// The spec of `specs` whose name is these parts in a row, in any case.
    pub(super) fn find<'s>(&self, parts: &[&[u8]], specs: &'s [Spec]) -> Option<&'s Spec> {
        if parts.iter().map(|part| part.len()).sum::<usize>() > MAX_NAME_BYTES {
            return None;
        }
        for slot in self.probes(hash(parts)) {
            let spec = specs.get((*self.slots.get(slot)?)?.index())?;
            if is_name(spec.name.as_bytes(), parts) {
                return Some(spec);
            }
        }
        None
    }

    /// Takes in a spec that will be the next one after `specs`. `None` when its name is taken, or has no place.
    pub(super) fn insert(&mut self, spec: &Spec, specs: &[Spec]) -> Option<()> {
        let name = spec.name.as_bytes();
        if name.len() > MAX_NAME_BYTES || self.find(&[name], specs).is_some() {
            return None;
        }
        let roomy = (specs.len() + 1) * SLOTS_PER_NAME <= self.slots.len();
        if roomy && self.place(spec).is_some() {
            return Some(());
        }
        let mut size = self.slots.len().max(SLOTS_PER_NAME);
        while size < MAX_SLOTS {
            size *= 2;
            let mut larger = Names { slots: vec![None; size].into() };
            if specs.iter().chain([spec]).all(|spec| larger.place(spec).is_some()) {
                *self = larger;
                return Some(());
            }
        }
        None
    }

    /// Writes a spec into the first free slot that a lookup would see.
    fn place(&mut self, spec: &Spec) -> Option<()> {
        for slot in self.probes(hash(&[spec.name.as_bytes()])) {
            let slot = self.slots.get_mut(slot)?;
            if slot.is_none() {
                *slot = Some(spec.id);
                return Some(());
            }
        }
        None
    }

    /// The slots where a name of this hash may be, in the order of a lookup.
    fn probes(&self, hash: usize) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        (0..MAX_PROBES).map(move |step| hash.wrapping_add(step) & mask)
    }
}

/// FNV-1a of the parts in a row, in lower case.
fn hash(parts: &[&[u8]]) -> usize {
    let add =
        |hash: u64, byte: &u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    let hash = parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| part.iter().fold(hash, add));
    // The upper half has the best bits.
    usize::try_from(hash >> 32).unwrap_or_default()
}

/// Whether `name` is these parts in a row, in any case.
fn is_name(mut name: &[u8], parts: &[&[u8]]) -> bool {
    for part in parts {
        match name.split_at_checked(part.len()) {
            Some((head, rest)) if head.eq_ignore_ascii_case(part) => name = rest,
            _ => return false,
        }
    }
    name.is_empty()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::command::CommandTable;

    fn specs(names: impl Iterator<Item = String>) -> Vec<Spec> {
        let template = CommandTable::builtin().find(b"get").unwrap().clone();
        let spec = |(id, name)| Spec { id: CommandId(id), name: Cow::Owned(name), ..template.clone() };
        (0..).zip(names).map(spec).collect()
    }

    /// The names that were taken in.
    fn fill(specs: &[Spec]) -> (Names, Vec<Spec>) {
        let mut names = Names::default();
        let mut kept: Vec<Spec> = Vec::new();
        for spec in specs {
            let spec = Spec { id: CommandId(kept.len().try_into().unwrap()), ..spec.clone() };
            if names.insert(&spec, &kept).is_some() {
                kept.push(spec);
            }
        }
        (names, kept)
    }

    #[test]
    fn every_name_is_found_in_any_case_and_whole_or_in_parts() {
        let (names, specs) = fill(&specs((0..5000).map(|number| format!("module{number}.do|it"))));
        assert_eq!(specs.len(), 5000);
        for spec in &specs {
            let upper = spec.name.to_uppercase();
            let (container, word) = upper.split_once('|').unwrap();
            for parts in [&[upper.as_bytes()][..], &[container.as_bytes(), b"|", word.as_bytes()]] {
                assert_eq!(names.find(parts, &specs).map(|found| found.id), Some(spec.id), "{upper}");
            }
        }
        assert!(names.find(&[b"module5000.do|it"], &specs).is_none());
        assert!(names.find(&[b"module1.do|", b"it", b"x"], &specs).is_none());
        assert!(names.find(&[b""], &specs).is_none());
    }

    #[test]
    fn an_empty_table_and_an_overlong_name_find_nothing() {
        assert!(Names::default().find(&[b"get"], &[]).is_none());
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let (names, specs) = fill(&specs([long.clone(), long.replacen("x", "", 1)].into_iter()));
        assert_eq!(specs.len(), 1);
        assert!(names.find(&[long.as_bytes()], &specs).is_none());
        assert!(names.find(&[specs[0].name.as_bytes()], &specs).is_some());
    }

    #[test]
    fn a_name_is_taken_in_once() {
        let (_, specs) = fill(&specs(["get", "set", "get"].map(str::to_owned).into_iter()));
        assert_eq!(specs.len(), 2);
    }

    #[test]
    fn names_that_collide_are_refused_before_lookups_grow_long() {
        // Names whose hashes agree in all bits that any table would use.
        let all_bits = |name: &String| hash(&[name.as_bytes()]) & 0xfff == 0;
        let colliding = (0u32..).map(|number| format!("c{number}")).filter(all_bits).take(40);
        let mut names = Names { slots: vec![None; 0x1000].into() };
        let specs = specs(colliding);
        let placed = specs.iter().filter(|spec| names.place(spec).is_some()).count();
        assert_eq!(placed, MAX_PROBES);
    }

    #[test]
    fn the_commands_of_redis_are_found_at_the_first_looks() {
        let table = CommandTable::builtin();
        let (names, specs) = fill(table.specs());
        assert_eq!(specs.len(), table.specs().len());
        let looks = |spec: &Spec| {
            let mut probes = names.probes(hash(&[spec.name.as_bytes()]));
            probes.position(|slot| names.slots[slot] == Some(spec.id)).unwrap() + 1
        };
        let looks: Vec<usize> = specs.iter().map(looks).collect();
        assert!(looks.iter().sum::<usize>() <= specs.len() * 5 / 4, "{looks:?}");
        assert!(looks.iter().all(|looks| *looks <= 6), "{looks:?}");
    }
}
