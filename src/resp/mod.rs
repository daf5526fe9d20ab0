//! The wire: bytes to frames and back.
//!
//! Owns every byte-level rule of RESP: [`Scanner`] finds the next request of a client, [`ReplyScanner`] the end of
//! the next reply of the upstream, [`encode`] writes the replies that Redkeep makes up itself, and [`Limits`] says
//! how much a client may send before anybody judged it.
//!
//! Invariants: no I/O; nothing here panics on any input; every loop is bounded by the bytes that really arrived,
//! never by a number that the other side announced; nothing is allocated per request in the steady state.
//!
//! On the way of a request this is the second hop (read, **scan**, step, judge, send) and, with the reply, the last.
//!
//! Requests: SECURITY: only the canonical multibulk form is accepted as it is, so an accepted frame is our own
//! encoding of its arguments and may travel on without a copy. Redis itself is laxer (`PINGxx` passes for a bulk
//! with its CRLF, `*0` is skipped); two parsers that differ are how requests are smuggled. Inline commands are split
//! exactly as Redis splits them and re-encoded. Replies: only their ends are looked for, they are forwarded raw.
//! What Redis does was established with a real 7.0.15; the vectors are in the tests.

pub mod encode;
mod error;
mod framed;
mod limits;
mod number;
mod piece;
mod reply;
mod request;
mod scan;
mod text;
mod value;

pub use encode::Protocol;
pub use error::{ProtocolError, ReplyError};
pub use framed::{announced_items, error_text, items};
pub use limits::Limits;
pub use number::integer;
pub use piece::Piece;
pub use reply::{MAX_NESTING, ReplyFrame, ReplyKind, ReplyScanner};
pub use request::{Request, RequestBuf};
pub use scan::{Scanned, Scanner};
pub use text::c_string;
pub use value::{Value, decode};
