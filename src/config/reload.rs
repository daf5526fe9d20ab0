//! The section `reload`: whether files are watched.

use std::time::Duration;

use super::read::{Reader, Section};
use super::values;

/// How often the files are looked at where no change is reported (network file systems, a `subPath` mount).
const POLL: Duration = Duration::from_secs(10);

/// `reload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// `watch`, default yes: files are read again when they change. Otherwise only SIGHUP has them read.
    pub watch: bool,
    /// `poll`, default 10 s: the files are looked at so often, whatever the system reports.
    pub poll: Duration,
}

impl Default for Reload {
    fn default() -> Self {
        Reload { watch: true, poll: POLL }
    }
}

/// Reads the section, if it is there.
pub(super) fn reload(reader: &mut Reader, top: &mut Section<'_>) -> Reload {
    let Some(entry) = top.take("reload") else { return Reload::default() };
    let reload = reader.section(entry, |reader, section| Reload {
        watch: reader.parse_or(section, "watch", true, values::switch),
        poll: reader.parse_or(section, "poll", POLL, values::duration),
    });
    reload.unwrap_or_default()
}
