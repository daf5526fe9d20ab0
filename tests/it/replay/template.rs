//! The notation of the corpus, and sequences made from it.
//!
//! A file of the corpus has templates. `## title` begins one; `#alone` behind the title says that it touches what all
//! clients share, `#needs name` that the server must have that command. Each line is a command:
//!
//! | written | means |
//! |---|---|
//! | `:name` | a key of this sequence alone |
//! | `@name` | a channel, library or function of this sequence alone |
//! | `$kind` | a value made up anew ([`values`]); `$kind1` is the same wherever it stands |
//! | `(a\|b c\|)` | one of these, each of any number of words |
//! | `"..."` | one word, with escapes |
//! | `` `...` `` | Lua, in which `¶` is the end of a line; a comment makes it this sequence's own |
//! | `PROTO` | 2 or 3 |
//! | `<x>` | what a command before captured |
//! | `? ` in front | is there or not |
//! | `{n} ` in front | one to n times, with other values |
//! | `n> `, `n/m> ` in front | that many frames come back (in RESP2/in RESP3) instead of one |
//! | `x= ` in front | captures the first element of the reply as `x` |
//!
//! A few requests are twisted into odd or wrong ones, but for sequences with captures or frames, which
//! count on replies.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use redkeep::command::keys::{Key, for_each_key};
use redkeep::command::{CommandTable, Resolution};
use redkeep::resp::RequestBuf;

use super::values;
use crate::support::random::Random;

/// Templates, of the text files beside this one.
const CORPUS: &[&str] = &[
    include_str!("corpus/strings.seq"),
    include_str!("corpus/keys.seq"),
    include_str!("corpus/lists.seq"),
    include_str!("corpus/hashes.seq"),
    include_str!("corpus/sets.seq"),
    include_str!("corpus/sorted_sets.seq"),
    include_str!("corpus/streams.seq"),
    include_str!("corpus/others.seq"),
    include_str!("corpus/transactions.seq"),
    include_str!("corpus/scripts.seq"),
    include_str!("corpus/pubsub.seq"),
    include_str!("corpus/server.seq"),
    include_str!("corpus/errors.seq"),
];

pub struct Template {
    pub title: &'static str,
    pub alone: bool,
    pub needs: Option<&'static str>,
    lines: Vec<&'static str>,
}

#[derive(Clone, Hash)]
pub struct Step {
    pub args: Vec<Arg>,
    pub frames: usize,
    pub capture: Option<&'static str>,
}

#[derive(Clone, Hash)]
pub enum Arg {
    Bytes(Vec<u8>),
    Captured(&'static str),
}

impl Step {
    /// The last one of a sequence, whose reply nothing else looks like.
    pub fn echo(name: &str) -> Step {
        let args = ["ECHO", name].map(|word| Arg::Bytes(word.into())).to_vec();
        Step { args, frames: 1, capture: None }
    }
}

/// All templates of the corpus.
pub fn corpus() -> Vec<Template> {
    let mut templates: Vec<Template> = Vec::new();
    for line in CORPUS.iter().flat_map(|text| text.lines()) {
        if let Some(heading) = line.strip_prefix("## ") {
            let (title, mark) = heading.split_once(" #").unwrap_or((heading, ""));
            let needs = mark.strip_prefix("needs ");
            templates.push(Template { title, alone: mark == "alone", needs, lines: Vec::new() });
        } else if !line.is_empty() && !line.starts_with("# ") {
            templates.last_mut().unwrap().lines.push(line);
        }
    }
    templates
}

impl Template {
    /// The sequence that `seed` makes of this template. `name` keeps its keys apart from those of others, and
    /// changes nothing else.
    pub fn sequence(&self, seed: u64, name: &str, protocol: u8) -> Vec<Step> {
        let random = Random::new(seed);
        let mut writer = Writer { random, name, protocol, remembered: HashMap::new() };
        let mut steps: Vec<Step> = self.lines.iter().flat_map(|line| writer.line(line)).collect();
        if !self.alone && steps.iter().all(|step| step.frames == 1 && step.capture.is_none()) {
            for step in &mut steps {
                writer.perhaps_twist(&mut step.args);
            }
        }
        steps
    }
}

/// Commands that are sent as they are written: they could wait for ever, have another number
/// of replies, leave the connection in another state, or show what others do.
const NEVER_TWISTED: &[&str] = &[
    "auth",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "client",
    "dbsize",
    "discard",
    "exec",
    "hello",
    "lolwut",
    "multi",
    "psubscribe",
    "punsubscribe",
    "randomkey",
    "reset",
    "scan",
    "select",
    "slowlog",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
    "watch",
];
/// One request in this many is twisted.
const TWISTED: usize = 20;

struct Writer<'n> {
    random: Random,
    name: &'n str,
    protocol: u8,
    remembered: HashMap<&'static str, Vec<u8>>,
}

impl Writer<'_> {
    fn line(&mut self, line: &'static str) -> Vec<Step> {
        let (mut rest, mut times, mut frames, mut capture) = (line, 1, 1, None);
        if let Some(optional) = rest.strip_prefix("? ") {
            times = self.random.below(2);
            rest = optional;
        } else if let Some((most, repeated)) = rest.strip_prefix('{').and_then(|rest| rest.split_once("} ")) {
            times = 1 + self.random.below(most.parse().unwrap());
            rest = repeated;
        } else if let Some((counts, counted)) = rest.split_once("> ")
            && counts.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/')
        {
            let (two, three) = counts.split_once('/').unwrap_or((counts, counts));
            frames = if self.protocol == 2 { two } else { three }.parse().unwrap();
            rest = counted;
        } else if let Some((name, captured)) = rest.split_once("= ")
            && name.bytes().all(|byte| byte.is_ascii_lowercase())
        {
            capture = Some(name);
            rest = captured;
        }
        let mut steps = Vec::new();
        for _ in 0..times {
            let mut args = Vec::new();
            self.words(rest, &mut args);
            steps.push(Step { args, frames, capture });
        }
        steps
    }

    fn words(&mut self, mut text: &'static str, args: &mut Vec<Arg>) {
        loop {
            text = text.trim_start();
            let end_of = |mark: char| 1 + text[1..].find(mark).unwrap_or_else(|| panic!("{mark} in {text}"));
            text = match text.chars().next() {
                None => return,
                Some('(') => {
                    let end = end_of(')');
                    let choices: Vec<&'static str> = text[1..end].split('|').collect();
                    let choice = self.random.below(choices.len());
                    self.words(choices[choice], args);
                    &text[end + 1..]
                }
                Some('`') => {
                    let end = end_of('`');
                    let script = text[1..end].replace('¶', "\n").replace('@', &self.identifier());
                    args.push(Arg::Bytes(format!("{script}\n--{}", self.name).into_bytes()));
                    &text[end + 1..]
                }
                Some('"') => {
                    let (word, rest) = quoted(&text[1..]);
                    args.push(Arg::Bytes(word));
                    rest
                }
                Some(_) => {
                    let end = text.find(' ').unwrap_or(text.len());
                    args.push(self.word(&text[..end]));
                    &text[end..]
                }
            };
        }
    }

    fn word(&mut self, word: &'static str) -> Arg {
        if let Some(name) = word.strip_prefix('<').and_then(|word| word.strip_suffix('>')) {
            return Arg::Captured(name);
        }
        if word == "PROTO" {
            return Arg::Bytes(self.protocol.to_string().into_bytes());
        }
        let (mut bytes, rest) = match word.as_bytes()[0] {
            b':' => (format!("{}:", self.name).into_bytes(), &word[1..]),
            b'@' => (self.identifier().into_bytes(), &word[1..]),
            _ => (Vec::new(), word),
        };
        match rest.split_once('$').filter(|(_, kind)| kind.starts_with(|c: char| c.is_ascii_lowercase())) {
            Some((before, kind)) => {
                bytes.extend_from_slice(before.as_bytes());
                bytes.extend_from_slice(&self.value(kind));
            }
            None => bytes.extend_from_slice(rest.as_bytes()),
        }
        Arg::Bytes(bytes)
    }

    fn value(&mut self, kind: &'static str) -> Vec<u8> {
        let plain = kind.trim_end_matches(|c: char| c.is_ascii_digit());
        if plain == kind {
            return values::of(plain, &mut self.random);
        }
        let random = &mut self.random;
        self.remembered.entry(kind).or_insert_with(|| values::of(plain, random)).clone()
    }

    /// The beginning of names that are identifiers in Lua.
    fn identifier(&self) -> String {
        format!("{}_", self.name)
    }

    /// Makes a few requests wrong or odd: an argument too few, too many, another one, another case.
    fn perhaps_twist(&mut self, args: &mut Vec<Arg>) {
        let words = args.len();
        if self.random.below(TWISTED) > 0 || words < 2 || !may_be_twisted(args) {
            return;
        }
        let mut twisted = args.clone();
        let place = 1 + self.random.below(words - 1);
        match self.random.below(5) {
            0 => drop(twisted.remove(place)),
            1 => twisted.insert(place, args[place].clone()),
            2 | 3 => twisted[place] = Arg::Bytes(values::of("odd", &mut self.random)),
            _ => {
                let Arg::Bytes(name) = &mut twisted[0] else { return };
                name.make_ascii_lowercase();
            }
        }
        if self.owns_keys_of(&twisted) {
            *args = twisted;
        }
    }

    /// Whether no other sequence can meet the keys of a request.
    fn owns_keys_of(&self, args: &[Arg]) -> bool {
        static TABLE: LazyLock<CommandTable> = LazyLock::new(CommandTable::builtin);
        let own = format!("{}:", self.name);
        let args: Vec<&[u8]> = args
            .iter()
            .map(|arg| match arg {
                Arg::Bytes(bytes) => &bytes[..],
                Arg::Captured(_) => b"",
            })
            .collect();
        let encoded = RequestBuf::from_args(&args);
        let Resolution::Known(spec) = TABLE.resolve(encoded.as_request()) else { return true };
        let mut owns = true;
        // Where it is not certain which keys there are, the server refuses the request.
        let _ = for_each_key(spec, encoded.as_request(), |key: Key<'_>| {
            owns &= key.name.starts_with(own.as_bytes());
            ControlFlow::<()>::Continue(())
        });
        owns
    }
}

fn may_be_twisted(args: &[Arg]) -> bool {
    let is = |arg: &Arg, words: &[&str]| match arg {
        Arg::Bytes(bytes) => words.iter().any(|word| bytes.eq_ignore_ascii_case(word.as_bytes())),
        Arg::Captured(_) => true,
    };
    !is(&args[0], NEVER_TWISTED) && !args.iter().any(|arg| is(arg, &["block"]))
}

/// The word in quotes that `text` begins with, and what is behind it.
fn quoted(text: &'static str) -> (Vec<u8>, &'static str) {
    let mut word = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (word, &text[at + 1..]),
            '\\' => word.push(match chars.next().unwrap().1 {
                'r' => b'\r',
                'n' => b'\n',
                other => u8::try_from(other).unwrap(),
            }),
            other => word.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    panic!("no end of quotes: {text}");
}

/// The requests of a sequence as text.
pub fn text(steps: &[Step]) -> String {
    let lines: Vec<String> = steps
        .iter()
        .map(|step| {
            let words = step.args.iter().map(|arg| match arg {
                Arg::Bytes(bytes) => bytes.clone(),
                Arg::Captured(name) => format!("<{name}>").into_bytes(),
            });
            shown(&words.collect::<Vec<_>>())
        })
        .collect();
    lines.join("; ")
}

/// A request as text, cut where it is long.
pub fn shown(args: &[Vec<u8>]) -> String {
    let words = args.iter().map(|arg| match arg.escape_ascii().to_string() {
        empty if empty.is_empty() => "''".to_owned(),
        long if long.len() > 200 => format!("{}...({} bytes)", &long[..200], arg.len()),
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}
