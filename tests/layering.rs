//! Keeps the layers: a module imports only from its own layer and those below, and the pure layers do no I/O.
//!
//! It reads the sources, so it needs no cooperation: whatever is written `crate::module` counts, imported or not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The modules, from the bottom to the top. A new module needs a line here.
const LAYERS: &[(&str, u8)] = &[
    ("resp", 1),
    ("command", 2),
    ("acl", 3),
    ("policy", 4),
    ("upstream", 5),
    ("users", 5),
    ("regular", 5),
    ("spool", 5),
    ("audit", 5),
    ("session", 6),
    ("server", 7),
    ("config", 9),
    ("app", 10),
    ("logging", 10),
    ("process", 10),
    ("renewal", 10),
    ("watch", 10),
    ("health", 11),
    ("demo", 11),
    ("explain", 11),
    ("diff", 11),
    ("passwd", 11),
    ("cli", 12),
];

/// The highest layer without I/O, clock, threads and logs.
const LAST_PURE: u8 = 4;

/// What the pure layers may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "rustls",
    "Tcp",
    "Udp",
    "UnixStream",
    "ToSocketAddrs",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
];

/// Longest production file, in lines; the command table is data.
const MAX_LINES: usize = 600;

#[test]
fn modules_import_only_downwards() {
    let mut wrong = String::new();
    for source in sources() {
        let layer = layer_of(&source.module);
        for (number, line) in source.lines() {
            for module in named_modules(line) {
                if layer_of(module) > layer {
                    writeln!(wrong, "{}:{number}: {} imports {module}", source.path.display(), source.module)
                        .unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn pure_layers_do_no_io() {
    let mut wrong = String::new();
    for source in sources().iter().filter(|source| layer_of(&source.module) <= LAST_PURE) {
        for (number, line) in source.lines() {
            for name in IMPURE.iter().filter(|name| names(line, name)) {
                writeln!(wrong, "{}:{number}: a pure layer names {name}", source.path.display()).unwrap();
            }
            let swap = names(line, "arc_swap") && !source.path.ends_with("policy/live.rs");
            if swap {
                writeln!(wrong, "{}:{number}: arc_swap belongs into policy/live.rs", source.path.display())
                    .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_file_fits_into_the_head_and_says_what_it_is() {
    let mut wrong = String::new();
    for source in sources() {
        let lines = source.lines().count();
        if lines > MAX_LINES && !source.path.ends_with("command/table.rs") {
            writeln!(wrong, "{}: {lines} lines, at most {MAX_LINES}", source.path.display()).unwrap();
        }
        if !source.text.starts_with("//!") {
            writeln!(wrong, "{}: no module header", source.path.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_check_sees_what_it_looks_for() {
    assert_eq!(named_modules("use crate::session::Outbox;").collect::<Vec<_>>(), ["session"]);
    assert_eq!(named_modules("let x: crate::resp::Protocol = crate::acl::verify();").count(), 2);
    assert!(names("use tokio::net::TcpStream;", "tokio"));
    assert!(names("let now = Instant::now();", "Instant"));
    assert!(!names("let tokio_like = 1;", "tokio"));
    assert!(layer_of("session") > layer_of("upstream"));
}

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// Numbered lines of production code: without comments, and up to the inline tests.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // Relative: the checkout itself may be in a folder of that name.
            let relative = path.strip_prefix(&root).unwrap();
            let is_test = name == "tests.rs"
                || name == "testing.rs"
                || relative.components().any(|part| part.as_os_str() == "tests");
            if path.is_dir() {
                folders.push(path.clone());
            } else if name.ends_with(".rs") && !is_test && name != "lib.rs" && name != "main.rs" {
                let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
                let module = first.trim_end_matches(".rs").to_owned();
                sources.push(Source { text: std::fs::read_to_string(&path).unwrap(), path, module });
            }
        }
    }
    assert!(sources.len() > 20, "found {} sources only", sources.len());
    sources
}

fn layer_of(module: &str) -> u8 {
    let known = LAYERS.iter().find(|(name, _)| *name == module);
    known.unwrap_or_else(|| panic!("module {module} has no layer: add it to LAYERS in tests/layering.rs")).1
}

/// The modules that a line names as `crate::module`.
fn named_modules(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let module = &rest[..end];
        (!module.is_empty() && !rest.starts_with('{')).then_some(module)
    })
}

/// Whether a line names a path or type, as a whole word.
fn names(line: &str, name: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(name).any(|(start, _)| {
        !inside(line[..start].chars().next_back()) && !inside(line[start + name.len()..].chars().next())
    })
}
