//! Replies that Redkeep writes itself, in the shapes and bytes that Redis has for them.
//!
//! Owns the difference between RESP2 and RESP3 in our own replies. Everything is appended to the client's output
//! buffer; aggregates are a header, and the caller appends exactly as many elements as it announced.
//!
//! The scalars come from the codec of `redis-protocol`. The headers of aggregates do not: its maps and sets are hash
//! tables, which lose the order that clients print, nor do errors, which it wants to be UTF-8, while Redis echoes a
//! client's bytes raw.

use bytes::{BufMut, BytesMut};
use redis_protocol::resp2::encode::extend_encode_borrowed;
use redis_protocol::resp2::types::BorrowedFrame;

/// The protocol that a client has chosen (HELLO 2 or HELLO 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// Chosen by `HELLO 3`: maps, sets, pushes and nulls of their own.
    Resp3,
}

/// Appends `+text`. The text is ours: it must have no CR and no LF (they become spaces).
pub fn simple(out: &mut BytesMut, text: &str) {
    match text.contains(['\r', '\n']) {
        false => frame(out, &BorrowedFrame::SimpleString(text.as_bytes())),
        true => line(out, b'+', text.as_bytes()),
    }
}

/// Appends `-text`. The text begins with its code (`ERR …`) and may echo attacker-controlled bytes.
///
/// As Redis does, CR and LF become spaces and every other byte stays as it is, be it a control byte or no UTF-8.
/// Source: redis 7.0.15, the command `A CR LF B LF` is answered `-ERR unknown command 'A  B ', with args …`.
pub fn error(out: &mut BytesMut, text: &[u8]) {
    line(out, b'-', text);
}

/// Appends `:value`.
pub fn integer(out: &mut BytesMut, value: i64) {
    frame(out, &BorrowedFrame::Integer(value));
}

/// Appends a bulk string of any bytes.
pub fn bulk(out: &mut BytesMut, bytes: &[u8]) {
    frame(out, &BorrowedFrame::BulkString(bytes));
}

/// Appends a null: `$-1` or `_`.
pub fn null(out: &mut BytesMut, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => frame(out, &BorrowedFrame::Null),
        Protocol::Resp3 => out.put_slice(b"_\r\n"),
    }
}

/// Appends a number with a fraction: `,value`, or a bulk string in RESP2; in the fewest digits that say it exactly.
pub fn double(out: &mut BytesMut, value: f64, protocol: Protocol) {
    let text = value.to_string();
    match protocol {
        Protocol::Resp2 => bulk(out, text.as_bytes()),
        Protocol::Resp3 => line(out, b',', text.as_bytes()),
    }
}

/// Appends the null of an array (an EXEC whose watched keys changed): `*-1` or `_`.
pub fn null_array(out: &mut BytesMut, protocol: Protocol) {
    out.put_slice(match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    });
}

/// Appends a text that is meant to be read (INFO, CLIENT LIST): `=len txt:text`, or a bulk string in RESP2.
pub fn verbatim(out: &mut BytesMut, text: &[u8], protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => bulk(out, text),
        Protocol::Resp3 => {
            header(out, b'=', text.len().saturating_add(TXT.len()));
            out.put_slice(TXT);
            out.put_slice(text);
            out.put_slice(b"\r\n");
        }
    }
}

const TXT: &[u8] = b"txt:";

/// Begins an array of `len` elements.
pub fn array(out: &mut BytesMut, len: usize) {
    header(out, b'*', len);
}

/// Begins a map of `pairs` keys, each followed by its value; an array of twice as many elements in RESP2.
pub fn map(out: &mut BytesMut, pairs: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', pairs.saturating_mul(2)),
        Protocol::Resp3 => header(out, b'%', pairs),
    }
}

/// Begins a set of `len` elements (ACL GETUSER's flags); an array in RESP2.
pub fn set(out: &mut BytesMut, len: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', len),
        Protocol::Resp3 => header(out, b'~', len),
    }
}

/// Begins a push of `len` elements (a subscription's confirmation, a message); an array in RESP2.
pub fn push(out: &mut BytesMut, len: usize, protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', len),
        Protocol::Resp3 => header(out, b'>', len),
    }
}

fn header(out: &mut BytesMut, mark: u8, len: usize) {
    out.put_u8(mark);
    out.put_slice(itoa::Buffer::new().format(len).as_bytes());
    out.put_slice(b"\r\n");
}

fn line(out: &mut BytesMut, mark: u8, text: &[u8]) {
    out.reserve(text.len().saturating_add(3));
    out.put_u8(mark);
    // SECURITY: an echoed CRLF would end the reply, and the rest would be the attacker's own reply.
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.put_slice(b"\r\n");
}

fn frame(out: &mut BytesMut, frame: &BorrowedFrame<'_>) {
    let start = out.len();
    if extend_encode_borrowed(out, frame, false).is_err() {
        // The codec knows one error, a buffer that is too small, and has just made it large enough. Should it ever be
        // wrong, the client still gets exactly one reply, and all that follow stay in order.
        out.truncate(start);
        line(out, b'-', b"ERR redkeep: the reply could not be encoded");
    }
}

#[cfg(test)]
mod tests;
