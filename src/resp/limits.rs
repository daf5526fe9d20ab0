//! How much one request may be: bounds in arguments and bytes, smaller before authentication.
//!
//! They bound what a client can make us hold *before* anyone judged it. They are checked when a length is announced,
//! so a refused request costs us its header and nothing more.

/// The bounds of one request.
///
/// A session passes those that hold right now to every [`Scanner::scan`](super::Scanner::scan); they may change
/// between two calls, also in the middle of a request: they hold for the headers that are read from then on, as in
/// Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether the client has authenticated (or need not). Decides the wording of a refusal only, not the bounds.
    pub authenticated: bool,
    /// The most arguments of a multibulk request, the command's name included.
    pub max_args: usize,
    /// The most bytes of one argument of a multibulk request.
    pub max_bulk_bytes: usize,
    /// The same after authentication: what is longer is refused in other words, also to strangers.
    pub longest_bulk: usize,
    /// The most bytes of an argument with its CRLF that may be held until they are complete: Redis'
    /// `client-query-buffer-limit`, past which the client is closed without a word.
    pub max_query_bytes: usize,
    /// The most bytes of a line: of an inline request, or of a header that does not end.
    pub max_inline_bytes: usize,
    /// The most bytes of a whole multibulk request on the wire, all headers included.
    pub max_request_bytes: usize,
}

impl Limits {
    /// For clients that may send commands, with Redis' defaults.
    ///
    /// Source: 512 MiB per argument and 64 KiB per inline line are Redis' defaults (7.0.15: `$536870913` and a line of
    /// 65,537 bytes are refused). 1,048,576 arguments was Redis' bound up to 6.2; newer ones allow 2^31-1.
    pub const AUTHENTICATED: Limits = Limits::of_users(512 * 1024 * 1024, 1024 * 1024 * 1024);

    /// For clients that may send commands, where arguments and buffered bytes are bounded otherwise.
    ///
    /// Source: with `client-query-buffer-limit` 1 MiB, redis 7.0.15 takes an argument of 1,048,574 bytes and closes at one
    /// more: argument and CRLF are what it has buffered then. It does not count the arguments before, which we hold until
    /// the request is complete; so the whole request is bounded too, with room for its headers.
    pub const fn of_users(max_bulk_bytes: usize, max_query_bytes: usize) -> Limits {
        Limits {
            authenticated: true,
            max_args: 1_048_576,
            max_bulk_bytes,
            longest_bulk: max_bulk_bytes,
            max_query_bytes,
            max_inline_bytes: 64 * 1024,
            max_request_bytes: max_query_bytes.saturating_add(64 * 1024),
        }
    }

    /// For clients that have yet to say who they are.
    ///
    /// Source: redis 7.0.15 refuses `*11` and `$16385` before AUTH, and accepts `*10` and `$16384`. It would thus hold
    /// 160 KiB; the 1 MiB for the whole request never matters with these and is a net under configured ones.
    pub const UNAUTHENTICATED: Limits = Limits {
        authenticated: false,
        max_args: 10,
        max_bulk_bytes: 16_384,
        longest_bulk: Limits::AUTHENTICATED.max_bulk_bytes,
        max_query_bytes: 1024 * 1024,
        max_inline_bytes: 64 * 1024,
        max_request_bytes: 1024 * 1024,
    };
}
