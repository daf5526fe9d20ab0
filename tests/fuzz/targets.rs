//! What is fuzzed, and what must hold for any bytes. Every target is one function from bytes to nothing, which panics
//! when its property does not hold; it never does I/O and never depends on anything but its bytes.
//!
//! Two drivers share this file: the programs in `bin/`, which libFuzzer steers by coverage (`make fuzz`), and
//! `tests/fuzz_smoke.rs`, which replays `corpus/` and some mutations of it (`make test`). A target reads arguments as
//! the lines of its bytes.

use std::ops::ControlFlow;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use redkeep::acl::{self, Defaults, Dialect, Glob, Unclear, Use, User};
use redkeep::command::keys::{affinity, blocks, for_each_channel, for_each_key};
use redkeep::command::{Affinity, CommandTable, Resolution, Spec, flag};
use redkeep::policy::{Facts, Gates, Judged, Policy, Proof, Rename, Verdict};
use redkeep::resp::{Limits, ReplyError, ReplyFrame, ReplyScanner, Request, RequestBuf, Scanned, Scanner};
use redkeep::session::{Action, Ends, Route, SessionId, State, step};

/// A function that panics when its property does not hold for these bytes.
pub type Target = fn(&[u8]);

/// All targets, with the names of their corpora.
pub const TARGETS: [(&str, Target); 8] = [
    ("acl_file", acl_file),
    ("glob", glob),
    ("judge", judge),
    ("keys", keys),
    ("reply", reply),
    ("request", request),
    ("rules", rules),
    ("session", session),
];

static TABLE: LazyLock<CommandTable> = LazyLock::new(CommandTable::builtin);

/// Requests by which two users are told apart.
const QUESTIONS: &[&str] = &[
    "get a",
    "get app:1",
    "set a b",
    "mget a app:1",
    "copy a b",
    "config get dir",
    "config set dir a",
    "client id",
    "select 0",
    "select 1",
    "publish a b",
    "psubscribe a*",
    "eval a 0",
    "sort a by b*",
    "object freq app:1",
    "keys *",
];

/// Users of the policy that judges.
const USERS: [(&str, &str); 6] = [
    ("default", "on nopass ~* &* +@all"),
    ("app", "on nopass ~app:* %R~in:* %W~out:* resetchannels &app:* +@all -@dangerous"),
    ("nokeys", "on nopass resetchannels +@all"),
    ("selectors", "on nopass -@all +ping (+@read ~a*) (+@write ~b*) (+@pubsub &c*)"),
    ("words", "on nopass ~* &* -@all +config|get +select|0 +sort +eval +object|freq"),
    ("none", "off -@all"),
];

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let renames = [("keys", "all-keys"), ("flushall", "")];
    let renames = renames.map(|(command, alias)| Rename { command: command.into(), alias: alias.into() });
    let gates = Gates::new(&renames, &TABLE).unwrap();
    let users = USERS
        .iter()
        .map(|(name, rules)| acl::parse_rules(name, rules, Defaults::default(), &TABLE).unwrap())
        .collect();
    Policy::new(None, TABLE.clone(), gates, users)
});

/// Rules that are accepted can be written down: read again they give the same text and the same decisions.
pub fn rules(data: &[u8]) {
    let words = lines(data);
    let Ok(user) = User::new(b"u", Defaults::default(), &TABLE).unwrap().set(&words, &TABLE) else { return };
    let file = [b"user default off\n", text(&user).as_slice()].concat();
    let users =
        acl::parse_file(&file, Defaults::default(), &TABLE).unwrap_or_else(|errors| panic!("{}", errors[0]));
    assert_eq!(text(&users[1]), text(&user));
    assert_eq!(answers(&users[1]), answers(&user));
    assert_eq!(text(&user.rebased(&TABLE)), text(&user));
    assert_eq!(answers(&user.rebased(&TABLE)), answers(&user));
}

fn text(user: &User) -> Vec<u8> {
    user.describe(Dialect::Redis72)
}

/// A file that is accepted can be written down. One that is not is refused without a word of its passwords.
pub fn acl_file(data: &[u8]) {
    const MARK: &[u8] = b"c4n4ry";
    let describe = |users: &[User]| users.iter().map(text).collect::<Vec<_>>().join(&b'\n');
    if let Ok(users) = acl::parse_file(data, Defaults::default(), &TABLE) {
        let written = describe(&users);
        let again = acl::parse_file(&written, Defaults::default(), &TABLE)
            .unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert_eq!(describe(&again), written);
    }
    // The fuzzer learns the mark and puts it where no password is.
    if data.windows(MARK.len()).any(|window| window == MARK) {
        return;
    }
    let marked = replace(data, b" >", &[b" >", MARK].concat());
    for error in acl::parse_file(&marked, Defaults::default(), &TABLE).err().unwrap_or_default() {
        assert!(!error.text.contains("c4n4ry"), "{error}");
    }
}

/// The first line is a pattern, the rest a text: the answer is that of an obvious matcher, and comes soon.
pub fn glob(data: &[u8]) {
    let (pattern, text) = split_line(data);
    let begin = Instant::now();
    let found = Glob::new(pattern).matches(text);
    assert!(begin.elapsed() < Duration::from_secs(2), "{} bytes", data.len());
    let stars = pattern.iter().filter(|byte| **byte == b'*').count();
    if stars <= 3 && text.len() <= 24 {
        let expected = if text.is_empty() { pattern.is_empty() } else { obvious(pattern, text) };
        assert_eq!(found, expected, "{pattern:?} {text:?}");
    }
}

/// Only arguments that exist are keys, in whatever case the options are written.
pub fn keys(data: &[u8]) {
    let [request, upper, lower] = [data.to_vec(), data.to_ascii_uppercase(), data.to_ascii_lowercase()]
        .map(|data| RequestBuf::from_args(&lines(&data)));
    let request = request.as_request();
    let Resolution::Known(spec) = TABLE.resolve(request) else { return };
    let found = places(spec, request);
    assert!(
        found.1.iter().all(|(index, name)| *index > 0 && request.arg(*index) == Some(name)),
        "{}",
        spec.name
    );
    for same in [upper.as_request(), lower.as_request()] {
        assert_eq!(indices(&places(spec, same)), indices(&found), "{}", spec.name);
        assert_eq!(blocks(spec, same), blocks(spec, request), "{}", spec.name);
    }
}

/// What is allowed is what was sent, and each of its keys and channels alone is allowed too.
pub fn judge(data: &[u8]) {
    let words = lines(data);
    let (request, mut scratch) = (RequestBuf::from_args(&words), RequestBuf::default());
    let anyone = matches!(judged(Some("default"), &request, &mut scratch), Verdict::Allow(_));
    if let Verdict::Allow(judged) = judged(None, &request, &mut scratch) {
        assert!(judged.spec().flags.contains(flag::NO_AUTH), "{}", judged.spec().name);
    }
    for (name, _) in &USERS[1..] {
        if let Verdict::Allow(judged) = judged(Some(name), &request, &mut scratch) {
            assert!(anyone, "{name}: {}", judged.spec().name);
            assert!(judged.request().args(1).eq(words[1..].iter().copied()), "{name}");
            check_each_use(POLICY.user(name.as_bytes()).unwrap(), judged);
        }
    }
}

/// Requests mean the same in any pieces, and what is accepted is our own encoding of its arguments.
pub fn request(data: &[u8]) {
    let (Some((first, stream)), limits) = (data.split_first(), Limits::UNAUTHENTICATED) else { return };
    let requests = |size: usize| {
        let (mut scanner, mut buffer, mut requests) = (Scanner::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(size.max(1)) {
            buffer.extend_from_slice(piece);
            if let Err(error) = take_requests(&mut scanner, &mut buffer, &limits, &mut requests) {
                return (requests, Some(error));
            }
        }
        (requests, None)
    };
    assert_eq!(requests(usize::from(first % 16)), requests(stream.len()));
}

/// Replies end in the same places in any pieces, and within what has arrived.
pub fn reply(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    assert_eq!(frames(stream, usize::from(first % 16).max(1)), frames(stream, stream.len()));
}

/// The lines are the requests of one session, answered in an order that the first two bytes choose: whatever they are, each
/// gets at most one whole reply of Redkeep's own or is sent as it was judged, and what leaves state goes to a link of the
/// session's own.
pub fn session(data: &[u8]) {
    let Some(([first, second], requests)) = data.split_first_chunk() else { return };
    let mut state = State::new(SessionId(1), Ends::default(), &POLICY);
    let name = USERS[usize::from(*first) % USERS.len()].0;
    state.become_user(&POLICY, POLICY.user(name.as_bytes()), Proof::Password);
    for (number, line) in requests.split(|byte| *byte == b'\n').take(64).enumerate() {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let (request, mut scratch) = (RequestBuf::from_args(&words), RequestBuf::default());
        // Whether everything before it is answered.
        let settled = second >> (number % 8) & 1 == 1;
        let mut out = BytesMut::new();
        let mut action = step(&POLICY, &mut state, request.as_request(), &mut scratch, settled, &mut out);
        let mut again = RequestBuf::default();
        if let Action::Settle = action {
            assert!(!settled && out.is_empty());
            action = step(&POLICY, &mut state, request.as_request(), &mut again, true, &mut out);
            assert!(!matches!(action, Action::Settle), "it never goes on");
        }
        let (replies, error) = frames(&out, out.len());
        assert!(error.is_none() && replies.iter().map(|frame| frame.len).sum::<usize>() == out.len());
        match action {
            Action::Close | Action::CloseAfterReply | Action::CutOff => return,
            Action::EndLease | Action::Greet | Action::Reply => assert!(replies.len() <= 1),
            Action::Hold => panic!("there is no pause"),
            Action::Settle => panic!("it was asked again"),
            Action::Administer { judged } | Action::Execute { exec: judged, .. } => {
                assert!(out.is_empty());
                check_sent(&state, judged);
                if judged.spec().name == "exec" {
                    return;
                }
            }
            Action::Forward { judged, route, then } => {
                assert!(out.is_empty());
                check_sent(&state, judged);
                let affinity = affinity(judged.spec(), judged.request());
                let shared = matches!(affinity, Affinity::Shared | Affinity::Local);
                assert!(route != Route::Shared || shared, "{}", judged.spec().name);
                state.sent(then, judged, &POLICY);
            }
        }
    }
}

/// What leaves is allowed to the session's user, and is our own encoding of its arguments.
fn check_sent(state: &State, judged: Judged<'_>) {
    let encoded = RequestBuf::from_args(&judged.request().args(0).collect::<Vec<_>>());
    assert_eq!(judged.wire(), encoded.as_request().wire());
    let verdict = POLICY.judge_again(state.facts(), judged.request());
    assert!(matches!(verdict, Verdict::Allow(_)), "{}", judged.spec().name);
}

// === what the targets share ===

/// What a user may do of [`QUESTIONS`].
fn answers(user: &User) -> Vec<bool> {
    let answer = |line: &&str| {
        let request = RequestBuf::from_args(&line.split(' ').collect::<Vec<_>>());
        let Resolution::Known(spec) = TABLE.resolve(request.as_request()) else { panic!("{line}") };
        permits(user, spec, request.as_request(), None)
    };
    QUESTIONS.iter().map(answer).collect()
}

/// Whether the user may run the request if it used nothing but its `only`-th key or channel (`None`: all of them).
fn permits(user: &User, spec: &Spec, request: Request<'_>, only: Option<usize>) -> bool {
    let uses = |visitor: &mut acl::Visitor<'_>| {
        let wanted = |index| only.is_none_or(|only| only == index);
        let keys = for_each_key(spec, request, |key| match wanted(key.index) {
            true => visitor(Use::Key { index: key.index, key: key.name, access: key.access }),
            false => ControlFlow::Continue(()),
        });
        _ = for_each_channel(spec, request, |channel| match wanted(channel.index) {
            true => visitor(Use::Channel {
                index: channel.index,
                channel: channel.name,
                literal: channel.literal,
            }),
            false => ControlFlow::Continue(()),
        });
        keys.map(drop).map_err(|_| Unclear)
    };
    user.permits(request, spec, uses).is_ok()
}

fn check_each_use(user: &User, judged: Judged<'_>) {
    let (spec, request) = (judged.spec(), judged.request());
    for index in 1..request.len() {
        assert!(permits(user, spec, request, Some(index)), "{}: argument {index}", spec.name);
    }
    let encoded = RequestBuf::from_args(&request.args(0).collect::<Vec<_>>());
    assert_eq!(judged.wire(), encoded.as_request().wire());
}

fn judged<'a>(user: Option<&str>, request: &'a RequestBuf, scratch: &'a mut RequestBuf) -> Verdict<'a> {
    let user = user.map(|name| &**POLICY.user(name.as_bytes()).unwrap());
    POLICY.judge(Facts { user, database: 0, local: false }, request.as_request(), scratch)
}

/// Whether the keys are certain, and those that were found.
fn places<'r>(spec: &Spec, request: Request<'r>) -> (bool, Vec<(usize, &'r [u8])>) {
    let mut found = Vec::new();
    let certain = for_each_key(spec, request, |key| {
        found.push((key.index, key.name));
        ControlFlow::<()>::Continue(())
    });
    (certain.is_ok(), found)
}

fn indices(places: &(bool, Vec<(usize, &[u8])>)) -> (bool, Vec<usize>) {
    (places.0, places.1.iter().map(|(index, _)| *index).collect())
}

/// Moves all complete requests from the buffer to `requests`.
fn take_requests(
    scanner: &mut Scanner,
    buffer: &mut Vec<u8>,
    limits: &Limits,
    requests: &mut Vec<Vec<u8>>,
) -> Result<(), String> {
    loop {
        let consumed = match scanner.scan(buffer, limits).map_err(|error| format!("{error:?}"))? {
            Scanned::NeedMore { at_least } => {
                assert!(at_least > buffer.len());
                return Ok(());
            }
            Scanned::Nothing { consumed } => consumed,
            Scanned::Request { consumed } => {
                let request = scanner.request(buffer);
                let encoded = RequestBuf::from_args(&request.args(0).collect::<Vec<_>>());
                assert_eq!(request.wire(), encoded.as_request().wire());
                requests.push(request.wire().to_vec());
                consumed
            }
        };
        buffer.drain(..consumed);
    }
}

/// The replies in a stream that arrives in pieces of this size, and the error that ends it.
fn frames(stream: &[u8], size: usize) -> (Vec<ReplyFrame>, Option<ReplyError>) {
    let (mut scanner, mut frames, mut start) = (ReplyScanner::new(1 << 20), Vec::new(), 0);
    for end in (1..=stream.len()).filter(|end| end % size == 0 || *end == stream.len()) {
        loop {
            match scanner.scan(&stream[start..end]) {
                Ok(Some(frame)) => {
                    start += frame.len;
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
            assert!(start <= end);
        }
    }
    (frames, None)
}

/// Redis' patterns, as its manual tells them, one element at a time; exponential in the number of stars.
fn obvious(pattern: &[u8], text: &[u8]) -> bool {
    let (element, rest) = match pattern {
        [] => return text.is_empty(),
        [b'*', rest @ ..] => return (0..=text.len()).any(|skipped| obvious(rest, &text[skipped..])),
        [b'[', ..] => pattern.split_at(class_length(pattern)),
        [b'\\', _, ..] => pattern.split_at(2),
        _ => pattern.split_at(1),
    };
    let Some((byte, text)) = text.split_first() else { return false };
    let takes = match element {
        [b'?'] => true,
        [b'[', b'^', class @ ..] => !in_class(class, *byte),
        [b'[', class @ ..] => in_class(class, *byte),
        [.., own] => own == byte,
        [] => false,
    };
    takes && obvious(rest, text)
}

/// The members of a class at its front: how many bytes one takes, and its bounds. `None` at the end.
fn member(class: &[u8]) -> Option<(usize, i8, i8)> {
    match class.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>()[..] {
        [] => None,
        [first, own, ..] if first == b'\\'.cast_signed() => Some((2, own, own)),
        [first, ..] if first == b']'.cast_signed() => None,
        [from, dash, to, ..] if dash == b'-'.cast_signed() => Some((3, from.min(to), from.max(to))),
        [own, ..] => Some((1, own, own)),
    }
}

fn in_class(mut class: &[u8], byte: u8) -> bool {
    while let Some((length, from, to)) = member(class) {
        if (from..=to).contains(&byte.cast_signed()) {
            return true;
        }
        class = &class[length..];
    }
    false
}

/// The length of the class that a pattern begins with, brackets included; all of it when it does not end.
fn class_length(pattern: &[u8]) -> usize {
    let mut length = if pattern.starts_with(b"[^") { 2 } else { 1 };
    while let Some((member, ..)) = member(&pattern[length..]) {
        length += member;
    }
    pattern.len().min(length + 1)
}

fn lines(data: &[u8]) -> Vec<&[u8]> {
    data.split(|byte| *byte == b'\n').collect()
}

fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}

fn replace(data: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = data;
    while let Some(place) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..place]);
        replaced.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
