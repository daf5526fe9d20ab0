//! What is measured: the list of scenarios.

/// One thing to measure.
pub struct Scenario {
    /// Its name on the command line, in JSON and in the tables.
    pub name: &'static str,
    /// One line about it.
    pub what: &'static str,
    /// What clients do.
    pub kind: Kind,
}

/// What the commands of a scenario are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// GET of 64 B.
    Get,
    /// SET of 64 B.
    Set,
    /// MGET of ten values of 64 B.
    Mget,
    /// GET of 64 KiB.
    GetLarge,
    /// SET of 4 KiB.
    SetPage,
    /// Four GET, one SET, of 64 B.
    Mix,
}

/// What one client does to the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disturber {
    /// Nothing: the reference.
    Nobody,
    /// GET of a value of 64 MiB, again and again.
    Huge,
    /// A pipeline of 100,000 GET, again and again.
    Pipeline,
}

/// What clients do.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Each client sends its next requests once all of the last ones are answered.
    Closed {
        /// What they send.
        traffic: Traffic,
        /// How many clients.
        clients: usize,
        /// Requests at a time.
        pipeline: usize,
    },
    /// Requests come at a fixed rate, whatever the answers do. Latency counts from the moment at which a request was
    /// to be sent.
    Offered {
        /// Requests a second, of all clients.
        rate: u32,
        /// How many clients.
        clients: usize,
        /// What one more client does meanwhile.
        disturber: Disturber,
    },
    /// One publisher; each message goes to all subscribers.
    Fanout {
        /// How many.
        subscribers: usize,
    },
    /// Connect, log in, PING, close, sixteen at a time.
    Connect {
        /// Whether TLS sessions are resumed.
        resume: bool,
    },
    /// Clients that have logged in and say nothing more.
    Idle {
        /// How many.
        clients: usize,
    },
}

const fn closed(
    name: &'static str,
    what: &'static str,
    traffic: Traffic,
    clients: usize,
    pipeline: usize,
) -> Scenario {
    Scenario { name, what, kind: Kind::Closed { traffic, clients, pipeline } }
}

const fn mixed(name: &'static str, what: &'static str, disturber: Disturber) -> Scenario {
    Scenario { name, what, kind: Kind::Offered { rate: 5_000, clients: 50, disturber } }
}

/// All scenarios, in the order of the tables.
pub const SCENARIOS: [Scenario; 20] = [
    closed("get-50-1", "GET 64 B, 50 clients", Traffic::Get, 50, 1),
    closed("get-50-16", "GET 64 B, 50 clients, pipeline 16", Traffic::Get, 50, 16),
    closed("get-500-1", "GET 64 B, 500 clients", Traffic::Get, 500, 1),
    closed("get-1000-1", "GET 64 B, 1,000 clients", Traffic::Get, 1000, 1),
    closed("set-50-1", "SET 64 B, 50 clients", Traffic::Set, 50, 1),
    closed("set-50-16", "SET 64 B, 50 clients, pipeline 16", Traffic::Set, 50, 16),
    closed("set-500-1", "SET 64 B, 500 clients", Traffic::Set, 500, 1),
    closed("set-1000-1", "SET 64 B, 1,000 clients", Traffic::Set, 1000, 1),
    closed("mget-10", "MGET of 10 × 64 B, 50 clients", Traffic::Mget, 50, 1),
    closed("get-64k", "GET 64 KiB, 20 clients", Traffic::GetLarge, 20, 1),
    closed("set-4k", "SET 4 KiB, 50 clients", Traffic::SetPage, 50, 1),
    closed("mix-80-20", "80 % GET, 20 % SET, 64 B, 50 clients", Traffic::Mix, 50, 1),
    Scenario {
        name: "fanout-100",
        what: "pub/sub: 64 B to 100 subscribers (per delivery)",
        kind: Kind::Fanout { subscribers: 100 },
    },
    Scenario {
        name: "connect",
        what: "connect, TLS, AUTH, PING, close (per connection)",
        kind: Kind::Connect { resume: false },
    },
    Scenario {
        name: "connect-resumed",
        what: "the same, TLS sessions resumed",
        kind: Kind::Connect { resume: true },
    },
    Scenario {
        name: "idle-5000",
        what: "5,000 idle clients, logged in",
        kind: Kind::Idle { clients: 5_000 },
    },
    Scenario {
        name: "get-10000s",
        what: "GET 64 B at 10,000/s, 50 clients",
        kind: Kind::Offered { rate: 10_000, clients: 50, disturber: Disturber::Nobody },
    },
    mixed("mixed-alone", "GET 64 B at 5,000/s, 50 clients, nobody else", Disturber::Nobody),
    mixed("mixed-64m", "… beside one client that pulls values of 64 MiB", Disturber::Huge),
    mixed("mixed-100k", "… beside one client with pipelines of 100,000 GET", Disturber::Pipeline),
];
