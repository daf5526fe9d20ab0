//! What the policy says of one command: [`Verdict`], the permit [`Judged`], and the [`Reason`] of a refusal.

use super::ScriptDenial;
use super::gate::Exceeded;
use crate::command::Spec;
use crate::command::syntax::Rejection;
use crate::resp::Request;

/// The verdict on one request.
#[must_use]
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The command may run. The permit carries the bytes that were judged.
    Allow(Judged<'a>),
    /// The command may not run, and not a byte of it may reach Redis.
    Deny(Reason<'a>),
}

/// A permit: a command with an allow verdict. Only [`Policy::judge`](super::Policy::judge) makes one, and an upstream
/// link sends nothing else for a client.
///
/// INVARIANT: the bytes are the canonical encoding of exactly the arguments that were judged, under the command's
/// original name.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    request: Request<'a>,
    spec: &'a Spec,
    mirrored: bool,
}

impl std::fmt::Debug for Judged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SECURITY: arguments may be secrets.
        write!(f, "Judged({})", self.spec.name)
    }
}

impl<'a> Judged<'a> {
    pub(super) fn new(request: Request<'a>, spec: &'a Spec) -> Self {
        Judged { request, spec, mirrored: false }
    }

    /// The same for a command that may run as the mirror of the session's user alone.
    pub(super) fn mirrored(request: Request<'a>, spec: &'a Spec) -> Self {
        Judged { request, spec, mirrored: true }
    }

    /// Whether only a link that is logged in as the mirror of the session's user may carry it: it runs code of a user
    /// who is not all-powerful.
    pub fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// What the command is.
    pub fn spec(&self) -> &'a Spec {
        self.spec
    }

    /// The command's arguments, under its original name.
    pub fn request(&self) -> Request<'a> {
        self.request
    }

    /// The bytes to send.
    pub fn wire(&self) -> &'a [u8] {
        self.request.wire()
    }
}

/// Why a command is refused. Log, metrics and the reply share it; [`Reason::reply`](super::Reason::reply) words it.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// An argument that `commands.bounds` does not allow.
    Bound(Exceeded),
    /// CLIENT TRACKING with BCAST of a user who is not all-powerful: it tells the names of all keys that change.
    Broadcast,
    /// A channel that the user may not access; which argument it is.
    Channel(usize),
    /// A command or subcommand that the user may not run.
    Command(&'a Spec),
    /// `POST` or `Host:`: somebody talks HTTP to us. The session is closed without a reply, as Redis does.
    CrossProtocol,
    /// CONFIG GET or SET of the upstream's own credentials.
    CredentialConfig,
    /// A database that the user may not access; which argument it is, the command's name for the session's own.
    Database(usize),
    /// A command that reaches keys which it does not name, of a user with a key fence.
    Fenced(&'a Spec),
    /// A channel that tells of keys outside the user's patterns, of a user with a key fence; which argument it is.
    FencedChannel(usize),
    /// A key that the user may not access; which argument it is, if that is certain.
    Key(Option<usize>),
    /// The number of arguments is wrong.
    Arity(&'a Spec),
    /// A command that Redis guards by configuration (DEBUG, MODULE).
    ProtectedCommand(&'static str),
    /// A parameter that Redis guards by configuration (`dir`, `dbfilename`), or that is guarded like these; which
    /// argument it is.
    ProtectedConfig(usize),
    /// A script or function of a user who is not all-powerful: what it calls could not be judged.
    Script(ScriptDenial),
    /// SORT with a BY or GET that could reach keys outside the user's patterns; the option's name.
    SortPattern(&'static str),
    /// Redis' own parser would reject the request, and it is not sent since its keys cannot be told.
    Syntax(&'a Spec, Rejection),
    /// Nobody is logged in, and the command, if it exists, needs it.
    Unauthenticated(Option<&'a Spec>),
    /// Redkeep has no equal for it on shared upstream connections.
    Unavailable(&'a Spec),
    /// No such command, or one that is renamed or denied.
    UnknownCommand,
    /// No such subcommand of the container, or one that is denied.
    UnknownSubcommand(&'a Spec),
}
