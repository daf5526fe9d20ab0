//! What waits to be written on a link: small requests gathered in one buffer, large ones as they are.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// An empty buffer keeps no more than this many bytes of memory.
const KEPT_BYTES: usize = 256 * 1024;

/// Bytes in the order in which they are to leave.
#[derive(Default)]
pub(super) struct Outgoing {
    /// What came before `tail`.
    queue: VecDeque<Bytes>,
    /// Where small requests are appended.
    tail: BytesMut,
    /// Bytes of both.
    len: usize,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len = self.len.saturating_add(bytes.len());
    }

    /// Appends bytes without a copy.
    pub(super) fn share(&mut self, bytes: Bytes) {
        self.len = self.len.saturating_add(bytes.len());
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queue.push_back(bytes);
    }

    /// What is to be written next; empty only if nothing is left.
    pub(super) fn next(&self) -> &[u8] {
        self.queue.front().map_or(&self.tail, |bytes| bytes)
    }

    /// So many bytes of [`Outgoing::next`] were written.
    pub(super) fn advance(&mut self, count: usize) {
        self.len = self.len.saturating_sub(count);
        let Some(front) = self.queue.front_mut() else {
            self.tail.advance(count.min(self.tail.len()));
            if self.tail.is_empty() && self.tail.capacity() > KEPT_BYTES {
                self.tail = BytesMut::new();
            }
            return;
        };
        front.advance(count.min(front.len()));
        if front.is_empty() {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outgoing: &mut Outgoing, step: usize) -> Vec<u8> {
        let mut written = Vec::new();
        while !outgoing.is_empty() {
            let next = outgoing.next();
            let count = step.min(next.len());
            written.extend_from_slice(&next[..count]);
            outgoing.advance(count);
        }
        written
    }

    #[test]
    fn bytes_leave_in_their_order() {
        for step in 1..8 {
            let mut outgoing = Outgoing::default();
            outgoing.copy(b"one");
            outgoing.copy(b"two");
            outgoing.share(Bytes::from_static(b"three"));
            outgoing.share(Bytes::from_static(b"four"));
            outgoing.copy(b"five");
            assert_eq!(outgoing.len(), 19);
            assert_eq!(drain(&mut outgoing, step), b"onetwothreefourfive");
            assert_eq!(outgoing.next(), b"");
        }
    }

    #[test]
    fn what_is_shared_is_not_copied_and_a_large_buffer_is_given_back() {
        let mut outgoing = Outgoing::default();
        let large = Bytes::from(vec![b'x'; 2 * KEPT_BYTES]);
        outgoing.share(large.clone());
        assert_eq!(outgoing.next().as_ptr(), large.as_ptr());
        drain(&mut outgoing, usize::MAX);
        outgoing.copy(&large);
        drain(&mut outgoing, usize::MAX);
        assert_eq!(outgoing.tail.capacity(), 0);
    }
}
