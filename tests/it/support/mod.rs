//! What all tests need: a real Redis, the real program, and clients that see raw bytes.

pub mod certs;
pub mod chaos;
pub mod client;
pub mod client_ca;
pub mod invocation;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod requests;
pub mod rules;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use client::Client;
pub use proxy::Proxy;
pub use redis::Redis;

/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(10);

/// A directory of its own, removed when dropped. Short, since the path of a Unix socket may not exceed 107 bytes.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("redkeep-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in the directory and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks again and again until the answer is there; fails with `what` after [`SOON`].
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_long_for(what, SOON, ask)
}

/// The same for what takes its time.
pub fn wait_long_for<T>(what: &str, at_most: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < at_most, "waited in vain for {what}");
        pause(Duration::from_millis(10));
    }
}

/// A pause of the test's own thread.
#[expect(clippy::disallowed_methods, reason = "tests are threads of their own, no worker waits here")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
