//! Values by name, found in the same time as for a name that has none: the time must not tell which names exist.

use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Values by name.
///
/// SECURITY: a hash table compares the name that it finds, and stops where it finds nothing; that is some nanoseconds. Here
/// names are compared by their SHA-256, all of one bucket, and all buckets have the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roll<V> {
    /// `nobody`, then those of the names.
    values: Vec<V>,
    /// What a name has that is not on the roll.
    nobody: V,
    /// `width` of them for each of a power of two of buckets; empty if there are no names.
    slots: Vec<Slot>,
    width: usize,
}

/// A name, and where in `values` its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    tag: [u8; 32],
    value: u32,
}

/// No name's: nothing is known that has this SHA-256.
const FREE: Slot = Slot { tag: [0; 32], value: 0 };

impl<V: Clone> Roll<V> {
    /// A roll of these names, each of which must be given only once; all others have the value of `nobody`.
    pub fn new<'n>(nobody: V, named: impl IntoIterator<Item = (&'n [u8], V)>) -> Roll<V> {
        let mut values = vec![nobody.clone()];
        let mut taken = Vec::new();
        for (number, (name, value)) in (1..).zip(named) {
            taken.push(Slot { tag: Sha256::digest(name).into(), value: number });
            values.push(value);
        }
        let mut buckets =
            vec![Vec::new(); if taken.is_empty() { 0 } else { taken.len().next_power_of_two() }];
        let count = buckets.len();
        for slot in taken {
            if let Some(bucket) = buckets.get_mut(bucket(&slot.tag, count)) {
                bucket.push(slot);
            }
        }
        let width = buckets.iter().map(Vec::len).max().unwrap_or_default();
        for bucket in &mut buckets {
            bucket.resize(width, FREE);
        }
        Roll { values, nobody, slots: buckets.concat(), width }
    }

    /// The values, also that of all other names.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut().chain([&mut self.nobody])
    }

    /// The value of this name.
    pub fn get(&self, name: &[u8]) -> &V {
        if self.slots.is_empty() {
            return &self.nobody;
        }
        let tag: [u8; 32] = Sha256::digest(name).into();
        let begin = bucket(&tag, self.slots.len().checked_div(self.width).unwrap_or_default()) * self.width;
        let mut found = 0;
        for slot in self.slots.iter().skip(begin).take(self.width) {
            found.conditional_assign(&slot.value, slot.tag.ct_eq(&tag));
        }
        // There are as many values as it takes.
        self.values.get(found as usize).unwrap_or(&self.nobody)
    }
}

/// Which of `count` buckets, a power of two, a name belongs to.
fn bucket(tag: &[u8; 32], count: usize) -> usize {
    let [one, two, three, four, ..] = *tag;
    u32::from_be_bytes([one, two, three, four]) as usize & count.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_value_and_all_others_nobodys() {
        for count in [0, 1, 2, 3, 64, 1000] {
            let names: Vec<String> = (0..count).map(|number| format!("name-{number}")).collect();
            let named = names.iter().enumerate().map(|(number, name)| (name.as_bytes(), Some(number)));
            let roll = Roll::new(None, named);
            for (number, name) in names.iter().enumerate() {
                assert_eq!(*roll.get(name.as_bytes()), Some(number));
            }
            for name in ["", "name", "name-", "Name-0", "name-1000"] {
                assert_eq!(*roll.get(name.as_bytes()), None, "{name} among {count}");
            }
        }
    }
}
