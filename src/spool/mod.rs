//! Lines on their way to standard error or to a file, written by a thread of its own: whoever has a line never waits.
//!
//! INVARIANT: [`Spool::push`] does no I/O and is never held up by any. What waits is bounded; past the bound, lines are
//! dropped and counted. A disk that is full or a pipe that nobody reads so costs lines, never service. What waits is
//! kept while writing fails and written when it works again, each line once and whole.
//!
//! Knows nothing of what the lines say: the log (`logging`) and the audit stream (`audit`) have one each.

mod target;

pub use target::Target;

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use target::Output;

/// Pause before a write is tried again that failed.
const RETRY: Duration = Duration::from_millis(250);

/// The same, where a pipe was full: its reader may be back at once.
const RETRY_FULL_PIPE: Duration = Duration::from_millis(20);

/// How often at most trouble is reported.
const REPORT_PAUSE: Duration = Duration::from_secs(10);

/// Memory that an empty spool keeps.
const KEPT_BYTES: usize = 64 * 1024;

/// The spool of the process' log; there is one standard error.
static LOG: OnceLock<Spool> = OnceLock::new();

/// A bounded queue of lines with the thread that writes them. Shared by all workers.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

/// What a spool needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What its reports call it, and its thread.
    pub name: &'static str,
    /// Where the lines go.
    pub target: Target,
    /// How many bytes may wait.
    pub buffer: usize,
    /// Takes no line while writing fails, though there may be room: for those who do without a thing rather than
    /// without its line.
    pub strict: bool,
}

struct Inner {
    settings: Settings,
    waiting: Mutex<Waiting>,
    /// Told when there is something to do.
    work: Condvar,
    /// Told when everything is written.
    done: Condvar,
    dropped: AtomicU64,
}

/// What the threads share.
#[derive(Default)]
struct Waiting {
    /// Whole lines, one after the other.
    lines: Vec<u8>,
    /// Bytes that the writer has taken and not written yet.
    taken: usize,
    /// The last write failed.
    failing: bool,
    /// The file is to be opened anew.
    reopen: bool,
}

impl Spool {
    /// Opens the target and starts the thread, which ends with the process.
    ///
    /// # Errors
    /// The target cannot be opened, or the system gives us no thread.
    pub fn start(settings: Settings) -> io::Result<Spool> {
        let output = settings.target.open()?;
        let name = settings.name.replace(' ', "-");
        let inner = Arc::new(Inner {
            settings,
            waiting: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            dropped: AtomicU64::new(0),
        });
        let writer = Writer::new(inner.clone(), output);
        std::thread::Builder::new().name(name).spawn(move || writer.run())?;
        Ok(Spool(inner))
    }

    /// Makes it that of the process' log, unless there is one already: then that one stays.
    pub fn into_log(self) -> &'static Spool {
        LOG.get_or_init(|| self)
    }

    /// The spool of the process' log, if it was started.
    pub fn log() -> Option<&'static Spool> {
        LOG.get()
    }

    /// Takes a line, which must end with a newline. False if it is dropped, and counted.
    pub fn push(&self, line: &[u8]) -> bool {
        let inner = &self.0;
        let mut waiting = inner.lock();
        if !inner.takes(&waiting, line.len()) {
            drop(waiting);
            inner.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let idle = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if idle {
            inner.work.notify_one();
        }
        true
    }

    /// Whether a line of so many bytes would be taken now.
    pub fn takes(&self, bytes: usize) -> bool {
        self.0.takes(&self.0.lock(), bytes)
    }

    /// Has the file opened anew, for those who have renamed it. If that fails, the old one is used on.
    pub fn reopen(&self) {
        if self.0.settings.target == Target::Stderr {
            return;
        }
        self.0.lock().reopen = true;
        self.0.work.notify_one();
    }

    /// Waits until everything is written, `at_most` so long. Not for workers.
    pub fn flush(&self, at_most: Duration) {
        let busy = |waiting: &mut Waiting| waiting.taken > 0 || !waiting.lines.is_empty();
        // In time or not: there is nothing more to do.
        let _ = self.0.done.wait_timeout_while(self.0.lock(), at_most, busy);
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// A lock whose holder panicked is taken over: what it guards is whole lines after every statement.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, waiting: &Waiting, bytes: usize) -> bool {
        let all = waiting.lines.len().saturating_add(waiting.taken).saturating_add(bytes);
        all <= self.settings.buffer && !(self.settings.strict && waiting.failing)
    }
}

/// The thread's own.
struct Writer {
    inner: Arc<Inner>,
    output: Output,
    /// Lines that are being written.
    batch: Vec<u8>,
    /// How much of them is written.
    written: usize,
    /// When trouble was reported last.
    reported: Option<Instant>,
    /// How many dropped lines were reported.
    reported_dropped: u64,
    /// The last write failed, and the others know.
    failing: bool,
    /// A failure was reported, and its end was not.
    troubled: bool,
}

impl Writer {
    fn new(inner: Arc<Inner>, output: Output) -> Self {
        Writer {
            inner,
            output,
            batch: Vec::new(),
            written: 0,
            reported: None,
            reported_dropped: 0,
            failing: false,
            troubled: false,
        }
    }

    fn run(mut self) {
        loop {
            if self.take() {
                self.reopen();
            }
            let Some(rest) = self.batch.get(self.written..).filter(|rest| !rest.is_empty()) else { continue };
            match self.output.write(rest) {
                Ok(0) => self.fail(&ErrorKind::WriteZero.into()),
                Ok(count) => self.succeed(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    /// Waits for something to do, and takes the lines that wait once the last ones are written. True if the file is to
    /// be opened anew.
    fn take(&mut self) -> bool {
        let Writer { inner, batch, written, .. } = self;
        let mut waiting = inner.lock();
        waiting.taken = batch.len().saturating_sub(*written);
        if waiting.taken == 0 {
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            *written = 0;
            if waiting.lines.is_empty() {
                inner.done.notify_all();
            }
            let idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.reopen;
            let waited = inner.work.wait_while(waiting, idle);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(batch, &mut waiting.lines);
            waiting.taken = batch.len();
        }
        std::mem::take(&mut waiting.reopen)
    }

    fn reopen(&mut self) {
        let name = self.inner.settings.name;
        match self.inner.settings.target.open() {
            Ok(output) => {
                self.output = output;
                // A line that was begun in the old file stands in the new one as a whole.
                let begun = self.batch.get(..self.written).unwrap_or_default();
                self.written =
                    begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index.saturating_add(1));
                info!(to = %self.inner.settings.target, "{name} opened anew");
            }
            Err(error) => {
                warn!(to = %self.inner.settings.target, %error, "{name} cannot be opened anew; the old one is used on");
            }
        }
    }

    fn succeed(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
        if std::mem::take(&mut self.failing) {
            self.inner.lock().failing = false;
        }
        let dropped = self.inner.dropped.load(Ordering::Relaxed);
        if !std::mem::take(&mut self.troubled) && (dropped == self.reported_dropped || !self.may_report()) {
            return;
        }
        self.reported = Some(Instant::now());
        let new = dropped.wrapping_sub(self.reported_dropped);
        self.reported_dropped = dropped;
        let name = self.inner.settings.name;
        warn!(to = %self.inner.settings.target, dropped = new, "{name} is written again");
    }

    /// Waits a little before the next attempt.
    fn fail(&mut self, error: &io::Error) {
        let full_pipe = error.kind() == ErrorKind::WouldBlock;
        let dropped = self.inner.dropped.load(Ordering::Relaxed);
        let news = dropped != self.reported_dropped || (!full_pipe && !self.troubled);
        if !full_pipe {
            self.failing = true;
            self.inner.lock().failing = true;
        }
        if news && self.may_report() {
            self.troubled = true;
            self.reported = Some(Instant::now());
            let new = dropped.wrapping_sub(self.reported_dropped);
            self.reported_dropped = dropped;
            let name = self.inner.settings.name;
            warn!(to = %self.inner.settings.target, dropped = new, %error, "{name} cannot be written");
        }
        let pause = if full_pipe { RETRY_FULL_PIPE } else { RETRY };
        // A new line is no reason to try earlier; a new file is.
        let _ = self.inner.work.wait_timeout_while(self.inner.lock(), pause, |waiting| !waiting.reopen);
    }

    fn may_report(&self) -> bool {
        self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_PAUSE)
    }
}

#[cfg(test)]
mod tests;
