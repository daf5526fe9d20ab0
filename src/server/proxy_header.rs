//! The PROXY protocol, version 2: the few bytes by which a load balancer says for whom it connects.
//!
//! They are believed, so only a listener that asks for them reads them, and only from addresses that its operator
//! named. Nothing behind them is read here. What is not exactly a header for a TCP client, or for the load balancer's
//! own checks (LOCAL), is none: no older version, no UDP, no Unix sockets, no unknown families.
//! Source: the specification by HAProxy, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header begins with, and its length.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const HEAD_BYTES: usize = 16;

/// Addresses and what may follow them (TLVs, which we skip). Load balancers send some hundred bytes.
const MAX_BODY_BYTES: usize = 4096;

/// A header as its head announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: Kind,
    body_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Local,
    Tcp4,
    Tcp6,
}

/// Reads a header and nothing else. `None`: the other end speaks for itself.
///
/// # Errors
/// There is no header, or not in a form that counts.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut bytes = [0; HEAD_BYTES];
    stream.read_exact(&mut bytes).await?;
    let head = head(bytes).ok_or_else(malformed)?;
    let mut body = vec![0; head.body_bytes];
    stream.read_exact(&mut body).await?;
    client(head.kind, &body).ok_or_else(malformed)
}

/// A header of ours that speaks for ourselves (LOCAL).
pub const LOCAL: &[u8; HEAD_BYTES] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY protocol header of version 2 for a TCP client")
}

fn head(bytes: [u8; HEAD_BYTES]) -> Option<Head> {
    let rest = bytes.strip_prefix(&SIGNATURE)?;
    let [version_and_command, family, high, low] = *rest else { return None };
    let body_bytes = usize::from(u16::from_be_bytes([high, low]));
    let (kind, at_least) = match (version_and_command, family) {
        // The family is to be ignored.
        (0x20, _) => (Kind::Local, 0),
        (0x21, 0x11) => (Kind::Tcp4, 12),
        (0x21, 0x21) => (Kind::Tcp6, 36),
        _ => return None,
    };
    (at_least..=MAX_BODY_BYTES).contains(&body_bytes).then_some(Head { kind, body_bytes })
}

/// Who the connection is for. The outer `None`: the body is too short, which `head` has excluded.
fn client(kind: Kind, body: &[u8]) -> Option<Option<SocketAddr>> {
    fn parse<const N: usize>(body: &[u8]) -> Option<Option<SocketAddr>>
    where
        IpAddr: From<[u8; N]>,
    {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (_destination, rest) = rest.split_first_chunk::<N>()?;
        let (port, _) = rest.split_first_chunk::<2>()?;
        // IPv4 written as IPv6 is IPv4: in rules, lists and logs.
        Some(Some(SocketAddr::new(IpAddr::from(*source).to_canonical(), u16::from_be_bytes(*port))))
    }
    match kind {
        Kind::Local => Some(None),
        Kind::Tcp4 => parse::<4>(body),
        Kind::Tcp6 => parse::<16>(body),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(mut bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let all = bytes.len();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read(&mut bytes));
        (read, all - bytes.len())
    }

    fn header(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version_and_command, family], &length, body].concat()
    }

    #[test]
    fn headers_for_tcp_clients_and_for_checks_are_read_to_their_last_byte() {
        let four = [192, 0, 2, 1, 198, 51, 100, 9, 0x12, 0x34, 0x18, 0xeb];
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&[1, 0]);
        let mut mapped = six;
        mapped[..16].copy_from_slice(&"::ffff:192.0.2.1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        for (bytes, expected) in [
            (header(0x21, 0x11, &four), Some("192.0.2.1:4660")),
            (header(0x21, 0x11, &[&four[..], &[4, 0, 1, 9]].concat()), Some("192.0.2.1:4660")),
            (header(0x21, 0x21, &six), Some("[2001:db8::1]:256")),
            (header(0x21, 0x21, &mapped), Some("192.0.2.1:256")),
            (header(0x20, 0, &[]), None),
            (header(0x20, 0x11, &four), None),
            (header(0x20, 0xff, &[7; MAX_BODY_BYTES]), None),
            (LOCAL.to_vec(), None),
        ] {
            let (read, taken) = run(&[&bytes[..], b"PING\r\n"].concat());
            assert_eq!(read.unwrap().map(|client| client.to_string()).as_deref(), expected);
            assert_eq!(taken, bytes.len());
        }
    }

    #[test]
    fn whatever_else_is_sent_is_no_header() {
        let four = [0; 12];
        for bytes in [
            b"PROXY TCP4 192.0.2.1 198.51.100.9 4660 6379\r\n".to_vec(),
            b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n".to_vec(),
            header(0x11, 0x11, &four),
            header(0x22, 0x11, &four),
            header(0x21, 0x00, &four),
            header(0x21, 0x12, &four),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &four[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x20, 0x00, &[0; MAX_BODY_BYTES + 1]),
            header(0x21, 0x11, &[0; 12])[..20].to_vec(),
        ] {
            assert!(run(&bytes).0.is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none_and_no_byte_behind_it_is_taken(
            command in 0u8..=255, family in 0u8..=255, body in proptest::collection::vec(any::<u8>(), 0..80),
            rest in proptest::collection::vec(any::<u8>(), 0..40), cut in 0usize..200,
        ) {
            let mut bytes = header(command, family, &body);
            let length = bytes.len();
            bytes.extend(rest);
            bytes.truncate(cut);
            let (read, taken) = run(&bytes);
            let whole = cut >= length;
            prop_assert!(taken <= length);
            if read.is_ok() {
                prop_assert!(whole && taken == length);
                prop_assert!(command == 0x20 || command == 0x21);
            }
        }
    }
}
