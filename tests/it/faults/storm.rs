//! However many clients ask, an upstream that is away or flaps is connected to at a bounded rate.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{IN_DOUBT, NOT_SENT, app, behind, bulk, wait_for_service};
use crate::support::chaos::{Chaos, End, Lane, Server};
use crate::support::{Proxy, Redis, pause};

const TIME: Duration = Duration::from_secs(3);

/// Each shared link waits 25 ms at least, and from the third attempt on 100 ms at least; so does the probe.
fn bound(links: usize) -> usize {
    let pauses = usize::try_from(TIME.as_millis()).unwrap() / 100 + 5;
    (links + 1) * pauses
}

/// Sends these lines with many clients for a while; how many of them got something else than the right reply or a code.
fn ask_all_the_time(proxy: &Proxy, lines: &[&str], right: &[&str]) -> usize {
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..24 {
            let (over, asked, line) = (&over, &asked, lines[number % lines.len()]);
            scope.spawn(move || {
                let mut client = app(proxy);
                while !over.load(Ordering::Relaxed) {
                    let args: Vec<&str> = line.split(' ').collect();
                    match client.try_call(&args) {
                        Some(reply) => {
                            let reply = String::from_utf8(reply).unwrap();
                            let known = [NOT_SENT, IN_DOUBT].contains(&&*reply) || right.contains(&&*reply);
                            assert!(known, "{line}: {reply}");
                        }
                        // As MULTI and WATCH that were not sent.
                        None => client = app(proxy),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(1));
                }
            });
        }
        pause(TIME);
        over.store(true, Ordering::Relaxed);
    });
    asked.into_inner()
}

const LINES: [&str; 4] = ["GET app:none", "ECHO x", "BLPOP app:list 0.01", "SUBSCRIBE app:c"];

#[test]
fn an_upstream_that_is_away_is_asked_for_at_a_bounded_rate() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    // The lines together; then those that need a link of their own, with no shared link that knows of the upstream.
    for lines in [&LINES[..], &LINES[2..]] {
        chaos.refuse(false);
        let proxy = behind(&chaos, "", "workers: 2\n");
        chaos.refuse(true);
        chaos.end_all();
        let before = chaos.accepted();
        let start = Instant::now();
        let asked = ask_all_the_time(&proxy, lines, &[]);
        let connects = chaos.accepted() - before;
        assert!(asked > 1000, "{asked} commands in {:?}", start.elapsed());
        assert!(connects <= bound(2), "{lines:?}: {connects} connections for {asked} commands");
        chaos.refuse(false);
        wait_for_service(&mut app(&proxy));
        proxy.assert_no_panic();
    }
}

#[test]
fn an_upstream_that_flaps_is_asked_for_at_a_bounded_rate() {
    let redis = Redis::start(&[]);
    let chaos = Chaos::before(Server::Unix(redis.socket()));
    let proxy = behind(&chaos, "", "workers: 2\n");
    // Every connection ends soon after its handshake.
    chaos.down(Lane { limit: Some((20, End::Fin)), ..Lane::default() });
    chaos.end_all();
    let before = chaos.accepted();
    let asked = ask_all_the_time(&proxy, &LINES[..2], &["$-1\r\n", &bulk("x")]);
    let connects = chaos.accepted() - before;
    assert!(asked > 1000, "{asked} commands");
    // A link that came up makes the next probe due, and each waits its pause.
    assert!(connects <= 2 * bound(2), "{connects} connections for {asked} commands");
    chaos.down(Lane::default());
    wait_for_service(&mut app(&proxy));
    proxy.assert_no_panic();
}
