//! How large requests may be, to the byte, compared with real servers.

use crate::support::client::text;
use crate::support::proxy::USERS;
use crate::support::redis::all;
use crate::support::{Client, Proxy, Redis};

const LIMIT: usize = 1 << 20;

/// What a client is answered to some bytes; nothing if it is closed without a word.
fn answer(client: &mut Client, request: &[&[u8]]) -> String {
    // The other side may have closed before all is written.
    let _ = client.try_send(request);
    client.try_read_reply().map(|reply| text(&reply)).unwrap_or_default()
}

fn limited(redis: &Redis, parameter: &str, key: &str) -> (Redis, Proxy) {
    let direct = Redis::start(&[&format!("--{parameter}"), "1mb"]);
    (direct, Proxy::with_users(redis, USERS, &format!("limits:\n  {key}: 1mb\n")))
}

#[test]
fn a_request_over_the_query_buffer_limit_is_closed_at_the_same_byte_as_by_redis() {
    let upstream = Redis::start(&[]);
    let (direct, proxy) = limited(&upstream, "client-query-buffer-limit", "client_query_buffer_limit");
    let mut outcomes = Vec::new();
    for length in LIMIT - 4..=LIMIT + 1 {
        let value = vec![b'x'; length];
        let request: [&[u8]; 3] = [b"SET", b"app:x", &value];
        let expected = answer(&mut direct.client(), &request);
        assert_eq!(answer(&mut proxy.plain().login("app", "secret"), &request), expected, "{length}");
        outcomes.push(expected);
    }
    assert_eq!(outcomes, ["+OK\r\n", "+OK\r\n", "+OK\r\n", "", "", ""]);
    proxy.wait_for_log(0, "its request needs more than client_query_buffer_limit");

    // Redkeep holds the whole request until it is complete, and so counts all of it.
    let third = vec![b'x'; LIMIT * 2 / 5];
    let request: [&[u8]; 7] = [b"MSET", b"app:1", &third, b"app:2", &third, b"app:3", &third];
    assert_eq!(answer(&mut direct.client(), &request), "+OK\r\n");
    let refused = answer(&mut proxy.plain().login("app", "secret"), &request);
    assert_eq!(refused, "-ERR Protocol error: too big request\r\n");
    proxy.assert_no_panic();
}

#[test]
fn an_argument_over_proto_max_bulk_len_is_refused_at_the_same_byte_as_by_redis() {
    let upstream = Redis::start(&[]);
    let (direct, proxy) = limited(&upstream, "proto-max-bulk-len", "proto_max_bulk_len");
    for length in [LIMIT - 1, LIMIT, LIMIT + 1] {
        let header = format!("*3\r\n$3\r\nSET\r\n$5\r\napp:x\r\n${length}\r\n");
        let play = |mut client: Client| {
            client.send_raw(header.as_bytes());
            if length <= LIMIT {
                client.send_raw(&[&vec![b'x'; length][..], b"\r\n"].concat());
                return text(&client.read_reply());
            }
            text(&client.read_to_end())
        };
        let expected = play(direct.client());
        assert_eq!(play(proxy.plain().login("app", "secret")), expected, "{length}");
        assert_eq!(expected == "+OK\r\n", length <= LIMIT, "{length}: {expected}");
    }
    // To strangers in the words for what is too long for everyone, or for them alone.
    direct.client().ask("CONFIG SET requirepass x");
    for length in [16_384, 16_385, LIMIT, LIMIT + 1] {
        let play = |mut client: Client| {
            client.send_raw(format!("*2\r\n$4\r\nAUTH\r\n${length}\r\n").as_bytes());
            if length > 16_384 {
                return text(&client.read_to_end());
            }
            client.send_raw(&[&vec![b'x'; length][..], b"\r\n"].concat());
            text(&client.read_reply())
        };
        assert_eq!(play(proxy.plain()), play(direct.client()), "{length}");
    }
    proxy.assert_no_panic();
}

#[test]
fn what_a_transaction_has_queued_counts_for_the_query_buffer_limit() {
    let upstream = Redis::start(&[]);
    let first = b"SETapp:x".len() + 600_000;
    let play = |mut client: Client, length: usize| {
        assert_eq!(client.ask("MULTI"), "+OK\r\n");
        let first = vec![b'x'; 600_000];
        let reply = client.call(&[&b"SET"[..], b"app:x", &first]);
        assert_eq!(text(&reply), "+QUEUED\r\n");
        let second = vec![b'y'; length];
        (answer(&mut client, &[&b"SET"[..], b"app:x", &second]), client)
    };
    let proxy = Proxy::with_users(&upstream, USERS, "limits:\n  client_query_buffer_limit: 1mb\n");
    let most = LIMIT - first - 2;
    let queued = "+QUEUED\r\n";
    for (length, expected) in [(most - 1, queued), (most, queued), (most + 1, ""), (most + 2, "")] {
        assert_eq!(play(proxy.plain().login("app", "secret"), length).0, expected, "{length}");
    }
    let ends = |(reply, mut client): (String, Client)| {
        assert_eq!((reply.as_str(), client.ask("EXEC").as_str()), (queued, "*2\r\n+OK\r\n+OK\r\n"));
    };
    ends(play(proxy.plain().login("app", "secret"), most - 4096));
    // What else they count differs by some bytes, and 7.0 does not count queues at all.
    for program in all() {
        let direct = Redis::start_program(&program, &["--client-query-buffer-limit", "1mb"]);
        ends(play(direct.client(), most - 4096));
        let (name, version) = direct.name();
        let over = play(direct.client(), most + 4096).0;
        let counts =
            name.starts_with("Valkey") || version >= redkeep::policy::Version::parse("8.0.0").unwrap();
        assert_eq!(over, if counts { "" } else { queued }, "{name}");
    }
    proxy.assert_no_panic();
}
