//! The scene as data: what is tried as whom, and how the reply must begin.

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Logged in to Redkeep as `admin`.
    Admin,
    /// Straight at the Redis socket.
    Anyone,
    /// Logged in to Redkeep as `app`.
    App,
    /// A look at the disk.
    Disk,
    /// Whoever runs Redkeep.
    Operator,
    /// Logged in to Redkeep as `readonly`.
    Readonly,
    /// At Redkeep's port, without a password.
    Stranger,
}

impl Who {
    pub(super) fn name(self) -> &'static str {
        match self {
            Who::Admin => "admin",
            Who::Anyone => "anyone",
            Who::App => "app",
            Who::Disk => "(disk)",
            Who::Operator => "operator",
            Who::Readonly => "readonly",
            Who::Stranger => "stranger",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// Send a command; `{ssh}` stands for the directory under attack, `{keys}` for the alias of KEYS.
    Call(&'static [&'static str]),
    /// List the directory under attack.
    List,
    /// Log in with the right password.
    Login,
    /// Speak to the TLS port without TLS.
    Plain,
    /// Rewrite the ACL file, with these rules added to those of `app`, and send SIGHUP.
    Reload(&'static str),
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) who: Who,
    pub(super) deed: Deed,
    /// The first bytes of the expected reply; for what has no reply, of what is shown.
    pub(super) expected: &'static str,
}

/// Some lines of the table, with words for those who see it for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) steps: &'static [Step],
}

/// What the stage says where there is no reply to show.
pub(super) mod says {
    pub(in super::super) const CLOSED: &str = "(closed, no reply)";
    pub(in super::super) const EMPTY: &str = "(empty)";
    pub(in super::super) const RELOADED: &str = "(reloaded)";
}

const fn call(who: Who, words: &'static [&'static str], expected: &'static str) -> Step {
    Step { who, deed: Deed::Call(words), expected }
}

const fn step(who: Who, deed: Deed, expected: &'static str) -> Step {
    Step { who, deed, expected }
}

/// A line of `authorized_keys`; Redis writes it into the middle of its dump, and sshd skips the rest.
const KEY: &str = "\n\nssh-ed25519 AAAAC3Nz... mallory\n\n";

/// Before Redkeep.
pub(super) const OPEN: Section = Section {
    title: "A Redis without a password: whoever reaches it owns the machine",
    steps: &[
        call(Who::Anyone, &["PING"], "+PONG"),
        call(Who::Anyone, &["SET", "payroll:bob", "4200"], "+OK"),
        call(Who::Anyone, &["CONFIG", "SET", "dir", "{ssh}"], "+OK"),
        call(Who::Anyone, &["CONFIG", "SET", "dbfilename", "authorized_keys"], "+OK"),
        call(Who::Anyone, &["SET", "x", KEY], "+OK"),
        call(Who::Anyone, &["SAVE"], "+OK"),
        step(Who::Disk, Deed::List, "authorized_keys"),
    ],
};

/// Behind Redkeep.
pub(super) const GUARDED: &[Section] = &[
    Section {
        title: "The door: TLS first, then a password",
        steps: &[
            step(Who::Stranger, Deed::Plain, says::CLOSED),
            call(Who::Stranger, &["PING"], "-NOAUTH"),
            call(Who::Stranger, &["AUTH", "app", "a-wrong-guess"], "-WRONGPASS"),
            step(Who::App, Deed::Login, "+OK"),
        ],
    },
    Section {
        title: "Users: each has its own keys and commands (users.acl, in Redis' own ACL language)",
        steps: &[
            call(Who::App, &["SET", "app:greeting", "hello"], "+OK"),
            call(Who::App, &["GET", "app:greeting"], "$5\r\nhello"),
            call(Who::App, &["GET", "payroll:bob"], "-NOPERM"),
            call(Who::App, &["FLUSHDB"], "-NOPERM"),
            // Versions word it differently; that the call inside fails is what counts.
            call(
                Who::App,
                &["EVAL", "local r = redis.pcall('GET','payroll:bob') return r.err and 'refused' or r", "0"],
                "$7\r\nrefused",
            ),
            call(Who::Readonly, &["GET", "app:greeting"], "$5\r\nhello"),
            call(Who::Readonly, &["SET", "app:greeting", "bye"], "-NOPERM"),
        ],
    },
    Section {
        title: "The same attack again, even with the passwords of app and admin",
        steps: &[
            call(Who::App, &["CONFIG", "SET", "dir", "{ssh}"], "-NOPERM"),
            call(Who::App, &["CONFIG", "SET", "dbfilename", "authorized_keys"], "-NOPERM"),
            call(Who::App, &["SET", "x", KEY], "-NOPERM"),
            call(Who::App, &["SAVE"], "-NOPERM"),
            call(Who::Admin, &["CONFIG", "SET", "dir", "{ssh}"], "-ERR "),
            step(Who::Disk, Deed::List, says::EMPTY),
        ],
    },
    Section {
        title: "Renamed commands: gone, or there for those who know the name and may (redkeep.yaml)",
        steps: &[
            call(Who::App, &["FLUSHALL"], "-ERR unknown command"),
            call(Who::Admin, &["KEYS", "*"], "-ERR unknown command"),
            call(Who::Admin, &["{keys}", "app:*"], "*1\r\n$12\r\napp:greeting"),
            call(Who::App, &["{keys}", "app:*"], "-NOPERM"),
        ],
    },
    Section {
        title: "Reload: connected clients obey new rules at their next command",
        steps: &[
            step(Who::Operator, Deed::Reload(" -@write"), says::RELOADED),
            call(Who::App, &["SET", "app:greeting", "bye"], "-NOPERM"),
            step(Who::Operator, Deed::Reload(""), says::RELOADED),
            call(Who::App, &["SET", "app:greeting", "hello again"], "+OK"),
        ],
    },
];
