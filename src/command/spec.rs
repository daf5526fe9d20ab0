//! What one Redis command is: the types of a table row.
//!
//! The facts mirror the output of `COMMAND` (Redis 7.0 and later): name, arity, flags, ACL categories and key
//! specifications. [`Affinity`] is Redkeep's own column: which link may carry the command.

use std::borrow::Cow;

use super::Fence;

/// A dense number of a command or subcommand in one [`CommandTable`](super::CommandTable): an index for bitmaps.
/// Numbers of different tables must not be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub(crate) u16);

impl CommandId {
    /// The number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of command flags, as `COMMAND` prints them (`write`, `readonly`, `no_auth`, …).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Whether all flags of `other` are in this set.
    pub const fn contains(self, other: u32) -> bool {
        self.0 & other == other
    }
}

/// The flags, one bit each. Plain numbers, so that rows of the table can join them by `|` in constants.
pub mod flag {
    macro_rules! flags {
        ($($(#[$doc:meta])* $constant:ident = $bit:literal, $name:literal;)*) => {
            $($(#[$doc])* pub const $constant: u32 = 1 << $bit;)*
            /// Every flag with its name in `COMMAND`.
            pub const ALL: &[(u32, &str)] = &[$(($constant, $name)),*];
        };
    }

    flags! {
        /// May change the data set.
        WRITE = 0, "write";
        /// Only reads the data set.
        READONLY = 1, "readonly";
        /// Refused when memory is exhausted.
        DENYOOM = 2, "denyoom";
        /// Administrative.
        ADMIN = 3, "admin";
        /// Publish and subscribe.
        PUBSUB = 4, "pubsub";
        /// Not callable from scripts.
        NOSCRIPT = 5, "noscript";
        /// May block the client.
        BLOCKING = 6, "blocking";
        /// Runs while the server loads its data.
        LOADING = 7, "loading";
        /// Runs on a replica with stale data.
        STALE = 8, "stale";
        /// Not shown by MONITOR.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not logged by SLOWLOG.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Implies ASKING (Cluster).
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Runs before authentication, and no ACL rule can deny it.
        NO_AUTH = 13, "no_auth";
        /// Keys cannot be found by first/last/step alone.
        MOVABLEKEYS = 14, "movablekeys";
        /// Refused inside MULTI.
        NO_MULTI = 15, "no_multi";
        /// Not during an asynchronous load.
        NO_ASYNC_LOADING = 16, "no_async_loading";
        /// Runs while a script is busy.
        ALLOW_BUSY = 17, "allow_busy";
        /// Keys are optional.
        NO_MANDATORY_KEYS = 18, "no_mandatory_keys";
    }
}

/// A set of ACL categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Categories(pub u64);

impl Categories {
    /// Whether the sets have a category in common.
    pub const fn intersects(self, other: u64) -> bool {
        self.0 & other != 0
    }
}

/// The key permissions that one use of a key needs. `Access(0)` means: any matching pattern will do (EXISTS, TYPE,
/// STRLEN, …), as Redis 7 does for key specifications with none of access, insert, update, delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    /// Needs no particular permission: any pattern that matches.
    pub const ANY: Access = Access(0);
    /// The value is returned or copied (key specification flag `access`).
    pub const READ: Access = Access(1);
    /// The value is changed (flags `insert`, `update`, `delete`).
    pub const WRITE: Access = Access(2);
    /// Both.
    pub const READ_WRITE: Access = Access(3);

    /// Whether all of `needed` is in this set.
    pub const fn contains(self, needed: Access) -> bool {
        self.0 & needed.0 == needed.0
    }
}

/// Where a command's keys are: the key specification of Redis 7 (`begin_search` and `find_keys`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// The permissions that each of these keys needs.
    pub access: Access,
    /// Where the search begins.
    pub begin: Begin,
    /// How the keys are found from there.
    pub find: Find,
}

/// Where the search for keys begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument (the command's name is argument 0).
    Index(u16),
    /// After the argument that equals `word` (any case), searched from argument `from`, or backwards from the end
    /// when `from` is negative.
    Keyword {
        /// The keyword, in upper case.
        word: Cow<'static, str>,
        /// Where to start looking.
        from: i16,
    },
}

/// How keys are found from the beginning of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Find {
    /// A range of arguments.
    Range {
        /// Last key relative to the first; negative counts from the last argument (-1).
        last: i16,
        /// Distance between keys.
        step: u16,
        /// With `last` -1: 2 takes the first half of the remaining arguments; 0 and 1 take all.
        limit: u16,
    },
    /// A number of keys is given by an argument.
    KeyNum {
        /// Index of the number, relative to the beginning.
        number: u16,
        /// Index of the first key, relative to the beginning.
        first: u16,
        /// Distance between keys.
        step: u16,
    },
}

/// Commands whose keys need a function of their own in `movable.rs`, instead of key specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movable {
    /// BITFIELD: read-only when all operations are GET.
    Bitfield,
    /// DEBUG: the key of DEBUG OBJECT and its like, which Redis does not check at all.
    Debug,
    /// GEORADIUS: every STORE and STOREDIST, not only the first.
    Georadius,
    /// GEORADIUSBYMEMBER: as GEORADIUS, with one argument less.
    GeoradiusByMember,
    /// MIGRATE: the single key, or those after KEYS.
    Migrate,
    /// SET: also reads when GET is among the options.
    Set,
    /// SORT, SORT_RO: the key, every STORE; BY and GET patterns reach any key.
    Sort,
    /// XREAD, XREADGROUP: the first half after STREAMS.
    Xread,
    /// ZADD: also reads when INCR is among the options, since it returns the score.
    Zadd,
}

/// Which arguments are channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// No channel argument is checked.
    #[default]
    None,
    /// PUBLISH, SPUBLISH: argument 1 is a channel.
    First,
    /// SUBSCRIBE, SSUBSCRIBE: all arguments are channels, matched by glob.
    All,
    /// PSUBSCRIBE: all arguments are patterns, which must equal an ACL pattern literally.
    AllLiteral,
}

/// Which databases a command uses. Only a rule about databases asks (`db=…`, Valkey 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Databases {
    /// All: FLUSHALL.
    All,
    /// COPY: the session's, and that of every DB clause.
    Copy,
    /// The session's.
    Current,
    /// MOVE: the session's, and that of argument 2.
    Move,
    /// None.
    None,
    /// SELECT: that of argument 1.
    Select,
    /// SWAPDB: those of arguments 1 and 2.
    Swap,
}

/// Which link may carry the command, or whether Redkeep answers it itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Leaves no state on the link: any shared link.
    Shared,
    /// Blocks, runs code, or may break the protocol with its reply (FUNCTION LOAD): a link of the session's own
    /// for this one command.
    LeasedForCommand,
    /// Begins, continues or ends a state of the link (MULTI, WATCH, …): a link of the session's own until the
    /// state ends.
    LeasedWhileState,
    /// Answered by Redkeep about its own clients and users; never forwarded.
    Local,
    /// Would leave state on a link, or show the upstream's own clients and users, and Redkeep has no equal for it:
    /// refused with an error that says so.
    Unavailable,
}

/// Commands that the policy guards beyond the ACL. A column, so that judging compares no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// CLIENT TRACKING.
    ClientTracking,
    /// CONFIG GET.
    ConfigGet,
    /// CONFIG SET.
    ConfigSet,
    /// DEBUG and its subcommands.
    Debug,
    /// In the category of scripts, but runs none: FUNCTION HELP, SCRIPT EXISTS, SCRIPT HELP.
    HarmlessScript,
    /// MODULE LOAD, LOADEX, UNLOAD.
    ModuleLoad,
    /// All others.
    None,
}

impl Guard {
    /// The guard of the command of this full name, in lower case.
    pub(super) fn of(name: &str) -> Guard {
        match name {
            "client|tracking" => Guard::ClientTracking,
            "config|get" => Guard::ConfigGet,
            "config|set" => Guard::ConfigSet,
            "function|help" | "script|exists" | "script|help" => Guard::HarmlessScript,
            "module|load" | "module|loadex" | "module|unload" => Guard::ModuleLoad,
            name if name == "debug" || name.starts_with("debug|") => Guard::Debug,
            _ => Guard::None,
        }
    }
}

/// One command or subcommand of a table.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Number in the table.
    pub id: CommandId,
    /// Full name in lower case; subcommands as `container|sub`.
    pub name: Cow<'static, str>,
    /// Number of arguments, the name included; negative means at least that many. A subcommand counts both words.
    pub arity: i16,
    /// What `COMMAND` says of the command.
    pub flags: Flags,
    /// Its ACL categories: those that the upstream reports, once it was asked and if it reports any.
    pub categories: Categories,
    /// Whether it runs scripts or functions, or manages them. Unlike `categories`, nothing that an upstream reports
    /// takes this from a command.
    pub scripting: bool,
    /// The databases that it uses.
    pub databases: Databases,
    /// Its keys, unless `movable` says otherwise.
    pub keys: Cow<'static, [KeySpec]>,
    /// The function that finds its keys, instead of `keys`.
    pub movable: Option<Movable>,
    /// Its channels.
    pub channels: Channels,
    /// Which link may carry it.
    pub affinity: Affinity,
    /// What guards it beyond the ACL; follows from the name.
    pub guard: Guard,
    /// How it reaches keys that it does not name.
    pub fence: Fence,
    /// The container, for a subcommand.
    pub parent: Option<CommandId>,
    /// The subcommands, for a container.
    pub subcommands: Vec<CommandId>,
}

impl Spec {
    /// Whether `argc` arguments (the name included) are a number that the command takes.
    pub fn accepts(&self, argc: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { argc >= wanted } else { argc == wanted }
    }

    /// The argument that is its only key, and what it does with it; `None` if there is more to be known of its keys and
    /// channels than that.
    #[inline]
    pub fn only_key(&self) -> Option<(usize, Access)> {
        let [KeySpec { access, begin: Begin::Index(index), find: Find::Range { last: 0, .. } }] = &*self.keys
        else {
            return None;
        };
        let plain = self.movable.is_none()
            && self.channels == Channels::None
            && !self.flags.contains(flag::MOVABLEKEYS);
        plain.then_some((usize::from(*index), *access))
    }

    /// Whether it is a container that is only ever called with a subcommand.
    pub fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }
}
