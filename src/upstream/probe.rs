//! What the upstream is: its version, its HELLO, its commands, its number of databases.
//!
//! Clients choose features by what HELLO and COMMAND say, so Redkeep shows the upstream's own answers. A probe asks
//! on a connection of its own, at the start and whenever a link came up again.

use std::time::Duration;

use super::dial::{ColdConnection, DialError, Settings, authenticate};
use super::names::Names;
use crate::command::{Reported, reported};
use crate::policy::{Hello, HelloFrame, Upstream, Version};
use crate::resp::Value;

/// `databases` of a Redis that nobody configured.
const DEFAULT_DATABASES: u32 = 16;

/// The first Valkey that checks the login before all else (valkey-io/valkey#1475; seen on 9.1.2, not on 8.0.1).
const VALKEY_LOGIN_FIRST: Version = Version { major: 8, minor: 1 };

/// What a probe found.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The facts that a policy needs.
    pub facts: Upstream,
    /// The version in full, for people.
    pub version_text: String,
    /// The upstream's commands.
    pub commands: Vec<Reported>,
    /// The commands, by their original names, whose names of `upstream.renamed_commands` it does not know.
    pub misnamed: Vec<String>,
}

/// Asks the upstream. Takes at most `connect_timeout` twice.
///
/// # Errors
/// As [`dial`](super::dial): unreachable, refused, or not a Redis.
pub async fn probe(settings: &Settings) -> Result<Probe, DialError> {
    let deadline: Duration = settings.connect_timeout.saturating_mul(2);
    tokio::time::timeout(deadline, ask(settings)).await.unwrap_or(Err(DialError::Timeout))
}

async fn ask(settings: &Settings) -> Result<Probe, DialError> {
    let mut connection = ColdConnection::new(settings).await?;
    authenticate(settings, &mut connection).await?;
    let info = connection.call(&[b"INFO", b"server"]).await?;
    let Value::Bulk(info) = info else {
        return Err(DialError::Refused("INFO server", describe(&info)));
    };
    let version_text = info_field(&info, "redis_version").ok_or(DialError::Protocol)?;
    let version = Version::parse(&version_text).unwrap_or(Version::NEWEST);
    let valkey = info_field(&info, "valkey_version").and_then(|text| Version::parse(&text));
    let login_first = valkey.is_some_and(|version| version >= VALKEY_LOGIN_FIRST);
    let commands = connection.call(&[b"COMMAND"]).await?;
    let Value::Array(_) = &commands else {
        return Err(DialError::Refused("COMMAND", describe(&commands)));
    };
    let mut commands = reported::parse(&commands);
    settings.names.restore(&mut commands);
    // The order is that of a hash table; two answers of one server are to compare equal.
    commands.sort_by(|one, other| one.name.cmp(&other.name));
    for command in &mut commands {
        command.subcommands.sort_by(|one, other| one.name.cmp(&other.name));
    }
    let misnamed = misnamed(&mut connection, &settings.names).await?;
    let databases = count_databases(&mut connection).await?;
    let hello = ask_hello(&mut connection).await?;
    let facts = Upstream { version, valkey, login_first, databases, hello };
    Ok(Probe { facts, version_text, commands, misnamed })
}

/// By `COMMAND INFO`, which has nothing at the place of a command that does not exist.
async fn misnamed(connection: &mut ColdConnection, names: &Names) -> Result<Vec<String>, DialError> {
    let asked: Vec<_> = names.in_use().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let args = [&b"COMMAND"[..], b"INFO"].into_iter().chain(asked.iter().map(|name| name.theirs.as_bytes()));
    let Value::Array(found) = connection.call(&args.collect::<Vec<_>>()).await? else {
        return Ok(Vec::new());
    };
    let missing = asked.iter().zip(found).filter(|(_, found)| *found == Value::Null);
    Ok(missing.map(|(name, _)| name.original.to_string()).collect())
}

/// By `CONFIG GET`; where that is not permitted, the default.
async fn count_databases(connection: &mut ColdConnection) -> Result<u32, DialError> {
    let reply = connection.call(&[b"CONFIG", b"GET", b"databases"]).await?;
    let value = match &reply {
        Value::Array(items) => match items.get(1) {
            Some(Value::Bulk(value)) => std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            _ => None,
        },
        _ => None,
    };
    Ok(value.unwrap_or(DEFAULT_DATABASES))
}

/// RESP2 first: after HELLO 3 the connection speaks RESP3, which only this last call understands.
async fn ask_hello(connection: &mut ColdConnection) -> Result<Option<Hello>, DialError> {
    let resp2 = connection.call_raw(&[b"HELLO", b"2"]).await?;
    if resp2.starts_with(b"-") {
        return Ok(None);
    }
    let resp3 = connection.call_raw(&[b"HELLO", b"3"]).await?;
    Ok(HelloFrame::cut(&resp2).zip(HelloFrame::cut(&resp3)).map(|(resp2, resp3)| Hello { resp2, resp3 }))
}

fn info_field(info: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(info);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.map(|value| value.trim().to_owned())
}

fn describe(value: &Value) -> String {
    match value {
        Value::Error(text) => {
            String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect()
        }
        _ => "an unexpected reply".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_info_are_found_by_name() {
        let info = b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(info_field(info, "redis_version").as_deref(), Some("7.0.15"));
        assert_eq!(info_field(info, "version"), None);
    }
}
