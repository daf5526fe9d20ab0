//! The ACL categories: bit and name of each.

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

/// The category of this name (without `@`), in any case.
pub fn find(name: &[u8]) -> Option<Categories> {
    ALL.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(bit, _)| Categories(*bit))
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
