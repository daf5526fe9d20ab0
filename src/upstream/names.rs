//! What the upstream calls its commands, where it has renamed some itself (`upstream.renamed_commands`).
//!
//! All of Redkeep names a command by its original name; only the bytes that leave for the upstream, and those that come
//! back, know of another. A request of a client and one of Redkeep's own are both written under the upstream's name
//! ([`Names::renamed`]).
//!
//! SECURITY: the names are hard to guess on purpose. Nothing here shows one, and `scrub.rs` takes them out of replies.

use std::fmt;

use crate::command::Reported;

/// The commands that the upstream has renamed, or disabled.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<Name>);

/// A command with the name that the upstream knows it by.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// In lower case.
    pub(super) original: Box<str>,
    /// As the upstream has it; empty if it has disabled the command.
    pub(super) theirs: Box<str>,
    /// The latter as the first argument of a request.
    bulk: Box<[u8]>,
}

/// How a request is written under another name: the bytes up to `name_at`, then `bulk`, then those from `rest_at` on.
pub(super) struct Renamed<'n> {
    pub(super) name_at: usize,
    pub(super) bulk: &'n [u8],
    pub(super) rest_at: usize,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({})", self.0.len())
    }
}

impl Names {
    /// Each original name, in any case, with the upstream's; an empty one if the upstream has disabled the command.
    pub fn new<'a>(names: impl IntoIterator<Item = (&'a str, &'a str)>) -> Names {
        let name = |(original, theirs): (&str, &str)| Name {
            original: original.to_ascii_lowercase().into(),
            theirs: theirs.into(),
            bulk: format!("${}\r\n{theirs}\r\n", theirs.len()).into_bytes().into(),
        };
        Names(names.into_iter().map(name).collect())
    }

    /// Whether the upstream has renamed nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not disabled.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().filter(|name| !name.theirs.is_empty())
    }

    /// How this request must be written; `None`: as it is. What is disabled gets a name that no command has: its own may
    /// be another command's there.
    #[inline]
    pub(super) fn renamed(&self, wire: &[u8]) -> Option<Renamed<'_>> {
        if self.is_empty() { None } else { self.look_up(wire) }
    }

    fn look_up(&self, wire: &[u8]) -> Option<Renamed<'_>> {
        // `*2\r\n$3\r\nGET\r\n...`, and a name holds whatever bytes it likes.
        let line_end =
            |from: usize| memchr::memchr(b'\n', wire.get(from..)?)?.checked_add(from)?.checked_add(1);
        let name_at = line_end(0)?;
        let start = line_end(name_at)?;
        let length = wire.get(name_at.checked_add(1)?..start.checked_sub(2)?)?;
        let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
        let end = start.checked_add(length)?;
        let sent = wire.get(start..end)?;
        let name = self.0.iter().find(|name| name.original.as_bytes().eq_ignore_ascii_case(sent))?;
        Some(Renamed { name_at, bulk: &name.bulk, rest_at: end.checked_add(2)? })
    }

    /// The bytes of a request as the upstream is to get it.
    pub(super) fn written(&self, wire: &[u8]) -> Vec<u8> {
        match self.renamed(wire) {
            None => wire.to_vec(),
            Some(Renamed { name_at, bulk, rest_at }) => {
                let (head, rest) = (wire.get(..name_at), wire.get(rest_at..));
                [head.unwrap_or_default(), bulk, rest.unwrap_or_default()].concat()
            }
        }
    }

    /// Gives what an upstream says of its commands their original names. Redis and Valkey report these themselves.
    ///
    /// SECURITY: a command is never left under the upstream's name as well, where nothing would be known of it and no
    /// guard would hold.
    pub(super) fn restore(&self, commands: &mut Vec<Reported>) {
        for Name { original, theirs, .. } in self.in_use() {
            let theirs = theirs.to_ascii_lowercase();
            if self.0.iter().any(|other| *other.original == *theirs) {
                // Their name is that of a command which has another one there.
                continue;
            }
            if commands.iter().any(|command| *command.name == **original) {
                commands.retain(|command| command.name != theirs);
            } else if let Some(command) = commands.iter_mut().find(|command| command.name == theirs) {
                command.name = original.to_string();
                for sub in &mut command.subcommands {
                    if let Some((_, word)) = sub.name.split_once('|') {
                        sub.name = format!("{original}|{word}");
                    }
                }
            }
        }
        commands.retain(|command| {
            !self.0.iter().any(|name| name.theirs.is_empty() && *name.original == *command.name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::RequestBuf;

    fn written(names: &Names, args: &[&str]) -> String {
        let request = RequestBuf::from_args(args);
        String::from_utf8(names.written(request.as_request().wire())).unwrap()
    }

    fn wire(args: &[&str]) -> String {
        String::from_utf8(RequestBuf::from_args(args).as_request().wire().to_vec()).unwrap()
    }

    fn reported(name: &str, subcommands: &[&str]) -> Reported {
        Reported {
            name: name.to_owned(),
            arity: -2,
            flags: Default::default(),
            categories: None,
            keys: None,
            subcommands: subcommands.iter().map(|name| reported(name, &[])).collect(),
        }
    }

    #[test]
    fn a_request_leaves_under_the_upstreams_name() {
        let names = Names::new([("CONFIG", "Cfg_7f3a"), ("get", "config"), ("KEYS", "")]);
        for (sent, expected) in [
            (&["config", "GET", "x"][..], &["Cfg_7f3a", "GET", "x"][..]),
            (&["CoNfIg", "SET", "dir", ""], &["Cfg_7f3a", "SET", "dir", ""]),
            (&["GET", "config"], &["config", "config"]),
            (&["keys", "*"], &["", "*"]),
            (&["CONFI", "x"], &["CONFI", "x"]),
            (&["CONFIGX"], &["CONFIGX"]),
            (&["CONFIG\r\n", "x"], &["CONFIG\r\n", "x"]),
            (&["CONFIG\0"], &["CONFIG\0"]),
            (&[""], &[""]),
            (&["SET", "config", "v\r\n$6\r\nconfig\r\n"], &["SET", "config", "v\r\n$6\r\nconfig\r\n"]),
        ] {
            assert_eq!(written(&names, sent), wire(expected), "{sent:?}");
        }
        assert_eq!(written(&Names::default(), &["CONFIG"]), wire(&["CONFIG"]));
    }

    #[test]
    fn commands_get_their_original_names_back_and_are_never_there_twice() {
        let restored = |names: &[(&str, &str)], commands: Vec<Reported>| {
            let mut commands = commands;
            Names::new(names.iter().copied()).restore(&mut commands);
            let text = |command: &Reported| {
                let subs: Vec<&str> = command.subcommands.iter().map(|sub| &*sub.name).collect();
                format!("{}[{}]", command.name, subs.join(" "))
            };
            commands.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        let cfg = || reported("cfg_1", &["cfg_1|get"]);
        let rename = ("CONFIG", "Cfg_1");
        // As Redis reports it, as a server might that shows its own names, and both.
        assert_eq!(restored(&[rename], vec![reported("config", &["config|get"])]), "config[config|get]");
        assert_eq!(restored(&[rename], vec![cfg(), reported("get", &[])]), "config[config|get] get[]");
        assert_eq!(restored(&[rename], vec![cfg(), reported("config", &[])]), "config[]");
        assert_eq!(restored(&[("KEYS", "")], vec![reported("keys", &[]), reported("get", &[])]), "get[]");
        // A name that another command gave up.
        let moved = [("KEYS", "scan"), ("SCAN", "old_scan")];
        assert_eq!(restored(&moved, vec![reported("keys", &[]), reported("scan", &[])]), "keys[] scan[]");
    }

    #[test]
    fn no_name_is_shown() {
        assert_eq!(format!("{:?}", Names::new([("CONFIG", "Cfg_7f3a")])), "Names(1)");
    }
}
