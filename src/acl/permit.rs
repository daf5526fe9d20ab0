//! The question that permissions answer, and the answer: what a request uses, and why it is denied.

use std::ops::ControlFlow;

use crate::command::Access;

/// One thing that a request uses and that needs a permission. All bytes are attacker-controlled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// All databases. FLUSHALL empties them, and of some requests it cannot be told which they use.
    AllDatabases {
        /// The argument's index; 0 when no argument says so.
        index: usize,
    },
    /// All keys must be readable: SORT follows a pattern to keys that only its data names.
    AllKeysReadable {
        /// Which option needs it.
        option: SortOption,
    },
    /// A channel.
    Channel {
        /// The argument's index (the command's name is 0).
        index: usize,
        /// The channel, or the pattern.
        channel: &'a [u8],
        /// Whether it is a pattern, which must literally be among the user's patterns (PSUBSCRIBE).
        literal: bool,
    },
    /// A database.
    Database {
        /// The argument's index; 0 for the database that the session is in.
        index: usize,
        /// Its number.
        number: u32,
    },
    /// A key.
    Key {
        /// The argument's index.
        index: usize,
        /// The key.
        key: &'a [u8],
        /// What is done with it.
        access: Access,
    },
}

/// An option of SORT and SORT_RO that follows a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortOption {
    /// `BY pattern`
    By,
    /// `GET pattern`
    Get,
}

/// Takes one use after the other; `Break` means that the rest does not matter.
pub type Visitor<'v> = dyn FnMut(Use<'_>) -> ControlFlow<()> + 'v;

/// The keys of a request cannot be told, or not all of them. Only who may use all keys is allowed it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclear;

/// Why a request is denied.
///
/// The order is that of Redis and Valkey for a user with several selectors: what the selector reports that got furthest, and
/// among equals the highest argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// A database. Checked first of all, before the command.
    Database {
        /// Index of the argument that names it; 0 where none does.
        index: usize,
    },
    /// No selector allows the command.
    Command,
    /// A key, or what is done with it.
    Key {
        /// Index of the argument that is the key.
        index: usize,
    },
    /// A channel.
    Channel {
        /// Index of the argument that is the channel.
        index: usize,
    },
    /// A pattern of SORT, without permission to read all keys. Redis has its own error for this, which is no NOPERM.
    SortPattern {
        /// Which option it is.
        option: SortOption,
    },
    /// What the request uses cannot be told ([`Unclear`]). Redis would let it run, and leave it to the command to refuse
    /// it; whoever stands in front of Redis cannot. Last, since to Redis this selector permits it.
    Unclear,
}
