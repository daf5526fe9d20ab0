//! For tests: a table with the commands of Redis 7.0.15, and requests with what they use.

use std::ops::ControlFlow;

use super::{Defaults, Denial, SortOption, Unclear, Use, User, Visitor};
use crate::command::{Access, CommandTable, Flags, Reported, Resolution, flag};
use crate::resp::RequestBuf;

/// `name arity no_auth|- category…`, a container before its subcommands.
const COMMANDS: &str = include_str!("testdata.txt");

pub fn table() -> CommandTable {
    let mut reported: Vec<Reported> = Vec::new();
    for line in COMMANDS.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        let arity = words.next().unwrap().parse().unwrap();
        let flags = Flags(if words.next().unwrap() == "no_auth" { flag::NO_AUTH } else { 0 });
        let categories = words.map(str::to_owned).collect();
        let row = Reported {
            name,
            arity,
            flags,
            categories: Some(categories),
            keys: Some(Vec::new()),
            subcommands: Vec::new(),
        };
        if row.name.contains('|') {
            reported.last_mut().unwrap().subcommands.push(row);
        } else {
            reported.push(row);
        }
    }
    CommandTable::builtin().fitted(&reported)
}

pub fn user(rules: &[&str], table: &CommandTable) -> User {
    let rules: Vec<&[u8]> = rules.iter().map(|rule| rule.as_bytes()).collect();
    User::new(b"u", Defaults::default(), table)
        .unwrap()
        .set(&rules, table)
        .unwrap_or_else(|error| panic!("{rules:?}: {error:?}"))
}

/// The decision about a command line, split at spaces.
pub fn ask(user: &User, line: &str, table: &CommandTable) -> Result<(), Denial> {
    let args: Vec<&str> = line.split(' ').collect();
    let request = RequestBuf::from_args(&args);
    let request = request.as_request();
    let Resolution::Known(spec) = table.resolve(request) else { panic!("{line}") };
    user.permits(request, spec, |visit| uses(&args, visit))
}

/// A hand list, independent of the table's.
pub fn uses(args: &[&str], visit: &mut Visitor<'_>) -> Result<(), Unclear> {
    const R: Access = Access::READ;
    const W: Access = Access::WRITE;
    const RW: Access = Access::READ_WRITE;
    let key = |index: usize, access| Use::Key { index, key: args[index].as_bytes(), access };
    let channel = |index: usize, literal| Use::Channel { index, channel: args[index].as_bytes(), literal };
    let all = 1..args.len();
    let found: Vec<Use<'_>> = match &*args[0].to_lowercase() {
        "get" | "ttl" => vec![key(1, R)],
        "set" if args.iter().any(|arg| arg.eq_ignore_ascii_case("get")) => vec![key(1, RW)],
        "set" => vec![key(1, W)],
        "exists" => all.map(|index| key(index, Access::ANY)).collect(),
        "mget" => all.map(|index| key(index, R)).collect(),
        "del" => all.map(|index| key(index, W)).collect(),
        "copy" => vec![key(1, R), key(2, W)],
        "mset" => all.step_by(2).map(|index| key(index, W)).collect(),
        "publish" => vec![channel(1, false)],
        "subscribe" => all.map(|index| channel(index, false)).collect(),
        "psubscribe" => all.map(|index| channel(index, true)).collect(),
        "sort" => vec![key(1, R), Use::AllKeysReadable { option: SortOption::By }],
        "eval" => return Err(Unclear),
        _ => Vec::new(),
    };
    for used in found {
        if let ControlFlow::Break(()) = visit(used) {
            break;
        }
    }
    Ok(())
}
