//! stub
use crate::Result;
use crate::options::Options;
use crate::results::{Metric, Results};
use std::time::Duration;
/// stub
pub fn report(options: &Options, results: &Results, _took: Duration) -> Result<()> {
    for s in &options.scenarios {
        for t in &options.targets {
            print!("{} {}", s.name, t.name);
            for m in Metric::ALL {
                if let Some(x) = results.spread(s.name, t.name, m) {
                    print!(" {}={:.2}", m.name(), x.median);
                }
            }
            println!();
        }
    }
    Ok(())
}
