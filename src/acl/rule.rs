//! The rule language: what one token of a user's rules says. This header is its reference.
//!
//! Rules are applied from left to right to a user that starts as `off resetchannels -@all`: no password, no key, but all
//! databases, and (`acl-pubsub-default allchannels`, see [`Defaults`](super::Defaults)) perhaps all channels. Words
//! and names of commands and categories are in any case; patterns, passwords and hashes are as written. Commands go by
//! their original names, never by those of a rename. All bytes but those named below may stand in a token.
//!
//! | token | effect |
//! |---|---|
//! | `on`, `off` | the user may, may not log in; sessions that are logged in stay |
//! | `>password` | adds a password (its SHA-256), and ends `nopass` |
//! | `#hash` | the same with the SHA-256 in 64 lower-case hexadecimal digits ([`RuleError::BadHash`]) |
//! | `<password`, `!hash` | removes a password ([`RuleError::NoSuchPassword`], [`RuleError::BadHash`]) |
//! | `nopass` | any password will do; forgets all passwords |
//! | `resetpass` | forgets all passwords, and ends `nopass` |
//! | `+command`, `-command` | allows, denies a command, with all its subcommands ([`RuleError::UnknownCommand`]) |
//! | `+command\|sub`, `-command\|sub` | allows, denies one subcommand ([`RuleError::UnknownCommand`]) |
//! | `+command\|arg` | allows a command without subcommands when its first argument is `arg`, in any case; a later rule about the command or a category of it undoes this. Deprecated ([`RuleError::FirstArgOfSubcommand`], [`RuleError::Syntax`] when empty) |
//! | `+@category`, `-@category` | allows, denies the commands of a category; a container with all its subcommands ([`RuleError::UnknownCommand`]) |
//! | `+@all`, `allcommands` | allows all commands, also those that a newer upstream adds |
//! | `-@all`, `nocommands` | denies all commands |
//! | `~pattern`, `%RW~pattern` | allows reading and writing keys that match ([`RuleError::KeyAfterAll`]) |
//! | `%R~pattern`, `%W~pattern` | allows only reading, only writing them; equal patterns merge ([`RuleError::Syntax`]) |
//! | `~*`, `allkeys` | allows all keys, replacing all patterns |
//! | `resetkeys` | forgets all key patterns |
//! | `&pattern` | allows channels that match ([`RuleError::ChannelAfterAll`]) |
//! | `&*`, `allchannels` | allows all channels, replacing all patterns |
//! | `resetchannels` | forgets all channel patterns |
//! | `db=0,1` | allows these databases and no others ([`RuleError::Syntax`], [`RuleError::DatabaseOutOfRange`]) |
//! | `alldbs` | allows all databases |
//! | `resetdbs` | allows no database |
//! | `(…)` | adds a selector: permissions that suffice by themselves. In it, separated by spaces: command, key, channel and database rules; it starts like a new user, and may be spread over tokens ([`RuleError::Unmatched`]) |
//! | `clearselectors` | forgets all selectors |
//! | `reset` | `off sanitize-payload resetpass resetkeys resetchannels alldbs clearselectors -@all`, and then the channels of a new user |
//! | `sanitize-payload`, `skip-sanitize-payload` | kept and shown, for the upstream to act on |
//!
//! Patterns hold neither white space nor NUL, and anything else is [`RuleError::Syntax`].
//!
//! Rules about databases are Valkey's, from 9.1 on, and hold here whatever the upstream. A request needs the database
//! that its session is in if it reads or writes data, and each one that it names; the numbers may have a sign and
//! leading zeros, from 0 to 2147483647.
//!
//! Names of commands and categories are those of the [`CommandTable`](crate::command::CommandTable) at hand. Before the
//! upstream was asked, that of a module's command (with a dot, `+graph.query`) and of the categories of Redis 8's modules
//! are kept by name, and hold as soon as the upstream has them.
//!
//! Source: experiments with Redis 7.0.15, for databases with Valkey 9.1.2; every error in its section 8 of the facts is replayed by a test. Stricter than
//! Redis, since what it accepts here it cannot store in a file: inside selectors, quotes and tokens that end with `)`;
//! white space in first arguments and in numbers of databases; NUL after a word.

use std::fmt;

use super::secret::PasswordHash;
use super::selector::Selector;
use crate::command::Access;

/// What one token says of a user.
#[derive(Clone, Debug)]
pub enum Rule {
    /// `>password` or `#hash`
    AddPassword(PasswordHash),
    /// `clearselectors`
    ClearSelectors,
    /// A rule about the root permissions.
    Grant(Grant),
    /// `nopass`
    NoPass,
    /// `off`
    Off,
    /// `on`
    On,
    /// `<password` or `!hash`
    RemovePassword(PasswordHash),
    /// `reset`
    Reset,
    /// `resetpass`
    ResetPass,
    /// `sanitize-payload`
    SanitizePayload,
    /// `(…)`
    Selector(Box<Selector>),
    /// `skip-sanitize-payload`
    SkipSanitizePayload,
}

/// What one token says of permissions: the rules that may also stand in a selector.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// `&*`, `allchannels`
    AllChannels,
    /// `+@all`, `allcommands`
    AllCommands,
    /// `alldbs`
    AllDatabases,
    /// `~*`, `allkeys`
    AllKeys,
    /// `+@category`; its name in lower case.
    AllowCategory(Box<str>),
    /// `+command` or `+command|sub`; the full name in lower case. In the latter form `sub` may be a first argument, if
    /// it is a module's command that the table did not know.
    AllowCommand(Box<str>),
    /// `+command|arg`
    AllowFirstArg {
        /// The command's name in lower case.
        command: Box<str>,
        /// The argument, as written.
        arg: Box<[u8]>,
    },
    /// `&pattern`
    Channels(Box<[u8]>),
    /// `db=…`: in their order, each once.
    Databases(Box<[u32]>),
    /// `-@category`; its name in lower case.
    DenyCategory(Box<str>),
    /// `-command` or `-command|sub`; the full name in lower case.
    DenyCommand(Box<str>),
    /// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`
    Keys {
        /// What may be done with the keys.
        access: Access,
        /// Which keys.
        pattern: Box<[u8]>,
    },
    /// `-@all`, `nocommands`
    NoCommands,
    /// `resetchannels`
    ResetChannels,
    /// `resetdbs`
    ResetDatabases,
    /// `resetkeys`
    ResetKeys,
}

/// Why a rule is refused. Whoever wrote the rule is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// A hash is not 64 lower-case hexadecimal digits.
    BadHash,
    /// A user's name is empty, or has white space or NUL in it.
    BadName,
    /// `&pattern` where all channels are allowed.
    ChannelAfterAll,
    /// `db=` with a number that no database can have.
    DatabaseOutOfRange,
    /// A password of no bytes in a file. Redis accepts it; it is mostly a variable that was not set.
    EmptyPassword,
    /// `+command|sub|arg`.
    FirstArgOfSubcommand,
    /// `~pattern` where all keys are allowed.
    KeyAfterAll,
    /// `<password` or `!hash` of a password that the user does not have.
    NoSuchPassword,
    /// Not a rule.
    Syntax,
    /// A `+` or `-` with a name that is neither command nor category.
    UnknownCommand,
    /// A `(` without its `)`.
    Unmatched,
}

impl RuleError {
    /// Redis' own text, in the wording of 7.0 and later.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::BadName => "Usernames can't contain spaces or null characters",
            RuleError::ChannelAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have \
                 any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::DatabaseOutOfRange => "The provided database ID is out of range",
            RuleError::EmptyPassword => "The password is empty",
            RuleError::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            RuleError::KeyAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                 effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            RuleError::Syntax => "Syntax error",
            RuleError::UnknownCommand => "Unknown command or category name in ACL",
            RuleError::Unmatched => "Unmatched parenthesis in selector definition.",
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for RuleError {}
