//! The composition root: configuration in, running proxy out. Publishes policies and tells the workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tracing::{error, info, warn};

use crate::audit::{Audit, Level, Record, Verdict};
use crate::config::{Plan, Problems, Snapshot};
use crate::logging;
use crate::renewal::{Renewal, Verified};
use crate::server::{self, Bind, Server, StartError};
use crate::upstream::{self, Backoff, Mirrors, Probe, probe};
use crate::users::{Fitting, Unchanged, Users};
use crate::watch::{Change, Watch};

/// Pause between a link's return and the probe: the links of all workers return within it.
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// How long the end waits for the last records of the audit stream.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// A running proxy. Must live inside a `LocalSet`.
pub struct App {
    path: PathBuf,
    plan: Plan,
    users: Arc<Users>,
    audit: Arc<Audit>,
    mirrors: Arc<Mirrors>,
    server: Server,
    on_up: Arc<Notify>,
    probed: Option<Probe>,
    /// Set while the upstream is to be asked about itself.
    probe_due: Option<Backoff>,
    watch: Watch,
    /// Other settings of the upstream, which it has not accepted yet.
    renewal: Option<Renewal>,
    /// SIGHUP.
    hangup: Signal,
}

/// What made [`App::serve`] return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All sessions were answered.
    InOrder,
    /// `shutdown_timeout` passed, or a second signal came: some were cut off.
    CutOff,
}

impl App {
    /// Starts what the configuration at `path` describes. An upstream that is not there yet is no error: clients are
    /// told so until it is.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(path: &Path, plan: Plan) -> Result<App, StartError> {
        // Before anybody is told that we are there: unheard, this signal ends a process.
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        let audit = Arc::new(Audit::start(&plan.audit).map_err(StartError::Audit)?);
        // Before the first client, so that HELLO and the table are the upstream's own from the start.
        let probed = match probe(&plan.server.upstream).await {
            Ok(probed) => Some(probed),
            Err(error) => {
                warn!(upstream = %plan.server.upstream.address, %error, "upstream is not reachable yet");
                None
            }
        };
        let users = Arc::new(Users::new(plan.users.clone(), probed.as_ref().map(fitting)));
        let on_up = Arc::new(Notify::new());
        let mirrors = Mirrors::new();
        if probed.is_some() {
            let policy = users.live().load().clone();
            mirrors.prepare(&plan.server.upstream, &policy).await;
        }
        let server = Server::start(&plan.server, &users, &audit, &mirrors, &on_up)?;
        let (wake, mirrored, live) = (server.waker(), mirrors.clone(), users.live().clone());
        users.on_change(move || {
            mirrored.refresh(&live.load());
            wake();
        });
        let watch = Watch::new(path, &plan);
        let path = path.to_owned();
        let probe_due = probed.is_none().then(Backoff::new);
        let renewal = None;
        let app = App {
            path,
            plan,
            users,
            audit,
            mirrors,
            server,
            on_up,
            probed,
            probe_due,
            watch,
            renewal,
            hangup,
        };
        app.announce();
        app.warn_of_misnamed();
        app.warn_of_unknown_names();
        Ok(app)
    }

    /// The bound addresses, in the order of the configuration.
    pub fn addresses(&self) -> &[Bind] {
        self.server.addresses()
    }

    /// The users in force; the generation of their policy tells whether a reload has happened.
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// Starts, serves until SIGTERM or SIGINT, then drains; SIGHUP reloads, and so does a change of the files.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn run(path: &Path, plan: Plan) -> Result<Ended, StartError> {
        // Before the start, which takes its time: the first process of a container hears no other signals.
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let mut app = tokio::select! {
            app = App::start(path, plan) => app?,
            () = either(&mut terminate, &mut interrupt) => return Ok(Ended::InOrder),
        };
        app.serve_until(either(&mut terminate, &mut interrupt)).await;
        let audit = app.audit.clone();
        Ok(tokio::select! {
            ended = app.drain() => ended,
            () = either(&mut terminate, &mut interrupt) => {
                audit.flush(LAST_RECORDS);
                Ended::CutOff
            }
        })
    }

    /// Serves until `stop` is over; SIGHUP reloads, and so does a change of the files.
    pub async fn serve_until(&mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.reload(),
                change = self.watch.changed() => self.take(change),
                verified = Renewal::verified(&mut self.renewal) => self.renew(verified),
                () = &mut stop => return,
                () = self.mirrors.changed() => self.tidy(),
                probed = next_probe(&mut self.probe_due, &self.on_up, &self.plan.server.upstream) => {
                    self.fit(probed);
                }
            }
        }
    }

    /// Accepts nobody any more and waits until all sessions have ended, `shutdown_timeout` at most.
    pub async fn drain(self) -> Ended {
        info!("draining");
        let in_order = self.server.drain(self.plan.shutdown_timeout).await;
        self.mirrors.delete_all(&self.plan.server.upstream).await;
        self.audit.flush(LAST_RECORDS);
        if in_order { Ended::InOrder } else { Ended::CutOff }
    }

    /// Reads configuration, ACL file, secrets and certificates again, as SIGHUP asks for. All or nothing: after an error
    /// everything stays as it was.
    fn reload(&mut self) {
        // Whatever comes of the rest: whoever has renamed the audit log waits for it.
        self.audit.reopen();
        let files = Snapshot::take(&self.path, self.watch.in_force());
        match Plan::load(&self.path).and_then(|plan| self.check(plan)) {
            Ok(plan) => self.apply(plan, Unchanged::Replace),
            Err(problems) => self.refuse(files, &problems),
        }
    }

    /// The same for a change that was seen.
    fn take(&mut self, change: Change) {
        let (files, plan) = match change {
            Change::Read(files, plan) => (files, *plan),
            Change::Restored => {
                info!("the files are again what is in force");
                return self.users.reloads().note_restored();
            }
        };
        if let (Some(file), Some(digest)) = (self.plan.users.file.clone(), self.users.file_digest())
            && files.differs_only_in(self.watch.in_force(), &file, &digest)
        {
            // ACL SAVE wrote it, or ACL LOAD has read it.
            self.watch.accept(files, Some(file));
            return self.users.reloads().note_restored();
        }
        match plan.and_then(|plan| self.check(plan)) {
            Ok(plan) => self.apply(plan, Unchanged::Keep),
            Err(problems) => self.refuse(files, &problems),
        }
    }

    fn check(&self, plan: Plan) -> Result<Plan, Problems> {
        let fixed = self.plan.fixed_differences(&plan, &self.path);
        if fixed.is_empty() { Ok(plan) } else { Err(fixed) }
    }

    /// Puts a plan into force that differs from the one that is only in what can change live.
    fn apply(&mut self, plan: Plan, unchanged: Unchanged) {
        self.server.take(&plan.server);
        logging::set_level(&plan.log_level);
        let known = &self.plan.server.upstream;
        self.renewal = Renewal::new(known, &plan.server.upstream);
        let generation = self.users.replace(plan.users.clone(), unchanged);
        self.watch.accept(plan.files.clone(), plan.users.file.clone());
        let (listeners, upstream) = (self.plan.server.listeners.clone(), known.clone());
        self.plan = Plan { server: server::Settings { listeners, upstream, ..plan.server }, ..plan };
        self.users.reloads().note_ok();
        info!(generation, users = self.users.live().load().user_count(), "reloaded");
        self.record(Verdict::Reloaded);
        self.warn_of_unknown_names();
    }

    fn refuse(&mut self, files: Snapshot, problems: &Problems) {
        self.watch.refuse(files);
        self.users.reloads().note_refused();
        self.record(Verdict::ReloadRefused);
        for problem in problems.sorted() {
            error!(%problem, "reload refused, everything stays as it was");
        }
    }

    /// Has links to come made with the upstream's other settings.
    fn renew(&mut self, Verified(upstream): Verified) {
        self.server.renew_upstream(&upstream);
        self.plan.server.upstream = upstream;
        self.renewal = None;
        info!(upstream = %self.plan.server.upstream.address, "new links use the new settings, old ones drain");
    }

    /// Records what concerns all sessions.
    fn record(&self, verdict: Verdict) {
        if self.audit.level() >= Level::Admin {
            let generation = self.users.live().load().generation();
            // It has happened; if the line cannot be taken, it is counted.
            let _ = self.audit.push(&self.audit.line(&Record::of_all(verdict, generation)));
        }
    }

    /// Takes what the upstream says of itself into the policy.
    fn fit(&mut self, probed: Probe) {
        // Perhaps it was not there the last time.
        self.tidy();
        let known = self.probed.as_ref();
        if known.is_some_and(|known| known.facts == probed.facts && known.commands == probed.commands) {
            return;
        }
        info!(upstream = %self.plan.server.upstream.address, version = probed.version_text, "upstream reached");
        self.users.fit(fitting(&probed));
        if self.probed.replace(probed).is_none() {
            let policy = self.users.live().load().clone();
            let (mirrors, upstream) = (self.mirrors.clone(), self.plan.server.upstream.clone());
            tokio::task::spawn_local(async move { mirrors.prepare(&upstream, &policy).await });
        }
        self.warn_of_misnamed();
        self.warn_of_unknown_names();
    }

    /// Deletes mirrored users that nobody needs any more.
    fn tidy(&self) {
        let (mirrors, upstream) = (self.mirrors.clone(), self.plan.server.upstream.clone());
        tokio::task::spawn_local(async move { mirrors.tidy(&upstream).await });
    }

    /// Rules may name commands of modules, which nobody knows before the upstream was asked.
    fn warn_of_unknown_names(&self) {
        if self.probed.is_none() {
            return;
        }
        for (user, rules) in self.users.live().load().unknown_names() {
            let user = String::from_utf8_lossy(user);
            warn!(%user, rules = rules.join(" "), "rules without effect: the upstream has no such commands or categories");
        }
    }

    /// A name that the upstream does not know makes its command useless. SECURITY: it is a secret all the same.
    fn warn_of_misnamed(&self) {
        for command in self.probed.iter().flat_map(|probed| &probed.misnamed) {
            warn!(command, "upstream.renamed_commands gives a name that the upstream does not know");
        }
    }

    fn announce(&self) {
        let upstream = &self.plan.server.upstream.address;
        let version = self.probed.as_ref().map_or("unknown", |probed| &probed.version_text);
        let users = self.users.live().load().user_count();
        for (listener, bind) in self.plan.server.listeners.iter().zip(self.server.addresses()) {
            let tls = listener.tls.is_some();
            info!(listener = %bind, tls, %upstream, version, users, "listening");
            if !tls && matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback()) {
                if listener.trust.protected_mode {
                    warn!(listener = %bind, "without tls only clients of this machine are served; give it a tls block");
                } else {
                    warn!(listener = %bind, "passwords and data pass this listener unencrypted; give it a tls block");
                }
            }
        }
    }
}

/// Runs `future` on the main thread, where acceptors, signals and probes live.
///
/// # Errors
/// The system gives us no event queue.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, future))
}

fn fitting(probed: &Probe) -> Fitting {
    Fitting { facts: probed.facts.clone(), commands: probed.commands.clone() }
}

/// The next answer of the upstream about itself: again and again while it is due, and whenever a link came up. May be
/// dropped and called again at any time.
async fn next_probe(due: &mut Option<Backoff>, on_up: &Notify, upstream: &upstream::Settings) -> Probe {
    loop {
        let Some(backoff) = due else {
            on_up.notified().await;
            *due = Some(Backoff::new());
            continue;
        };
        tokio::time::sleep(backoff.next_delay().max(PROBE_PAUSE)).await;
        if let Ok(probed) = probe(upstream).await {
            *due = None;
            return probed;
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
