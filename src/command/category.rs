//! The ACL categories: bit and name of each.
//!
//! Those of Redis itself are constants and have the same bit in every table. Modules add categories of their own, which
//! only have names until a table gives them one of the bits that are left ([`CategoryNames`]). Nothing here decides
//! which command is in which category.

use super::names::MAX_NAME_BYTES;
use super::spec::{Categories, Flags, flag};

macro_rules! categories {
    ($($constant:ident = $bit:literal, $name:literal;)*) => {
        $(
            #[doc = concat!("`@", $name, "`")]
            pub const $constant: u64 = 1 << $bit;
        )*
        /// Every category with its name (without `@`), in the order of `ACL CAT`.
        pub const ALL: &[(u64, &str)] = &[$(($constant, $name)),*];
    };
}

categories! {
    KEYSPACE = 0, "keyspace";
    READ = 1, "read";
    WRITE = 2, "write";
    SET = 3, "set";
    SORTEDSET = 4, "sortedset";
    LIST = 5, "list";
    HASH = 6, "hash";
    STRING = 7, "string";
    BITMAP = 8, "bitmap";
    HYPERLOGLOG = 9, "hyperloglog";
    GEO = 10, "geo";
    STREAM = 11, "stream";
    PUBSUB = 12, "pubsub";
    ADMIN = 13, "admin";
    FAST = 14, "fast";
    SLOW = 15, "slow";
    BLOCKING = 16, "blocking";
    DANGEROUS = 17, "dangerous";
    CONNECTION = 18, "connection";
    TRANSACTION = 19, "transaction";
    SCRIPTING = 20, "scripting";
}

/// Categories that the modules of Redis 8 add. An ACL file may name them before anybody knows whether the upstream has
/// them.
pub const OF_MODULES: &[&str] =
    &["search", "json", "timeseries", "bloom", "cuckoo", "cms", "topk", "tdigest"];

/// Bits of [`Categories`].
const MAX_CATEGORIES: usize = 64;

/// The category of this name (without `@`), in any case, if it is one of Redis' own.
pub fn find(name: &[u8]) -> Option<Categories> {
    ALL.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(bit, _)| Categories(*bit))
}

/// The categories of one table by bit: Redis' own, then those of modules.
#[derive(Clone, Debug)]
pub struct CategoryNames(Vec<Box<str>>);

impl CategoryNames {
    /// Redis' own.
    pub(super) fn builtin() -> Self {
        CategoryNames(ALL.iter().map(|(_, name)| Box::from(*name)).collect())
    }

    /// The bit of this name (without `@`), in any case; a new one if it has none yet. `None` when all bits are taken (a
    /// Redis has at most 64 categories, too) or it is no name: whoever asks must then do without the command.
    pub(super) fn add(&mut self, name: &str) -> Option<Categories> {
        let known = self.find(name.as_bytes());
        let good = self.0.len() < MAX_CATEGORIES
            && !name.is_empty()
            && name.len() <= MAX_NAME_BYTES
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        if known.is_none() && good {
            self.0.push(name.to_ascii_lowercase().into());
            return self.find(name.as_bytes());
        }
        known
    }

    /// The category of this name (without `@`), in any case.
    pub fn find(&self, name: &[u8]) -> Option<Categories> {
        let bit = self.0.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(Categories(1u64.checked_shl(u32::try_from(bit).ok()?)?))
    }

    /// All names (without `@`) with their sets of one, in the order of their bits.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Categories)> {
        self.0.iter().filter_map(|name| Some((&**name, self.find(name.as_bytes())?)))
    }
}

/// The categories of a command with these flags and these `explicit` categories: a command that writes is in
/// `@write`, and so on. Commands are `@slow` unless they are `@fast`; a script command that only reads is not in
/// `@read`, since a script is more than a read.
///
/// Source: what `COMMAND` of Redis 6.2 to 8.2 prints, compared command by command.
pub const fn implied(flags: Flags, explicit: Categories) -> Categories {
    let mut bits = explicit.0;
    if flags.contains(flag::WRITE) {
        bits |= WRITE;
    }
    if flags.contains(flag::READONLY) && !explicit.intersects(SCRIPTING) {
        bits |= READ;
    }
    if flags.contains(flag::ADMIN) {
        bits |= ADMIN | DANGEROUS;
    }
    if flags.contains(flag::PUBSUB) {
        bits |= PUBSUB;
    }
    if flags.contains(flag::BLOCKING) {
        bits |= BLOCKING;
    }
    bits |= if flags.contains(flag::FAST) { FAST } else { SLOW };
    Categories(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_of_modules_get_the_bits_that_are_left_and_no_more() {
        let mut names = CategoryNames::builtin();
        assert_eq!(names.add("READ"), Some(Categories(READ)));
        for bit in ALL.len()..64 {
            assert_eq!(names.add(&format!("Module{bit}")), Some(Categories(1 << bit)));
        }
        assert_eq!(names.add("module63"), Some(Categories(1 << 63)));
        assert_eq!(names.add("module64"), None);
        assert_eq!(names.find(b"MODULE21"), Some(Categories(1 << 21)));
        assert_eq!(names.iter().count(), 64);
        assert_eq!(names.iter().map(|(_, set)| set.0).fold(0, |all, bit| all | bit), u64::MAX);
    }

    #[test]
    fn what_is_no_name_gets_no_bit() {
        for name in ["", "a b", "\u{e9}", "a\0", &"a".repeat(65)] {
            assert_eq!(CategoryNames::builtin().add(name), None, "{name:?}");
        }
    }
}
