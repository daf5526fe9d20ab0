//! Which commands reach keys that they do not name: what a user with a key fence (`acl.fence`) may not do, or not see.
//!
//! A command that names its keys is judged by them. Of the others this file lists those that tell nothing of keys and
//! change none; SECURITY: what stands in no list is denied, as are commands of modules and of servers that are newer
//! than this file, for nobody knows what they tell.

use super::Spec;
use super::spec::{Channels, Guard};

/// How a command reaches keys that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It does, and cannot be kept from it: denied.
    Closed,
    /// Its reply tells of them, and can be filtered.
    Filtered(View),
    /// It subscribes to channels, some of which tell of them: keyspace events.
    Listens,
    /// It does not.
    Open,
}

/// What a reply shows that is to be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// PUBSUB CHANNELS, SHARDCHANNELS: an array of channels, of which some have a key in their name.
    Channels,
    /// INFO: a text of sections, of which some count keys.
    Info,
    /// KEYS: an array of keys.
    Keys,
    /// SCAN: a cursor and an array of keys.
    Scan,
}

/// Commands without keys that tell nothing of keys and change none.
const HARMLESS: &[&str] = &[
    "acl|cat",
    "acl|genpass",
    "acl|whoami",
    "auth",
    "bgrewriteaof",
    "bgsave",
    "client|caching",
    "client|capa",
    "client|getname",
    "client|getredir",
    "client|id",
    "client|import-source",
    "client|info",
    "client|kill",
    "client|list",
    "client|no-evict",
    "client|no-touch",
    "client|pause",
    "client|reply",
    "client|setinfo",
    "client|setname",
    "client|tracking",
    "client|trackinginfo",
    "client|unblock",
    "client|unpause",
    "cluster|info",
    "cluster|keyslot",
    "cluster|myid",
    "cluster|myshardid",
    "cluster|nodes",
    "cluster|shards",
    "cluster|slots",
    "command",
    "commandlog|len",
    "command|count",
    "command|docs",
    "command|getkeys",
    "command|getkeysandflags",
    "command|info",
    "command|list",
    "config|get",
    "discard",
    "echo",
    "exec",
    "hello",
    "lastsave",
    "latency|doctor",
    "latency|graph",
    "latency|histogram",
    "latency|history",
    "latency|latest",
    "lolwut",
    "memory|doctor",
    "memory|malloc-stats",
    "memory|purge",
    "module|list",
    "multi",
    "pfselftest",
    "ping",
    "publish",
    "pubsub|numpat",
    "pubsub|numsub",
    "pubsub|shardnumsub",
    "punsubscribe",
    "quit",
    "readonly",
    "readwrite",
    "reset",
    "role",
    "save",
    "script|exists",
    "select",
    "slowlog|len",
    "spublish",
    "sunsubscribe",
    "time",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
];

/// Commands whose first word is the name of an index, which the server's modules report as a key; behind it stand other
/// keys.
const INDEXES: [&str; 3] = ["_ft.", "ft.", "search."];

impl Fence {
    /// That of a command all of whose other columns are set.
    pub(super) fn of(spec: &Spec) -> Fence {
        let name = &*spec.name;
        match name {
            "info" => Fence::Filtered(View::Info),
            "keys" => Fence::Filtered(View::Keys),
            "pubsub|channels" | "pubsub|shardchannels" => Fence::Filtered(View::Channels),
            "scan" => Fence::Filtered(View::Scan),
            _ if matches!(spec.channels, Channels::All | Channels::AllLiteral) => Fence::Listens,
            _ if HARMLESS.binary_search(&name).is_ok() || name.ends_with("|help") => Fence::Open,
            // Where it is let through (`enable_debug_command`), most of it is about all keys.
            _ if spec.guard == Guard::Debug => Fence::Closed,
            // What a script calls is not judged here.
            _ if spec.scripting => Fence::Closed,
            _ if INDEXES.iter().any(|prefix| name.starts_with(prefix)) => Fence::Closed,
            _ if spec.keys.is_empty() && spec.movable.is_none() => Fence::Closed,
            _ => Fence::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandTable, Reported};

    #[test]
    fn the_list_is_sorted_and_names_commands() {
        assert!(HARMLESS.is_sorted());
        let table = CommandTable::builtin();
        for name in HARMLESS {
            let spec = table.find(name.as_bytes()).unwrap_or_else(|| panic!("{name}"));
            assert!(spec.keys.is_empty() && spec.movable.is_none(), "{name}");
        }
    }

    #[test]
    fn of_the_commands_without_keys_these_are_not_open() {
        let table = CommandTable::builtin();
        let with = |wanted: fn(Fence) -> bool| {
            let keyless =
                |spec: &&Spec| spec.keys.is_empty() && spec.movable.is_none() && !spec.is_container();
            let found = table.specs().iter().filter(keyless).filter(|spec| wanted(spec.fence));
            found.map(|spec| &*spec.name).collect::<Vec<_>>()
        };
        assert_eq!(
            with(|fence| matches!(fence, Fence::Filtered(_))),
            ["info", "keys", "pubsub|channels", "pubsub|shardchannels", "scan"]
        );
        assert_eq!(with(|fence| fence == Fence::Listens), ["psubscribe", "ssubscribe", "subscribe"]);
        let closed = with(|fence| fence == Fence::Closed);
        for name in [
            "acl|log",
            "acl|setuser",
            "cluster|countkeysinslot",
            "cluster|getkeysinslot",
            "clusterscan",
            "commandlog|get",
            "config|set",
            "dbsize",
            "flushall",
            "flushdb",
            "function|stats",
            "memory|stats",
            "monitor",
            "psync",
            "randomkey",
            "replicaof",
            "script|load",
            "shutdown",
            "slowlog|get",
            "swapdb",
            "sync",
        ] {
            assert!(closed.contains(&name), "{name}");
        }
        for name in ["debug", "eval", "evalsha", "fcall", "fcall_ro"] {
            assert_eq!(table.find(name.as_bytes()).unwrap().fence, Fence::Closed, "{name}");
        }
        for name in ["get", "sort", "migrate", "object|freq", "xinfo|stream"] {
            assert_eq!(table.find(name.as_bytes()).unwrap().fence, Fence::Open, "{name}");
        }
    }

    #[test]
    fn commands_that_only_the_upstream_knows_are_open_if_they_name_their_keys() {
        let get = CommandTable::builtin().find(b"get").unwrap().keys.to_vec();
        let reported = |name: &str, keys: &[crate::command::KeySpec]| Reported {
            name: name.to_owned(),
            arity: -2,
            flags: Default::default(),
            categories: None,
            keys: Some(keys.to_vec()),
            subcommands: Vec::new(),
        };
        let table = CommandTable::builtin().fitted(&[
            reported("graph.list", &[]),
            reported("graph.query", &get),
            reported("ft.search", &get),
        ]);
        for (name, fence) in
            [("graph.list", Fence::Closed), ("graph.query", Fence::Open), ("ft.search", Fence::Closed)]
        {
            assert_eq!(table.find(name.as_bytes()).unwrap().fence, fence, "{name}");
        }
    }
}
