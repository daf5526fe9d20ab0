use proptest::prelude::*;

use super::*;
use crate::resp::{ReplyKind, ReplyScanner};

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::from(b"before".as_slice());
    write(&mut out);
    out.strip_prefix(b"before").unwrap().to_vec()
}

#[test]
fn scalars_have_redis_bytes() {
    assert_eq!(written(|out| simple(out, "OK")), b"+OK\r\n");
    assert_eq!(written(|out| simple(out, "a\r\nb")), b"+a  b\r\n");
    for value in [0, 1, -1, 9, 10, 99, 100, 999_999, 1_000_000, -10, i64::MAX, i64::MIN] {
        assert_eq!(written(|out| integer(out, value)), format!(":{value}\r\n").as_bytes());
    }
    for len in [0, 1, 9, 10, 99, 100, 999, 1000, 99_999, 100_000] {
        let text = "x".repeat(len);
        assert_eq!(written(|out| bulk(out, text.as_bytes())), format!("${len}\r\n{text}\r\n").as_bytes());
    }
    assert_eq!(written(|out| bulk(out, b"\r\n\xff\0")), b"$4\r\n\r\n\xff\0\r\n");
}

#[test]
fn an_error_cannot_contain_a_second_reply() {
    // redis 7.0.15: the command `A\r\nB\n` alone is echoed like this.
    let text = b"ERR unknown command 'A\r\nB\n', with args beginning with: ' \xff\0\x01' ";
    let expected = b"-ERR unknown command 'A  B ', with args beginning with: ' \xff\0\x01' \r\n";
    assert_eq!(written(|out| error(out, text)), expected);
}

#[test]
fn each_protocol_has_its_own_aggregates() {
    use Protocol::{Resp2, Resp3};
    for (protocol, expected) in [
        (Resp2, "*3\r\n*4\r\n*1\r\n*2\r\n$-1\r\n$5\r\nhi\r\n!\r\n"),
        (Resp3, "*3\r\n%2\r\n~1\r\n>2\r\n_\r\n=9\r\ntxt:hi\r\n!\r\n"),
    ] {
        let got = written(|out| {
            array(out, 3);
            map(out, 2, protocol);
            set(out, 1, protocol);
            push(out, 2, protocol);
            null(out, protocol);
            verbatim(out, b"hi\r\n!", protocol);
        });
        assert_eq!(got, expected.as_bytes());
    }
    assert_eq!(Protocol::default(), Resp2);
}

proptest! {
    #[test]
    fn whatever_is_written_is_one_reply(text in prop::collection::vec(any::<u8>(), 0..50), value in any::<i64>()) {
        let lossy = String::from_utf8_lossy(&text).into_owned();
        for (frame, kind) in [
            (written(|out| simple(out, &lossy)), ReplyKind::Reply),
            (written(|out| error(out, &text)), ReplyKind::Error),
            (written(|out| integer(out, value)), ReplyKind::Reply),
            (written(|out| bulk(out, &text)), ReplyKind::Reply),
            (written(|out| verbatim(out, &text, Protocol::Resp2)), ReplyKind::Reply),
            (written(|out| verbatim(out, &text, Protocol::Resp3)), ReplyKind::Reply),
        ] {
            let framed = ReplyScanner::new(1024).scan(&frame).unwrap().unwrap();
            prop_assert_eq!((framed.len, framed.kind), (frame.len(), kind));
        }
    }
}
