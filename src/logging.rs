//! Where log lines go, for every subcommand that serves clients.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Puts another filter into force.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Logs go to standard error; `RUST_LOG` wins over the configuration.
pub(crate) fn start(format: LogFormat, level: &str) {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Text => false,
    };
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr);
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
