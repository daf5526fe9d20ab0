//! Replies as trees, for the few that Redkeep itself asks for (INFO, COMMAND, HELLO 2). Never on a client's way.
//!
//! Decodes with the RESP2 codec of `redis-protocol`, which knows no limits and recurses: [`decode`] frames the bytes
//! with a [`ReplyScanner`] first, so what reaches the codec is complete, strict and shallow.

use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use super::reply::ReplyScanner;

/// How deep a reply may be nested to be decoded; the stack pays for it. `COMMAND` of Redis 8 nests less than 10 deep.
const MAX_NESTING: usize = 64;

/// A RESP2 reply as an owned tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `*`
    Array(Vec<Value>),
    /// `$`
    Bulk(Vec<u8>),
    /// `-`, the text with its code
    Error(Vec<u8>),
    /// `:`
    Integer(i64),
    /// `$-1` and `*-1`
    Null,
    /// `+`
    Simple(Vec<u8>),
}

impl Value {
    /// The bytes of a bulk, simple string or error.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) | Value::Error(bytes) | Value::Simple(bytes) => Some(bytes),
            Value::Array(_) | Value::Integer(_) | Value::Null => None,
        }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Decodes `frame`, one whole RESP2 reply of the upstream.
///
/// `None` if it is anything else: incomplete, followed by more bytes, of a RESP3 type, or nested more than 64 deep.
/// Allocates O(frame). Cold path only.
pub fn decode(frame: &[u8]) -> Option<Value> {
    let framed = ReplyScanner::with_nesting(frame.len(), MAX_NESTING).scan(frame).ok()??;
    if framed.len != frame.len() {
        return None;
    }
    let (tree, _) = decode_range(frame).ok()??;
    value(frame, tree)
}

/// Bounded by [`MAX_NESTING`]: the caller has framed the bytes with it.
fn value(frame: &[u8], tree: RangeFrame) -> Option<Value> {
    let bytes = |(start, end): (usize, usize)| frame.get(start..end).map(<[u8]>::to_vec);
    Some(match tree {
        RangeFrame::Array(elements) => {
            Value::Array(elements.into_iter().map(|element| value(frame, element)).collect::<Option<_>>()?)
        }
        RangeFrame::BulkString(range) => Value::Bulk(bytes(range)?),
        RangeFrame::Error(range) => Value::Error(bytes(range)?),
        RangeFrame::Integer(integer) => Value::Integer(integer),
        RangeFrame::Null => Value::Null,
        RangeFrame::SimpleString(range) => Value::Simple(bytes(range)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_becomes_a_tree() {
        let frame = b"*7\r\n$3\r\nget\r\n:-2\r\n*1\r\n+fast\r\n$-1\r\n*-1\r\n-ERR \xff\r\n$0\r\n\r\n";
        let tree = Value::Array(vec![
            Value::Bulk(b"get".to_vec()),
            Value::Integer(-2),
            Value::Array(vec![Value::Simple(b"fast".to_vec())]),
            Value::Null,
            Value::Null,
            Value::Error(b"ERR \xff".to_vec()),
            Value::Bulk(Vec::new()),
        ]);
        assert_eq!(decode(frame), Some(tree));
    }

    #[test]
    fn whatever_is_not_one_whole_resp2_reply_is_nothing() {
        for frame in ["", "+OK", "+OK\r\n+OK\r\n", "%0\r\n", "_\r\n", "*1\r\n_\r\n", "$+1\r\na\r\n", "*1\r\n"]
        {
            assert_eq!(decode(frame.as_bytes()), None, "{frame:?}");
        }
    }

    #[test]
    fn nesting_is_bounded_before_the_codec_recurses() {
        let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth)).into_bytes();
        assert!(decode(&nested(MAX_NESTING)).is_some());
        assert_eq!(decode(&nested(MAX_NESTING + 1)), None);
        assert_eq!(decode(&nested(1_000_000)), None);
    }
}
