//! Spools against files, `/dev/full`, and a named pipe that nobody reads.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// A folder of the test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("redkeep-spool-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spool(path: &Path, buffer: usize, strict: bool) -> Spool {
    Spool::start(Settings { name: "test", target: Target::File(path.to_owned()), buffer, strict }).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Waits until `done` says so.
fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "waited in vain");
        std::thread::yield_now();
    }
}

/// Puts what `source` leads to in the place of `path`.
fn link(source: &Path, path: &Path) {
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(source, path).unwrap();
}

/// A named pipe with a reader, which need not read.
fn pipe(path: &Path) -> File {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    // For reading and writing, so that opening waits for nobody.
    std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn lines_are_written_in_order_to_a_file_of_its_own() {
    let folder = Folder::new("order");
    let path = folder.path("file");
    let spool = spool(&path, 1 << 20, false);
    let expected: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    for line in expected.split_inclusive('\n') {
        assert!(spool.push(line.as_bytes()));
    }
    spool.flush(LONG);
    assert_eq!(read(&path), expected);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(spool.dropped(), 0);
}

#[test]
fn a_file_that_is_there_is_added_to() {
    let folder = Folder::new("append");
    let path = folder.path("file");
    std::fs::write(&path, "old\n").unwrap();
    let spool = spool(&path, 1024, false);
    assert!(spool.push(b"new\n"));
    spool.flush(LONG);
    assert_eq!(read(&path), "old\nnew\n");
}

#[test]
fn a_renamed_file_gets_no_more_lines_once_the_new_one_is_opened() {
    let folder = Folder::new("rotate");
    let (path, old) = (folder.path("file"), folder.path("old"));
    let spool = spool(&path, 1024, false);
    assert!(spool.push(b"one\n"));
    spool.flush(LONG);
    std::fs::rename(&path, &old).unwrap();
    assert!(spool.push(b"two\n"));
    spool.flush(LONG);
    spool.reopen();
    until(|| path.exists());
    assert!(spool.push(b"three\n"));
    spool.flush(LONG);
    assert_eq!((read(&old).as_str(), read(&path).as_str()), ("one\ntwo\n", "three\n"));
}

#[test]
fn a_file_that_cannot_be_opened_anew_is_used_on() {
    let folder = Folder::new("gone");
    let (inner, moved) = (folder.path("inner"), folder.path("moved"));
    std::fs::create_dir(&inner).unwrap();
    let spool = spool(&inner.join("file"), 1024, true);
    std::fs::rename(&inner, &moved).unwrap();
    spool.reopen();
    assert!(spool.push(b"line\n"));
    spool.flush(LONG);
    assert_eq!(read(&moved.join("file")), "line\n");
}

#[test]
fn a_full_disk_costs_the_lines_past_the_bound_and_no_other() {
    let folder = Folder::new("full");
    let (path, good) = (folder.path("file"), folder.path("good"));
    link(Path::new("/dev/full"), &path);
    let spool = spool(&path, 100, false);
    let taken = (0..20).filter(|_| spool.push(b"nineteen characters\n")).count();
    assert_eq!(taken, 5, "100 bytes of 20 each");
    assert_eq!(spool.dropped(), 15);
    spool.flush(Duration::from_millis(1));
    link(&good, &path);
    spool.reopen();
    spool.flush(LONG);
    assert_eq!(read(&good), "nineteen characters\n".repeat(5));
    assert!(spool.push(b"after it\n"));
    spool.flush(LONG);
    assert!(read(&good).ends_with("after it\n"));
}

#[test]
fn a_strict_spool_takes_nothing_from_a_failed_write_to_the_next_good_one() {
    let folder = Folder::new("strict");
    let (path, good) = (folder.path("file"), folder.path("good"));
    link(Path::new("/dev/full"), &path);
    let spool = spool(&path, 1 << 20, true);
    assert!(spool.push(b"first\n"), "nobody knows yet");
    until(|| !spool.takes(1));
    assert!(!spool.push(b"second\n"));
    assert_eq!(spool.dropped(), 1);
    link(&good, &path);
    spool.reopen();
    until(|| spool.takes(1));
    assert!(spool.push(b"third\n"));
    spool.flush(LONG);
    assert_eq!(read(&good), "first\nthird\n");
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_neither_lines_nor_a_new_file() {
    let folder = Folder::new("pipe");
    let path = folder.path("file");
    let reader = pipe(&path);
    let spool = spool(&path, 1 << 20, true);
    // No power of two, so that the pipe is full in the middle of a line.
    let line = [vec![b'x'; 1000], b"\n".to_vec()].concat();
    let taken = (0..2000).filter(|_| spool.push(&line)).count();
    assert!((1000..2000).contains(&taken), "{taken} of 2000 lines");
    assert_eq!(spool.dropped(), 2000 - taken as u64);
    std::fs::remove_file(&path).unwrap();
    spool.reopen();
    spool.flush(LONG);
    let rest = std::fs::read(&path).unwrap();
    assert!(rest.len() > 500_000 && rest.len().is_multiple_of(line.len()), "{} bytes", rest.len());
    assert!(rest.chunks(line.len()).all(|found| found == line), "whole lines only");
    drop(reader);
}

#[test]
fn a_pipe_without_a_reader_is_told_at_the_start() {
    let folder = Folder::new("no-reader");
    let path = folder.path("file");
    drop(pipe(&path));
    let settings = Settings { name: "test", target: Target::File(path), buffer: 1024, strict: false };
    assert!(Spool::start(settings).is_err());
}
