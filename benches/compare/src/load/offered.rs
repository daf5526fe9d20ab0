//! Requests at a fixed rate, as users make them: they do not wait for each other's replies.
//!
//! A latency counts from the moment at which the request was to be sent, also when its client was still busy or this
//! program was late: nothing slow is left out.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::read;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

use super::fleet::{Fleet, TIMER};
use super::{Meter, Seen, TURN};
use crate::Result;
use crate::servers::Running;
use crate::work::{self, Batch};

/// How often it is looked whether requests are due; epoll itself counts in milliseconds only.
const TICK: Duration = Duration::from_micros(50);
/// How long replies that are still missing at the end are waited for; what is missing then counts as that late, and is
/// told.
const LATE: Duration = Duration::from_secs(10);

/// Sends `rate` requests a second by `clients` clients, for `length`. Beside them, one more client may send
/// `disturbance` again and again.
pub fn offered(
    running: &Running,
    batches: &[Batch],
    (rate, clients): (u32, usize),
    disturbance: Option<&Batch>,
    length: Duration,
) -> Result<Seen> {
    let login = work::login(running.endpoint.login.is_some());
    let mut fleet = Fleet::new()?;
    fleet.open(&running.endpoint, clients + usize::from(disturbance.is_some()), &login)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let tick = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TICK.as_nanos())? };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: tick, it_value: tick })?;
    fleet.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;

    let mut schedule = Schedule {
        next: Instant::now(),
        pause: Duration::from_secs(1) / rate,
        turn: 0,
        waiting: vec![VecDeque::new(); clients],
        busy: vec![false; clients],
    };
    let mut batches = batches.iter().cycle();
    let mut seen = Seen::default();
    let mut meter = Meter::new(running, length);
    if let (Some(batch), Some(client)) = (disturbance, fleet.clients.get_mut(clients)) {
        client.begin(batch, Instant::now())?;
        fleet.hurry(clients);
    }

    // Requests count that were to be sent in the window; their replies may come after its end.
    let mut opened = None;
    let mut deadline: Option<Instant> = None;
    let mut late = Seen::default();
    loop {
        if deadline.is_none() && meter.is_over(&mut seen)? {
            deadline = Some(Instant::now() + LATE);
        }
        if meter.is_open() && opened.is_none() {
            opened = Some(Instant::now());
        }
        let counts = |sent: Instant| opened.is_some_and(|opened| sent >= opened);
        if let Some(deadline) = deadline {
            if schedule.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let answered_late = late.done;
                let missing = schedule.missing(&fleet).into_iter().filter(|sent| counts(*sent));
                missing.for_each(|sent| late.record(sent, 1));
                seen.unanswered = late.done - answered_late;
                break;
            }
        }
        let into = if deadline.is_some() { &mut late } else { &mut seen };
        let fired = fleet.turn(Some(TURN), |number, client, replies| {
            if number == clients {
                if client.is_done()
                    && deadline.is_none()
                    && let Some(batch) = disturbance
                {
                    client.begin(batch, Instant::now())?;
                }
                return Ok(());
            }
            if counts(client.began) {
                into.record(client.began, replies);
            }
            schedule.busy[number] = false;
            if let (Some(began), Some(batch)) = (schedule.waiting[number].pop_front(), batches.next()) {
                schedule.busy[number] = true;
                client.begin(batch, began)?;
            }
            Ok(())
        })?;
        if fired {
            read(&timer, &mut [0; 8]).ok();
        }
        while deadline.is_none() && schedule.next <= Instant::now() {
            let (number, began) = schedule.take();
            if schedule.busy[number] {
                schedule.waiting[number].push_back(began);
            } else if let Some(batch) = batches.next() {
                schedule.busy[number] = true;
                fleet.clients[number].begin(batch, began)?;
            }
        }
    }
    seen.latencies.add(&late.latencies);
    Ok(seen)
}

/// What is to be sent when, and by whom.
struct Schedule {
    next: Instant,
    pause: Duration,
    turn: usize,
    /// What each client was to send while it was busy.
    waiting: Vec<VecDeque<Instant>>,
    busy: Vec<bool>,
}

impl Schedule {
    /// The next request: whose turn it is, and since when.
    fn take(&mut self) -> (usize, Instant) {
        let began = self.next;
        self.next += self.pause;
        self.turn = (self.turn + 1) % self.busy.len();
        (self.turn, began)
    }

    /// When the requests were to be sent that have no reply yet.
    fn missing(&self, fleet: &Fleet<'_>) -> Vec<Instant> {
        let sent =
            fleet.clients.iter().zip(&self.busy).filter(|(_, busy)| **busy).map(|(client, _)| client.began);
        sent.chain(self.waiting.iter().flatten().copied()).collect()
    }

    /// Whether nobody waits for a reply.
    fn is_empty(&self) -> bool {
        !self.busy.contains(&true)
    }
}
