//! Other settings of the upstream (a password that was rotated, timeouts) on their way into force.
//!
//! Links that stand are good whatever the password is now, so they must not be given up for a password that the upstream
//! does not know yet: a rotation may change the file first. So a connection is tried first, again and again, until the new
//! settings bring one about. That the old ones do not either says nothing for the new ones: the upstream may be away.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::upstream::{Backoff, LinkKey, Settings, dial};

/// That they do not work is told so often.
const REMIND: Duration = Duration::from_secs(10);

/// Settings that are being tried.
pub(crate) struct Renewal {
    new: Settings,
    pause: Option<Backoff>,
    told: Option<Instant>,
}

/// Settings that work.
pub(crate) struct Verified(pub(crate) Settings);

impl Renewal {
    /// None if links would be the same.
    pub(crate) fn new(old: &Settings, new: &Settings) -> Option<Renewal> {
        (!new.is_same(old)).then(|| Renewal { new: new.clone(), pause: None, told: None })
    }

    /// Waits until the new settings of a renewal work; for ever if there is no renewal. May be dropped and called again at
    /// any time.
    pub(crate) async fn verified(renewal: &mut Option<Renewal>) -> Verified {
        let Some(Renewal { new, pause, told }) = renewal else {
            return std::future::pending().await;
        };
        loop {
            if let Some(pause) = pause {
                tokio::time::sleep(pause.next_delay()).await;
            }
            let Err(error) = dial(new, LinkKey::default(), false, None).await else {
                return Verified(new.clone());
            };
            pause.get_or_insert_with(Backoff::new);
            if told.is_none_or(|told| told.elapsed() >= REMIND) {
                *told = Some(Instant::now());
                warn!(
                    upstream = %new.address, %error,
                    "no link can be made with the new settings; the old ones stay in use until one can"
                );
            }
        }
    }
}
