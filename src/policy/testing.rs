//! For tests of this layer and those above: policies from a few words.

use super::{Gates, Hello, HelloFrame, Policy, Rename, Upstream, Version};
use crate::acl::{Defaults, parse_rules};
use crate::command::CommandTable;

/// All versions whose wording differs.
pub(crate) const VERSIONS: [Version; 5] = [
    Version { major: 3, minor: 2 },
    Version::V5_0,
    Version { major: 6, minor: 2 },
    Version::V7_0,
    Version::V7_2,
];

/// A policy over the built-in table: users by name and rules, renames by command and alias.
pub(crate) fn policy(version: Version, users: &[(&str, &str)], renames: &[(&str, &str)]) -> Policy {
    let table = CommandTable::builtin();
    let gates = gates(renames, &table).unwrap();
    let users = users
        .iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    let frame = |protocol: u8| {
        let frame = format!("*4\r\n$5\r\nproto\r\n:{protocol}\r\n$2\r\nid\r\n:5\r\n");
        HelloFrame::cut(frame.as_bytes()).unwrap()
    };
    let hello = Some(Hello { resp2: frame(2), resp3: frame(3) });
    let upstream = Upstream { version, valkey: None, login_first: false, databases: 16, hello };
    Policy::new(Some(upstream), table, gates, users)
}

pub(crate) fn gates(renames: &[(&str, &str)], table: &CommandTable) -> Result<Gates, Vec<(usize, String)>> {
    let renames: Vec<Rename> = renames
        .iter()
        .map(|(command, alias)| Rename { command: (*command).to_owned(), alias: (*alias).to_owned() })
        .collect();
    Gates::new(&renames, table)
}

/// The words of a line, split at single spaces; `''` is an empty one.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| if word == "''" { "" } else { word }).collect()
}
