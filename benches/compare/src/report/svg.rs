//! The picture: bars, longer for more, with their numbers beside them. Readable on light and on dark ground.

use super::numbers::number;
use crate::options::Options;
use crate::results::{Metric, Results};

const WIDTH: usize = 920;
const COLUMN: usize = WIDTH / 2;
const BAR: usize = 13;
const LINE: usize = 19;
/// Where bars begin in their column, and how long the longest is.
const LABELS: usize = 92;
const LONGEST: usize = 240;

/// Colours are set for both grounds; browsers tell which one it is.
const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; fill: #24292f }
.other { fill: #8c959f } .other-redis { fill: #c4cad1 } .redkeep { fill: #1f7a8c } .redkeep-redis { fill: #7cc0cc }
@media (prefers-color-scheme: dark) {
  text { fill: #9da7b3 } .title { fill: #e6edf3 }
  .other { fill: #768390 } .other-redis { fill: #4d5661 } .redkeep { fill: #3fa7bb } .redkeep-redis { fill: #22616d }
}
";

/// What a panel shows of each target: one part, or the proxy's and Redis'.
struct Panel {
    title: &'static str,
    scenario: &'static str,
    first: Metric,
    second: Option<Metric>,
}

const fn one(title: &'static str, scenario: &'static str, first: Metric) -> Panel {
    Panel { title, scenario, first, second: None }
}

const fn both(title: &'static str, scenario: &'static str, first: Metric, second: Metric) -> Panel {
    Panel { title, scenario, first, second: Some(second) }
}

use Metric::{P99, ProxyCpu, ProxyPerClient, RedisCpu, RedisPerClient, Throughput};

/// From left to right, then down.
const PANELS: [Panel; 10] = [
    one("Requests per second: GET 64 B, 50 clients", "get-50-1", Throughput),
    both("CPU µs per request: the same", "get-50-1", ProxyCpu, RedisCpu),
    one("Requests per second: 50 clients, pipeline 16", "get-50-16", Throughput),
    both("CPU µs per request: the same", "get-50-16", ProxyCpu, RedisCpu),
    one("Requests per second: 500 clients", "get-500-1", Throughput),
    both("CPU µs per request: the same", "get-500-1", ProxyCpu, RedisCpu),
    one("Requests per second: GET 64 KiB, 20 clients", "get-64k", Throughput),
    one("p99 in µs at 10,000 GET per second, 50 clients", "get-10000s", P99),
    both("CPU µs per new connection", "connect", ProxyCpu, RedisCpu),
    both("KiB of memory per idle client", "idle-5000", ProxyPerClient, RedisPerClient),
];

/// The whole picture.
pub fn picture(options: &Options, results: &Results) -> String {
    let panel_height = 30 + LINE * options.targets.len() + 14;
    let height = 34 + panel_height * PANELS.len().div_ceil(2);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Redkeep beside other ways to Redis: bars of medians\">\n\
         <style>\n{STYLE}</style>\n"
    );
    svg.push_str(&legend());
    for (index, panel) in PANELS.iter().enumerate() {
        let (x, y) = (10 + COLUMN * (index % 2), 34 + panel_height * (index / 2));
        svg.push_str(&drawn(panel, options, results, x, y));
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend() -> String {
    let mut svg = String::new();
    let entries = [
        ("redkeep", "Redkeep"),
        ("redkeep-redis", "the Redis behind it"),
        ("other", "others"),
        ("other-redis", "Redis behind, or alone"),
    ];
    for (index, (class, text)) in entries.into_iter().enumerate() {
        let x = 10 + index * 170;
        svg.push_str(&format!("<rect class=\"{class}\" x=\"{x}\" y=\"8\" width=\"12\" height=\"12\"/>"));
        svg.push_str(&format!("<text x=\"{}\" y=\"18\">{text}</text>\n", x + 18));
    }
    svg
}

fn drawn(panel: &Panel, options: &Options, results: &Results, x: usize, y: usize) -> String {
    let mut svg =
        format!("<text class=\"title\" x=\"{x}\" y=\"{}\">{}</text>\n", y + 16, escaped(panel.title));
    let values: Vec<(&str, f64, f64)> = options
        .targets
        .iter()
        .map(|target| {
            let median = |metric| results.median(panel.scenario, target.name, metric).unwrap_or(0.0);
            (target.name, median(panel.first), panel.second.map_or(0.0, median))
        })
        .collect();
    let largest = values.iter().map(|(_, first, second)| first + second).fold(0.0, f64::max);
    for (row, (name, first, second)) in values.into_iter().enumerate() {
        let top = y + 26 + LINE * row;
        let text = top + BAR - 2;
        let class = if name.starts_with("redkeep") { "redkeep" } else { "other" };
        svg.push_str(&format!(
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text>",
            x + LABELS - 6
        ));
        let length = |value: f64| if largest > 0.0 { value.max(0.0) / largest * LONGEST as f64 } else { 0.0 };
        let mut end = (x + LABELS) as f64;
        for (value, class) in [(first, class.to_owned()), (second, format!("{class}-redis"))] {
            if value > 0.0 {
                svg.push_str(&format!(
                    "<rect class=\"{class}\" x=\"{end:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\"/>",
                    length(value)
                ));
                end += length(value);
            }
        }
        let label = match (first > 0.0, second > 0.0) {
            (false, false) => "–".to_owned(),
            (true, true) => format!("{} + {}", number(first), number(second)),
            _ => number(first + second),
        };
        svg.push_str(&format!("<text x=\"{:.1}\" y=\"{text}\">{label}</text>\n", end + 5.0));
    }
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
