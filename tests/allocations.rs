//! Nothing is allocated while a request is judged, nor on the way of a request between client and upstream.
//!
//! A test binary of its own: it counts by a global allocator of its own, which the other tests must not have.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, whose clients are threads")]

use std::cell::Cell;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use redkeep::acl::{Defaults, parse_file, parse_rules};
use redkeep::audit::Audit;
use redkeep::command::CommandTable;
use redkeep::policy::{Bounds, Facts, Gates, Policy, Rename, Sight, Verdict};
use redkeep::resp::RequestBuf;
use redkeep::session::{Clients, Ends, Limits, Session, SessionId, Shared};
use redkeep::upstream::{Address, Mirrors, Pool, Settings};
use redkeep::users::{Source, Users};
use tokio::sync::Semaphore;

const USERS: [(&str, &str); 2] = [
    ("default", "on nopass ~* &* +@all"),
    (
        "app",
        "on nopass ~app:* ~cache:[0-9]* %R~shared:* resetchannels &news:* -@all +@read +@write +@pubsub \
         (~tmp:* +get +set) (%R~log:* +@read +sort +eval)",
    ),
];

/// A user, what they send, and whether it is allowed.
const REQUESTS: &[(Option<&str>, &str, bool)] = &[
    (Some("default"), "GET app:1", true),
    (Some("default"), "EVAL x 1 k", true),
    (Some("default"), "CONFIG GET maxmemory", true),
    (Some("default"), "CONFIG SET maxmemory 1 dir /", false),
    (Some("default"), "DEBUG OBJECT k", false),
    (Some("default"), "NOSUCHCOMMAND x", false),
    (Some("default"), "CONFIG NOSUCHSUBCOMMAND", false),
    (Some("default"), "GET", false),
    (Some("default"), "KEYS *", false),
    (Some("default"), "ALL-KEYS *", true),
    (Some("app"), "GET app:1", true),
    (Some("app"), "GET cache:1", true),
    (Some("app"), "GET shared:1", true),
    (Some("app"), "GET log:1", true),
    (Some("app"), "GET secret", false),
    (Some("app"), "SET app:1 v EX 10 GET", true),
    (Some("app"), "SET shared:1 v", false),
    (Some("app"), "MGET app:1 app:2 app:3 app:4 app:5 app:6 app:7 app:8 app:9 app:10", true),
    (Some("app"), "MGET app:1 app:2 app:3 app:4 app:5 app:6 app:7 app:8 app:9 secret", false),
    (Some("app"), "OBJECT ENCODING app:1", true),
    (Some("app"), "XREAD COUNT 1 STREAMS app:1 app:2 0 0", true),
    (Some("app"), "ZUNIONSTORE app:d 2 app:1 app:2", true),
    (Some("app"), "SORT log:1 BY w*", false),
    (Some("app"), "EVAL x 1 log:1", false),
    (Some("app"), "PUBLISH news:1 x", true),
    (Some("app"), "PUBLISH secret x", false),
    (Some("app"), "INFO", false),
    (Some("default"), "FLUSHALL", false),
    (Some("default"), "CONFIG SET save x", false),
    (Some("default"), "SETBIT k 1 1", false),
    (Some("default"), "SCAN 0 MATCH x* COUNT 100", true),
    (Some("default"), "SCAN 0 MATCH x* COUNT 101", false),
    (Some("default"), "SETRANGE k 1000 x", false),
    (None, "PING", false),
    (None, "AUTH a b", true),
];

#[test]
fn judging_allocates_nothing() {
    let table = CommandTable::builtin();
    let renames = [Rename { command: "keys".to_owned(), alias: "all-keys".to_owned() }];
    let bounds = Bounds { max_count: Some(100), max_pattern_bytes: Some(100), max_offset_bytes: Some(100) };
    let denied = ["flushall".to_owned(), "config|rewrite".to_owned(), "@bitmap".to_owned()];
    let gates = Gates::new(&renames, &table).unwrap().with_denied(&denied, &table).unwrap();
    let gates = gates.with_bounds(bounds).with_protected_configs(["save"]);
    let users = USERS
        .iter()
        .map(|(name, rules)| parse_rules(name, rules, Defaults::default(), &table).unwrap())
        .collect();
    let policy = Policy::new(None, table, gates, users);
    for (name, line, allowed) in REQUESTS {
        let user = name.map(|name| &**policy.user(name.as_bytes()).unwrap());
        let request = RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>());
        // As in a session: the buffer has been used before.
        let mut scratch = RequestBuf::from_args(&[[0; 64]; 8]);
        let counted = measure(|| {
            let verdict = policy.judge(
                Facts { user, database: 0, local: false },
                black_box(request.as_request()),
                &mut scratch,
            );
            assert_eq!(matches!(verdict, Verdict::Allow(_)), *allowed, "{line}");
        });
        assert_eq!(counted.count_total, 0, "{name:?}: {line}");
    }
}

#[test]
fn the_count_sees_an_allocation() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn a_user_with_ordinary_rules_takes_little_memory() {
    const COUNT: u64 = 1000;
    const MAX_BYTES: u64 = 3072;
    let table = CommandTable::builtin();
    let mut file = "user default off\n".to_owned();
    for number in 1..COUNT {
        file.push_str(&format!(
            "user tenant-{number} on #{number:064x} ~tenant:{number}:* %R~shared:* ~cache:{number}:?:* resetchannels \
             &tenant:{number}:* -@all +@read +@write +@connection -@dangerous +config|get (~tmp:{number}:* +get)\n",
        ));
    }
    let mut users = Vec::new();
    let AllocationInfo { bytes_current, .. } =
        measure(|| users = parse_file(file.as_bytes(), Defaults::default(), &table).unwrap());
    let bytes = u64::try_from(bytes_current).unwrap() / COUNT;
    println!("{bytes} bytes for each user");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes for each user");
}

/// Clients that use one shared link at the same time.
const CLIENTS: usize = 3;
/// Commands that each of them sends, once to warm up and once to be counted.
const BATCHES: usize = 2_000;
const PIPELINE: usize = 8;

/// A redis-server on a Unix socket in a folder of its own, until it is dropped.
struct Redis {
    child: Child,
    dir: PathBuf,
}

impl Redis {
    fn start() -> Redis {
        let dir = std::env::temp_dir().join(format!("redkeep-allocations-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut server = Command::new("redis-server");
        server.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        server.arg(dir.join("redis.sock")).arg("--dir").arg(&dir).stdout(Stdio::null());
        let redis = Redis { child: server.spawn().unwrap(), dir };
        let begin = Instant::now();
        while UnixStream::connect(redis.socket()).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// What the sessions of one worker share: a user with ordinary rules, and links to this server.
fn shared(socket: &Path) -> Shared {
    let table = CommandTable::builtin();
    let rules =
        "user default on nopass ~app:* %R~shared:* ~cache:* resetchannels -@all +@read +@write (~tmp:* +get)";
    let source = Source {
        users: parse_file(rules.as_bytes(), Defaults::default(), &table).unwrap(),
        file: None,
        file_digest: None,
        requirepass: None,
        conditions: Default::default(),
        gates: Gates::default(),
        defaults: Defaults::default(),
        log_max_len: 8,
    };
    let settings = Settings {
        address: Address::Unix(socket.to_owned()),
        tls: None,
        username: None,
        password: None,
        connect_timeout: Duration::from_secs(60),
        response_timeout: Duration::from_secs(60),
        links_per_worker: 1,
        max_leased: 1,
        lease_timeout: Duration::from_secs(60),
        names: Arc::default(),
    };
    let users = Arc::new(Users::new(source, None));
    Shared {
        live: Sight::new(users.live().clone()),
        users,
        clients: Arc::new(Clients::new(Limits::DEFAULT)),
        audit: Arc::new(Audit::off()),
        mirrors: Mirrors::new(),
        pool: Pool::new(settings, Arc::new(Semaphore::new(1)), Arc::default()),
        draining: Cell::default(),
        room: Default::default(),
    }
}

/// Sends pipelines and reads their replies, `BATCHES` at a time, whenever `goal` is one more.
fn play(mut stream: UnixStream, goal: &AtomicUsize, reached: &AtomicUsize) {
    let requests =
        b"*3\r\n$3\r\nSET\r\n$5\r\napp:1\r\n$2\r\nab\r\n*2\r\n$3\r\nGET\r\n$5\r\napp:1\r\n".repeat(PIPELINE);
    let replies = b"+OK\r\n$2\r\nab\r\n".repeat(PIPELINE);
    let mut read = vec![0; replies.len()];
    for round in 1..=2 {
        while goal.load(Ordering::SeqCst) < round {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..BATCHES {
            stream.write_all(&requests).unwrap();
            stream.read_exact(&mut read).unwrap();
            assert_eq!(read, replies);
        }
        reached.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn commands_on_a_shared_link_allocate_nothing_from_their_scanning_to_their_replies() {
    let redis = Redis::start();
    let (goal, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let mut clients = Vec::new();
    local.block_on(&runtime, async {
        let shared = Rc::new(shared(&redis.socket()));
        for id in 1..=CLIENTS {
            let (ours, theirs) = UnixStream::pair().unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            ours.set_nonblocking(true).unwrap();
            let ours = tokio::net::UnixStream::from_std(ours).unwrap();
            let id = SessionId(id.try_into().unwrap());
            let session = Session::new(ours, id, Ends { local: true, ..Ends::default() }, shared.clone());
            tokio::task::spawn_local(Box::new(session).run());
            let (goal, reached) = (goal.clone(), reached.clone());
            clients.push(std::thread::spawn(move || play(theirs, &goal, &reached)));
        }
    });
    let play_round = |round: usize| {
        goal.store(round, Ordering::SeqCst);
        measure(|| {
            local.block_on(&runtime, async {
                let begin = Instant::now();
                while reached.load(Ordering::SeqCst) < round * CLIENTS {
                    assert!(begin.elapsed() < Duration::from_secs(120), "a client is not answered");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        })
    };
    let (warming, counted) = (play_round(1), play_round(2));
    let commands = CLIENTS * BATCHES * PIPELINE * 2;
    println!(
        "{commands} commands: {} allocations, {} while buffers grew",
        counted.count_total, warming.count_total
    );
    // A buffer or a queue may become longer than ever once more.
    assert!(counted.count_total <= 32, "{} allocations for {commands} commands", counted.count_total);
    clients.into_iter().for_each(|client| client.join().unwrap());
}
