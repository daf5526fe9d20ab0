//! Where log lines go, for every subcommand that serves clients.
//!
//! INVARIANT: nobody waits for standard error. Lines are written by a thread of their own; if nobody reads them, those
//! past a bound are dropped and counted. One event is one line, whatever clients call things.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;
use crate::spool::{Settings, Spool, Target};

/// Bytes of lines that may wait for standard error.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// How long the end of the program waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Logging, until it is dropped: then the last lines are written.
#[must_use]
pub(crate) struct Logging(&'static Spool);

/// Puts another filter into force.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Logs go to standard error; `RUST_LOG` wins over the configuration.
///
/// # Errors
/// The system gives us no thread.
pub(crate) fn start(format: LogFormat, level: &str) -> io::Result<Logging> {
    let settings = Settings { name: "log", target: Target::Stderr, buffer: BUFFER_BYTES, strict: false };
    let spool = Spool::start(settings)?.into_log();
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let builder = tracing_subscriber::fmt().with_writer(Lines(spool));
    // A second start in one process (tests) keeps the first one's logging.
    if json {
        let builder = builder.json().with_env_filter(filter(level)).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        let _ = SET_FILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    } else {
        let builder = builder.with_ansi(terminal).with_env_filter(filter(level)).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        let _ = SET_FILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging(spool))
}

/// Another level, from now on; without effect where `RUST_LOG` is set.
pub(crate) fn set_level(level: &str) {
    if let Some(set) = SET_FILTER.get() {
        set(filter(level));
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level))
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush(LAST_LINES);
    }
}

/// The usual hook writes to standard error itself, and a worker would wait for whoever reads that.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let reason = info.payload_as_str().unwrap_or_default();
    let thread = std::thread::current();
    error!(thread = thread.name(), place, reason, "panicked");
}

/// Makes a writer for each event, which the formatter hands over in one piece.
struct Lines(&'static Spool);

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Event<'w>;

    fn make_writer(&'w self) -> Event<'w> {
        Event(self.0)
    }
}

struct Event<'w>(&'w Spool);

impl Write for Event<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.push(&one_line(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The event as one line. SECURITY: the text format shows line breaks in texts of clients as they are, and so lines of
/// their own making.
fn one_line(event: &[u8]) -> Cow<'_, [u8]> {
    let line = event.strip_suffix(b"\n").unwrap_or(event);
    if event.len() == line.len().saturating_add(1) && !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(event);
    }
    let mut whole = Vec::with_capacity(event.len());
    for byte in line {
        match byte {
            b'\n' => whole.extend_from_slice(b"\\n"),
            b'\r' => whole.extend_from_slice(b"\\r"),
            _ => whole.push(*byte),
        }
    }
    whole.push(b'\n');
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn an_event_is_one_line() {
        for (event, line) in [
            ("plain\n", "plain\n"),
            ("without end", "without end\n"),
            ("a\nINFO forged\n", "a\\nINFO forged\n"),
            ("a\r\n\n", "a\\r\\n\n"),
            ("", "\n"),
        ] {
            assert_eq!(one_line(event.as_bytes()), line.as_bytes());
        }
    }
}
