//! What a session does with a request that it has found: the verdict, and what follows from it.

use std::hint::black_box;

use bytes::BytesMut;
use redkeep::policy::Proof;
use redkeep::resp::RequestBuf;
use redkeep::session::{Action, Ends, SessionId, State, step};

use super::harness::{Case, measure};
use super::judging::policy;

/// Requests of a user who is not all-powerful, in a session that does nothing else.
pub fn steps() {
    let policy = policy(&[]);
    let mget: Vec<String> = (0..10).map(|number| format!("app:{{1}}:{number}")).collect();
    let requests: [(&str, Vec<&str>, bool); 6] = [
        ("GET", vec!["GET", "app:{1}:42"], true),
        ("SET with EX", vec!["SET", "app:{1}:42", "v", "EX", "60"], true),
        ("MGET of 10 keys", std::iter::once("MGET").chain(mget.iter().map(String::as_str)).collect(), true),
        ("GET, denied", vec!["GET", "secret:42"], false),
        ("PING, answered here", vec!["PING"], false),
        ("CLIENT ID, answered here", vec!["CLIENT", "ID"], false),
    ];
    let cases = requests.iter().map(|(name, args, forwarded)| -> Case<'_> {
        let mut state = State::new(SessionId(1), Ends::default(), &policy);
        state.become_user(&policy, policy.user(b"app"), Proof::Password);
        let (policy, request) = (&policy, RequestBuf::from_args(args));
        let (mut scratch, mut out) = (RequestBuf::default(), BytesMut::with_capacity(1024));
        let mut step = move || {
            out.clear();
            let request = black_box(&request).as_request();
            let action = step(policy, &mut state, request, &mut scratch, true, &mut out);
            let forwarded = matches!(black_box(action), Action::Forward { .. });
            state.notes.clear();
            forwarded
        };
        assert_eq!(step(), *forwarded, "{name}");
        (name, Box::new(move || _ = black_box(step())))
    });
    measure("session step", cases.collect());
}
