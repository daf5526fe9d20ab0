//! Whose reply is it? Many clients share few links; they pipeline, block, subscribe, watch and vanish at any byte, while
//! the upstream is killed, cut off and stopped. Every reply must belong to the request that caused it, every increment
//! must be accounted for, and in the end nothing is left over.
//!
//! `SOAK_SECONDS` is how long (60); `SOAK_SEED` repeats the choices of a run, though not its timing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::text;
use crate::support::random::Random;
use crate::support::{Client, Proxy, Redis, pause, wait_for, wait_long_for};

const USERS: &str = "\
user default off
user admin on >secret ~* &* +@all
user app on >secret ~app:* &app:* +@all -@dangerous
";

const CLIENTS: usize = 64;
const DATABASES: usize = 2;
/// Keys that nobody changes, in each database with another value.
const CONSTANTS: usize = 16;
/// The upstream's own links: of each worker, for each database and protocol; and the connections of this test.
const LINKS_AT_REST: usize = 2 * DATABASES * 2 + 2;

/// What all clients of a run have seen.
#[derive(Default)]
struct Totals {
    replies: AtomicU64,
    /// Increments that were acknowledged, and those that may have happened.
    done: AtomicU64,
    doubtful: AtomicU64,
    connections: AtomicU64,
}

/// The connection has ended: the upstream took it along, or the proxy could not answer otherwise.
struct Broken;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Doubtful,
    NotSent,
}

struct Worker<'t> {
    name: String,
    connect: &'t (dyn Fn(bool) -> Client + Sync),
    totals: &'t Totals,
    random: Random,
    /// Number of the last token.
    tokens: u64,
    /// Values that its own key may have.
    own: Vec<String>,
    client: Client,
    id: String,
    database: usize,
    resp3: bool,
}

impl<'t> Worker<'t> {
    fn new(
        number: usize,
        seed: u64,
        connect: &'t (dyn Fn(bool) -> Client + Sync),
        totals: &'t Totals,
    ) -> Self {
        let random = Random::new(seed.wrapping_mul(CLIENTS as u64).wrapping_add(number as u64));
        let client = connect(number.is_multiple_of(2));
        let own = vec!["$-1\r\n".to_owned()];
        let name = format!("c{number}");
        let mut worker = Worker {
            name,
            connect,
            totals,
            random,
            tokens: 0,
            own,
            client,
            id: String::new(),
            database: 0,
            resp3: false,
        };
        worker.log_in();
        worker
    }

    fn reconnect(&mut self) {
        self.client = (self.connect)(self.random.below(2) == 0);
        self.log_in();
    }

    fn log_in(&mut self) {
        self.totals.connections.fetch_add(1, Ordering::Relaxed);
        (self.database, self.resp3) = (0, false);
        assert_eq!(self.client.ask("AUTH app secret"), "+OK\r\n");
        assert_eq!(self.client.ask(&format!("CLIENT SETNAME {}", self.name)), "+OK\r\n");
        self.id = self.client.ask("CLIENT ID");
    }

    fn token(&mut self) -> String {
        self.tokens += 1;
        format!("{}-{}", self.name, self.tokens)
    }

    fn read(&mut self) -> Result<String, Broken> {
        let reply = self.client.try_read_reply().ok_or(Broken)?;
        self.totals.replies.fetch_add(1, Ordering::Relaxed);
        Ok(text(&reply))
    }

    fn send(&mut self, line: &str) -> Result<(), Broken> {
        self.client.try_send(&line.split(' ').collect::<Vec<_>>()).ok_or(Broken)
    }

    /// Counts an increment.
    fn count(&self, fate: Fate) {
        match fate {
            Fate::Done => self.totals.done.fetch_add(1, Ordering::Relaxed),
            Fate::Doubtful => self.totals.doubtful.fetch_add(1, Ordering::Relaxed),
            Fate::NotSent => 0,
        };
    }

    /// The next reply must be for this client, or say that there is none.
    fn expect(&mut self, what: &str, is_ours: impl Fn(&str) -> bool) -> Result<(Fate, String), Broken> {
        let reply = self.read()?;
        let fate = match &reply {
            reply if is_ours(reply) => Fate::Done,
            // Also Redis' own, while it loads what it had before it was killed.
            reply if reply.starts_with("-LOADING ") => Fate::NotSent,
            reply if reply.starts_with("-INDOUBT redkeep: ") => Fate::Doubtful,
            _ => panic!("{} got {reply:?} for {what}", self.name),
        };
        Ok((fate, reply))
    }

    fn null(&self) -> &'static str {
        if self.resp3 { "_\r\n" } else { "$-1\r\n" }
    }

    /// Up to twenty commands of all kinds, sent before the first reply is read.
    fn pipeline(&mut self) -> Result<(), Broken> {
        let mut expected: Vec<(&str, String)> = Vec::new();
        for _ in 0..=self.random.below(20) {
            let token = self.token();
            let constant = self.random.below(CONSTANTS);
            let (line, reply) = match self.random.below(8) {
                0 => (format!("ECHO {token}"), ("echo", bulk(&token))),
                1 | 2 => ("INCR app:count".to_owned(), ("incr", String::new())),
                3 => (
                    format!("GET app:const:{constant}"),
                    ("constant", bulk(&constant_value(self.database, constant))),
                ),
                4 => ("CLIENT ID".to_owned(), ("id", self.id.clone())),
                5 => ("GET other".to_owned(), ("denied", String::new())),
                6 if self.database == 0 => {
                    (format!("SET app:own:{} {token}", self.name), ("set", bulk(&token)))
                }
                7 if self.database == 0 => (format!("GET app:own:{}", self.name), ("get", String::new())),
                _ => ("CLIENT GETNAME".to_owned(), ("name", bulk(&self.name))),
            };
            self.send(&line)?;
            expected.push(reply);
        }
        // A request that was sent may have run, though its reply is never read.
        let mut open = expected.iter().filter(|(kind, _)| *kind == "incr").count();
        let all = self.pipeline_replies(&expected, &mut open);
        if all.is_err() {
            (0..open).for_each(|_| self.count(Fate::Doubtful));
            let sets = expected.iter().filter(|(kind, _)| *kind == "set");
            self.own.extend(sets.map(|(_, value)| value.clone()));
        }
        all
    }

    fn pipeline_replies(&mut self, expected: &[(&str, String)], open: &mut usize) -> Result<(), Broken> {
        for (kind, wanted) in expected {
            match *kind {
                "incr" => {
                    let (fate, _) = self.expect(kind, |reply| reply.starts_with(':'))?;
                    *open -= 1;
                    self.count(fate);
                }
                "denied" => {
                    let reply = self.read()?;
                    assert!(reply.starts_with("-NOPERM "), "{} got {reply:?} for {kind}", self.name);
                }
                "set" => match self.expect(kind, |reply| reply == "+OK\r\n")?.0 {
                    Fate::Done => self.own = vec![wanted.clone()],
                    Fate::Doubtful => self.own.push(wanted.clone()),
                    Fate::NotSent => {}
                },
                "get" => {
                    let (own, null) = (self.own.clone(), self.null());
                    let known = |reply: &str| {
                        own.iter().any(|own| own == reply || (own == "$-1\r\n" && reply == null))
                    };
                    if let (Fate::Done, value) = self.expect("its own key", known)? {
                        self.own = vec![if value == null { "$-1\r\n".to_owned() } else { value }];
                    }
                }
                _ => {
                    self.expect(kind, |reply| reply == wanted)?;
                }
            }
        }
        Ok(())
    }

    fn transaction(&mut self) -> Result<(), Broken> {
        let token = self.token();
        let watched = self.random.below(3) == 0;
        let lines = ["MULTI", "INCR app:count", &format!("ECHO {token}"), "EXEC"];
        if watched {
            self.send(&format!("WATCH app:watched:{}", self.name))?;
            self.expect("watch", |reply| reply == "+OK\r\n")?;
        }
        let sent = lines.iter().try_for_each(|line| self.send(line));
        let outcome = sent.and_then(|()| {
            self.expect("multi", |reply| reply == "+OK\r\n")?;
            for _ in 0..2 {
                self.expect("queueing", |reply| reply == "+QUEUED\r\n")?;
            }
            let ours = format!("\r\n{}", bulk(&token));
            let aborted = "-EXECABORT Transaction discarded because of";
            let (fate, reply) = self.expect("exec", |reply| {
                (reply.starts_with("*2\r\n:") && reply.ends_with(&ours)) || reply.starts_with(aborted)
            })?;
            Ok(if reply.starts_with('-') && fate == Fate::Done { Fate::NotSent } else { fate })
        });
        self.count(*outcome.as_ref().unwrap_or(&Fate::Doubtful));
        outcome.map(|_| ())
    }

    fn blocking(&mut self) -> Result<(), Broken> {
        let list = format!("app:list:{}", self.name);
        let token = self.token();
        let null = if self.resp3 { "_\r\n" } else { "*-1\r\n" };
        let mine = format!("*2\r\n{}${}\r\n{}-", bulk(&list), token.len(), self.name);
        if self.random.below(2) == 0 {
            self.send(&format!("RPUSH {list} {token}"))?;
            self.send(&format!("BLPOP {list} 1"))?;
            self.expect("rpush", |reply| reply.starts_with(':'))?;
        } else {
            self.send(&format!("BLPOP {list} 0.01"))?;
        }
        // What an earlier, doubtful RPUSH has left there may be shorter.
        let any = format!("*2\r\n{}", bulk(&list));
        let own = format!("\r\n{}-", self.name);
        self.expect("blpop", |reply| {
            reply == null || reply.starts_with(&mine) || (reply.starts_with(&any) && reply.contains(&own))
        })?;
        Ok(())
    }

    fn subscription(&mut self) -> Result<(), Broken> {
        let channel = format!("app:chan:{}", self.name);
        let token = self.token();
        let frame = if self.resp3 { '>' } else { '*' };
        self.send(&format!("SUBSCRIBE {channel}"))?;
        let confirmed = format!("{frame}3\r\n$9\r\nsubscribe\r\n{}:1\r\n", bulk(&channel));
        if self.expect("subscribe", |reply| reply == confirmed)?.0 != Fate::Done {
            return Ok(());
        }
        let mut other = (self.connect)(true).login("app", "secret");
        let heard = other.ask(&format!("PUBLISH {channel} {token}"));
        match heard.as_str() {
            ":1\r\n" => {
                let message = format!("{frame}3\r\n$7\r\nmessage\r\n{}{}", bulk(&channel), bulk(&token));
                self.expect("message", |reply| reply == message)?;
            }
            // The upstream was away in between; whether there is a message is not known.
            _ => return Err(Broken),
        }
        self.send(&format!("UNSUBSCRIBE {channel}"))?;
        self.send(&format!("ECHO {token}"))?;
        let confirmed = format!("{frame}3\r\n$11\r\nunsubscribe\r\n{}:0\r\n", bulk(&channel));
        self.expect("unsubscribe", |reply| reply == confirmed)?;
        self.expect("echo", |reply| reply == bulk(&token))?;
        Ok(())
    }

    /// Changes to another link: another database or protocol.
    fn turn(&mut self) -> Result<(), Broken> {
        if self.random.below(2) == 0 {
            let database = self.random.below(DATABASES);
            self.send(&format!("SELECT {database}"))?;
            if self.expect("select", |reply| reply == "+OK\r\n")?.0 == Fate::Done {
                self.database = database;
            }
        } else {
            let resp3 = self.random.below(2) == 0;
            self.send(if resp3 { "HELLO 3" } else { "HELLO 2" })?;
            let id = format!("$2\r\nid\r\n{}", self.id);
            if self.expect("hello", |reply| reply.contains(&id))?.0 == Fate::Done {
                self.resp3 = resp3;
            }
        }
        Ok(())
    }

    /// Leaves at any byte of a pipeline.
    fn vanish(&mut self) -> Result<(), Broken> {
        let incr = b"*2\r\n$4\r\nINCR\r\n$9\r\napp:count\r\n";
        let rest: [&[u8]; 5] = [
            b"*3\r\n$5\r\nBLPOP\r\n$8\r\napp:none\r\n$1\r\n0\r\n",
            b"*2\r\n$9\r\nSUBSCRIBE\r\n$8\r\napp:gone\r\n",
            b"*1\r\n$5\r\nMULTI\r\n",
            b"*2\r\n$3\r\nGET\r\n$11\r\napp:const:1\r\n",
            b"*2\r\n$5\r\nWATCH\r\n$8\r\napp:gone\r\n",
        ];
        let increments = self.random.below(10);
        let bytes = [incr.repeat(increments), rest[self.random.below(rest.len())].to_vec()].concat();
        let sent = self.random.below(bytes.len() + 1);
        (0..sent / incr.len()).for_each(|_| self.count(Fate::Doubtful));
        self.client.send_raw(&bytes[..sent]);
        // Sometimes a reply or two is on its way by then.
        if self.random.below(2) == 0 {
            pause(Duration::from_millis(self.random.below(20) as u64));
        }
        Err(Broken)
    }

    fn run(&mut self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let outcome = match self.random.below(16) {
                0..8 => self.pipeline(),
                8..10 => self.transaction(),
                10..12 => self.blocking(),
                12 => self.subscription(),
                13 | 14 => self.turn(),
                _ => self.vanish(),
            };
            if outcome.is_err() {
                self.reconnect();
            }
        }
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn constant_value(database: usize, number: usize) -> String {
    format!("constant-{database}-{number}")
}

/// Kills, cuts off and stops the upstream, until the time is over. Leaves it running.
fn disturb(redis: &mut Redis, random: &mut Random, until: Instant) -> usize {
    let mut faults = 0;
    while Instant::now() < until {
        pause(Duration::from_millis(500 + random.below(1500) as u64));
        faults += 1;
        match random.below(3) {
            0 => {
                redis.kill();
                pause(Duration::from_millis(random.below(400) as u64));
                redis.start_again();
            }
            1 => _ = redis.client().try_call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
            _ => {
                let pid = redis.pid().to_string();
                for (signal, time) in [("-STOP", random.below(400)), ("-CONT", 0)] {
                    assert!(
                        std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success()
                    );
                    pause(Duration::from_millis(time as u64));
                }
            }
        }
    }
    faults
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn every_reply_belongs_to_its_request_whatever_happens() {
    let seed = Random::seed("SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let seconds = Random::seed("SOAK_SECONDS").unwrap_or(60);
    println!("SOAK_SEED={seed}, {seconds} s");
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    for database in 0..DATABASES {
        let mut direct = redis.client();
        direct.ask(&format!("SELECT {database}"));
        for number in 0..CONSTANTS {
            direct.ask(&format!("SET app:const:{number} {}", constant_value(database, number)));
        }
    }
    // Its open files are counted.
    let proxy = Proxy::with_users(&redis, USERS, "core_dumps: yes\n");
    let config = proxy.certs.client_config(false);
    let (tls, plain) = (proxy.port(0), proxy.port(1));
    let connect =
        move |encrypted: bool| if encrypted { Client::tls(tls, config.clone()) } else { Client::tcp(plain) };
    let mut admin = proxy.plain().login("admin", "secret");
    let files = open_files(proxy.pid());
    let (totals, over) = (Totals::default(), AtomicBool::new(false));
    let faults = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (connect, totals, over) = (&connect, &totals, &over);
            scope.spawn(move || {
                // Whoever fails ends the run for all.
                let ended = Ended(over);
                Worker::new(number, seed, connect, totals).run(over);
                std::mem::forget(ended);
            });
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let faults = disturb(&mut redis, &mut Random::new(seed), until);
        over.store(true, Ordering::Relaxed);
        faults
    });

    let sum = |total: &AtomicU64| total.load(Ordering::Relaxed);
    let (done, doubtful) = (sum(&totals.done), sum(&totals.doubtful));
    let mut direct = redis.client();
    let mut value = 0;
    for database in 0..DATABASES {
        direct.ask(&format!("SELECT {database}"));
        value += direct.ask("GET app:count").lines().nth(1).unwrap().parse::<u64>().unwrap();
    }
    println!(
        "{} replies on {} connections, {faults} faults; {done} increments acknowledged, {doubtful} in doubt, {value} executed",
        sum(&totals.replies),
        sum(&totals.connections),
    );
    assert!(sum(&totals.replies) > 1_000 && faults > 0, "the run did something");
    assert!(done <= value && value <= done + doubtful, "an increment was lost, or ran twice");

    wait_for("all clients to be gone", || {
        (admin.ask("CLIENT LIST").matches(" addr=").count() == 1).then_some(())
    });
    // Clean ones rest for ten seconds, and are looked after every ten.
    wait_long_for("all leased links to be closed", Duration::from_secs(30), || {
        let info = direct.ask("INFO clients");
        let number = |name: &str| -> usize {
            info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        (number("blocked_clients:") == 0 && number("connected_clients:") <= LINKS_AT_REST).then_some(())
    });
    wait_for("all files to be closed", || (open_files(proxy.pid()) <= files + LINKS_AT_REST).then_some(()));
    let resident = super::limits::resident_kib(proxy.pid());
    assert!(resident < 256 * 1024, "{resident} KiB are left");
    proxy.assert_no_panic();
}

/// Ends the run when a worker panics.
struct Ended<'o>(&'o AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
