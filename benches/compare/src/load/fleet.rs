//! Many clients on one thread.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use super::client::Client;
use super::connection::{Connection, Endpoint};
use crate::Result;
use crate::work::Batch;

/// Connections that are made at the same time: fewer than any server's backlog.
const OPENING: usize = 64;
/// How long that may take in all.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read at once: more than the longest reply but the huge ones, of which others need not wait for more.
const BUFFER: usize = 128 << 10;
/// What a timer is called among clients.
pub const TIMER: Token = Token(usize::MAX);

/// Clients, and what tells which of them have something to do.
pub struct Fleet<'a> {
    /// All of them.
    pub clients: Vec<Client<'a>>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// Who may have more to be read or sent; the system does not tell again.
    again: Vec<usize>,
}

impl<'a> Fleet<'a> {
    /// Nobody yet.
    pub fn new() -> Result<Fleet<'a>> {
        Ok(Fleet {
            clients: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER],
            again: Vec::new(),
        })
    }

    /// Where timers register.
    pub fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    /// Makes `count` more clients, and waits until all have done their first batch: the login.
    pub fn open(&mut self, endpoint: &Endpoint, count: usize, login: &'a Batch) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let all = self.clients.len() + count;
        let mut ready = self.clients.len();
        while ready < all {
            while self.clients.len() < all && self.clients.len() - ready < OPENING {
                let client = self.connect(endpoint, endpoint.tls.as_ref(), self.clients.len(), login)?;
                self.clients.push(client);
            }
            self.turn(Some(Duration::from_millis(100)), |_, client, _| {
                ready += usize::from(client.is_done());
                Ok(())
            })?;
            if Instant::now() > deadline {
                return Err(format!("only {ready} of {all} clients got in").into());
            }
        }
        Ok(())
    }

    /// One client, not among the others yet, that will be known by `number`.
    pub fn connect(
        &self,
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        number: usize,
        login: &'a Batch,
    ) -> Result<Client<'a>> {
        let connection = Connection::open(endpoint.address, tls, self.poll.registry(), Token(number))?;
        Client::new(connection, login)
    }

    /// Has client `number` go on in the next turn.
    pub fn hurry(&mut self, number: usize) {
        self.again.push(number);
    }

    /// Waits for something to do, and does it: sends and reads, and calls `on` for each client that got replies, with
    /// their number. Whether a timer has fired.
    pub fn turn(
        &mut self,
        wait: Option<Duration>,
        mut on: impl FnMut(usize, &mut Client<'a>, u64) -> Result<()>,
    ) -> Result<bool> {
        let wait = if self.again.is_empty() { wait } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        let mut timer = false;
        let waiting = std::mem::take(&mut self.again);
        let events =
            self.events.iter().map(|event| (event.token(), event.is_writable(), event.is_readable()));
        for (token, writable, readable) in
            events.chain(waiting.into_iter().map(|number| (Token(number), false, true)))
        {
            timer |= token == TIMER;
            // Others than clients; and clients that are gone, whose last events are still on their way.
            let Some(client) = self.clients.get_mut(token.0) else { continue };
            if writable || client.owes() {
                client.write()?;
            }
            let mut more = false;
            if readable {
                let replies;
                (replies, more) = client.read(&mut self.buffer)?;
                if replies > 0 {
                    on(token.0, client, replies)?;
                }
            }
            if more || client.owes() {
                self.again.push(token.0);
            }
        }
        Ok(timer)
    }
}
