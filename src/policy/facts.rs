//! What is known of the upstream: it words errors, answers HELLO, and bounds SELECT. Part of the snapshot, so that a
//! session never sees the commands of one server with the greeting of another.

use super::Version;

/// Facts about an upstream that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its version.
    pub version: Version,
    /// Valkey's own version, if it is one.
    pub valkey: Option<Version>,
    /// Whether it asks for a login before it looks at anything else, as Valkey does since 8.1; Redis tells strangers
    /// first which commands exist.
    pub login_first: bool,
    /// How many databases SELECT takes.
    pub databases: u32,
    /// Its HELLO replies; `None` before 6.0.
    pub hello: Option<Hello>,
}

/// The upstream's own replies to HELLO, cut so that another client id can be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The reply in RESP2.
    pub resp2: HelloFrame,
    /// The reply in RESP3.
    pub resp3: HelloFrame,
}

/// One HELLO reply around the value of `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloFrame {
    before_id: Vec<u8>,
    after_id: Vec<u8>,
}

impl HelloFrame {
    /// Cuts a complete reply; `None` if it has no field `id`.
    pub fn cut(frame: &[u8]) -> Option<HelloFrame> {
        const FIELD: &[u8] = b"$2\r\nid\r\n:";
        let start =
            frame.windows(FIELD.len()).position(|window| window == FIELD)?.checked_add(FIELD.len())?;
        let (before, rest) = frame.split_at_checked(start)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(HelloFrame { before_id: before.to_vec(), after_id: rest.get(digits..)?.to_vec() })
    }

    /// The three pieces of the reply to the client with this id.
    pub fn with_id(&self, id: u64) -> Vec<u8> {
        let mut frame = self.before_id.clone();
        frame.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        frame.extend_from_slice(&self.after_id);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::HelloFrame;

    #[test]
    fn the_id_of_a_hello_reply_is_replaced() {
        let frame = b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:98\r\n$4\r\nmode\r\n";
        let cut = HelloFrame::cut(frame).unwrap();
        assert_eq!(cut.with_id(7), b"*4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:7\r\n$4\r\nmode\r\n");
        assert_eq!(cut.with_id(98), frame);
        assert_eq!(HelloFrame::cut(b"*0\r\n"), None);
    }
}
