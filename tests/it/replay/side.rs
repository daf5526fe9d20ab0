//! One side of the comparison: a session runs sequences and keeps the bytes that come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redkeep::resp::RequestBuf;

use super::compare;
use super::template::{Arg, Step};
use crate::support::random::Random;
use crate::support::{Client, Proxy, Redis};

/// Sessions at once.
const SESSIONS: usize = 8;
/// Stands for a reply that did not come; the session ends there.
pub const NO_REPLY: &[u8] = b"no reply";

#[derive(Clone, Copy)]
pub enum Side<'s> {
    Direct(&'s Redis),
    Proxied(&'s Proxy),
}

/// How the requests of a sequence are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    OneByOne,
    /// As many in one write as depend on no reply.
    Pipelined,
    /// The same, cut anywhere.
    InPieces,
}

impl Manner {
    pub fn of(random: &mut Random) -> Manner {
        [Manner::OneByOne, Manner::Pipelined, Manner::Pipelined, Manner::InPieces][random.below(4)]
    }
}

#[derive(Clone)]
pub struct Run {
    pub steps: Vec<Step>,
    pub manner: Manner,
    /// For the cuts.
    pub seed: u64,
}

/// What one connection does.
pub struct Session {
    pub protocol: u8,
    pub tls: bool,
    pub runs: Vec<Arc<Run>>,
}

/// The request that was sent, and all its frames.
pub struct Answer {
    pub args: Vec<Vec<u8>>,
    pub reply: Vec<u8>,
}

impl Side<'_> {
    /// All answers of all sessions, by session and run. Several sessions run at once, and the upstream's shared links
    /// are really shared.
    pub fn run_all(self, sessions: &[Session]) -> Vec<Vec<Vec<Answer>>> {
        let next = AtomicUsize::new(0);
        let mut all: Vec<(usize, Vec<Vec<Answer>>)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..SESSIONS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut done = Vec::new();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            let Some(session) = sessions.get(number) else { return done };
                            done.push((number, self.run(session)));
                        }
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, answers)| answers).collect()
    }

    /// All answers of one session, by run. Each run has at least as many as there were replies.
    pub fn run(self, session: &Session) -> Vec<Vec<Answer>> {
        let client = match self {
            Side::Direct(redis) => redis.client(),
            Side::Proxied(proxy) if session.tls => proxy.tls(),
            Side::Proxied(proxy) => proxy.plain(),
        };
        let mut player = Player { client, alive: true };
        if session.protocol == 3 {
            let reply = player.client.call(&["HELLO", "3"]);
            assert!(reply.starts_with(b"%"), "{}", reply.escape_ascii());
        }
        session.runs.iter().map(|run| player.play(run)).collect()
    }
}

struct Player {
    client: Client,
    alive: bool,
}

impl Player {
    fn play(&mut self, run: &Run) -> Vec<Answer> {
        let mut random = Random::new(run.seed);
        let mut captured: HashMap<&str, Vec<u8>> = HashMap::new();
        let mut answers: Vec<Answer> = Vec::new();
        let mut unsent = Vec::new();
        let mut unread = Vec::new();
        for (index, step) in run.steps.iter().enumerate() {
            let args: Vec<Vec<u8>> = step.args.iter().map(|arg| bytes(arg, &captured)).collect();
            unsent.extend_from_slice(RequestBuf::from_args(&args).as_request().wire());
            unread.push((args, step.frames));
            let last = index + 1 == run.steps.len();
            if last || run.manner == Manner::OneByOne || step.capture.is_some() {
                self.write(&unsent, run.manner, &mut random);
                unsent.clear();
                for (args, frames) in unread.drain(..) {
                    answers.push(Answer { args, reply: self.read(frames) });
                }
            }
            if let Some(name) = step.capture {
                captured.insert(name, compare::first_element(&answers[answers.len() - 1].reply));
            }
        }
        answers
    }

    fn write(&mut self, mut bytes: &[u8], manner: Manner, random: &mut Random) {
        while self.alive && !bytes.is_empty() {
            let count = match manner {
                Manner::InPieces => 1 + random.below(bytes.len()),
                _ => bytes.len(),
            };
            self.alive = self.client.try_send_raw(&bytes[..count]).is_some();
            bytes = &bytes[count..];
        }
    }

    fn read(&mut self, frames: usize) -> Vec<u8> {
        let mut reply = Vec::new();
        for _ in 0..frames {
            match self.alive.then(|| self.client.try_read_reply()).flatten() {
                Some(frame) => reply.extend_from_slice(&frame),
                None => {
                    self.alive = false;
                    reply.extend_from_slice(NO_REPLY);
                    break;
                }
            }
        }
        reply
    }
}

fn bytes(arg: &Arg, captured: &HashMap<&str, Vec<u8>>) -> Vec<u8> {
    match arg {
        Arg::Bytes(bytes) => bytes.clone(),
        Arg::Captured(name) => captured.get(name).cloned().unwrap_or_default(),
    }
}
