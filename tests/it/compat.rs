//! The oracle: a Redis with the same ACL file gets the same commands as the proxy, and both must say the same bytes.

use std::path::Path;

use crate::support::client::text;
use crate::support::redis::{all, installed};
use crate::support::{Client, Proxy, Redis, TempDir, unique};

const USERS: &str = "\
user default on >main ~* &* +@all
user app on >secret ~app:* ~other resetchannels &chan:* &exact +@all -@dangerous -@scripting
user cmds on >secret ~* -@all +get +set +config|get +client|id +ping +object
user rw on >secret %R~in:* %W~out:* +@all
user none on >secret -@all
user multi on >secret ~a* +get (~b* +set) (&c* +publish)
user off off >secret ~* +@all
user free on nopass ~* &* +@all
";

/// Each line is sent by each user on a fresh connection.
const LINES: &[&str] = &[
    "PING",
    "ping",
    "PiNg hello",
    "PING a b",
    "ECHO x",
    "GET app:k",
    "get app:k",
    "GET other",
    "GET nope",
    "GET",
    "GET a b",
    "SET app:k 1",
    "SET nope 1",
    "SET app:k 1 GET",
    "SET app:k",
    "SET out:a 1",
    "SET out:a 1 GET",
    "GET in:a",
    "GET out:a",
    "GETDEL in:a",
    "COPY in:a out:b",
    "COPY out:a in:b",
    "EXISTS in:a",
    "EXISTS out:a",
    "MGET app:1 app:2",
    "MGET app:1 nope",
    "MSET app:1 a app:2 b",
    "MSET app:1 a nope b",
    "DEL app:1 app:2",
    "DEL app:1 nope",
    "RENAME app:1 nope",
    "TYPE app:k",
    "TYPE nope",
    "OBJECT ENCODING app:k",
    "OBJECT ENCODING nope",
    "OBJECT FREQ",
    "OBJECT NOSUCH k",
    "OBJECT",
    "STRLEN nope",
    "TTL nope",
    "EXPIRE nope 1",
    "LPUSH app:l a",
    "LRANGE app:l 0 -1",
    "LRANGE nope 0 -1",
    "HSET app:h f v",
    "HGETALL app:h",
    "SADD app:s a",
    "SINTERCARD 1 app:s",
    "SINTERCARD 2 app:s nope",
    "ZADD app:z 1 a",
    "ZUNIONSTORE app:d 1 app:z",
    "ZUNIONSTORE nope 1 app:z",
    "ZUNIONSTORE app:d 2 app:z nope",
    "BITFIELD app:b GET u8 0",
    "BITFIELD app:b SET u8 0 1",
    "XADD app:x * f v extra",
    "XLEN nope",
    "FLUSHALL x",
    "CONFIG GET maxmemory",
    "CONFIG GET",
    "CONFIG NOSUCH",
    "CONFIG",
    "CONFIG ''",
    "CONFIG|GET x",
    "config|get x",
    "CLIENT ID x",
    "CLIENT NOSUCH",
    "CLIENT",
    "CLIENT SETNAME",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "ACL NOSUCH",
    "ACL",
    "ACL WHOAMI",
    "ACL WHOAMI x",
    "NOSUCH",
    "NOSUCH a b",
    "nosuch '' x",
    "''",
    "PUBLISH chan:1 m",
    "PUBLISH exact m",
    "PUBLISH nope m",
    "PUBLISH cx m",
    "SELECT 1",
    "SELECT 16",
    "SELECT x",
    "SELECT -1",
    "SELECT",
    "SELECT 99999999999",
    "AUTH",
    "AUTH bad",
    "AUTH main",
    "AUTH app secret",
    "AUTH app bad",
    "AUTH off secret",
    "AUTH nouser secret",
    "AUTH free anything",
    "AUTH a b c",
    "AUTH '' ''",
    "HELLO 1",
    "HELLO 4",
    "HELLO x",
    "HELLO 3.0",
    "HELLO 03",
    "HELLO 3 FOO",
    "HELLO 3 AUTH app",
    "HELLO 3 AUTH app bad",
    "HELLO 3 SETNAME",
    "HELLO 2 SETNAME a AUTH app secret",
    "RESET",
    "RESET x",
    "QUIT",
    "QUIT x",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH nope",
    "UNWATCH",
    "EXEC x",
    "DEBUG",
    "MODULE LIST",
    "COMMAND COUNT",
    "COMMAND NOSUCH",
    "SORT app:l",
    "SORT app:l BY x*",
    "SORT app:l GET x*",
    "SORT app:l STORE nope",
    "MEMORY USAGE nope",
    "TIME x",
    "DBSIZE x",
    "LASTSAVE x",
    "SUBSTR app:k 0 1",
    "GETRANGE nope 0 1",
    "SETRANGE app:k 0 x",
    "APPEND nope x",
    "PFCOUNT nope",
    "PFADD app:p a",
    "PFMERGE app:p nope",
    "GEOADD app:g 1 1 m",
    "GEORADIUS app:g 1 1 1 km STORE nope",
    "GEORADIUS app:g 1 1 1 km STORE app:o",
    "SMOVE app:s nope a",
    "LMOVE app:l nope LEFT LEFT",
    "RPOPLPUSH app:l nope",
];

#[test]
fn replies_are_those_of_a_redis_with_the_same_acl() {
    let users: &[(&str, &[&str])] = &[
        ("nobody", &[]),
        ("default", &["AUTH", "main"]),
        ("app", &["AUTH", "app", "secret"]),
        ("cmds", &["AUTH", "cmds", "secret"]),
        ("rw", &["AUTH", "rw", "secret"]),
        ("none", &["AUTH", "none", "secret"]),
        ("multi", &["AUTH", "multi", "secret"]),
        ("free", &["AUTH", "free", "whatever"]),
    ];
    let mut wrong = Vec::new();
    for server in all() {
        let (oracle, _redis, proxy) = twins(&server);
        for (line, (user, login)) in LINES.iter().flat_map(|line| users.iter().map(move |user| (line, user)))
        {
            let replies = [&mut oracle.client(), &mut proxy.plain()].map(|client| {
                if !login.is_empty() {
                    assert_eq!(text(&client.call(login)), "+OK\r\n");
                }
                normalised(&client.ask(line))
            });
            if replies[0] != replies[1] {
                let server = server.display();
                wrong.push(format!(
                    "{server}: {user}> {line}\n  {:?}\n  {:?} by redkeep",
                    replies[0], replies[1]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} replies differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Sequences on one connection, where earlier commands matter.
const SEQUENCES: &[&[&str]] = &[
    &[
        "AUTH main",
        "AUTH bad",
        "ACL WHOAMI",
        "AUTH app secret",
        "ACL WHOAMI",
        "AUTH app bad",
        "ACL WHOAMI",
        "RESET",
        "PING",
    ],
    &[
        "HELLO 3 AUTH app bad",
        "PING",
        "HELLO 2 AUTH app secret",
        "GET app:none",
        "HELLO 3",
        "GET app:none",
        "HELLO 2",
        "GET app:none",
    ],
    &[
        "AUTH main",
        "CLIENT SETNAME x",
        "CLIENT GETNAME",
        "HELLO 3 SETNAME y",
        "CLIENT GETNAME",
        "RESET",
        "AUTH main",
        "CLIENT GETNAME",
    ],
    &[
        "AUTH main",
        "SELECT 3",
        "SET only:three 1",
        "SELECT 0",
        "GET only:three",
        "SELECT 3",
        "GET only:three",
        "DEL only:three",
    ],
    &[
        "AUTH main",
        "HELLO 3",
        "HGETALL none",
        "SMEMBERS none",
        "GET none",
        "CONFIG GET maxmemory",
        "ZADD z3 1 a",
        "ZRANGE z3 0 -1 WITHSCORES",
        "DEL z3",
    ],
    &[
        "AUTH main",
        "MULTI",
        "SET m:1 a",
        "GET m:1",
        "EXEC",
        "MULTI",
        "MULTI",
        "WATCH m:1",
        "NOSUCH",
        "EXEC",
        "MULTI",
        "DISCARD",
        "EXEC",
        "DISCARD",
    ],
    &[
        "AUTH main",
        "WATCH m:2",
        "SET m:2 x",
        "MULTI",
        "GET m:2",
        "EXEC",
        "WATCH m:2",
        "UNWATCH",
        "MULTI",
        "EXEC",
        "DEL m:2",
    ],
    &[
        "AUTH app secret",
        "MULTI",
        "SET app:1 a",
        "SET nope b",
        "EXEC",
        "GET app:1",
        "MULTI",
        "GET",
        "EXEC",
        "MULTI",
        "FLUSHALL",
        "EXEC",
    ],
    &["AUTH none secret", "MULTI", "EXEC", "DISCARD", "RESET", "EXEC"],
    &[
        "AUTH main",
        "LPUSH bl a",
        "BLPOP bl 0",
        "BLPOP bl 0.05",
        "BLPOP bl -1",
        "BLPOP bl x",
        "BLMOVE bl bm LEFT LEFT 0.05",
        "DEL bl",
    ],
    &[
        "AUTH main",
        "XADD st 1-1 f v",
        "XREAD COUNT 1 STREAMS st 0",
        "XREAD BLOCK 10 STREAMS st 1-1",
        "XREAD BLOCK 10 STREAMS st 0",
        "DEL st",
    ],
    &["HELLO 3 SETNAME z AUTH app secret", "CLIENT GETNAME", "HELLO 3 FOO", "HELLO 9", "GET app:none"],
];

#[test]
fn sequences_have_the_replies_of_a_redis_with_the_same_acl() {
    for server in all() {
        let (oracle, _redis, proxy) = twins(&server);
        for sequence in SEQUENCES {
            let mut direct = oracle.client();
            let mut guarded = proxy.tls();
            for line in *sequence {
                let (expected, got) = (normalised(&direct.ask(line)), normalised(&guarded.ask(line)));
                assert_eq!(expected, got, "{}: {line} in {sequence:?}", server.display());
            }
        }
    }
}

#[test]
fn a_pipeline_is_answered_in_order_whoever_answers() {
    let (oracle, _redis, proxy) = twins(&installed());
    let key = unique("app:pipe");
    let lines = [
        "AUTH app secret",
        "SET KEY 1",
        "INCR KEY",
        "GET nope",
        "CLIENT GETNAME",
        "INCR KEY",
        "NOSUCH x",
        "SELECT 1",
        "GET KEY",
        "SELECT 0",
        "GET KEY",
        "MULTI",
        "INCR KEY",
        "GET nope",
        "EXEC",
        "INCR KEY",
        "BLPOP KEY:l 0.01",
        "HELLO 3",
        "GET KEY:none",
        "INCR KEY",
        "ACL WHOAMI",
        "ECHO end",
        "DEL KEY",
        "QUIT",
    ];
    let send = |client: &mut Client| {
        for line in lines {
            let line = line.replace("KEY", &key);
            client.send(&line.split(' ').collect::<Vec<_>>());
        }
        normalised(&text(&client.read_to_end()))
    };
    assert_eq!(send(&mut oracle.client()), send(&mut proxy.tls()));
}

#[test]
fn inline_commands_are_answered_as_by_redis() {
    let (oracle, _redis, proxy) = twins(&installed());
    let streams: &[&[u8]] = &[
        b"PING\r\n",
        b"\r\nAUTH main\r\nSET inline \"a b\"\r\nGET inline\nDEL inline\r\nQUIT\r\n",
        b"AUTH main\r\nECHO \"\\x41\\n\\\"\"\r\nECHO 'it\\'s'\r\nquit\r\n",
        b"AUTH main\r\nECHO \"unbalanced\r\n",
        b"*1\r\nX\r\n",
        b"*11\r\n$4\r\nAUTH\r\n",
        b"*1\r\n$16385\r\n",
        b"*2\r\n$4\r\nAUTH\r\n$4\r\nmain\r\n*1\r\n$-1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
    ];
    for stream in streams {
        let replies = [oracle.client(), proxy.plain()].map(|mut client| {
            client.send_raw(stream);
            if *stream == b"PING\r\n" { text(&client.read_reply()) } else { text(&client.read_to_end()) }
        });
        assert_eq!(replies[0], replies[1], "{:?}", text(stream));
    }
}

#[test]
fn split_bytes_are_the_same_request() {
    let (_oracle, _redis, proxy) = twins(&installed());
    let stream = b"*2\r\n$4\r\nAUTH\r\n$4\r\nmain\r\n*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n";
    for cut in 1..stream.len() {
        let mut client = proxy.plain();
        client.send_raw(&stream[..cut]);
        client.send_raw(&stream[cut..]);
        assert_eq!(text(&client.read_reply()), "+OK\r\n", "cut at {cut}");
        assert_eq!(text(&client.read_reply()), "$5\r\nhello\r\n", "cut at {cut}");
    }
}

#[test]
fn large_values_pass_unchanged() {
    let (_oracle, _redis, proxy) = twins(&installed());
    let mut client = proxy.tls();
    client.call(&["AUTH", "main"]);
    let value: Vec<u8> =
        (0..20_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let key = unique("app:large");
    assert_eq!(text(&client.call(&[b"SET", key.as_bytes(), &value])), "+OK\r\n");
    let reply = client.call(&["GET", &key]);
    assert!(reply.ends_with(b"\r\n") && reply.windows(value.len()).next_back().is_some());
    assert_eq!(&reply[reply.len() - value.len() - 2..reply.len() - 2], &value[..]);
    client.call(&["DEL", &key]);
}

/// A Redis with the ACL file, and a proxy with the same file before an open one.
fn twins(server: &Path) -> (Redis, Redis, Proxy) {
    let dir = TempDir::new();
    // The oracle reads passwords from the same file.
    let users = dir.write("users.acl", USERS);
    let oracle = Redis::start_program(server, &["--aclfile", users.to_str().unwrap()]);
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, USERS, "log:\n  format: json\nlimits:\n  login_backoff: no\n");
    (oracle, redis, proxy)
}

/// Client ids differ between two servers.
pub fn normalised(reply: &str) -> String {
    match reply.split_once("$2\r\nid\r\n:") {
        None => reply.to_owned(),
        Some((before, after)) => {
            format!(
                "{before}$2\r\nid\r\n:{}",
                normalised(after.trim_start_matches(|c: char| c.is_ascii_digit()))
            )
        }
    }
}
