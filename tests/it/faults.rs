//! The fault matrix: what clients see, and what must never happen, while the upstream, the network or other clients
//! fail. The network is a proxy of the test's own (`support/chaos.rs`), the upstream a real Redis that is killed or
//! stopped.
//!
//! | fault | shown by |
//! |---|---|
//! | **1** | **upstream lost in the middle of a reply** |
//! | | `answers_cut_at_any_byte_are_whole_or_in_doubt_and_nothing_is_sent_twice` |
//! | | `a_large_reply_that_is_cut_is_in_doubt_or_ends_the_connection` |
//! | | under load in `failure.rs` |
//! | **2** | **upstream lost in a transaction** |
//! | | `a_transaction_whose_upstream_is_killed_between_any_two_commands_never_runs_by_half` |
//! | | `an_exec_that_was_sent_is_in_doubt` |
//! | **3** | **upstream lost under blocked clients** |
//! | | `a_hundred_and_sixty_blocked_clients_are_in_doubt_and_no_pop_is_repeated` |
//! | **4** | **upstream hangs** |
//! | | `a_hung_upstream_is_told_fast_and_its_late_replies_reach_nobody` |
//! | | `failure.rs` |
//! | **5** | **slow network** |
//! | | `a_slow_upstream_delays_replies_and_fails_none` |
//! | | `clients_whose_bytes_come_in_tiny_pieces_are_served` |
//! | | `a_reply_may_take_longer_than_the_timeout_while_it_comes` |
//! | | `a_request_may_take_longer_than_the_timeout_while_it_goes` |
//! | **6** | **client that does not read** |
//! | | `clients_that_never_read_hold_up_nobody_else_and_miss_nothing` |
//! | **7** | **client that vanishes** |
//! | | `clients_reset_at_any_byte_of_a_pipeline_leave_nothing_behind_for_others` |
//! | **8** | **half-open connections** |
//! | | `connections_on_both_sides_are_probed_within_30_seconds` |
//! | | `an_upstream_that_swallows_everything_is_given_up` |
//! | | `upstream/keepalive.rs` |
//! | **24** | **many clients that do not read** |
//! | | `a_thousand_clients_that_never_read_cost_bounded_memory` |
//! | | a flooded subscriber in `pubsub.rs` |
//! | **26** | **upstream that breaks the protocol** |
//! | | `evil.rs` |
//! | **27, 28** | **large values, many elements** |
//! | | `large_values.rs` |
//! | **29** | **pushes between replies** |
//! | | `pushes_between_pipelined_replies_shift_none_and_reach_only_their_owner` |
//! | | `pushes_around_a_transaction_come_where_a_direct_client_gets_them` |
//! | **30** | **errors of the upstream itself** |
//! | | `loading_busy_misconf_and_oom_are_the_upstreams_own_words` |
//! | **31** | **no leased link free** |
//! | | `leases.rs` |
//! | **32** | **reconnect storm** |
//! | | `an_upstream_that_is_away_is_asked_for_at_a_bounded_rate` |
//! | | `an_upstream_that_flaps_is_asked_for_at_a_bounded_rate` |
//! | **33** | **upstream password changed** |
//! | | `a_rotated_upstream_password_is_told_to_the_log_and_not_to_clients` |
//! | **34** | **log or audit log full, or read by nobody** |
//! | | `audit.rs` |
//! | | `a_full_disk_costs_the_lines_past_the_bound_and_no_other` and its neighbours in `spool/tests.rs` |
//! | **35** | **a task panics** |
//! | | `a_session_that_panics_leaves_worker_links_and_leases_in_order` in `server/worker/tests.rs` |
//! | | `a_link_whose_task_panics_gives_every_request_its_error_and_is_replaced` in `upstream/pool/tests.rs` |

mod clients;
mod cut;
mod errors;
mod hang;
mod pushes;
mod storm;

use crate::support::chaos::Chaos;
use crate::support::proxy::USERS;
use crate::support::{Client, Proxy, wait_for};

const NOT_SENT: &str = "-LOADING redkeep: upstream unavailable, command not sent\r\n";
const IN_DOUBT: &str = "-INDOUBT redkeep: upstream connection lost, command may have been executed\r\n";
const LOST: &str = "-EXECABORT Transaction discarded because of: upstream connection lost\r\n";

/// A proxy with one plain listener that reaches its upstream through `chaos`. `upstream`: more lines of that section;
/// `more`: more sections.
fn behind(chaos: &Chaos, upstream: &str, more: &str) -> Proxy {
    Proxy::start(|dir, _| {
        let users = dir.write("users.acl", USERS);
        format!(
            "listeners:\n  - bind: 127.0.0.1:0\nupstream:\n  address: redis://127.0.0.1:{}\n{upstream}acl:\n  \
             file: {}\nlog:\n  format: json\n{more}",
            chaos.port(),
            users.display()
        )
    })
}

/// A logged-in client of such a proxy.
fn app(proxy: &Proxy) -> Client {
    Client::tcp(proxy.port(0)).login("app", "secret")
}

/// Waits until the upstream answers again; until then only the two codes are right.
fn wait_for_service(client: &mut Client) {
    wait_for("the service", || {
        let reply = client.ask("GET app:none");
        let code = reply == NOT_SENT || reply == IN_DOUBT;
        assert!(code || reply == "$-1\r\n", "{reply}");
        (!code).then_some(())
    });
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}
