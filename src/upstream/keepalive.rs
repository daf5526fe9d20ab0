//! How a connection is noticed whose other end has gone without a word: a machine without power, a cut cable, a
//! firewall that forgot it. For both sides: nothing else would tell, as long as nobody has anything to say.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A connection that is silent for so long is asked whether it still exists. Redis' `tcp-keepalive` is 300 s, but a
/// client that has gone may hold a leased link here.
pub const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// So many questions without an answer are the end, as in Redis.
const PROBES: u32 = 3;

/// Has the system look after a connection that is silent for `idle`; the questions together take as long again, as in
/// Redis. Zero: it does not. What was sent must be taken within the same time; that goes for a peer that does not
/// read, too.
///
/// # Errors
/// The system does not take the options.
pub fn keep_alive(stream: &TcpStream, idle: Duration) -> io::Result<()> {
    if idle.is_zero() {
        return Ok(());
    }
    let interval = idle.checked_div(PROBES).unwrap_or(idle).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // Linux counts questions by this alone once it is set, so it may not be shorter than all of them take.
    let questions = interval.saturating_mul(PROBES);
    socket.set_tcp_user_timeout(Some(idle.saturating_add(questions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_has_gone_is_noticed_within_a_minute() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            keep_alive(&stream, TCP_KEEPALIVE).unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().unwrap());
            let questions =
                socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
            let idle = socket.tcp_keepalive_time().unwrap();
            assert_eq!(idle + questions, Duration::from_secs(60));
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
        });
    }
}
