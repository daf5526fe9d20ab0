//! The fuzz targets without a fuzzer: everything in `tests/fuzz/corpus`, then mutations of it.
//!
//! The same on every run: the mutations come from a fixed seed. `make fuzz` looks further.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::path::Path;

/// Mutations per target.
const MUTATIONS: usize = 100_000;
/// Inputs that a corpus must have at least.
const LEAST_SEEDS: usize = 20;
/// Longest mutated input: short ones find as much, and many more of them can be tried.
const MAX_BYTES: usize = 160;

macro_rules! smoke {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            run(stringify!($name), targets::$name);
        }
    )* };
}

smoke!(acl_file glob judge keys reply request rules session);

#[test]
fn every_target_is_run_here_and_by_make_fuzz() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let all: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("bin"), all);
    assert_eq!(names("corpus"), all);
    let this = include_str!("fuzz_smoke.rs");
    assert!(this.contains(&format!("smoke!({})", all.join(" "))));
}

/// Replays the corpus, then mutations of it.
fn run(name: &str, target: targets::Target) {
    let corpus = corpus(name);
    assert!(corpus.len() >= LEAST_SEEDS, "{name}: {} inputs", corpus.len());
    for input in &corpus {
        attempt(name, target, input);
    }
    let mut random = Random(name.bytes().fold(1, |seed, byte| seed * 31 + u64::from(byte)));
    let mut input = Vec::new();
    for round in 0..MUTATIONS {
        // A few mutations in a row stray far from the seed, one alone stays near it.
        if round % 4 == 0 {
            input.clone_from(&corpus[random.below(corpus.len())]);
        }
        mutate(&mut input, &corpus[random.below(corpus.len())], &mut random);
        attempt(name, target, &input);
    }
}

/// Runs the target; a failure shows the input, ready to become a file of the corpus.
fn attempt(name: &str, target: targets::Target, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
        eprintln!("{name}: b\"{}\"", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

/// The inputs in the corpus, always in the same order.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Changes a byte or a few, or takes a part of another input.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TELLING: &[u8] = b"\n\r\0 *?[]^\\-~%&+@|()<>#!$:0129\xff\x80";
    let place = random.below(input.len() + 1);
    let telling = TELLING[random.below(TELLING.len())];
    match random.below(7) {
        0 if place < input.len() => input[place] = random.byte(),
        1 if place < input.len() => input[place] = telling,
        2 if place < input.len() => input[place] ^= 1 << random.below(8),
        3 if place < input.len() => _ = input.remove(place),
        4 => {
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            input.splice(place..place, other[from..to].iter().copied());
        }
        5 => input.truncate(place),
        _ => input.insert(place, telling),
    }
    input.truncate(MAX_BYTES);
}

/// xorshift64: enough to choose by, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
