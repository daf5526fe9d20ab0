use std::time::Duration;

use super::*;
use crate::policy::testing::policy;
use crate::policy::{Facts, Policy, Verdict, Version};
use crate::resp::RequestBuf;
use crate::upstream::testing::Server;
use crate::upstream::{Delivery, Expect, Mirrors, Sink};

/// Keeps what it is told, and panics at its first reply if it should.
#[derive(Default)]
struct Witness {
    panics: bool,
    told: RefCell<Vec<String>>,
}

impl Sink for Witness {
    fn deliver(&self, delivery: Delivery<'_>) {
        assert!(!self.panics, "as the test wants it");
        self.told.borrow_mut().push(match delivery {
            Delivery::Reply(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => format!("{other:?}"),
        });
    }
}

async fn told(witness: &Witness) -> String {
    for _ in 0..500 {
        if let Some(told) = witness.told.borrow_mut().pop() {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was told");
}

fn get(link: &Link, policy: &Policy, key: &str, sink: Rc<dyn Sink>) {
    let request = RequestBuf::from_args(&["GET", key]);
    let facts = Facts { user: Some(policy.user(b"app").unwrap()), database: 0, local: false };
    let mut scratch = RequestBuf::default();
    let Verdict::Allow(judged) = policy.judge(facts, request.as_request(), &mut scratch) else {
        panic!("refused")
    };
    assert!(link.send(judged, None, sink, Expect::Reply));
}

#[test]
fn no_link_but_one_of_a_mirror_takes_a_script_of_a_restricted_user() {
    let policy = policy(Version::V7_0, &[("app", "on nopass ~* +@all")], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let server = Server::start();
        let pool = Pool::new(server.settings(), Arc::new(Semaphore::new(4)), Arc::default());
        let mirrors = Mirrors::new();
        let user = policy.user(b"app").unwrap();
        let mirror = mirrors.of(&policy, user).unwrap();
        assert!(Arc::ptr_eq(&mirror, &mirrors.of(&policy, user).unwrap()), "the same rules");
        let leased = |mirror| match pool.lease(LinkKey::default(), mirror) {
            Lease::Link(link) => link,
            Lease::Busy | Lease::Down => panic!("no link"),
        };
        let takes = |link: &Link| {
            let request = RequestBuf::from_args(&["EVAL", "return 1", "0"]);
            let facts = Facts { user: Some(user), database: 0, local: false };
            let mut scratch = RequestBuf::default();
            let Verdict::Allow(judged) = policy.judge(facts, request.as_request(), &mut scratch) else {
                panic!("refused")
            };
            link.send(judged, None, Rc::new(Witness::default()), Expect::Reply)
        };
        assert!(!takes(&pool.shared(LinkKey::default(), 0).unwrap()));
        assert!(!takes(&leased(None)));
        let own = leased(Some(&mirror));
        assert!(takes(&own));
        assert_eq!(own.mirror().map(|mirror| mirror.number()), Some(mirror.number()));
        // Other rules are another mirror, and the old one is not used again.
        let narrower = policy.with_user(user.set(&[b"-get"], policy.table()).unwrap());
        let next = mirrors.of(&narrower, narrower.user(b"app").unwrap()).unwrap();
        assert!(next.number() != mirror.number() && mirror.is_retired() && !next.is_retired());
    });
}

#[test]
fn a_link_whose_task_panics_gives_every_request_its_error_and_is_replaced() {
    let policy = policy(Version::V7_0, &[("app", "on nopass ~* +@all")], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let server = Server::start();
        let pool = Pool::new(server.settings(), Arc::new(Semaphore::new(4)), Arc::default());
        let link = pool.shared(LinkKey::default(), 0).unwrap();
        let fails = Rc::new(Witness { panics: true, ..Witness::default() });
        let (before, behind) = (Rc::new(Witness::default()), Rc::new(Witness::default()));
        get(&link, &policy, "before", before.clone());
        get(&link, &policy, "fails", fails);
        get(&link, &policy, "behind", behind.clone());
        assert_eq!(told(&before).await, "$6\r\nbefore\r\n");
        assert_eq!(told(&behind).await, "InDoubt");
        assert!(link.is_dead());
        let next = pool.shared(LinkKey::default(), 0).unwrap();
        get(&next, &policy, "next", behind.clone());
        assert_eq!(told(&behind).await, "$4\r\nnext\r\n");
    });
}
