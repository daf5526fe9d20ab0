//! From a difference to the smallest sequence that shows it: steps are dropped as long as both sides still differ.

use std::sync::Arc;

use redkeep::command::CommandTable;

use super::side::{Run, Session, Side};
use super::template::{Arg, Step};
use super::{Tally, empty};
use crate::support::{Proxy, Redis};

/// The smallest sequence with a difference, or a word on why there is none.
pub fn smallest(redis: &Redis, proxy: &Proxy, protocol: u8, run: &Run, table: &CommandTable) -> String {
    if run.steps.iter().any(|step| step.frames != 1 || begins_transaction(step)) {
        return "  (not shrunk: what is sent depends on the steps before)\n".to_owned();
    }
    let mut run = run.clone();
    let differs = |run: &Run| {
        let session = Session { protocol, tls: false, runs: vec![Arc::new(run.clone())] };
        let [direct, proxied] = [Side::Direct(redis), Side::Proxied(proxy)].map(|side| {
            empty(redis);
            side.run(&session).remove(0)
        });
        let mut tally = Tally::default();
        let pairs = direct.iter().zip(&proxied);
        let texts: Vec<String> =
            pairs.filter_map(|(one, other)| tally.count(table, one, other).err()).collect();
        (!texts.is_empty()).then(|| texts.concat())
    };
    let Some(mut difference) = differs(&run) else {
        return "  (does not differ when it runs alone)\n".to_owned();
    };
    let mut place = run.steps.len();
    while place > 0 {
        place -= 1;
        let mut fewer = run.clone();
        fewer.steps.remove(place);
        if let Some(still) = differs(&fewer) {
            (run, difference) = (fewer, still);
        }
    }
    format!("  smallest: {}\n{difference}", super::template::text(&run.steps))
}

/// MULTI: without its EXEC the steps behind it would be queued, which not all may be.
fn begins_transaction(step: &Step) -> bool {
    matches!(&step.args[0], Arg::Bytes(name) if name.eq_ignore_ascii_case(b"multi"))
}
