//! Clients and programs that users bring, over TLS with user and password.
//!
//! - `fred_crate`: the `fred` crate
//! - `python`: redis-py, Celery and RQ, by the scripts in tests/clients
//! - `redis_crate`: the `redis` crate, 0.24 and newest
//! - `tools`: redis-cli, redis-benchmark, `redkeep healthcheck`

mod fred_crate;
mod python;
mod redis_crate;
mod tools;

use std::process::{Command, Output};

use crate::support::Proxy;

/// Runs a program to its end, and insists that it succeeds.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Options of redis-cli and redis-benchmark for the proxy's first listener.
fn tls_args(proxy: &Proxy) -> Vec<String> {
    let ca = proxy.certs.ca.to_str().unwrap().to_owned();
    let port = proxy.port(0).to_string();
    ["-h", "127.0.0.1", "-p", &port, "--tls", "--cacert", &ca].map(str::to_owned).to_vec()
}

/// Runs a future to its end, with the tasks that it spawns locally.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
