//! What is wrong with bytes: [`ProtocolError`] is the client's fault, [`ReplyError`] the upstream's.
//!
//! Both are final: nobody knows where the next frame starts, so the connection must be closed, after the client was
//! told why. The texts for the client are Redis' own, byte for byte (7.0.15, facts sections 1 and 6).

use std::borrow::Cow;
use std::fmt;

/// Why the bytes of a client are not a request. The client is answered [`ProtocolError::text`] and disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An argument is longer than may be held of this client until it is complete. As in Redis the client is not told.
    FullQueryBuffer,
    /// An argument's length is not a canonical number, or is over the limit.
    InvalidBulkLength,
    /// The number of arguments is not a canonical number from 1 on, or is over the limit.
    InvalidMultibulkLength,
    /// An argument is not followed by CRLF. Redis does not look; here it would let two requests be one.
    MissingCrlf,
    /// An argument does not begin with `$` but with this byte (attacker-controlled).
    NotABulk(u8),
    /// A NUL in an inline request. Redis' line search stops at it, and the client waits forever.
    NulInInline,
    /// More than the limit of an inline line, and no end of an argument's header.
    TooBigBulkCount,
    /// An inline request is longer than the limit.
    TooBigInline,
    /// More than the limit of an inline line, and no end of the request's header.
    TooBigMultibulkCount,
    /// The request as a whole is over the limit.
    TooBigRequest,
    /// An argument's length is over the limit that holds before authentication.
    UnauthenticatedBulkLength,
    /// The number of arguments is over the limit that holds before authentication.
    UnauthenticatedMultibulkLength,
    /// Quotes of an inline request that do not end, or are not followed by a space.
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The text of the error reply with its code, without `-` and CRLF: what Redis says, byte for byte.
    ///
    /// Not always UTF-8: Redis echoes the offending byte raw. CR, LF and NUL are shown as a space.
    pub fn text(self) -> Cow<'static, [u8]> {
        let text: &'static str = match self {
            ProtocolError::FullQueryBuffer => "ERR Protocol error: reached max query buffer length",
            ProtocolError::InvalidBulkLength => "ERR Protocol error: invalid bulk length",
            ProtocolError::InvalidMultibulkLength => "ERR Protocol error: invalid multibulk length",
            ProtocolError::MissingCrlf => "ERR Protocol error: expected CRLF after bulk",
            ProtocolError::NotABulk(byte) => {
                let shown = if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte };
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[shown, b'\'']);
                return Cow::Owned(text);
            }
            ProtocolError::NulInInline => "ERR Protocol error: unexpected NUL in inline request",
            ProtocolError::TooBigBulkCount => "ERR Protocol error: too big bulk count string",
            ProtocolError::TooBigInline => "ERR Protocol error: too big inline request",
            ProtocolError::TooBigMultibulkCount => "ERR Protocol error: too big mbulk count string",
            ProtocolError::TooBigRequest => "ERR Protocol error: too big request",
            ProtocolError::UnauthenticatedBulkLength => "ERR Protocol error: unauthenticated bulk length",
            ProtocolError::UnauthenticatedMultibulkLength => {
                "ERR Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::UnbalancedQuotes => "ERR Protocol error: unbalanced quotes in request",
        };
        Cow::Borrowed(text.as_bytes())
    }
}

impl fmt::Display for ProtocolError {
    /// For the operator's log: the client's text without its code, the echoed byte escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let reason = text.strip_prefix(b"ERR Protocol error: ").unwrap_or(&text);
        write!(f, "{}", reason.escape_ascii())
    }
}

impl std::error::Error for ProtocolError {}

/// Why the bytes of the upstream are not a reply. The link must be closed: its replies can no longer be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A bulk or a line is longer than the scanner was told to accept.
    BulkTooLong,
    /// A line with a lone CR or LF, or a null or boolean with other content.
    InvalidLine,
    /// A length, a count or an integer is not a canonical number; also streamed types, which Redis does not use.
    InvalidNumber,
    /// A bulk is not followed by CRLF.
    MissingCrlf,
    /// A push inside another reply.
    NestedPush,
    /// Aggregates are nested deeper than [`MAX_NESTING`](super::MAX_NESTING).
    TooDeep,
    /// No reply begins with this byte.
    UnknownType(u8),
}

impl fmt::Display for ReplyError {
    /// For the operator's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::BulkTooLong => f.write_str("reply is too long"),
            ReplyError::InvalidLine => f.write_str("invalid line in reply"),
            ReplyError::InvalidNumber => f.write_str("invalid number in reply"),
            ReplyError::MissingCrlf => f.write_str("expected CRLF after bulk in reply"),
            ReplyError::NestedPush => f.write_str("push inside a reply"),
            ReplyError::TooDeep => f.write_str("reply is nested too deep"),
            ReplyError::UnknownType(byte) => write!(f, "unknown reply type `{}`", byte.escape_ascii()),
        }
    }
}

impl std::error::Error for ReplyError {}
