//! From a command's name to its number: an open-addressed hash table made for this one purpose.
//!
//! Every request is looked up here, by a name that the client chose. The names *in* the table are nobody's choice but
//! that of Redis and the upstream, so the hash needs no secret seed; and INVARIANT: a name that is in the table is at
//! most [`MAX_PROBES`] slots from where it belongs, so a lookup never takes more steps than that, whatever is looked
//! up. A name that would break this is not taken in, and so its command unknown.
//!
//! Looking up is case-insensitive and allocates nothing. Nearly all names have at most 16 bytes, which stand in the slot
//! itself, as two words in lower case: comparing a name is comparing two numbers.

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
    /// Its length is a power of two, or zero.
    slots: Box<[Option<Slot>]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    id: CommandId,
}

/// What tells names apart, in lower case: all of a name of up to 16 bytes, and of a longer one nearly all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    first: u64,
    second: u64,
    last: u64,
    length: usize,
}

impl Names {
    /// The spec of `specs` whose name is these parts in a row, in any case.
    pub(super) fn find<'s>(&self, parts: &[&[u8]], specs: &'s [Spec]) -> Option<&'s Spec> {
        if let [name] = parts {
            return self.find_whole(name, specs);
        }
        let mut joined = [0; MAX_NAME_BYTES];
        let mut length = 0usize;
        for part in parts {
            let end = length.checked_add(part.len())?;
            joined.get_mut(length..end)?.copy_from_slice(part);
            length = end;
        }
        self.find_whole(joined.get(..length)?, specs)
    }

    #[inline]
    fn find_whole<'s>(&self, name: &[u8], specs: &'s [Spec]) -> Option<&'s Spec> {
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let key = Key::of(name);
        for slot in self.probes(key) {
            let slot = (*self.slots.get(slot)?)?;
            if slot.key.is(key) {
                let spec = specs.get(slot.id.index())?;
                if key.is_whole() || spec.name.as_bytes().eq_ignore_ascii_case(name) {
                    return Some(spec);
                }
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
        let key = Key::of(spec.name.as_bytes());
        for slot in self.probes(key) {
            let slot = self.slots.get_mut(slot)?;
            if slot.is_none() {
                *slot = Some(Slot { key, id: spec.id });
                return Some(());
            }
        }
        None
    }

    /// The slots where a name of this key may be, in the order of a lookup.
    fn probes(&self, key: Key) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        let hash = key.hash();
        (0..MAX_PROBES).map(move |step| hash.wrapping_add(step) & mask)
    }
}

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Key {
        let (first, rest) = name.split_at_checked(8).unwrap_or((name, &[]));
        let (second, rest) = rest.split_at_checked(8).unwrap_or((rest, &[]));
        let last =
            if rest.is_empty() { 0 } else { name.last_chunk().map_or(0, |last| u64::from_le_bytes(*last)) };
        Key { first: lower(word(first)), second: lower(word(second)), last: lower(last), length: name.len() }
    }

    /// Equality without a branch, nor the call of a comparison of memory that the compiler would make of four.
    #[inline]
    fn is(self, other: Key) -> bool {
        let words = (self.first ^ other.first) | (self.second ^ other.second) | (self.last ^ other.last);
        words | (self.length ^ other.length) as u64 == 0
    }

    /// Whether nothing of the name is missing.
    fn is_whole(self) -> bool {
        self.length <= 16
    }

    /// One multiplication spreads each word; the upper half has the best bits.
    #[inline]
    fn hash(self) -> usize {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let words = self.first ^ self.second.rotate_left(23) ^ self.last.rotate_left(47);
        let hash = (words ^ self.length as u64).wrapping_mul(SPREAD);
        usize::try_from(hash >> 32).unwrap_or_default()
    }
}

/// Up to eight bytes as a number, the rest of it zero.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk() {
        return u64::from_le_bytes(*eight);
    }
    match (bytes.first_chunk(), bytes.last_chunk()) {
        // They overlap.
        (Some(low), Some(high)) => {
            let shift = bytes.len().saturating_sub(4).saturating_mul(8);
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << shift
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Each byte in lower case, all at once: the upper bit of a byte in `is_upper` says that it is from `A` to `Z`.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let seven = word & (0x7f * EACH);
    let from_a = seven + (0x80 - b'A' as u64) * EACH;
    let beyond_z = seven + (0x7f - b'Z' as u64) * EACH;
    let is_upper = (from_a ^ beyond_z) & !word & (0x80 * EACH);
    word | is_upper >> 2
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
    fn all_bytes_of_a_word_are_lowered_as_one_byte_is() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut bytes = *b"aZ@[\x80z{A";
                bytes[place] = byte;
                let expected = u64::from_le_bytes(bytes.map(|byte| byte.to_ascii_lowercase()));
                assert_eq!(lower(u64::from_le_bytes(bytes)), expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn keys_of_different_names_differ_unless_the_names_are_long() {
        let bytes: Vec<u8> = (1..=17).collect();
        for (one, other) in (0..=16).flat_map(|one| (0..=16).map(move |other| (one, other))) {
            assert_eq!(Key::of(&bytes[..one]) == Key::of(&bytes[..other]), one == other, "{one} {other}");
        }
        assert_ne!(Key::of(b"get"), Key::of(b"get\0"));
        for place in 0..16 {
            let mut changed = bytes[..16].to_vec();
            changed[place] ^= 0x80;
            assert_ne!(Key::of(&changed), Key::of(&bytes[..16]), "{place}");
        }
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
        let all_bits = |name: &String| Key::of(name.as_bytes()).hash() & 0xfff == 0;
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
            let mut probes = names.probes(Key::of(spec.name.as_bytes()));
            probes.position(|slot| names.slots[slot].map(|slot| slot.id) == Some(spec.id)).unwrap() + 1
        };
        let looks: Vec<usize> = specs.iter().map(looks).collect();
        assert!(looks.iter().sum::<usize>() <= specs.len() * 5 / 4, "{looks:?}");
        assert!(looks.iter().all(|looks| *looks <= 6), "{looks:?}");
    }
}
