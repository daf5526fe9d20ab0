//! Commands of a module, which Redkeep only knows from the upstream's report: allowed and refused as by a Redis with the
//! same module and the same ACL.

use std::path::Path;

use crate::support::client::text;
use crate::support::{Client, Proxy, Redis, TempDir, redis};

/// FalkorDB's commands are in no category: `+@all` grants them, or their names.
const USERS: &str = "\
user default off
user all on >secret ~* &* +@all
user graphs on >secret ~g* &* +@all
user read on >secret %R~g* ~own* &* +@all
user write on >secret %W~g* &* +@all
user selector on >secret -@all +ping (~g* +@all)
user named on >secret -@all +ping +graph.query +graph.ro_query ~g*
user almost on >secret +@all -graph.delete -graph.query ~* &*
user data on >secret ~* &* -@all +@read +@write +@admin +@slow
";

const LINES: &[&str] = &[
    "GRAPH.QUERY g1 RETURN(1)",
    "GRAPH.QUERY g1 CREATE(:City{name:'Bern'})",
    "graph.query own1 CREATE(:City)",
    "GRAPH.QUERY other CREATE(:City)",
    "GRAPH.RO_QUERY g1 MATCH(c:City)RETURN(c.name)",
    "Graph.Ro_Query own1 MATCH(c:City)RETURN(c.name)",
    "GRAPH.RO_QUERY other MATCH(c)RETURN(c)",
    "GRAPH.EXPLAIN g1 MATCH(c:City)RETURN(c)",
    "GRAPH.EXPLAIN other MATCH(c:City)RETURN(c)",
    "GRAPH.COPY g1 g1",
    "GRAPH.COPY g1 other",
    "GRAPH.COPY other g3",
    "GRAPH.CONSTRAINT CREATE other UNIQUE NODE City PROPERTIES 1 name",
    "GRAPH.MEMORY USAGE other",
    "GRAPH.SLOWLOG other",
    "GRAPH.DELETE other",
    "GRAPH.LIST",
    "GRAPH.CONFIG GET TIMEOUT",
    "GRAPH.NOSUCH g1",
    "TYPE g1",
    "TYPE other",
    "COPY g1 other",
];

fn with_module(program: &Path, module: &Path, more: &[&str]) -> Redis {
    Redis::start_program(program, &[&["--loadmodule", module.to_str().unwrap()], more].concat())
}

/// Without what differs from run to run: how long a query took.
fn head(reply: &str) -> &str {
    reply.split("Cached execution").next().unwrap()
}

#[test]
fn commands_of_a_module_are_judged_by_the_keys_that_the_upstream_reports() {
    let Some((program, module)) = redis::redis_with_module() else { return };
    let upstream = with_module(&program, &module, &[]);
    let dir = TempDir::new();
    let file = dir.write("users.acl", USERS);
    let reference = with_module(&program, &module, &["--aclfile", file.to_str().unwrap()]);
    let proxy = Proxy::with_users(&upstream, USERS, "");
    let (mut allowed, mut refused) = (0, 0);
    for user in ["all", "graphs", "read", "write", "selector", "named", "almost", "data"] {
        let mut ours = proxy.plain().login(user, "secret");
        let mut theirs: Client = reference.client().login(user, "secret");
        for line in LINES {
            let words: Vec<&str> = line.split(' ').collect();
            let (ours, theirs) = (text(&ours.call(&words)), text(&theirs.call(&words)));
            // The module spells the names of its commands with capitals, Redkeep without.
            let theirs = if theirs.contains("permissions to run") { theirs.to_lowercase() } else { theirs };
            let ours = if ours.contains("permissions to run") { ours.to_lowercase() } else { ours };
            assert_eq!(head(&ours), head(&theirs), "{user}: {line}");
            *(if ours.starts_with("-NOPERM") || ours.starts_with("-noperm") {
                &mut refused
            } else {
                &mut allowed
            }) += 1;
        }
    }
    println!("{allowed} allowed, {refused} refused");
    assert!(allowed > 40 && refused > 40, "{allowed} allowed, {refused} refused");
}
