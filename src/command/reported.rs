//! From the reply to `COMMAND` to [`Reported`] commands.
//!
//! The reply has 6 elements per command before Redis 6, 7 with ACL categories in Redis 6, and 10 from Redis 7.0 on
//! (tips, key specifications, subcommands).
//!
//! INVARIANT: what is not understood only ever takes away. An entry that cannot be parsed is left out, so that the
//! command is unknown; keys that cannot be told are `None`, so that the command is refused. Flags that Redkeep has no
//! name for decide nothing and are dropped; categories are kept by name, whatever they are.
//!
//! Source: `COMMAND` of Redis 3.2.13, 5.0.14, 6.2.16, 7.0.15, 7.4.1, 8.2.3 and Valkey 8.0.1, 9.1.2.

use std::borrow::Cow;

use super::lookup::Reported;
use super::names::MAX_NAME_BYTES;
use super::spec::{Access, Begin, Find, Flags, KeySpec, flag};
use crate::resp::Value;

/// The commands in a reply to `COMMAND`, in the order of the reply. A reply that is no array has none.
pub fn parse(reply: &Value) -> Vec<Reported> {
    array(reply).unwrap_or_default().iter().filter_map(|entry| command(entry, None)).collect()
}

/// One command, or one subcommand of `container`.
fn command(entry: &Value, container: Option<&str>) -> Option<Reported> {
    let entry = array(entry).filter(|entry| entry.len() >= 6)?;
    let name = name(entry.first()?, container)?;
    let arity = match integer(entry.get(1)?)? {
        // `COMMAND` itself in Redis 3.2 and 5.0: any number will do.
        0 => -1,
        arity => i16::try_from(arity).ok()?,
    };
    let flags = flags(entry.get(2)?)?;
    let categories = match entry.get(6) {
        Some(categories) => Some(reported_categories(categories)?),
        None => None,
    };
    let keys = match entry.get(8) {
        Some(specs) => key_specs(specs, flags),
        None => legacy_keys(entry, flags),
    };
    let subcommands = match (entry.get(9), container) {
        (Some(subcommands), None) => {
            array(subcommands)?.iter().filter_map(|entry| command(entry, Some(&name))).collect()
        }
        _ => Vec::new(),
    };
    Some(Reported { name, arity, flags, categories, keys, subcommands })
}

/// A name in lower case. The name of a subcommand is `container|sub`; no other has a bar.
fn name(value: &Value, container: Option<&str>) -> Option<String> {
    let name = std::str::from_utf8(text(value)?).ok()?.to_ascii_lowercase();
    let own = match container {
        Some(container) => name.strip_prefix(container)?.strip_prefix('|')?,
        None => &name,
    };
    let good = !own.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && own.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'|');
    good.then_some(name)
}

fn flags(value: &Value) -> Option<Flags> {
    let mut bits = 0;
    for name in array(value)? {
        let name = text(name)?;
        bits |= flag::ALL.iter().find(|(_, known)| known.as_bytes() == name).map_or(0, |(bit, _)| *bit);
    }
    Some(Flags(bits))
}

/// The names, without `@`.
fn reported_categories(value: &Value) -> Option<Vec<String>> {
    let name = |name| {
        let name = text(name)?;
        Some(std::str::from_utf8(name.strip_prefix(b"@").unwrap_or(name)).ok()?.to_ascii_lowercase())
    };
    array(value)?.iter().map(name).collect()
}

/// First key, last key and step of Redis before 7.0. How a key is used is not said there: the worst is assumed.
fn legacy_keys(entry: &[Value], flags: Flags) -> Option<Vec<KeySpec>> {
    if flags.contains(flag::MOVABLEKEYS) {
        return None;
    }
    let first = u16::try_from(integer(entry.get(3)?)?).ok()?;
    if first == 0 {
        return Some(Vec::new());
    }
    let last = i16::try_from(integer(entry.get(4)?)?).ok()?;
    let step = u16::try_from(integer(entry.get(5)?)?).ok().filter(|step| *step > 0)?;
    // From here on a last key that is not negative counts from the first.
    let last =
        if last < 0 { last } else { last.checked_sub_unsigned(first).filter(|distance| *distance >= 0)? };
    let find = Find::Range { last, step, limit: 0 };
    Some(vec![KeySpec { access: Access::READ_WRITE, begin: Begin::Index(first), find }])
}

/// The key specifications of Redis 7.0 and later; `None` when they do not tell all keys.
fn key_specs(value: &Value, flags: Flags) -> Option<Vec<KeySpec>> {
    let mut specs = Vec::new();
    let mut variable = false;
    for spec in array(value)? {
        let spec = array(spec)?;
        let words = array(field(spec, b"flags")?)?;
        let has = |word: &[u8]| words.iter().any(|flag| text(flag) == Some(word));
        if has(b"not_key") {
            continue;
        }
        if has(b"incomplete") {
            return None;
        }
        let mut access = Access::ANY;
        if has(b"access") {
            access = Access(access.0 | Access::READ.0);
        }
        if has(b"insert") || has(b"update") || has(b"delete") {
            access = Access(access.0 | Access::WRITE.0);
        }
        if has(b"variable_flags") {
            variable = true;
            access = Access::READ_WRITE;
        }
        specs.push(KeySpec {
            access,
            begin: begin(field(spec, b"begin_search")?)?,
            find: find(field(spec, b"find_keys")?)?,
        });
    }
    // SECURITY: a module may find its keys by a function (`getkeys-api`), whatever its specifications say. Then the
    // server says `movablekeys`, though no specification explains it, or marks them `variable_flags`.
    let explained = specs.iter().any(|spec| {
        matches!((&spec.begin, &spec.find), (Begin::Keyword { .. }, _) | (_, Find::KeyNum { .. }))
    });
    let by_function = flags.contains(flag::MOVABLEKEYS) && (!explained || variable);
    (!by_function).then_some(specs)
}

fn begin(value: &Value) -> Option<Begin> {
    let search = array(value)?;
    let spec = field(search, b"spec").and_then(array)?;
    match text(field(search, b"type")?)? {
        // Index 0 would be the command's name.
        b"index" => unsigned(spec, b"index").filter(|index| *index > 0).map(Begin::Index),
        b"keyword" => {
            let word = std::str::from_utf8(text(field(spec, b"keyword")?)?).ok()?;
            let from = i16::try_from(integer(field(spec, b"startfrom")?)?).ok()?;
            let good = !word.is_empty() && from != 0 && from != i16::MIN;
            good.then(|| Begin::Keyword { word: Cow::Owned(word.to_ascii_uppercase()), from })
        }
        _ => None,
    }
}

fn find(value: &Value) -> Option<Find> {
    let search = array(value)?;
    let spec = field(search, b"spec").and_then(array)?;
    match text(field(search, b"type")?)? {
        b"range" => Some(Find::Range {
            last: i16::try_from(integer(field(spec, b"lastkey")?)?).ok()?,
            step: unsigned(spec, b"keystep").filter(|step| *step > 0)?,
            limit: unsigned(spec, b"limit")?,
        }),
        b"keynum" => Some(Find::KeyNum {
            number: unsigned(spec, b"keynumidx")?,
            first: unsigned(spec, b"firstkey")?,
            step: unsigned(spec, b"keystep").filter(|step| *step > 0)?,
        }),
        _ => None,
    }
}

// === Values ===

/// The value of `key` in an array of keys and values in turn.
fn field<'v>(map: &'v [Value], key: &[u8]) -> Option<&'v Value> {
    map.chunks_exact(2).find_map(|pair| match pair {
        [name, value] if text(name) == Some(key) => Some(value),
        _ => None,
    })
}

fn unsigned(map: &[Value], key: &[u8]) -> Option<u16> {
    u16::try_from(integer(field(map, key)?)?).ok()
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bulk(bytes) | Value::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
