//! How much a user may have of what all users share.

use std::num::NonZeroUsize;

/// What one user may have at the same time, all its clients together. `None` where nothing was said, 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Clients that are logged in.
    pub max_connections: Option<usize>,
    /// Requests at the upstream that are not answered yet.
    pub max_in_flight: Option<usize>,
    /// Links of their own.
    pub max_leased: Option<usize>,
}

impl Caps {
    /// These, and where they say nothing, those of `others`.
    #[must_use]
    pub fn or(self, others: Caps) -> Caps {
        Caps {
            max_connections: self.max_connections.or(others.max_connections),
            max_in_flight: self.max_in_flight.or(others.max_in_flight),
            max_leased: self.max_leased.or(others.max_leased),
        }
    }

    /// The most clients.
    pub fn connections(self) -> Option<NonZeroUsize> {
        self.max_connections.and_then(NonZeroUsize::new)
    }

    /// The most requests.
    pub fn in_flight(self) -> Option<NonZeroUsize> {
        self.max_in_flight.and_then(NonZeroUsize::new)
    }

    /// The most links.
    pub fn leased(self) -> Option<NonZeroUsize> {
        self.max_leased.and_then(NonZeroUsize::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_has_of_its_own_wins_and_nought_is_no_limit() {
        let all = Caps { max_connections: Some(5), max_in_flight: Some(6), max_leased: None };
        let own = Caps { max_connections: Some(0), max_in_flight: None, max_leased: Some(7) };
        let caps = own.or(all);
        assert_eq!(caps.connections(), None);
        assert_eq!(caps.in_flight().map(NonZeroUsize::get), Some(6));
        assert_eq!(caps.leased().map(NonZeroUsize::get), Some(7));
    }
}
