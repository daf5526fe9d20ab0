//! Every error of AUTH, HELLO, the ACL and the ACL commands: the same requests to Redkeep and to a real server of the
//! same version with the same users, and both must say the same bytes.
//!
//! A line is written as redis-cli takes it (`"a\x00b"` is one word), and `;` ends it. Lines that need ACL commands of
//! Redkeep's own, or messages, stand in tables of their own. Where Redkeep differs on purpose, [`EXCEPTIONS`] says so.

use std::path::Path;

use crate::compat::normalised;
use crate::support::client::text;
use crate::support::redis::{all, redis_6_2};
use crate::support::{Client, Proxy, Redis, TempDir};

/// What is said by whom to whom.
struct Block {
    /// The users, as in an ACL file; `default` must be among them.
    users: &'static str,
    /// Sent first on each connection, for instance AUTH; may be empty.
    login: &'static str,
    /// Each line on a fresh connection; otherwise all on one.
    fresh: bool,
    lines: &'static str,
}

/// Lines that are answered otherwise on purpose: the beginning of a line, the server's version (or any), the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("CLIENT SETINFO", "7.0", "answered by Redkeep, whatever the upstream: COMPATIBILITY B.4"),
    ("CLIENT REPLY", "", "not available, when it is permitted: COMPATIBILITY B.5"),
    ("CLIENT TRACKING", "", "not available, when it is permitted: COMPATIBILITY B.5"),
    ("ZUNIONSTORE d 0", "", "keys in doubt: COMPATIBILITY B.2"),
    ("XREAD COUNT", "", "keys in doubt: COMPATIBILITY B.2"),
    ("DEBUG", "6.2", "guarded for all: COMPATIBILITY B.5"),
    ("MODULE LOAD", "6.2", "guarded for all: COMPATIBILITY B.5"),
    ("RESET", "6.2", "6.2 wants a login for it; Redkeep has it as 7.0: COMPATIBILITY B.4"),
    ("POST", "6.2", "6.2 wants a login first; the guard against HTTP is that of 7.0"),
    ("host:", "6.2", "as POST"),
    ("HOST:", "6.2", "as POST"),
];

// === Without ACL commands ===

const PASSWORD: &str = "user default on >foobared ~* &* +@all\n";
const OPEN: &str = "user default on nopass ~* &* +@all\n";
const USERS: &str = "\
user default on nopass ~* &* +@all
user u on >pw ~a* ~b? &ch* -@all +get +mget +getdel +config|set +@pubsub +object +memory +copy +sort +debug
user u2 on >pw
user u3 on >pw +@all
user m on >pw ~a -@all +get +multi +exec +discard +acl|whoami
user w on >pw %W~a &* +@all
user r on >pw %R~a &* +@all
user s on >pw ~x -@all +ping (~a ~b +mset +get) (%R~c +get +mget) (&ch +publish) (~d +@all)
user off1 off >pw ~* +@all
user np on nopass ~* +@all
user nopw on ~* +@all
user two on >p1 >p2 ~* +@all
";

const BLOCKS: &[Block] = &[
    // A stranger.
    Block {
        users: PASSWORD,
        login: "",
        fresh: true,
        lines: r#"
            PING; GET k; get; SET k; NOSUCHCMD a b; COMMAND; COMMAND COUNT; INFO; SUBSCRIBE c; PSUBSCRIBE c;
            PUBLISH c x; MULTI; EXEC; DISCARD; WATCH k; CLIENT ID; CLIENT SETNAME x;
            CLIENT SETINFO lib-name x; CLIENT NOSUCH; CLIENT; CLIENT REPLY OFF; ACL WHOAMI; ACL NOSUCH; ACL;
            ACL LIST; ACL SETUSER x; ACL SETUSER; ACL LOG; ACL LOAD; EVAL "return 1" 0; SELECT 1; ECHO x;
            CONFIG GET *; SHUTDOWN NOSAVE; DEBUG SLEEP 0; MODULE LOAD x; REPLCONF x y; PSYNC ? -1; SYNC;
            MONITOR; ASKING; READONLY; CLUSTER INFO; RESET; RESET x; QUIT; QUIT x; HELLO; HELLO 2; HELLO 3;
            HELLO 1; HELLO 4; HELLO x; HELLO 3 SETNAME x; HELLO 3 AUTH default wrong; HELLO 3 AUTH default;
            HELLO 3 FOO; HELLO 3 AUTH nouser foobared; AUTH; AUTH wrong; AUTH default wrong; AUTH nouser x;
            AUTH a b c; POST /; host: x; HOST: x; ""; "PI\x00NG"; auth foobared; AUTH ""; AUTH "" "";
            AUTH Default foobared; AUTH default FOOBARED; AUTH "foobared\x00"; AUTH "default\x00" foobared;
            hello 2 setname me auth default foobared; HELLO 3 AUTH default foobared SETNAME "bad name";
            HELLO 3 SETNAME "bad name" AUTH default foobared
        "#,
    },
    Block {
        users: PASSWORD,
        login: "",
        fresh: false,
        lines: r#"
            AUTH foobared; PING; AUTH wrong; PING; AUTH default nope; ACL WHOAMI; AUTH default foobared;
            HELLO 3 AUTH default bad; GET none; RESET; PING; HELLO 3 AUTH default bad; PING;
            HELLO 2 AUTH default foobared; PING; RESET; HELLO 3 SETNAME "bad name" AUTH default foobared;
            PING; HELLO 3 AUTH default foobared SETNAME "bad name"; PING; HGETALL none; QUIT; PING
        "#,
    },
    // No password is configured.
    Block {
        users: OPEN,
        login: "",
        fresh: true,
        lines: r#"
            AUTH; AUTH x; AUTH ""; AUTH default x; AUTH default ""; AUTH nouser x; AUTH a b c; AUTH a b c d;
            HELLO; HELLO 2; HELLO 3; HELLO 1; HELLO 0; HELLO -1; HELLO 4; HELLO 3.0; HELLO 03; HELLO " 3";
            HELLO ""; HELLO abc; HELLO 99999999999999999999; HELLO AUTH default x; HELLO 3 AUTH;
            HELLO 3 AUTH default; HELLO 3 AUTH default anything; HELLO 3 AUTH nouser x; HELLO 3 SETNAME;
            HELLO 3 SETNAME ""; HELLO 3 SETNAME "a b"; HELLO 3 SETNAME "a\nb"; HELLO 3 SETNAME a SETNAME b;
            HELLO 3 FOO; HELLO 3 FOO bar; HELLO 3 "FOO\x00x"; HELLO 3 AUTH default x y;
            HELLO 4 AUTH nouser x; hello 3 auth default x setname n; HELLO 3 "A\r\nB"; RESET x; QUIT x y;
            reset; ACL; ACL FOO; ACL "FO\x00O"; acl whoami x
        "#,
    },
    Block {
        users: OPEN,
        login: "",
        fresh: false,
        lines: r#"
            GET none; HELLO 3; GET none; HELLO; GET none; HELLO 4; GET none; HELLO 2; GET none;
            HELLO 3 SETNAME n1; SELECT 2; MULTI; RESET; CLIENT GETNAME; GET none; EXEC
        "#,
    },
    // Rights to commands, keys and channels.
    Block {
        users: USERS,
        login: "AUTH u pw",
        fresh: true,
        lines: r#"
            SET a 1; set a 1; GET x; GET ab; MGET ab x; CONFIG GET x; CONFIG SET maxmemory-samples 5;
            config GeT x; CONFIG NOSUCH; CONFIG; CONFIG GET; NOSUCH; SET; SET a; GET; GET a b; CLIENT ID;
            CLIENT NOSUCH; ACL WHOAMI; ACL LIST; ACL NOSUCH; ACL; ACL SETUSER; ACL SETUSER u +@all;
            PUBLISH x m; PUBLISH ch1 m; SUBSCRIBE x; SUBSCRIBE ch1 x; PSUBSCRIBE ch1*; PSUBSCRIBE x*;
            SSUBSCRIBE x; SPUBLISH x y; PUBSUB CHANNELS x; PUBSUB NUMSUB x; AUTH u pw; AUTH u bad; HELLO;
            HELLO 3; RESET; QUIT; PING; ECHO x; MULTI; EXEC; DISCARD; WATCH x; SELECT 1; COMMAND;
            EVAL "return 1" 0; GETDEL ab; OBJECT ENCODING x; MEMORY USAGE x; DEBUG OBJECT x; EXISTS ab x;
            COPY ab x; SORT ab BY x*; SORT ab GET x*; SORT ab STORE x
        "#,
    },
    Block {
        users: USERS,
        login: "AUTH u2 pw",
        fresh: true,
        lines: r#"
            PING; GET a; GET; NOSUCH; CONFIG NOSUCH; CONFIG; AUTH u2 pw; AUTH u2 bad; AUTH; AUTH a b c;
            HELLO 3; HELLO 9; HELLO; RESET; QUIT; MULTI; EXEC; ACL WHOAMI; CLIENT ID; SUBSCRIBE a; ECHO x;
            SELECT 0; COMMAND; COMMAND COUNT; ACL HELP; PSYNC ? -1; REPLCONF ACK 1; "" x; POST /;
            DEBUG SLEEP 0; MODULE LIST; MONITOR; CLIENT REPLY OFF; CLIENT TRACKING ON; UNSUBSCRIBE; DISCARD;
            UNWATCH
        "#,
    },
    Block {
        users: USERS,
        login: "AUTH u3 pw",
        fresh: true,
        lines: r#"
            PING; GET a; SET a 1; KEYS *; SCAN 0; DBSIZE; RANDOMKEY; FLUSHALL; PUBLISH a x; SUBSCRIBE a;
            PSUBSCRIBE *; SORT a BY nosort; XREAD STREAMS a 0; ZUNIONSTORE d 0 a; EVAL "return 1" -5 a;
            MIGRATE 127.0.0.1 1 "" 0 10 KEYS a; MIGRATE 127.0.0.1 1 a 0 10; OBJECT ENCODING a;
            MEMORY USAGE a; DEBUG OBJECT a; DEBUG SLEEP 0; WATCH a; BITOP AND a; LMPOP 1 a LEFT;
            SINTERCARD 1 a; GEORADIUS a 1 1 1 m STORE b; MSET a 1 b 2; PFCOUNT a; XGROUP CREATE a b c;
            XINFO STREAM a; RESTORE a 0 x; DUMP a; CLIENT TRACKING ON BCAST PREFIX a; CLUSTER KEYSLOT a;
            CLUSTER COUNTKEYSINSLOT 1; COMMAND GETKEYS GET a
        "#,
    },
    Block {
        users: USERS,
        login: "AUTH m pw",
        fresh: false,
        lines: r#"
            MULTI; SET k 1; GET a; GET x; EXEC; MULTI; GET a; EXEC; ACL WHOAMI; AUTH nouser x; ACL WHOAMI;
            AUTH default x; ACL WHOAMI; HELLO 3 AUTH m bad; ACL WHOAMI
        "#,
    },
    Block {
        users: USERS,
        login: "",
        fresh: true,
        lines: r#"
            AUTH off1 pw; AUTH np whatever; AUTH np ""; AUTH nopw ""; AUTH nopw x; AUTH two p1; AUTH two p2;
            AUTH two p3; AUTH TWO p1; HELLO 3 AUTH off1 pw; HELLO 3 AUTH two p2; HELLO 2 AUTH nopw x
        "#,
    },
    // Keys that may only be written, or only read.
    Block {
        users: USERS,
        login: "AUTH w pw",
        fresh: true,
        lines: r#"
            GET a; STRLEN a; EXISTS a; TYPE a; TTL a; OBJECT ENCODING a; TOUCH a; DUMP a; LLEN a;
            SET a 1 GET; SET a 1; INCR a; APPEND a x; GETDEL a; BITFIELD a GET u8 0; BITFIELD a SET u8 0 1;
            SORT a STORE a; WATCH a; COPY a a; RENAME a a; MEMORY USAGE a; DEL a
        "#,
    },
    Block {
        users: USERS,
        login: "AUTH r pw",
        fresh: true,
        lines: r#"
            GET a; STRLEN a; EXISTS a; TYPE a; TTL a; EXPIRE a 10; SET a 1; DEL a; UNLINK a; GETEX a;
            BITFIELD a GET u8 0; bitfield a get u8 0; BITFIELD_RO a GET u8 0; BITFIELD a SET u8 0 1; SORT a;
            WATCH a; COPY a a; XREADGROUP GROUP g c STREAMS a >; PFCOUNT a; MEMORY USAGE a;
            EVAL "return 1" 1 a; SETRANGE a 0 ""; LPUSHX a x
        "#,
    },
    // Selectors: one of them must allow all of it.
    Block {
        users: USERS,
        login: "AUTH s pw",
        fresh: true,
        lines: r#"
            MSET a 1 b 2; MSET a 1; MSET a 1 c 2; MSET d 1 a 2; GET b; GET c; GET zz; MGET c c; MGET a c;
            SET d 1; SET a 1; PUBLISH ch x; PUBLISH no x; CONFIG GET x; PING; KEYS n*; CONFIG GET maxmemory;
            ACL WHOAMI; NOSUCH; GET
        "#,
    },
];

#[test]
fn errors_of_logins_and_rights_are_those_of_the_server() {
    // Before 7.0 there are no selectors and no rights to read or write alone, and RESET waits for the end of MULTI.
    compare_all(BLOCKS, |version, block| {
        let resets = block.lines.contains("MULTI;") && block.lines.contains("RESET;") && !block.fresh;
        !version.starts_with("6.") || block.users != USERS && !resets
    });
}

/// Bytes that are no command in the usual form, each stream on a fresh connection that is then closed by QUIT.
const STREAMS: &[(&str, &[u8])] = &[
    (PASSWORD, b"PING\r\n"),
    (PASSWORD, b"\r\n"),
    (PASSWORD, b"GET k\r\n"),
    (PASSWORD, b"AUTH foobared\r\n"),
    (PASSWORD, b"\"PING\"\r\n"),
    (PASSWORD, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (PASSWORD, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (PASSWORD, b"*11\r\n$4\r\nAUTH\r\n"),
    (PASSWORD, b"*3\r\n$4\r\nAUTH\r\n$16385\r\n"),
    (PASSWORD, b"*1\r\n$16385\r\n"),
    (PASSWORD, b"*100000\r\n"),
    (PASSWORD, b"*1048577\r\n"),
    (PASSWORD, b"*abc\r\n"),
    (PASSWORD, b"*1\r\n$-1\r\n"),
    (PASSWORD, b"*1\r\nX\r\n"),
    (PASSWORD, b"a b c d e f g h i j k l m n o p\r\n"),
    (PASSWORD, b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$8\r\nfoobared\r\n*1\r\n$4\r\nPING\r\n"),
    (PASSWORD, b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
    (OPEN, b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n"),
];

#[test]
fn streams_of_strangers_are_answered_as_by_the_server() {
    let mut wrong = Vec::new();
    // 6.2.5 has neither the limits before login nor the guard against HTTP there.
    for (server, version) in servers().into_iter().filter(|(_, version)| !version.starts_with("6.")) {
        for users in [PASSWORD, OPEN] {
            let (oracle, _redis, proxy) = twins(&server, users);
            for (_, stream) in STREAMS.iter().filter(|(for_users, _)| *for_users == users) {
                let [theirs, ours] = [oracle.client(), proxy.plain()].map(|mut client| {
                    client.send_raw(&[stream, &b"*1\r\n$4\r\nQUIT\r\n"[..]].concat());
                    text(&client.read_to_end())
                });
                if theirs != ours {
                    wrong.push(format!(
                        "{version}: {}\n  Redis   {theirs:?}\n  Redkeep {ours:?}",
                        stream.escape_ascii()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

// === With ACL commands ===

const ACL_USERS: &str = "\
user default on nopass ~* &* +@all
user alice on >pw >pw2 ~cached:* %R~ro:* %W~wo:* resetchannels &news.* -@all +@read -keys -get (~sel:* +set)
user bob off nopass skip-sanitize-payload ~* &* +@all
user carl off
user u on >pw ~a* &a -@all +get +set +multi +exec +discard +publish +ping +acl|whoami
";

/// What the ACL commands say, in both protocols.
const ACL_COMMAND_LINES: &str = r#"
    ACL GETUSER alice; ACL GETUSER bob; ACL GETUSER carl; ACL GETUSER default; ACL GETUSER nosuch;
    ACL GETUSER ""; ACL GETUSER "al\x00ice"; ACL GETUSER ALICE; ACL GETUSER; ACL GETUSER a b; ACL LIST;
    ACL LIST x; ACL USERS; ACL USERS x; ACL WHOAMI; acl whoami x; ACL CAT; ACL CAT nosuch;
    ACL CAT TRANSACTION; ACL CAT @read; ACL CAT read; ACL CAT a b; ACL CAT ""; ACL CAT "re\x00ad";
    ACL GENPASS; ACL GENPASS 5; ACL GENPASS 1; ACL GENPASS 0; ACL GENPASS -1; ACL GENPASS 4096;
    ACL GENPASS 4097; ACL GENPASS x; ACL GENPASS 1 2; ACL GENPASS ""; ACL LOG; ACL LOG 1; ACL LOG 0;
    ACL LOG -1; ACL LOG x; ACL LOG ""; ACL LOG RESET x; ACL LOG reset; ACL LOG 99999999999999999999;
    ACL LOAD x; ACL SAVE x; ACL DELUSER; ACL DELUSER default; ACL DELUSER carl default;
    ACL DELUSER carl nosuch; ACL DELUSER nosuch; ACL DELUSER carl carl; ACL HELP; ACL help x; ACL; ACL FOO;
    ACL SETUSER; ACL DRYRUN; ACL DRYRUN alice; ACL DRYRUN alice GET cached:1;
    ACL DRYRUN alice MGET cached:1; ACL DRYRUN alice MGET cached:1 ro:1; ACL DRYRUN alice MGET zz;
    ACL DRYRUN alice SET sel:1 v; ACL DRYRUN alice SET sel:1; ACL DRYRUN alice SET zz 1;
    ACL DRYRUN alice PUBLISH zz 1; ACL DRYRUN alice CONFIG GET x; ACL DRYRUN alice CONFIG SET x y;
    ACL DRYRUN alice CONFIG; ACL DRYRUN alice CONFIG NOSUCH; ACL DRYRUN alice NOSUCH;
    ACL DRYRUN nosuch GET a; ACL DRYRUN nosuch NOSUCH; ACL DRYRUN bob PUBLISH x y;
    ACL DRYRUN carl SUBSCRIBE x; ACL DRYRUN default AUTH x; ACL DRYRUN carl AUTH x;
    ACL DRYRUN bob SUBSCRIBE x; ACL DRYRUN bob EVAL x 1; ACL DRYRUN bob get a; ACL DRYRUN u PUBLISH x m;
    ACL DRYRUN u PUBLISH a m; ACL DRYRUN u PSUBSCRIBE a; ACL DRYRUN "al\x00ice" GET a;
    ACL DRYRUN default ACL SETUSER x; ACL DRYRUN default DEBUG OBJECT x; ACL DRYRUN default SUBSCRIBE;
    ACL DRYRUN u ACL WHOAMI; ACL SETUSER "a b" on; ACL SETUSER "a\nb"; ACL SETUSER "a\x00b";
    ACL SETUSER default on; ACL SETUSER u|x; ACL SETUSER U on; ACL SETUSER Default on;
    ACL SETUSER xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx on;
    ACL USERS; ACL DELUSER Default U u|x
"#;

/// Rules for a fresh user `t`, each in one `ACL SETUSER`.
const SETUSER_RULES: &str = r#"
    +nosuch; -nosuch; +get|foo; -get|foo; +config|nosuch; -config|nosuch; +config|get|x; -config|get|x;
    +config|; -config|; +|; +; -; +@; -@; +@nosuch; -@nosuch; +@ALL; -@All; +@READ; allcommands; nocommands;
    ALLCOMMANDS; +GET; +Config|GET; +client|id; -client|id; +select|0; +select|abc; -select|0; +get|a|b;
    +nosuch|x; -nosuch|x; +module|nosuch; +config; +object|freq; "+ get"; ~; ~*; ~a*; allkeys; resetkeys; %;
    %~; %R; %R~; %R~a*; %W~a*; %RW~a*; %WR~a*; %r~a; %w~b; %X~a; %RX~a; %RR~a; %RRW~a; %~a; %Ra; %R~*;
    %RW~*; %W~*; "~a b"; "~a\nb"; "~a\x00b"; &; &*; &ch*; allchannels; resetchannels; "&a b"; &ch:?; >;
    >pass; <pass; <nosuch; #; #xyz; #aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
    #AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA;
    #gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg;
    #aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
    !aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; !xyz; nopass; resetpass; on; off; ON;
    reset; RESET; clearselectors; sanitize-payload; skip-sanitize-payload; sanitize; (; (); (+get; +get);
    "(+get ~a)"; "(+get ~a"; ); "( +get ~a )"; "(~a) (~b)"; ((+get)); (on); (>x); (nopass); (reset);
    (clearselectors); (+nosuch); "(~a &b +@all)"; (%R~x); (+get|x); "(allkeys allcommands)"; (resetkeys);
    "(~* ~a)"; (-@all); ""; " "; foo; bar=1; *; get; @all; |; +@all|x; -@all|x; +get~a; ~a; +@all -get;
    +@all -config|get; +@all -config +config|get; -@all +config -config|set; +config|get +config;
    +config -config|get +config|get; +@read -get +get; +@read +@write; +@write +@read; +@all -@all;
    -@all +@all; +@all -@dangerous +config; +@admin -@admin; +@read -@read +get; +get +get; +get -get +get;
    -get -get; +get +@read; +@read +get; +@all +get; +@all -@all +get; +select|0 +select|1;
    +select +select|1; +get|x +get; +client|id +client|id; -client +client|id -client|id;
    +@connection -client|kill; +@all -client|kill -@connection; ~a ~a; ~a ~b resetkeys ~c; ~* ~a;
    allkeys ~a; ~a ~*; ~a allkeys; %R~a %W~a; %R~a ~a; ~a %R~a; %R~* %W~*; %R~a %RW~a; %RW~*; allkeys %R~a;
    &a &a; &* &a; allchannels &a; &a &*; &a resetchannels &b; >a >a; >a <a; >a <b; nopass >a; >a nopass;
    nopass <a; nopass resetpass; >a >b <a;
    #aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa !aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
    on off; "(+get ~a)" "(+set ~b)"; "(+get ~a)" clearselectors; "(+get ~a)" resetkeys; "(+get ~a)" reset;
    (+get ~a); (+get ~a &b); ( +get ); (+get ~a; (+get (~a); +get +nosuch; >x ~a +nosuch +get; reset reset;
    allcommands nocommands; skip-sanitize-payload sanitize-payload; +@all -debug;
    +@keyspace +@read -@keyspace +del; +@all -@string +@read; +@scripting -eval;
    +@all -@pubsub +publish +subscribe; on >pw ~a +@all &* (+get ~b)
"#;

/// Sequences; `admin>` is another connection of `default`, `b>` another one of the user.
const ACL_SEQUENCES: &[Block] = &[
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            PING; admin> ACL DELUSER u; PING
        "#,
    },
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            PING; admin> ACL SETUSER u resetpass; PING; AUTH u pw; admin> ACL SETUSER u off; PING;
            ACL WHOAMI; admin> ACL SETUSER u reset; PING; ACL WHOAMI
        "#,
    },
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            GET a; admin> ACL SETUSER u -get; GET a; admin> ACL SETUSER u +get resetkeys ~b; GET a; GET b;
            PUBLISH a x; admin> ACL SETUSER u resetchannels; PUBLISH a x
        "#,
    },
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            admin> ACL SETUSER u >new +nosuch; GET a; b> AUTH u new; admin> ACL GETUSER u;
            admin> ACL SETUSER u >new; b> AUTH u new; admin> ACL SETUSER u <pw; b> AUTH u pw
        "#,
    },
    Block {
        users: ACL_USERS,
        login: "",
        fresh: false,
        lines: r#"
            PING; admin> ACL SETUSER default off; PING; b> PING; b> AUTH x; b> AUTH default x; b> HELLO 3;
            b> QUIT
        "#,
    },
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            MULTI; PING; admin> ACL DELUSER u; EXEC
        "#,
    },
    // The log: one entry of each kind, and entries of the same kind together.
    Block {
        users: ACL_USERS,
        login: "AUTH u pw",
        fresh: false,
        lines: r#"
            admin> ACL LOG RESET; b> AUTH u bad; SET x 1; DEL x; GET x; GET x; PUBLISH x 1; CONFIG SET x y;
            MULTI; GET x; EXEC; b> HELLO 3 AUTH nouser y; admin> ACL LOG; admin> ACL LOG 1;
            admin> ACL LOG 0; admin> HELLO 3; admin> ACL LOG; admin> ACL LOG RESET; admin> ACL LOG
        "#,
    },
];

/// Files for ACL LOAD. Each has a line for `default`, since Redkeep wants one (COMPATIBILITY B.3).
const FILES: &[&str] = &[
    "user default on nopass ~* &* +@all\nuser alice on >pw +nosuch\n",
    "user default on nopass ~* &* +@all\nuser alice\nuser alice on\n",
    "user default on nopass ~* &* +@all\nusr x\n",
    "user default on nopass ~* &* +@all\nuser\n",
    "user default on nopass ~* &* +@all\nuser a b c\n",
    "user default on nopass ~* &* +@all\nuser x (+get\n",
    "# comment\nuser default on nopass +@all ~* &*\n\n",
    "user default on nopass ~* &* +@all\nuser alice on >pw ~a '+get'\n",
    "user default on nopass ~* &* +@all\nuser x +get)\n",
    "user default on nopass +@all ~* &*\nuser alice on >pw +nosuch\nuser bob +@nosuch\n",
    "user default on nopass +@all ~* &*\nuser alice on >pw %X~a\nuser bob on ~* ~a\nuser carl on #xyz\n",
    "  user default on nopass +@all ~* &*  \n\t\n",
    "user default on nopass ~* &* +@all\nuser alice on >pw ~a* -@all +@read (%R~b +get)\n",
];

#[test]
fn acl_commands_say_what_the_server_says() {
    let fresh = |login| Block { users: ACL_USERS, login, fresh: true, lines: ACL_COMMAND_LINES };
    compare_all(&[fresh(""), fresh("HELLO 3")], |version, _| !version.starts_with("6."));
    compare_all(ACL_SEQUENCES, |version, _| !version.starts_with("6."));
}

#[test]
fn acl_setuser_takes_and_refuses_what_the_server_takes_and_refuses() {
    let mut wrong = Vec::new();
    for (server, version) in servers().into_iter().filter(|(_, version)| !version.starts_with("6.")) {
        let (oracle, _redis, proxy) = twins(&server, ACL_USERS);
        let mut sides = [oracle.client(), proxy.plain()];
        for rules in split(SETUSER_RULES) {
            let line = format!("ACL SETUSER t {rules}");
            for line in [line.as_str(), "ACL GETUSER t", "ACL LIST", "ACL DELUSER t"] {
                check(&version, line, &mut sides, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn acl_load_and_save_say_what_the_server_says() {
    let mut wrong = Vec::new();
    for (server, version) in servers().into_iter().filter(|(_, version)| !version.starts_with("6.")) {
        let dir = TempDir::new();
        let path = dir.write("users.acl", ACL_USERS);
        let oracle = Redis::start_program(&server, &["--aclfile", path.to_str().unwrap()]);
        let redis = Redis::start_program(&server, &[]);
        // As a Redis, which reads its file when it is told to.
        let proxy = Proxy::with_users(&redis, ACL_USERS, "reload: { watch: no }\n");
        let dirs = [dir.path(), proxy.dir.path()].map(|dir| dir.to_str().unwrap().to_owned());
        for file in FILES {
            dir.write("users.acl", file);
            proxy.dir.write("users.acl", file);
            // A connection whose user's rules change may be closed, so each line has its own.
            for line in ["ACL LOAD", "ACL LIST", "ACL SAVE", "ACL LOAD", "ACL LIST"] {
                let [theirs, ours] =
                    [(oracle.client(), &dirs[0]), (proxy.plain(), &dirs[1])].map(|(mut client, dir)| {
                        plain(&version, line, &client.call(&words(line))).replace(dir.as_str(), "<DIR>")
                    });
                if theirs != ours {
                    wrong.push(format!(
                        "{version}: {file:?} {line}\n  Redis   {theirs:?}\n  Redkeep {ours:?}"
                    ));
                }
            }
        }
        for gone in [dir.path(), proxy.dir.path()] {
            std::fs::remove_file(gone.join("users.acl")).unwrap();
        }
        let [theirs, ours] = [(oracle.client(), &dirs[0]), (proxy.plain(), &dirs[1])]
            .map(|(mut client, dir)| client.ask("ACL LOAD").replace(dir.as_str(), "<DIR>"));
        if theirs != ours {
            wrong.push(format!("{version}: no file\n  Redis   {theirs:?}\n  Redkeep {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

// === With messages ===

const SUBSCRIPTIONS: &[Block] = &[Block {
    users: USERS,
    login: "AUTH u pw",
    fresh: true,
    lines: r#"
            PSUBSCRIBE ch*; SUBSCRIBE ch1; SSUBSCRIBE ch1; UNSUBSCRIBE x; PUNSUBSCRIBE x; SUNSUBSCRIBE x;
            UNSUBSCRIBE
        "#,
}];

#[test]
fn permitted_subscriptions_say_what_the_server_says() {
    compare_all(SUBSCRIPTIONS, |version, _| !version.starts_with("6."));
}

// === Comparing ===

fn servers() -> Vec<(std::path::PathBuf, String)> {
    all()
        .into_iter()
        .chain(redis_6_2())
        .map(|server| {
            let info = Redis::start_program(&server, &[]).client().ask("INFO server");
            let field = |name: &str| {
                info.lines().find_map(|line| line.strip_prefix(name)).map(|version| version.trim().to_owned())
            };
            let version = field("valkey_version:")
                .map(|version| format!("valkey {version}"))
                .or_else(|| field("redis_version:"))
                .unwrap();
            (server, version)
        })
        .collect()
}

fn twins(server: &Path, users: &str) -> (Redis, Redis, Proxy) {
    let dir = TempDir::new();
    let path = dir.write("users.acl", users);
    // Its own guards, as by default: what Redkeep does for all.
    let mut guards = vec!["--aclfile", path.to_str().unwrap()];
    if !std::process::Command::new(server)
        .arg("--version")
        .output()
        .is_ok_and(|output| text(&output.stdout).contains("v=6."))
    {
        guards.extend(["--enable-debug-command", "no"]);
    }
    let oracle = Redis::start_program(server, &guards);
    let redis = Redis::start_program(server, &[]);
    let proxy = Proxy::with_users(&redis, users, "log:\n  format: json\nlimits:\n  login_backoff: no\n");
    (oracle, redis, proxy)
}

fn compare_all(blocks: &[Block], wanted: impl Fn(&str, &Block) -> bool) {
    let mut wrong = Vec::new();
    for (server, version) in servers() {
        let mut kept = None;
        for block in blocks.iter().filter(|block| wanted(&version, block)) {
            // Without ACL commands the users stay as they are, and the next block can use the same.
            if kept.as_ref().is_none_or(|(users, _)| *users != block.users || block.users == ACL_USERS) {
                kept = Some((block.users, twins(&server, block.users)));
            }
            let Some((_, (oracle, _redis, proxy))) = &kept else { panic!("no servers") };
            let open = || {
                let mut sides = [oracle.client(), proxy.plain()];
                // A connection is somebody's from when it is accepted, which the system does not wait for.
                for side in &mut sides {
                    side.call(&["PING"]);
                }
                sides
            };
            let connect = || {
                let mut sides = open();
                if !block.login.is_empty() {
                    for side in &mut sides {
                        assert!(!side.call(&words(block.login)).starts_with(b"-"), "{}", block.login);
                    }
                }
                sides
            };
            let [mut admin, mut other] = [open(), open()];
            let mut sides = connect();
            for line in split(block.lines) {
                if block.fresh {
                    sides = connect();
                }
                let excepted = EXCEPTIONS
                    .iter()
                    .any(|(start, at, _)| line.starts_with(start) && version.starts_with(at));
                if excepted {
                    continue;
                }
                if let Some(line) = line.strip_prefix("admin> ") {
                    check(&version, line, &mut admin, &mut wrong);
                } else if let Some(line) = line.strip_prefix("b> ") {
                    check(&version, line, &mut other, &mut wrong);
                } else {
                    check(&version, line, &mut sides, &mut wrong);
                }
            }
            proxy.assert_no_panic();
        }
    }
    assert!(wrong.is_empty(), "{} replies differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(version: &str, line: &str, sides: &mut [Client; 2], wrong: &mut Vec<String>) {
    let [theirs, ours] = sides.each_mut().map(|side| {
        let words = words(line);
        let reply = words_reply(side, &words);
        reply.map_or_else(|| "(connection closed)".to_owned(), |reply| plain(version, line, &reply))
    });
    if theirs != ours {
        wrong.push(format!("{version}: {line}\n  Redis   {theirs:?}\n  Redkeep {ours:?}"));
    }
}

/// The reply, or `None` if the connection is closed, before or after the request.
fn words_reply(client: &mut Client, words: &[Vec<u8>]) -> Option<Vec<u8>> {
    client.try_send(words)?;
    client.try_read_reply()
}

/// How every refusal of ACL LOAD ends.
const NOT_LOADED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// A reply without what two servers cannot have in common: ids, times, chance, and 7.0's order of commands.
fn plain(version: &str, line: &str, reply: &[u8]) -> String {
    const VARIABLE: &[&str] =
        &["age-seconds", "client-info", "entry-id", "timestamp-created", "timestamp-last-updated"];
    let reply = normalised(&text(reply));
    if line.starts_with("ACL GENPASS") && reply.starts_with('$') {
        return reply.chars().map(|letter| if letter.is_ascii_hexdigit() { '0' } else { letter }).collect();
    }
    let mut lines: Vec<String> = reply.split("\r\n").map(str::to_owned).collect();
    if line.starts_with("ACL LOG") {
        for at in 1..lines.len() {
            if VARIABLE.contains(&lines[at - 1].as_str()) {
                let bulk = lines[at].starts_with('$');
                lines[at] = "...".to_owned();
                if bulk && at + 1 < lines.len() {
                    lines[at + 1] = "...".to_owned();
                }
            }
        }
    }
    if line.starts_with("ACL CAT ") && reply.starts_with('*') {
        // The order is that of a hash table.
        lines.sort_unstable();
    }
    if line.starts_with("ACL LOAD") && reply.ends_with(&format!("{NOT_LOADED}\r\n")) {
        // What is wrong in the file is said in words of our own, with line and column.
        return format!("-ERR ... {NOT_LOADED}");
    }
    let shows_rules = line.starts_with("ACL LIST") || line.starts_with("ACL GETUSER");
    if shows_rules && !reply.starts_with('-') {
        for line in &mut lines {
            // 7.0 guesses command rules anew from its bitmap, others than were given.
            let guessed = |word: &&str| {
                version.starts_with("7.0") && word.trim_start_matches('(').starts_with(['+', '-'])
            };
            let words = line.split(' ').filter(|word| !guessed(word));
            // Redis prints what it could not read back (B.3).
            *line = words.map(|word| word.replace("%RW~*", "~*")).collect::<Vec<_>>().join(" ");
            if line.starts_with('$') {
                line.truncate(1);
            }
        }
    }
    lines.join("\r\n")
}

/// The lines of a text.
fn split(lines: &'static str) -> impl Iterator<Item = &'static str> {
    lines.split(';').map(str::trim)
}

/// The words of a line as redis-cli splits it: `"a b"` is one word, `\n`, `\r`, `\t` and `\xNN` stand for a byte.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(' ').unwrap_or(rest.len());
            words.push(rest.as_bytes()[..end].to_vec());
            rest = rest[end..].trim_start();
            continue;
        };
        let (word, after) = quoted.split_once('"').unwrap_or_else(|| panic!("{line}: no closing quote"));
        words.push(unescaped(word));
        rest = after.trim_start();
    }
    words
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut parts = word.split('\\');
    bytes.extend_from_slice(parts.next().unwrap().as_bytes());
    for part in parts {
        let (byte, rest) = match &part[..1] {
            "n" => (b'\n', &part[1..]),
            "r" => (b'\r', &part[1..]),
            "t" => (b'\t', &part[1..]),
            "x" => (u8::from_str_radix(&part[1..3], 16).unwrap(), &part[3..]),
            other => panic!("\\{other}"),
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}
