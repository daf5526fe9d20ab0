//! The databases that a request uses. Only rules about databases ask for them (Valkey 9.1).
//!
//! A command uses the session's database if it reads or writes the data set, or has keys; a few name others in their
//! arguments. MIGRATE's database is one of another server, and is not asked for. FLUSHALL uses all.
//!
//! Of a command that only the upstream knows, its flags and keys tell, as in Valkey.
//!
//! INVARIANT: doubt is all databases. Where Valkey lets a number pass that it cannot read, and leaves the error to the
//! command, a request here uses all databases, since an older upstream may read it otherwise. SELECT is the exception:
//! Redkeep answers it itself, and refuses what is not read here.
//!
//! Source: `ACL DRYRUN` of Valkey 9.1.2 for every command of it, from inside and outside an allowed database.

use std::ops::ControlFlow;

use super::category;
use super::keys::is_word;
use super::spec::{Categories, Databases, Flags, flag};
use crate::resp::Request;

/// One use of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// Index of the argument that names it; 0 where none does.
    pub index: usize,
    /// Its number; `None` for all databases.
    pub number: Option<u32>,
}

/// Which databases the command of this name uses, by what else is known of it.
pub(super) fn of(name: &str, flags: Flags, categories: Categories, has_keys: bool) -> Databases {
    match name {
        "copy" => Databases::Copy,
        "move" => Databases::Move,
        "select" => Databases::Select,
        "swapdb" => Databases::Swap,
        "flushall" | "cluster|cancelslotmigrations" | "cluster|flushslot" | "cluster|migrateslots" => {
            Databases::All
        }
        _ if has_keys
            || flags.contains(flag::WRITE)
            || flags.contains(flag::READONLY)
            || categories.intersects(category::KEYSPACE) =>
        {
            Databases::Current
        }
        _ => Databases::None,
    }
}

/// Calls `visit` for every database that `request` uses, the session's `current` one last, until it breaks.
///
/// `count` is the number of databases that SELECT takes; a higher number is left to it to refuse.
pub fn for_each_database<B>(
    databases: Databases,
    request: Request<'_>,
    current: u32,
    count: u32,
    mut visit: impl FnMut(Database) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let session = Database { index: 0, number: Some(current) };
    let named = |index| Database { index, number: request.arg(index).and_then(number) };
    match databases {
        Databases::None => ControlFlow::Continue(()),
        Databases::Current => visit(session),
        Databases::All => visit(Database { index: 0, number: None }),
        Databases::Move => {
            visit(named(2))?;
            visit(session)
        }
        Databases::Swap => {
            visit(named(1))?;
            visit(named(2))
        }
        Databases::Select => match named(1) {
            wanted if wanted.number.is_some_and(|number| number < count) => visit(wanted),
            _ => ControlFlow::Continue(()),
        },
        Databases::Copy => {
            copy(request, &named, &mut visit)?;
            visit(session)
        }
    }
}

/// `COPY source destination [DB number] [REPLACE]`. Which of several DB clauses counts is the server's secret: all do.
fn copy<B>(
    request: Request<'_>,
    named: &dyn Fn(usize) -> Database,
    visit: &mut impl FnMut(Database) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut index = 3usize;
    while let Some(option) = request.arg(index) {
        let next = index.saturating_add(1);
        if is_word(option, "db") && request.arg(next).is_some() {
            visit(named(next))?;
            index = next.saturating_add(1);
        } else if is_word(option, "replace") {
            index = next;
        } else {
            return visit(Database { index, number: None });
        }
    }
    ControlFlow::Continue(())
}

/// A database's number, in the one way to write it.
fn number(text: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(text).ok()?.parse::<u32>().ok()?;
    let mut canonical = itoa::Buffer::new();
    (i32::try_from(number).is_ok() && canonical.format(number).as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandTable, Resolution};
    use crate::resp::RequestBuf;

    /// The uses of a command line in database 7 of 16, as `index:number`, `*` for all.
    fn uses(line: &str) -> String {
        let args: Vec<String> = line.split(' ').map(|word| word.replace("\\0", "\0")).collect();
        let (table, request) = (CommandTable::builtin(), RequestBuf::from_args(&args));
        let request = request.as_request();
        let Resolution::Known(spec) = table.resolve(request) else { panic!("{line}") };
        let mut found = Vec::new();
        let _ = for_each_database(spec.databases, request, 7, 16, |Database { index, number }| {
            let number = number.map_or("*".to_owned(), |number| number.to_string());
            found.push(format!("{index}:{number}"));
            ControlFlow::<()>::Continue(())
        });
        found.join(" ")
    }

    #[test]
    fn commands_that_touch_data_use_the_database_of_the_session() {
        for line in ["GET a", "DBSIZE", "SCAN 0", "FLUSHDB", "WATCH a", "EVAL x 0", "OBJECT HELP", "LOLWUT"] {
            assert_eq!(uses(line), "0:7", "{line}");
        }
        for line in ["PING", "CONFIG GET x", "PUBLISH a b", "INFO", "UNWATCH", "MULTI", "SUBSCRIBE a"] {
            assert_eq!(uses(line), "", "{line}");
        }
        assert_eq!(uses("FLUSHALL"), "0:*");
    }

    #[test]
    fn every_database_that_a_request_names_counts() {
        for (line, expected) in [
            ("SELECT 3", "1:3"),
            ("SWAPDB 0 3", "1:0 2:3"),
            ("MOVE a 3", "2:3 0:7"),
            ("COPY a b", "0:7"),
            ("COPY a b DB 3", "4:3 0:7"),
            ("COPY a b REPLACE dB 3 REPLACE", "5:3 0:7"),
            ("COPY a b DB 3 DB 2", "4:3 6:2 0:7"),
            ("COPY a b DB 2 DB 3", "4:2 6:3 0:7"),
            ("COPY DB 3 DB 2", "4:2 0:7"),
            ("COPY a b DB\\0x 3", "4:3 0:7"),
            ("COPY a b DB 2147483647", "4:2147483647 0:7"),
        ] {
            assert_eq!(uses(line), expected, "{line}");
        }
    }

    #[test]
    fn doubt_is_all_databases() {
        for (line, expected) in [
            ("COPY a b DB", "3:* 0:7"),
            ("COPY a b FOO DB 3", "3:* 0:7"),
            ("COPY a b DB DB", "4:* 0:7"),
            ("COPY a b DB 03 DB 2", "4:* 6:2 0:7"),
            ("COPY a b DB 2147483648", "4:* 0:7"),
            ("MOVE a x", "2:* 0:7"),
            ("MOVE a +3", "2:* 0:7"),
            ("SWAPDB -1 1\\0", "1:* 2:*"),
        ] {
            assert_eq!(uses(line), expected, "{line}");
        }
        // Redkeep refuses these itself.
        for line in ["SELECT x", "SELECT 16", "SELECT 03", "SELECT -1"] {
            assert_eq!(uses(line), "", "{line}");
        }
    }
}
