//! Plain requests in a row, which is what most clients send: each is judged as every other, and what they have in common
//! is looked at once for all of them.
//!
//! INVARIANT: what is sent here is sent as `handle_request` would have sent it. Whatever is not certainly alike, be it the
//! session, its link or a request, is left to that.

use std::rc::Rc;

use bytes::Buf;

use super::Session;
use super::handle::LARGE_BYTES;
use super::pause::Hold;
use super::step::step_plain;
use crate::policy::Policy;
use crate::resp::Scanned;
use crate::upstream::Sink;

impl<S> Session<S> {
    /// Sends the plain requests that the input begins with, `most` at most, and says how many there were. A request behind
    /// them that was looked at waits to be handled.
    pub(super) fn send_row(&mut self, policy: &Policy, most: usize) -> usize {
        let Session {
            input, scanner, state, scratch, outbox, bounds: [_, limits], links, shared, last, ..
        } = self;
        let smooth = state.is_plain()
            && self.waiting.is_none()
            && shared.clients.hold().0 == Hold::Nothing
            && !outbox.had_large();
        let Some(link) = links.shared_link(state).filter(|_| smooth) else { return 0 };
        let sink: Rc<dyn Sink> = outbox.clone();
        let Some(mut row) = link.begin_row(&sink) else { return 0 };
        let most = most.min(outbox.room());
        let (mut count, mut length, mut found) = (0, 0, None);
        while count < most {
            let rest = input.get(length..).unwrap_or_default();
            // What else is there, the scanner finds again.
            let Ok(Scanned::Request { consumed }) = scanner.scan(rest, limits) else { break };
            match step_plain(policy, last, state, scanner.request(rest), scratch) {
                Some(judged) if consumed < LARGE_BYTES && row.push(judged) => {}
                _ => {
                    found = Some(consumed);
                    break;
                }
            }
            length += consumed;
            count += 1;
        }
        drop(row);
        outbox.take_slots(count, length);
        input.advance(length);
        if let Some(consumed) = found {
            self.note_found(consumed);
            self.waiting = Some(consumed);
        }
        count
    }
}
