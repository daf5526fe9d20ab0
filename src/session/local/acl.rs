//! The ACL commands, about Redkeep's own users.
//!
//! Those that only look ([`answer`]) need nothing but the policy; those that change users, or show what happened
//! ([`administer`]), act on [`Users`]. Replies have the shape of the upstream's version: `GETUSER` of 6.2 differs from
//! that of 7.0, and `LOG` tells more since 7.2. Nobody gets here without the right to the command.
//!
//! Mirrors Redis 6.2, 7.0, 8.2 and Valkey 9.1, compared by `tests/it/acl_commands.rs`.

use bytes::BytesMut;

use crate::acl::{Denial, Dialect, LogEntry, Selector, User};
use crate::command::Resolution;
use crate::policy::{Judged, Policy, Version};
use crate::resp::{Protocol, Request, RequestBuf, c_string, encode, integer};
use crate::session::state::State;
use crate::users::{Users, unix_ms};

/// Entries that `ACL LOG` shows unless it is told how many.
const DEFAULT_LOG_COUNT: i64 = 10;

/// Bits of a password that `ACL GENPASS` makes, unless it is told how many, and at most.
const DEFAULT_PASSWORD_BITS: i64 = 256;
const MAX_PASSWORD_BITS: usize = 4096;

const NOT_AN_INTEGER: &[u8] = b"ERR value is not an integer or out of range";

/// Whether a command of this name is one for [`administer`].
pub(in crate::session) fn is_administrative(name: &str) -> bool {
    matches!(name, "acl|deluser" | "acl|load" | "acl|log" | "acl|save" | "acl|setuser")
}

/// Answers an ACL command that changes nothing. False if it is none.
pub(super) fn answer(policy: &Policy, state: &State, judged: Judged<'_>, out: &mut BytesMut) -> bool {
    let request = judged.request();
    match &*judged.spec().name {
        "acl|cat" => cat(policy, request, out),
        "acl|dryrun" => dry_run(policy, state, request, out),
        "acl|genpass" => generate_password(policy, request, out),
        "acl|getuser" => match policy.user(request.arg(2).unwrap_or_default()) {
            Some(user) => show_user(policy, user, state.protocol, out),
            None => encode::null(out, state.protocol),
        },
        "acl|help" => help(policy, out),
        "acl|list" => {
            let users = policy.users();
            encode::array(out, users.len());
            users.iter().for_each(|user| encode::bulk(out, &user.describe(policy.dialect())));
        }
        "acl|users" => {
            let users = policy.users();
            encode::array(out, users.len());
            users.iter().for_each(|user| encode::bulk(out, user.name()));
        }
        "acl|whoami" => encode::bulk(out, state.user_name()),
        _ => return false,
    }
    true
}

/// Answers an ACL command that changes users or shows the log.
pub(in crate::session) fn administer(
    users: &Users,
    policy: &Policy,
    state: &State,
    judged: Judged<'_>,
    out: &mut BytesMut,
) {
    let request = judged.request();
    let done: Result<(), Vec<u8>> = match &*judged.spec().name {
        "acl|deluser" => match users.delete(&request.args(2).collect::<Vec<_>>()) {
            Ok(count) => return encode::integer(out, i64::try_from(count).unwrap_or(i64::MAX)),
            Err(text) => Err(text.into()),
        },
        "acl|load" => users.load().map_err(String::into_bytes),
        "acl|log" => return log(users, policy, state.protocol, request, out),
        "acl|save" => users.save().map_err(Vec::from),
        _ => {
            let rules: Vec<&[u8]> = request.args(3).collect();
            users.set_user(request.arg(2).unwrap_or_default(), &rules)
        }
    };
    match done {
        Ok(()) => encode::simple(out, "OK"),
        Err(text) => encode::error(out, &text),
    }
}

// === users ===

fn show_user(policy: &Policy, user: &User, protocol: Protocol, out: &mut BytesMut) {
    let old = policy.version() < Version::V7_0;
    let dialect = policy.dialect();
    // Before 7.0 there were no selectors to show; a user who has some must not look as if there were none.
    let with_selectors = !old || !user.selectors().is_empty();
    let databases = usize::from(dialect.has_databases());
    encode::map(out, databases.saturating_add(if with_selectors { 6 } else { 5 }), protocol);
    encode::bulk(out, b"flags");
    let flags = flags(user, dialect, old);
    encode::set(out, flags.len(), protocol);
    flags.iter().for_each(|flag| encode::bulk(out, flag.as_bytes()));
    encode::bulk(out, b"passwords");
    encode::array(out, user.passwords().len());
    user.passwords().iter().for_each(|hash| encode::bulk(out, hash.to_hex().as_bytes()));
    show_permissions(user.root(), dialect, old, out);
    if with_selectors {
        encode::bulk(out, b"selectors");
        encode::array(out, user.selectors().len());
        for selector in user.selectors() {
            encode::map(out, databases.saturating_add(3), protocol);
            show_permissions(selector, dialect, old, out);
        }
    }
}

/// Before 7.0 some rules were flags, too, behind the first.
fn flags(user: &User, dialect: Dialect, old: bool) -> Vec<&'static str> {
    let mut flags = user.flags(dialect);
    if old {
        let root = user.root();
        let all = [
            (root.commands_text(dialect) == b"+@all", "allcommands"),
            (root.channels_text() == b"&*", "allchannels"),
            (root.keys_text() == b"~*", "allkeys"),
        ];
        all.iter().filter(|(has, _)| *has).for_each(|(_, flag)| flags.insert(1, flag));
    }
    flags
}

/// The pairs `commands`, `keys`, `channels` and, in Valkey's dialect, `databases`. Before 7.0 keys and channels are lists of
/// patterns, since then rules.
fn show_permissions(selector: &Selector, dialect: Dialect, old: bool, out: &mut BytesMut) {
    encode::bulk(out, b"commands");
    encode::bulk(out, &selector.commands_text(dialect));
    for (name, rules, sign) in
        [("keys", selector.keys_text(), b'~'), ("channels", selector.channels_text(), b'&')]
    {
        encode::bulk(out, name.as_bytes());
        if !old {
            encode::bulk(out, &rules);
            continue;
        }
        let patterns: Vec<&[u8]> =
            rules.split(|byte| *byte == b' ').filter(|rule| !rule.is_empty()).collect();
        encode::array(out, patterns.len());
        for rule in patterns {
            encode::bulk(out, rule.strip_prefix(&[sign]).unwrap_or(rule));
        }
    }
    if dialect.has_databases() {
        encode::bulk(out, b"databases");
        encode::bulk(out, &selector.databases_text());
    }
}

fn dry_run(policy: &Policy, state: &State, request: Request<'_>, out: &mut BytesMut) {
    let name = request.arg(2).unwrap_or_default();
    let Some(user) = policy.user(name) else {
        return encode::error(out, &quoting("ERR User '", name, "' not found"));
    };
    let args: Vec<&[u8]> = request.args(3).collect();
    let asked = RequestBuf::from_args(&args);
    let mut scratch = RequestBuf::default();
    let (asked, resolution) = policy.resolve(asked.as_request(), &mut scratch);
    let Resolution::Known(spec) = resolution else {
        let command = args.first().copied().unwrap_or_default();
        return encode::error(out, &quoting("ERR Command '", command, "' not found"));
    };
    if !spec.accepts(asked.len()) {
        let text = format!("ERR wrong number of arguments for '{}' command", spec.name);
        return encode::error(out, text.as_bytes());
    }
    let (verb, object, kind): (_, &[u8], _) = match policy.permits(user, state.db, spec, asked) {
        // A request whose keys cannot be told is refused by the command itself, and so not by Redis' ACL.
        Ok(()) | Err(Denial::Unclear | Denial::SortPattern { .. }) => return encode::simple(out, "OK"),
        Err(Denial::Command) => ("run the", spec.name.as_bytes(), "command"),
        // Valkey's words; no Redis has any.
        Err(Denial::Database { index }) => {
            let object = asked.arg(index).unwrap_or_default();
            let text = [b"User ", user.name(), b" has no permissions to access database ", c_string(object)];
            return encode::bulk(out, &text.concat());
        }
        Err(Denial::Key { index }) => ("access the", asked.arg(index).unwrap_or_default(), "key"),
        Err(Denial::Channel { index }) => ("access the", asked.arg(index).unwrap_or_default(), "channel"),
    };
    let who: Vec<u8> = if policy.version() < Version::V7_2 {
        b"This user".to_vec()
    } else {
        [b"User ", user.name()].concat()
    };
    let text = [&*who, b" has no permissions to ", verb.as_bytes(), b" '", c_string(object), b"' "].concat();
    encode::bulk(out, &[&*text, kind.as_bytes()].concat());
}

// === categories, passwords, help ===

fn cat(policy: &Policy, request: Request<'_>, out: &mut BytesMut) {
    let table = policy.table();
    let Some(name) = request.arg(2) else {
        let names: Vec<&str> = table.categories().iter().map(|(name, _)| name).collect();
        encode::array(out, names.len());
        return names.iter().for_each(|name| encode::bulk(out, name.as_bytes()));
    };
    if request.len() > 3 {
        return wrong_number(policy, request, out);
    }
    let Some(wanted) = table.category(name) else {
        return encode::error(out, &quoting("ERR Unknown category '", name, "'"));
    };
    let specs = table.specs();
    let names: Vec<&str> =
        specs.iter().filter(|spec| spec.categories.intersects(wanted.0)).map(|spec| &*spec.name).collect();
    encode::array(out, names.len());
    names.iter().for_each(|name| encode::bulk(out, name.as_bytes()));
}

fn generate_password(policy: &Policy, request: Request<'_>, out: &mut BytesMut) {
    if request.len() > 3 {
        return wrong_number(policy, request, out);
    }
    let bits = match request.arg(2).map(integer) {
        None => DEFAULT_PASSWORD_BITS,
        Some(Some(bits)) => bits,
        Some(None) => return encode::error(out, NOT_AN_INTEGER),
    };
    let Some(bits) = usize::try_from(bits).ok().filter(|bits| (1..=MAX_PASSWORD_BITS).contains(bits)) else {
        let text = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number \
                    up to 4096";
        return encode::error(out, text.as_bytes());
    };
    let digits = bits.div_ceil(4);
    let mut random = vec![0; digits.div_ceil(2)];
    if getrandom::fill(&mut random).is_err() {
        // SECURITY: no password rather than one that can be guessed.
        return encode::error(out, b"ERR the system has no random numbers");
    }
    let nibbles = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String =
        nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).take(digits).collect();
    encode::bulk(out, hex.as_bytes());
}

const HELP: [&str; 28] = [
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
    "HELP",
];

fn help(policy: &Policy, out: &mut BytesMut) {
    let last =
        if policy.version() < Version::V7_2 { "    Prints this help." } else { "    Print this help." };
    encode::array(out, HELP.len().saturating_add(1));
    for line in HELP.iter().chain([&last]) {
        match policy.dialect() {
            Dialect::Valkey91 => encode::simple(out, &line.replace("attribute", "rule")),
            Dialect::Redis70 | Dialect::Redis72 => encode::simple(out, line),
        }
    }
}

// === the log ===

fn log(users: &Users, policy: &Policy, protocol: Protocol, request: Request<'_>, out: &mut BytesMut) {
    if request.len() > 3 {
        return wrong_number(policy, request, out);
    }
    let count = match request.arg(2) {
        None => DEFAULT_LOG_COUNT,
        Some(word) if word.eq_ignore_ascii_case(b"reset") => {
            users.log().reset();
            return encode::simple(out, "OK");
        }
        Some(number) => match integer(number) {
            Some(count) => count,
            None => return encode::error(out, NOT_AN_INTEGER),
        },
    };
    let now = unix_ms();
    let log = users.log();
    let shown = log.entries().len().min(usize::try_from(count).unwrap_or_default());
    encode::array(out, shown);
    log.entries().take(shown).for_each(|entry| show_entry(entry, now, policy.version(), protocol, out));
}

fn show_entry(entry: &LogEntry, now: u64, version: Version, protocol: Protocol, out: &mut BytesMut) {
    let numbered = version >= Version::V7_2;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    encode::map(out, if numbered { 10 } else { 7 }, protocol);
    encode::bulk(out, b"count");
    encode::integer(out, number(entry.count));
    for (name, text) in [
        ("reason", entry.event.reason.name().as_bytes()),
        ("context", entry.event.context.name().as_bytes()),
        ("object", &entry.event.object),
        ("username", &entry.event.username),
    ] {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, text);
    }
    encode::bulk(out, b"age-seconds");
    encode::double(
        out,
        std::time::Duration::from_millis(now.saturating_sub(entry.updated_ms)).as_secs_f64(),
        protocol,
    );
    encode::bulk(out, b"client-info");
    encode::bulk(out, entry.client_info.as_bytes());
    if numbered {
        for (name, value) in [
            ("entry-id", entry.id),
            ("timestamp-created", entry.created_ms),
            ("timestamp-last-updated", entry.updated_ms),
        ] {
            encode::bulk(out, name.as_bytes());
            encode::integer(out, number(value));
        }
    }
}

// === words ===

/// Redis' error for a subcommand that counts its arguments by itself.
fn wrong_number(policy: &Policy, request: Request<'_>, out: &mut BytesMut) {
    let start = if policy.version() < Version::V7_0 { "ERR Unknown" } else { "ERR unknown" };
    let word = request.arg(1).unwrap_or_default();
    let start = format!("{start} subcommand or wrong number of arguments for '");
    encode::error(out, &quoting(&start, word, "'. Try ACL HELP."));
}

/// Redis prints C strings here, and cuts them.
fn quoting(before: &str, text: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), c_string(text), after.as_bytes()].concat()
}
