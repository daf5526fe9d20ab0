//! redis-py and what is built on it: the scripts of tests/clients, which pass against a real Redis too (self_test.sh).

use std::path::{Path, PathBuf};
use std::process::Command;

use redkeep::policy::Version;

use super::run;
use crate::support::proxy::USERS;
use crate::support::redis::all;
use crate::support::{Proxy, Redis};

/// What Celery and RQ need, beside the keys of the test; all of them run scripts.
const JOBS: &str = "\
user celery on >secret ~app:* ~celery* ~_kombu.* ~unacked* ~*.celery.pidbox* &* +@all -@dangerous
user rq on >secret ~rq:* ~app:* resetchannels &rq:* +@all -@dangerous +info
";

/// Runs a script as a user through a proxy of its own; insists that it passed at least `steps` steps, and failed none.
fn passes(script: &str, user: &str, redis: &Redis, steps: u32) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "no virtual environment for {script}: make setup");
    let users = format!("{USERS}{JOBS}user observer on >secret +info\n");
    let proxy = Proxy::with_users(redis, &users, "");
    let output = run(Command::new(python)
        .arg(root.join("tests/clients").join(script))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("REDKEEP_TEST_HOST", "localhost")
        .env("REDKEEP_TEST_PORT", proxy.port(0).to_string())
        .env("REDKEEP_TEST_CA", &proxy.certs.ca)
        .env("REDKEEP_TEST_USER", user)
        .env("REDKEEP_TEST_OBSERVER", "observer")
        .env("REDKEEP_TEST_PASSWORD", "secret")
        .env("REDKEEP_TEST_PREFIX", "app:"));
    let said = String::from_utf8(output.stdout).unwrap();
    let closing = said.lines().last().unwrap();
    let passed: u32 = closing.split(' ').next().unwrap().parse().unwrap();
    assert!(passed >= steps && closing.ends_with(", 0 failed"), "{said}");
    proxy.assert_no_panic();
}

#[test]
fn redis_py_does_what_applications_do() {
    passes("redis_py.py", "app", &Redis::start(&[]), 42);
}

#[test]
fn redis_py_with_many_tasks_gives_each_its_own_reply() {
    passes("redis_py_asyncio.py", "app", &Redis::start(&[]), 9);
}

#[test]
fn redis_py_locks_and_runs_scripts() {
    passes("redis_py_lock.py", "app", &Redis::start(&[]), 8);
}

#[test]
fn redis_py_caches_what_it_has_read_until_it_changes() {
    let Some(program) = redis_7_4() else { return };
    passes("redis_py_caching.py", "app", &Redis::start_program(&program, &[]), 8);
}

#[test]
fn celery_runs_jobs() {
    passes("celery_jobs.py", "celery", &Redis::start(&[]), 11);
}

#[test]
fn rq_runs_jobs() {
    passes("rq_jobs.py", "rq", &Redis::start(&[]), 9);
}

/// A Redis that redis-py caches from; otherwise says on standard error why there is none.
fn redis_7_4() -> Option<PathBuf> {
    let wanted = Version::parse("7.4.0").unwrap();
    let found = all().into_iter().find(|program| {
        let (name, version) = Redis::start_program(program, &[]).name();
        name.starts_with("Redis ") && version >= wanted
    });
    if found.is_none() {
        // `make setup` brings one for x86-64; `all` fails where it has not.
        eprintln!("no Redis that redis-py caches from: the installed one is older than 7.4");
    }
    found
}
