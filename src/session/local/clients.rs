//! CLIENT LIST, KILL, UNBLOCK, PAUSE, UNPAUSE: about all clients of this process.
//!
//! Sources: Redis 6.2.5, 7.0.15, 8.2.3 and Valkey 9.1.2, whose replies `tests/it/clients_commands.rs` compares.

use std::collections::HashSet;

use bytes::BytesMut;

use crate::acl::Dialect;
use crate::policy::{Policy, Version};
use crate::resp::{Request, encode, integer};
use crate::session::card::Card;
use crate::session::clients::{Client, Clients, Unblock};
use crate::session::state::{SessionId, State};
use crate::users::unix_ms;

const SYNTAX: &[u8] = b"ERR syntax error";
const NOT_AN_INTEGER: &[u8] = b"ERR value is not an integer or out of range";
const ID_TOO_SMALL: &[u8] = b"ERR client-id should be greater than 0";

/// A CLIENT LIST by numbers may not be longer: each may be named any number of times. Room for 40,000 clients.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// Which clients a command is about.
#[derive(Default)]
struct Filter<'r> {
    /// Any of these; all, if it is empty.
    ids: HashSet<i64>,
    kind: Option<Kind>,
    user: Option<&'r [u8]>,
    addr: Option<&'r [u8]>,
    laddr: Option<&'r [u8]>,
    /// Seconds; 0 for any.
    min_age: u64,
    /// Not the client that asks.
    skip_me: bool,
}

/// What `TYPE` tells apart. Redkeep has no clients that are servers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Primary,
    Replica,
    Subscriber,
}

/// Whether a command of this name is one for [`administer`].
pub(super) fn is_administrative(name: &str) -> bool {
    matches!(name, "client|kill" | "client|list" | "client|pause" | "client|unblock" | "client|unpause")
}

/// Answers a command about all clients.
pub(super) fn administer(
    clients: &Clients,
    policy: &Policy,
    state: &State,
    name: &str,
    request: Request<'_>,
    out: &mut BytesMut,
) {
    let done = match name {
        "client|kill" => kill(clients, policy, state.id, request, out),
        "client|list" => list(clients, policy, state, request, out),
        "client|pause" => pause(clients, policy, request, out),
        "client|unpause" => {
            clients.unpause();
            encode::simple(out, "OK");
            Ok(())
        }
        _ => unblock(clients, policy, request, out),
    };
    if let Err(text) = done {
        encode::error(out, &text);
    }
}

fn list(
    clients: &Clients,
    policy: &Policy,
    state: &State,
    request: Request<'_>,
    out: &mut BytesMut,
) -> Result<(), Vec<u8>> {
    let args: Vec<&[u8]> = request.args(2).collect();
    let mut in_order = Vec::new();
    let filter = match &*args {
        [] => Filter::default(),
        _ if is_valkey(policy) => Filter::default().read(policy, &args)?,
        [option, kind] if option.eq_ignore_ascii_case(b"TYPE") => {
            Filter { kind: Some(Kind::parse(kind)?), ..Filter::default() }
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
            let ids: Option<Vec<i64>> = ids.iter().map(|id| integer(id)).collect();
            // In this order, and as often.
            in_order = ids.ok_or(&b"ERR Invalid client ID"[..])?;
            Filter::default()
        }
        _ => return Err(SYNTAX.to_vec()),
    };
    let wanted = if in_order.is_empty() {
        clients.all()
    } else {
        in_order.iter().filter_map(|id| clients.get(u64::try_from(*id).ok()?)).collect()
    };
    let mut lines = String::new();
    for client in wanted.iter().filter(|client| filter.takes(client, state.id)) {
        lines.push_str(&client.line(policy.table()));
        lines.push('\n');
        if !in_order.is_empty() && lines.len() > MAX_LIST_BYTES {
            return Err(
                b"ERR CLIENT LIST of so many clients by their numbers is not available through redkeep"
                    .to_vec(),
            );
        }
    }
    encode::verbatim(out, lines.as_bytes(), state.protocol);
    Ok(())
}

fn kill(
    clients: &Clients,
    policy: &Policy,
    me: SessionId,
    request: Request<'_>,
    out: &mut BytesMut,
) -> Result<(), Vec<u8>> {
    let args: Vec<&[u8]> = request.args(2).collect();
    let filter = match &*args {
        // The old form.
        [addr] => Filter { addr: Some(addr), ..Filter::default() },
        _ => Filter { skip_me: true, ..Filter::default() }.read(policy, &args)?,
    };
    let killed: Vec<_> = clients.all().into_iter().filter(|client| filter.takes(client, me)).collect();
    killed.iter().for_each(|client| client.kill());
    match args.len() {
        1 if killed.is_empty() => return Err(b"ERR No such client".to_vec()),
        1 => encode::simple(out, "OK"),
        _ => encode::integer(out, i64::try_from(killed.len()).unwrap_or(i64::MAX)),
    }
    Ok(())
}

fn unblock(
    clients: &Clients,
    policy: &Policy,
    request: Request<'_>,
    out: &mut BytesMut,
) -> Result<(), Vec<u8>> {
    at_most(4, policy, request)?;
    // Valkey looks at it only if it is the last one.
    let how = match request.arg(3).filter(|_| request.len() == 4) {
        None => Unblock::Timeout,
        Some(word) if word.eq_ignore_ascii_case(b"TIMEOUT") => Unblock::Timeout,
        Some(word) if word.eq_ignore_ascii_case(b"ERROR") => Unblock::Error,
        Some(_) => return Err(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".to_vec()),
    };
    let id = integer(request.arg(2).unwrap_or_default()).ok_or(NOT_AN_INTEGER)?;
    let client = u64::try_from(id).ok().and_then(|id| clients.get(id)).filter(|client| client.is_blocked());
    if let Some(client) = &client {
        client.unblock(how);
    }
    encode::integer(out, i64::from(client.is_some()));
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE|ALL]`.
fn pause(
    clients: &Clients,
    policy: &Policy,
    request: Request<'_>,
    out: &mut BytesMut,
) -> Result<(), Vec<u8>> {
    at_most(4, policy, request)?;
    // Valkey looks at it only if it is the last one.
    let all = match request.arg(3).filter(|_| request.len() == 4) {
        None => true,
        Some(word) if word.eq_ignore_ascii_case(b"ALL") => true,
        Some(word) if word.eq_ignore_ascii_case(b"WRITE") => false,
        Some(_) => return Err(b"ERR CLIENT PAUSE mode must be WRITE or ALL".to_vec()),
    };
    let timeout = integer(request.arg(2).unwrap_or_default())
        .ok_or(&b"ERR timeout is not an integer or out of range"[..])?;
    let timeout = u64::try_from(timeout).map_err(|_| &b"ERR timeout is negative"[..])?;
    // Such a pause would end after the last millisecond that there is.
    let ends = i64::try_from(timeout.saturating_add(unix_ms())).is_ok();
    if !ends && policy.version() >= Version::V7_2 {
        return Err(b"ERR timeout is out of range".to_vec());
    }
    clients.pause(timeout, all);
    encode::simple(out, "OK");
    Ok(())
}

/// Refuses more arguments than that, which Valkey does not.
fn at_most(count: usize, policy: &Policy, request: Request<'_>) -> Result<(), Vec<u8>> {
    if request.len() <= count || is_valkey(policy) {
        return Ok(());
    }
    let unknown = if policy.version() < Version::V7_0 { "Unknown" } else { "unknown" };
    let word = String::from_utf8_lossy(request.arg(1).unwrap_or_default()).into_owned();
    Err(format!("ERR {unknown} subcommand or wrong number of arguments for '{word}'. Try CLIENT HELP.")
        .into_bytes())
}

impl Kind {
    fn parse(word: &[u8]) -> Result<Kind, Vec<u8>> {
        let kinds = [
            ("normal", Kind::Normal),
            ("slave", Kind::Replica),
            ("replica", Kind::Replica),
            ("pubsub", Kind::Subscriber),
            ("master", Kind::Primary),
            ("primary", Kind::Primary),
        ];
        let known = kinds.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        known.map(|(_, kind)| *kind).ok_or_else(|| [b"ERR Unknown client type '", word, b"'"].concat())
    }
}

impl<'r> Filter<'r> {
    /// Reads filters, each a name and a value.
    fn read(mut self, policy: &Policy, args: &[&'r [u8]]) -> Result<Self, Vec<u8>> {
        let valkey = is_valkey(policy);
        let ages = valkey || policy.version() >= Version::V7_4;
        let mut rest = args;
        while let Some((name, after)) = rest.split_first() {
            let (value, after) = after.split_first().ok_or(SYNTAX)?;
            rest = after;
            let value = *value;
            let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
            if is("ID") {
                self.ids = HashSet::from([client_id(policy, value)?]);
                while let (true, Some((id, after))) = (valkey, rest.split_first()) {
                    if integer(id).is_none() {
                        break;
                    }
                    self.ids.insert(client_id(policy, id)?);
                    rest = after;
                }
            } else if is("TYPE") {
                self.kind = Some(Kind::parse(value)?);
            } else if is("ADDR") {
                self.addr = Some(value);
            } else if is("LADDR") {
                self.laddr = Some(value);
            } else if is("USER") {
                if policy.user(value).is_none() {
                    return Err([b"ERR No such user '", value, b"'"].concat());
                }
                self.user = Some(value);
            } else if is("SKIPME") {
                self.skip_me = match value {
                    _ if value.eq_ignore_ascii_case(b"yes") => true,
                    _ if value.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err(SYNTAX.to_vec()),
                };
            } else if is("MAXAGE") && ages {
                let age = integer(value).ok_or(&b"ERR maxage is not an integer or out of range"[..])?;
                let age = u64::try_from(age).ok().filter(|age| *age > 0);
                self.min_age = age.ok_or(&b"ERR maxage should be greater than 0"[..])?;
            } else {
                return Err(SYNTAX.to_vec());
            }
        }
        Ok(self)
    }

    fn takes(&self, client: &Client, me: SessionId) -> bool {
        let id = i64::try_from(client.id.0).unwrap_or(i64::MAX);
        let is = |wanted: Option<&[u8]>, text: &str| wanted.is_none_or(|wanted| wanted == text.as_bytes());
        (self.ids.is_empty() || self.ids.contains(&id))
            && is(self.addr, &client.ends.client)
            && is(self.laddr, &client.ends.listener)
            && client.age() >= self.min_age
            && !(self.skip_me && client.id == me)
            && self.takes_card(&client.card())
    }

    fn takes_card(&self, card: &Card) -> bool {
        let kind = match card {
            _ if card.replica => Kind::Replica,
            _ if card.is_subscriber() => Kind::Subscriber,
            _ => Kind::Normal,
        };
        self.kind.is_none_or(|wanted| wanted == kind) && self.user.is_none_or(|user| user == card.user)
    }
}

/// The number after `ID`.
fn client_id(policy: &Policy, text: &[u8]) -> Result<i64, Vec<u8>> {
    match integer(text) {
        Some(id) if id > 0 || policy.version() < Version::V7_0 => Ok(id),
        None if policy.version() < Version::V7_0 => Err(NOT_AN_INTEGER.to_vec()),
        None if is_valkey(policy) => Err(SYNTAX.to_vec()),
        _ => Err(ID_TOO_SMALL.to_vec()),
    }
}

/// Valkey has one language of filters for CLIENT LIST and CLIENT KILL.
fn is_valkey(policy: &Policy) -> bool {
    policy.dialect() == Dialect::Valkey91
}
