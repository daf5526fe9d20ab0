//! Users who may use some databases only: the proxy and a Valkey with the same ACL file get the same commands, and both
//! must say the same bytes.

use crate::acl_oracle::is_valkey;
use crate::support::client::text;
use crate::support::redis::all;
use crate::support::{Client, Proxy, Redis, TempDir};

const USERS: &str = "\
user default on nopass ~* &* +@all
user some on >secret ~* &* +@all -@scripting db=0,2
user one on >secret ~a* &* +@all -del db=1
user none on >secret ~* &* +@all resetdbs
user split on >secret ~* +select +get db=0,1 (+set +select ~* db=2)
user all on >secret ~* &* +@all db=1 alldbs
";

/// Each user sends them one after the other.
const LINES: &[&str] = &[
    "GET a",
    "SET a 1",
    "PING",
    "DBSIZE",
    "WATCH a",
    "UNWATCH",
    "DEL a",
    "SELECT 2",
    "SET a 2",
    "COPY a b",
    "COPY a b DB 0 REPLACE",
    "COPY a b DB 1",
    "COPY a b DB 1 DB 0",
    "MOVE a 1",
    "MOVE a 0",
    "SWAPDB 0 2",
    "SWAPDB 0 1",
    "SWAPDB 2 1",
    "FLUSHALL",
    "SELECT 1",
    "GET a",
    "SET a 3",
    "SET b 3",
    "SELECT 16",
    "SELECT x",
    "SELECT 01",
    "SELECT -1",
    "SELECT",
    "SELECT 0",
    "OBJECT HELP",
    "EVAL return(1) 0",
    "MULTI",
    "GET a",
    "FLUSHALL",
    "EXEC",
    "RESET",
];

#[test]
fn users_of_some_databases_get_the_answers_of_valkey() {
    for program in all().iter().filter(|program| is_valkey(program)) {
        let dir = TempDir::new();
        let file = dir.write("users.acl", USERS);
        let args = ["--aclfile", file.to_str().unwrap()];
        let (real, behind) = (Redis::start_program(program, &args), Redis::start_program(program, &[]));
        let proxy = Proxy::with_users(&behind, USERS, "log:\n  format: json\n");
        let (mut compared, mut denied) = (0, 0);
        for user in ["some", "one", "none", "split", "all"] {
            let mut direct = real.client().login(user, "secret");
            let mut proxied: Client = proxy.tls().login(user, "secret");
            for line in LINES {
                let (theirs, ours) = (direct.ask(line), proxied.ask(line));
                assert_eq!(ours, theirs, "`{line}` by {user}");
                compared += 1;
                denied += usize::from(theirs.contains("access database"));
            }
        }
        assert!(denied > 40 && compared > 150, "{denied} of {compared} denied");
        proxy.assert_no_panic();
    }
}

#[test]
fn rules_that_name_what_the_upstream_lacks_are_told() {
    let redis = Redis::start(&[]);
    let users = "user default off\nuser graph on >secret ~* +get +graph.query -@json (+ft.search)\n";
    let proxy = Proxy::with_users(&redis, users, "log:\n  format: json\n");
    let told = proxy.wait_for_log(0, "rules without effect");
    for text in ["graph", "+graph.query -@json +ft.search"] {
        assert!(told.contains(text), "{told}");
    }
    let mut client = proxy.tls().login("graph", "secret");
    assert_eq!(text(&client.call(&["GET", "x"])), "$-1\r\n");
    assert!(client.ask("GRAPH.QUERY g x").starts_with("-ERR unknown command"));
}
