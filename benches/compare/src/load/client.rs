//! A client: sends a batch, checks each byte that comes back.

use std::time::Instant;

use super::connection::Connection;
use crate::Result;
use crate::work::Batch;

/// Most that is sent at once.
const TURN_BYTES: usize = 64 << 10;

/// One client with what it waits for.
pub struct Client<'a> {
    /// Its connection.
    pub connection: Connection,
    batch: &'a Batch,
    sent: usize,
    received: usize,
    replies: usize,
    owes: bool,
    /// When the batch was begun, or was to be begun.
    pub began: Instant,
}

impl<'a> Client<'a> {
    /// Begins with its first batch.
    pub fn new(connection: Connection, batch: &'a Batch) -> Result<Client<'a>> {
        let mut client = Client {
            connection,
            batch,
            sent: 0,
            received: 0,
            replies: 0,
            owes: false,
            began: Instant::now(),
        };
        client.write()?;
        Ok(client)
    }

    /// Begins the next batch, at `began`.
    pub fn begin(&mut self, batch: &'a Batch, began: Instant) -> Result<()> {
        (self.batch, self.began) = (batch, began);
        (self.sent, self.received, self.replies) = (0, 0, 0);
        self.write()
    }

    /// Goes on sending, if something is left; so much at a time that others need not wait.
    pub fn write(&mut self) -> Result<()> {
        let rest = self.batch.request.get(self.sent..).unwrap_or_default();
        let turn = rest.get(..TURN_BYTES).unwrap_or(rest);
        let sent = self.connection.send(turn)?;
        self.sent += sent;
        self.owes = sent == turn.len() && turn.len() < rest.len();
        Ok(())
    }

    /// Whether it could send more at once.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Reads once. How many replies are whole by that, and whether there may be more to read.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<(u64, bool)> {
        let (expected, mut received) = (&self.batch.expected, self.received);
        let more = self.connection.receive(buffer, |bytes| {
            let wanted = expected.get(received..received + bytes.len());
            if wanted != Some(bytes) {
                return Err(wrong(expected, received, bytes).into());
            }
            received += bytes.len();
            Ok(())
        })?;
        self.received = received;
        let before = self.replies;
        while self.batch.ends.get(self.replies).is_some_and(|end| *end <= received) {
            self.replies += 1;
        }
        Ok(((self.replies - before) as u64, more))
    }

    /// Whether all replies have come.
    pub fn is_done(&self) -> bool {
        self.received == self.batch.expected.len()
    }
}

/// What came, and what had to come.
fn wrong(expected: &[u8], received: usize, bytes: &[u8]) -> String {
    let rest = expected.get(received..).unwrap_or_default();
    let same = rest.iter().zip(bytes).take_while(|(one, other)| one == other).count();
    let show = |bytes: &[u8]| {
        bytes.iter().skip(same).take(100).copied().collect::<Vec<u8>>().escape_ascii().to_string()
    };
    format!("a wrong reply at byte {}: \"{}\" instead of \"{}\"", received + same, show(bytes), show(rest))
}
