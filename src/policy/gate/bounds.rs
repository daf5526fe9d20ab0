//! `commands.bounds`: bounds on arguments that have brought servers down, for upstreams that cannot be updated at once.
//!
//! Each bound is about a kind of argument, wherever commands have it (the table `RULES`), and is off unless it is
//! configured. Sources: counts CVE-2022-31144, CVE-2022-35977 (SORT LIMIT), CVE-2023-22458, CVE-2023-25155; lengths of
//! glob patterns CVE-2022-36021, CVE-2024-31228; offsets CVE-2021-32761, CVE-2022-35977 (SETRANGE).
//!
//! SECURITY: numbers are read as generously as any Redis reads them (`+5`, `05`, up to a NUL). What is no number at all
//! is not judged: every Redis refuses it. An option is looked for at every place, also where it would be a key or a value.

use crate::command::Spec;
use crate::command::keys::is_word;
use crate::resp::{Request, c_string};

/// The settings of `commands.bounds`; `None`: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `max_count`: how many elements a command may ask for, negative counts by their absolute value.
    pub max_count: Option<u64>,
    /// `max_pattern_bytes`: the length of a glob pattern.
    pub max_pattern_bytes: Option<u64>,
    /// `max_offset_bytes`: how long a string SETRANGE, SETBIT and BITFIELD may make.
    pub max_offset_bytes: Option<u64>,
}

/// An argument that is more than a bound allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The name of the setting.
    pub setting: &'static str,
    /// Its value.
    pub limit: u64,
    /// Which argument.
    pub index: usize,
}

/// Which arguments of a command a bound is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bounded {
    /// BITFIELD: the offset of each operation.
    Bitfield,
    /// The offset of one bit.
    BitOffset(usize),
    /// The count at this place.
    Count(usize),
    /// So many counts after this word.
    CountsAfter(&'static str, usize),
    /// The pattern at this place, and with `true` those that follow.
    Pattern(usize, bool),
    /// The pattern after this word.
    PatternAfter(&'static str),
    /// SETRANGE.
    Range,
}

use Bounded::{BitOffset, Bitfield, Count, CountsAfter, Pattern, PatternAfter, Range};

const AFTER_COUNT: Bounded = CountsAfter("COUNT", 1);

/// Commands by name, each with what is bounded of it.
const RULES: &[(&str, Bounded)] = &[
    ("bitfield", Bitfield),
    ("bitfield_ro", Bitfield),
    ("blmpop", AFTER_COUNT),
    ("bzmpop", AFTER_COUNT),
    ("command|list", PatternAfter("PATTERN")),
    ("config|get", Pattern(2, true)),
    ("function|list", PatternAfter("LIBRARYNAME")),
    ("georadius", AFTER_COUNT),
    ("georadius_ro", AFTER_COUNT),
    ("georadiusbymember", AFTER_COUNT),
    ("georadiusbymember_ro", AFTER_COUNT),
    ("geosearch", AFTER_COUNT),
    ("geosearchstore", AFTER_COUNT),
    ("getbit", BitOffset(2)),
    ("hrandfield", Count(2)),
    ("hscan", AFTER_COUNT),
    ("hscan", PatternAfter("MATCH")),
    ("keys", Pattern(1, false)),
    ("lmpop", AFTER_COUNT),
    ("lpop", Count(2)),
    ("lpos", AFTER_COUNT),
    ("psubscribe", Pattern(1, true)),
    ("pubsub|channels", Pattern(2, false)),
    ("pubsub|shardchannels", Pattern(2, false)),
    ("rpop", Count(2)),
    ("scan", AFTER_COUNT),
    ("scan", PatternAfter("MATCH")),
    ("setbit", BitOffset(2)),
    ("setrange", Range),
    ("sort", CountsAfter("LIMIT", 2)),
    ("sort_ro", CountsAfter("LIMIT", 2)),
    ("spop", Count(2)),
    ("srandmember", Count(2)),
    ("sscan", AFTER_COUNT),
    ("sscan", PatternAfter("MATCH")),
    ("vrandmember", Count(2)),
    ("vsim", AFTER_COUNT),
    ("xautoclaim", AFTER_COUNT),
    ("xrange", AFTER_COUNT),
    ("xread", AFTER_COUNT),
    ("xreadgroup", AFTER_COUNT),
    ("xrevrange", AFTER_COUNT),
    ("zmpop", AFTER_COUNT),
    ("zpopmax", Count(2)),
    ("zpopmin", Count(2)),
    ("zrandmember", Count(2)),
    ("zscan", AFTER_COUNT),
    ("zscan", PatternAfter("MATCH")),
];

impl Bounds {
    /// Whether one of the bounds that are set is about this command.
    pub(super) fn are_about(&self, spec: &Spec) -> bool {
        rules(spec).any(|bounded| self.limit(bounded).is_some())
    }

    /// The first argument that is more than its bound allows.
    pub(super) fn exceeded(&self, spec: &Spec, request: Request<'_>) -> Option<Exceeded> {
        rules(spec).find_map(|bounded| {
            let (setting, limit) = self.limit(bounded)?;
            let index = bounded.first_above(limit, request)?;
            Some(Exceeded { setting, limit, index })
        })
    }

    fn limit(&self, bounded: Bounded) -> Option<(&'static str, u64)> {
        Some(match bounded {
            Count(_) | CountsAfter(..) => ("max_count", self.max_count?),
            Pattern(..) | PatternAfter(_) => ("max_pattern_bytes", self.max_pattern_bytes?),
            BitOffset(_) | Bitfield | Range => ("max_offset_bytes", self.max_offset_bytes?),
        })
    }
}

fn rules(spec: &Spec) -> impl Iterator<Item = Bounded> {
    RULES.iter().filter(|(name, _)| *name == spec.name).map(|(_, bounded)| *bounded)
}

impl Bounded {
    /// The index of the first argument that is more than `limit`.
    fn first_above(self, limit: u64, request: Request<'_>) -> Option<usize> {
        let arg = |index: usize| request.arg(index);
        let count = |index: &usize| arg(*index).and_then(number).is_some_and(|n| n.unsigned_abs() > limit);
        let pattern = |index: &usize| arg(*index).is_some_and(|text| text.len() as u64 > limit);
        let after = |word: &'static str| {
            let words = request.args(1).enumerate().filter(move |(_, arg)| is_word(arg, word));
            // The first of these is argument 1, and its value argument 2.
            words.map(|(place, _)| place.saturating_add(2))
        };
        match self {
            Count(index) => Some(index).filter(count),
            CountsAfter(word, how_many) => {
                after(word).flat_map(|first| first..first.saturating_add(how_many)).find(count)
            }
            Pattern(index, true) => (index..request.len()).find(pattern),
            Pattern(index, false) => Some(index).filter(pattern),
            PatternAfter(word) => after(word).find(pattern),
            BitOffset(index) => {
                let bit = arg(index).and_then(number)?;
                (bytes_for(bit, 1) > limit).then_some(index)
            }
            Bitfield => bitfield(limit, request),
            Range => {
                let offset = u64::try_from(arg(2).and_then(number)?).ok()?;
                let value = arg(3).unwrap_or_default().len() as u64;
                // Nothing is written, whatever the offset.
                let end = if value == 0 { 0 } else { offset.saturating_add(value) };
                (end > limit).then_some(2)
            }
        }
    }
}

/// The first operation of BITFIELD beyond `limit`. Redis reads all of them before it runs one, so an argument that is no
/// operation ends the search.
fn bitfield(limit: u64, request: Request<'_>) -> Option<usize> {
    let mut at = 2;
    while let Some(word) = request.arg(at) {
        let length = match word {
            _ if is_word(word, "OVERFLOW") => 2,
            _ if is_word(word, "GET") => 3,
            _ if is_word(word, "SET") || is_word(word, "INCRBY") => 4,
            _ => return None,
        };
        if length > 2 {
            let offset_at = at.saturating_add(2);
            let (kind, offset) = (request.arg(at.saturating_add(1))?, request.arg(offset_at)?);
            // `u8`, `i64`: so many bits.
            let bits = number(kind.get(1..)?)?;
            let bit = match offset.strip_prefix(b"#") {
                Some(place) => number(place)?.saturating_mul(bits),
                None => number(offset)?,
            };
            if bytes_for(bit, bits) > limit {
                return Some(offset_at);
            }
        }
        at = at.saturating_add(length);
    }
    None
}

/// The length of a string that has this many bits from bit `bit` on; 0 for a place that there is not.
fn bytes_for(bit: i64, bits: i64) -> u64 {
    u64::try_from(bit).map_or(0, |bit| bit.saturating_add(bits.unsigned_abs()).div_ceil(8))
}

/// A whole number as any Redis reads it: up to 4.0 by `strtoll`, which takes signs, zeros in front, and stops at a NUL.
fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(c_string(text)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
