//! `redkeep demo`: the main job on one screen. A real Redis that is open to everyone, and the same Redis behind
//! Redkeep.
//!
//! Owns everything that the demo makes: a private directory with certificates, users and configuration, a
//! redis-server on a Unix socket in it, and the proxy, which runs in this process as `redkeep run` would run it.
//!
//! INVARIANT: whatever ends the demo (its end, Ctrl-C, an error, a panic, even SIGKILL), its Redis ends and its files
//! are removed. Nothing is installed, and nothing outside its directory is written.
//!
//! `scene.rs` is what is shown, `stage.rs` how; `hints.rs` is what a reader can paste afterwards.

mod client;
mod files;
mod hints;
mod redis;
mod scene;
mod screen;
mod stage;

use std::fmt;
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, block_on};
use crate::config::{LogFormat, Plan, Problems};
use crate::logging;
use crate::policy::Live;
use crate::server::{Bind, StartError};
use files::Files;
use redis::{Program, Redis};
use screen::Screen;
use stage::{Door, Stage};

/// Something that is needed is not there.
const EXIT_MISSING: u8 = 3;

/// The port that readers of the README expect.
const PORT: u16 = 6380;

/// Longest wait for anything that should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// How soon a reload is told.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why there is no demo.
#[derive(Debug)]
enum Failure {
    /// The certificates could not be made.
    Certificates(rcgen::Error),
    /// Our own configuration is refused.
    Config(Problems),
    /// The system refused something.
    Io(String, io::Error),
    /// There is no redis-server.
    NoRedis,
    /// The system has no random numbers.
    Random(getrandom::Error),
    /// Redis did not start; its last words.
    RedisEnded(String),
    /// The proxy did not start.
    Start(StartError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Certificates(error) => write!(f, "cannot make certificates: {error}"),
            Failure::Config(problems) => write!(f, "the demo's configuration is refused:\n{problems}"),
            Failure::Io(what, error) => write!(f, "{what}: {error}"),
            Failure::NoRedis => f.write_str(
                "redis-server not found: sudo apt-get install -y redis-server (Debian, Ubuntu), or brew install redis",
            ),
            Failure::Random(error) => write!(f, "no random numbers: {error}"),
            Failure::RedisEnded(words) => write!(f, "redis-server did not start: {words}"),
            Failure::Start(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io("cannot write to standard output".to_owned(), error)
    }
}

impl From<rcgen::Error> for Failure {
    fn from(error: rcgen::Error) -> Self {
        Failure::Certificates(error)
    }
}

/// How the demo ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All was shown; with `check`, all was as expected.
    Good,
    /// With `check`: some results were not the expected ones, or a signal came before all were shown.
    Bad,
}

/// Shows the demo. With `check` it ends after the scene, else at Ctrl-C.
///
/// Exit code 0 if all went well, 1 if not (with `check`: if a single result was not the expected one), 3 without a
/// redis-server.
pub fn main(check: bool) -> ExitCode {
    let _log = match logging::start(LogFormat::Text, "error") {
        Ok(log) => log,
        Err(error) => {
            eprintln!("redkeep: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match block_on(Box::pin(demo(check))) {
        Ok(Ok(Outcome::Good)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Bad)) => ExitCode::FAILURE,
        Ok(Err(failure)) => {
            eprintln!("redkeep: {failure}");
            if matches!(failure, Failure::NoRedis) { ExitCode::from(EXIT_MISSING) } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("redkeep: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that must be cleared away, and the clearing away.
async fn demo(check: bool) -> Result<Outcome, Failure> {
    let program = Program::find()?;
    let mut stop = Stop::new().map_err(|error| Failure::Io("cannot receive signals".to_owned(), error))?;
    let screen = Screen::new();
    let files = Files::create()?;
    let redis = tokio::select! {
        redis = Redis::start(&program, &files) => redis?,
        () = stop.asked() => return Ok(interrupted(check)),
    };
    let outcome = show(check, &program, &files, &screen, &mut stop).await;
    drop(redis);
    let root = files.root().to_owned();
    drop(files);
    let outcome = outcome?;
    screen.line(format_args!("\nstopped Redis, removed {}", root.display()))?;
    Ok(outcome)
}

fn interrupted(check: bool) -> Outcome {
    if check { Outcome::Bad } else { Outcome::Good }
}

/// The scene, with Redis and files in place.
async fn show(
    check: bool,
    program: &Program,
    files: &Files,
    screen: &Screen,
    stop: &mut Stop,
) -> Result<Outcome, Failure> {
    screen.line(
        "redkeep demo: one Redis, first open, then behind Redkeep (ok: the reply is the expected one)",
    )?;
    screen.line(format_args!("  {}, no password, at unix:{}", program.version, files.socket().display()))?;
    let mut stage = Stage::new(files, screen);
    let before = async {
        stage.play(&scene::OPEN).await?;
        stage::clean_up(files).await?;
        start_app(check, files).await
    };
    let (mut app, port) = tokio::select! {
        started = before => started?,
        () = stop.asked() => return Ok(interrupted(check)),
    };
    let taken = if check || port == PORT { String::new() } else { format!(" ({PORT} is taken)") };
    screen.title(&format!(
        "Redkeep goes in front of it: TLS on 127.0.0.1:{port}{taken}, users admin, app, readonly"
    ))?;
    let live = app.users().live().clone();
    stage.open_door(Door { port, live: live.clone() });
    let mut outcome = Ok(interrupted(check));
    let scene = async {
        tokio::select! {
            biased;
            () = stop.asked() => {}
            played = play_guarded(check, stage, port, &live) => outcome = played,
        }
    };
    app.serve_until(scene).await;
    // Redis is to outlive the last client, unless somebody is in a hurry.
    tokio::select! {
        _ = app.drain() => {}
        () = stop.asked() => {}
    }
    outcome
}

/// The scene behind Redkeep; without `check` it has no end.
async fn play_guarded(check: bool, mut stage: Stage<'_>, port: u16, live: &Live) -> Result<Outcome, Failure> {
    for section in scene::GUARDED {
        stage.play(section).await?;
    }
    let good = stage.conclude()?;
    if check {
        return Ok(if good { Outcome::Good } else { Outcome::Bad });
    }
    let (files, screen) = (stage.files, stage.screen);
    // Connections of ours would be in the reader's CLIENT LIST.
    drop(stage);
    hints::print(screen, files, port)?;
    let mut generation = live.load().generation();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = live.load().generation();
        if now != generation {
            generation = now;
            screen.line("reloaded")?;
        }
    }
}

/// The proxy by the configuration that the reader can see, on the known port or a free one.
async fn start_app(check: bool, files: &Files) -> Result<(App, u16), Failure> {
    // A check must not depend on who else uses the port.
    let wanted = if check { 0 } else { PORT };
    let app = match start_app_on(wanted, files).await {
        Err(Failure::Start(StartError::Bind(..))) if wanted != 0 => start_app_on(0, files).await?,
        started => started?,
    };
    let port = match app.addresses().first() {
        Some(Bind::Tcp(address)) => address.port(),
        _ => wanted,
    };
    Ok((app, port))
}

async fn start_app_on(port: u16, files: &Files) -> Result<App, Failure> {
    files.write_config(port)?;
    let plan = Plan::load(&files.config()).map_err(Failure::Config)?;
    App::start(&files.config(), plan).await.map_err(Failure::Start)
}

/// What ends the demo.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Whether a terminal was there at the start, which may be closed.
    terminal: bool,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            terminal: has_terminal(),
        })
    }

    /// SIGINT, SIGTERM, or the terminal was closed.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = gone(&mut self.hangup, self.terminal) => {}
        }
    }
}

/// The terminal was closed: its SIGHUP is no wish for a reload.
async fn gone(hangup: &mut Signal, terminal: bool) {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        if terminal && !has_terminal() {
            return;
        }
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
