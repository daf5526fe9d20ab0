//! Redis' glob patterns on bytes, compiled once and matched without allocation or recursion.
//!
//! Mirrors `stringmatchlen` of Redis 7.0 as found by experiment (a differential test against `ACL DRYRUN` is in
//! `tests/it/acl_oracle.rs`): `*`, `?`, `[abc]`, `[a-c]`, `[^a]`, `\x`. Its quirks are kept, since a pattern must mean
//! here what it means there:
//! - an empty text matches only the empty pattern, so `*` does not match it;
//! - a class without `]` ends with the pattern; `[^` alone matches any one byte; `[]` matches none;
//! - in a class, `x-y` is a range whatever `y` is (also `]` and `\`), and a reversed range is turned round;
//! - ranges compare bytes as *signed*, as Redis does where C's `char` is signed (x86). On other machines Redis differs
//!   from itself for bytes over 127; this is the one behaviour that is not portable there.
//! - a `\` at the end is a literal backslash.
//!
//! One difference: Redis gives up (no match) beyond 1,000 stars, since it recurses; this does not.
//!
//! Every element but `*` takes exactly one byte, so a pattern is a head, a tail of known length, and runs of elements
//! between stars, for each of which the leftmost place is also the best one: no backtracking. A long run is searched
//! bit-parallel, so the time is O(text × longest run / 64), not the product that an attacker's key could make of it.

/// Runs of at least this many elements are searched bit-parallel; the masks cost 256 words per 64 elements.
const LONG_RUN: usize = 16;
/// Words of state on the stack: runs of up to 16,384 elements are searched bit-parallel.
const MAX_WORDS: usize = 256;

/// A compiled pattern, and its text. The pattern is the operator's, what it is matched with is attacker-controlled.
#[derive(Clone, Debug)]
pub struct Glob {
    text: Box<[u8]>,
    /// What every text begins with that matches, if that is one byte.
    first: Option<u8>,
    /// Before the first star; the whole pattern when there is none.
    head: Run,
    /// `None` when there is no star.
    rest: Option<Rest>,
}

#[derive(Clone, Debug)]
struct Rest {
    /// Between two stars, never empty.
    middle: Box<[Floating]>,
    /// After the last star.
    tail: Run,
}

/// Elements in a row, none of them a star. A key pattern is mostly one literal, so that is what must be small and fast.
#[derive(Clone, Debug)]
enum Run {
    Elements(Box<[Element]>),
    Literal(Box<[u8]>),
}

/// A run that may match anywhere.
#[derive(Clone, Debug)]
enum Floating {
    /// A long one: its length, and for each byte value and each word which of 64 elements take that byte.
    Masks {
        length: usize,
        masks: Box<[u64]>,
    },
    Short(Run),
}

#[derive(Clone, Debug)]
enum Element {
    Any,
    Byte(u8),
    Class(Box<[bool; 256]>),
}

impl Glob {
    /// Compiles a pattern; every byte string is one. O(length).
    pub fn new(pattern: &[u8]) -> Self {
        let mut runs = Vec::new();
        let mut run = Vec::new();
        let mut rest = pattern;
        let mut starred = false;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            let element = match first {
                b'*' => {
                    starred = true;
                    runs.push(std::mem::take(&mut run));
                    continue;
                }
                b'?' => Element::Any,
                b'[' => {
                    let (class, after) = class(rest);
                    rest = after;
                    class
                }
                b'\\' => match rest.split_first() {
                    Some((escaped, after)) => {
                        rest = after;
                        Element::Byte(*escaped)
                    }
                    None => Element::Byte(b'\\'),
                },
                byte => Element::Byte(*byte),
            };
            run.push(element);
        }
        let text = pattern.into();
        if !starred {
            let head = Run::anchored(run);
            return Glob { text, first: head.first(), head, rest: None };
        }
        let mut runs = runs.into_iter();
        let head = Run::anchored(runs.next().unwrap_or_default());
        let middle = runs.filter(|run| !run.is_empty()).map(Floating::new).collect();
        Glob { text, first: head.first(), head, rest: Some(Rest { middle, tail: Run::anchored(run) }) }
    }

    /// The pattern as it was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Whether the pattern matches all of `text`, which may be any bytes. Allocates nothing.
    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        // Of several patterns, most differ in their first byte: no call for these.
        self.first.is_none_or(|first| text.first() == Some(&first)) && self.matches_all(text)
    }

    fn matches_all(&self, text: &[u8]) -> bool {
        if text.is_empty() {
            return self.text.is_empty();
        }
        let Some(rest) = &self.rest else {
            return text.len() == self.head.len() && self.head.begins(text);
        };
        let Some(between) = text.len().checked_sub(self.head.len()) else { return false };
        if between < rest.tail.len() || !self.head.begins(text) {
            return false;
        }
        let (text, tail) = text.split_at(text.len() - rest.tail.len());
        if !rest.tail.begins(tail) {
            return false;
        }
        let mut text = text.get(self.head.len()..).unwrap_or_default();
        for run in &rest.middle {
            match run.find_end(text) {
                Some(end) => text = text.get(end..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

// === impl Element ===

impl Element {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Element::Any => true,
            Element::Byte(own) => *own == byte,
            Element::Class(set) => set.get(usize::from(byte)).copied().unwrap_or(false),
        }
    }
}

/// The class whose `[` stands before `rest`, and what follows it.
fn class(mut rest: &[u8]) -> (Element, &[u8]) {
    let mut set = Box::new([false; 256]);
    let mut add = |byte: u8| {
        if let Some(member) = set.get_mut(usize::from(byte)) {
            *member = true;
        }
    };
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = rest.get(1..).unwrap_or_default();
    }
    loop {
        rest = match rest {
            [b'\\', escaped, after @ ..] => {
                add(*escaped);
                after
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [] => break,
            [from, b'-', to, after @ ..] => {
                let (from, to) = (from.cast_signed(), to.cast_signed());
                (from.min(to)..=from.max(to)).for_each(|byte| add(byte.cast_unsigned()));
                after
            }
            [byte, after @ ..] => {
                add(*byte);
                after
            }
        };
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    (Element::Class(set), rest)
}

// === impl Run ===

impl Run {
    fn anchored(elements: Vec<Element>) -> Self {
        let byte = |element: &Element| if let Element::Byte(byte) = element { Some(*byte) } else { None };
        match elements.iter().map(byte).collect() {
            Some(literal) => Run::Literal(literal),
            None => Run::Elements(elements.into()),
        }
    }

    /// The byte that it begins with, if that can only be one.
    fn first(&self) -> Option<u8> {
        match self {
            Run::Literal(literal) => literal.first().copied(),
            Run::Elements(_) => None,
        }
    }

    /// How many bytes it takes.
    fn len(&self) -> usize {
        match self {
            Run::Elements(elements) => elements.len(),
            Run::Literal(literal) => literal.len(),
        }
    }

    /// Whether the run matches the beginning of `text`.
    fn begins(&self, text: &[u8]) -> bool {
        match self {
            Run::Literal(literal) => text.starts_with(literal),
            Run::Elements(elements) => {
                text.len() >= elements.len()
                    && elements.iter().zip(text).all(|(element, byte)| element.takes(*byte))
            }
        }
    }
}

// === impl Floating ===

impl Floating {
    fn new(elements: Vec<Element>) -> Self {
        let length = elements.len();
        let words = length.div_ceil(64);
        if length < LONG_RUN || words > MAX_WORDS {
            return Floating::Short(Run::anchored(elements));
        }
        let mut masks = vec![0u64; 256 * words].into_boxed_slice();
        for byte in 0..=u8::MAX {
            for (index, element) in elements.iter().enumerate() {
                let word = usize::from(byte) * words + index / 64;
                if let (true, Some(mask)) = (element.takes(byte), masks.get_mut(word)) {
                    *mask |= 1 << (index % 64);
                }
            }
        }
        Floating::Masks { length, masks }
    }

    /// Where the leftmost match in `text` ends.
    fn find_end(&self, text: &[u8]) -> Option<usize> {
        let run = match self {
            Floating::Masks { length, masks } => return find_bit_parallel(*length, masks, text),
            Floating::Short(run) => run,
        };
        let last = text.len().checked_sub(run.len())?;
        let begins = |start: &usize| text.get(*start..).is_some_and(|text| run.begins(text));
        (0..=last).find(begins).map(|start| start + run.len())
    }
}

/// Where the leftmost match of a run in `text` ends, by Shift-And: bit `i` of the state says that elements `0..=i` match
/// the bytes up to here.
///
/// A match must begin early enough to end within `text`, and has as many bytes as lie since its beginning. So only a
/// window of the bits matters, which moves with the text: `slack + 1` bits up to that of the current byte. Bits below it
/// are left as they are: whatever they say, no match comes of it any more.
fn find_bit_parallel(length: usize, masks: &[u64], text: &[u8]) -> Option<usize> {
    let slack = text.len().checked_sub(length)?;
    let words = length.div_ceil(64);
    let goal = 1u64 << ((length - 1) % 64);
    let mut states = [0u64; MAX_WORDS];
    let states = states.get_mut(..words)?;
    for (index, byte) in text.iter().enumerate() {
        let first = index.saturating_sub(slack) / 64;
        let end = words.min(index / 64 + 1);
        let row = usize::from(*byte) * words;
        let masks = masks.get(row + first..row + end)?;
        let mut carry = match first.checked_sub(1) {
            Some(below) => states.get(below)? >> 63,
            None => 1,
        };
        for (state, mask) in states.get_mut(first..end)?.iter_mut().zip(masks) {
            let next = ((*state << 1) | carry) & mask;
            carry = *state >> 63;
            *state = next;
        }
        if states.last().is_some_and(|state| state & goal != 0) {
            return Some(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests;
