//! Watching the files that a configuration names: what has changed is read again once nobody writes it any more.
//!
//! What is watched is directories, not files: a file that is replaced, as editors and Kubernetes do, is another file. A
//! name may lead over symbolic links (in a mounted Secret, `tls.crt` to `..data/tls.crt`, `..data` to a directory that is
//! another one after each change), so every link on the way is watched where it stands. What the system does not report
//! is found by looking now and then.
//!
//! A report only makes us look. Whether something has changed is told by the files' content: first it must have been the
//! same for a while ([`SETTLE`]), then the same before and after it was read. So nobody's half-written file gets into force,
//! unless its writer pauses.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::warn;

use crate::config::{Plan, Problems, Reload, Snapshot};

/// For so long the files must be as they are before they are read.
const SETTLE: Duration = Duration::from_millis(50);

/// How much longer a configuration or an ACL file that looks unfinished must be as it is.
const SETTLE_TORN: Duration = Duration::from_secs(1);

/// Symbolic links on the way to one file; Linux follows no more either.
const MAX_LINKS: usize = 40;

/// The files of one configuration.
pub(crate) struct Watch {
    path: PathBuf,
    settings: Reload,
    /// What the plan in force was made of, and its ACL file.
    in_force: Snapshot,
    acl_file: Option<PathBuf>,
    /// What was refused last, if it is still there.
    refused: Option<Snapshot>,
    /// Something may have changed that was not looked at yet.
    pending: bool,
    directories: Option<Directories>,
}

/// What a look at the files has found.
pub(crate) enum Change {
    /// They differ from what is in force; this is what they mean.
    Read(Snapshot, Box<Result<Plan, Problems>>),
    /// They were refused, and are now again what is in force.
    Restored,
}

impl Watch {
    /// Watches the files of a plan that is in force.
    pub(crate) fn new(path: &Path, plan: &Plan) -> Watch {
        let directories = plan.reload.watch.then(Directories::new).and_then(|made| {
            made.inspect_err(|error| {
                let poll = plan.reload.poll.as_secs_f32();
                warn!(%error, poll, "files cannot be watched, and are only looked at every so many seconds");
            })
            .ok()
        });
        let in_force = plan.files.clone();
        let pending = plan.reload.watch;
        let (path, acl_file) = (path.to_owned(), plan.users.file.clone());
        Watch { path, settings: plan.reload, in_force, acl_file, refused: None, pending, directories }
    }

    /// What is in force now was made of these files.
    pub(crate) fn accept(&mut self, files: Snapshot, acl_file: Option<PathBuf>) {
        (self.in_force, self.acl_file, self.refused) = (files, acl_file, None);
    }

    /// These were refused; they are not looked at again until they change.
    pub(crate) fn refuse(&mut self, files: Snapshot) {
        self.refused = Some(files);
    }

    /// What the plan in force was made of.
    pub(crate) fn in_force(&self) -> &Snapshot {
        &self.in_force
    }

    /// Waits until the files differ from what is in force and from what was refused. May be dropped and called again at
    /// any time: nothing is lost by that.
    pub(crate) async fn changed(&mut self) -> Change {
        loop {
            if !self.pending {
                self.wait().await;
                self.pending = true;
            }
            let files = self.look().await;
            if files == self.in_force && self.refused.take().is_some() {
                return Change::Restored;
            }
            if files == self.in_force || self.refused.as_ref() == Some(&files) {
                self.pending = false;
                continue;
            }
            let texts = [self.path.as_path(), self.acl_file.as_deref().unwrap_or(&self.path)];
            tokio::time::sleep(SETTLE).await;
            if files.may_be_torn(&self.in_force, &texts) && self.goes_on(&files).await {
                continue;
            }
            if let Some((files, plan)) = self.read(files).await {
                self.pending = false;
                return Change::Read(files, Box::new(plan));
            }
        }
    }

    /// Waits for a report or the next look. For ever if files are not to be watched.
    async fn wait(&self) {
        if !self.settings.watch {
            return std::future::pending().await;
        }
        let _ = tokio::time::timeout(self.settings.poll, self.reported()).await;
    }

    async fn reported(&self) {
        match &self.directories {
            Some(directories) => directories.reported.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the writer of files that look unfinished goes on within [`SETTLE_TORN`]. Who writes in place shows for a
    /// moment an empty file; nobody waits a second for that.
    async fn goes_on(&mut self, files: &Snapshot) -> bool {
        let end = tokio::time::Instant::now() + SETTLE_TORN;
        while tokio::time::timeout_at(end, self.reported()).await.is_ok() {
            if self.look().await != *files {
                return true;
            }
        }
        false
    }

    /// The files as they are now. The directories are watched before, so that no later change is missed.
    async fn look(&mut self) -> Snapshot {
        if let Some(directories) = &mut self.directories {
            let named = self.refused.iter().chain([&self.in_force]).flat_map(Snapshot::paths);
            directories.follow(named);
        }
        let (path, before) = (self.path.clone(), self.in_force.clone());
        let files = blocking(move || Snapshot::take(&path, &before)).await;
        if let Some(directories) = &mut self.directories
            && files.paths().ne(self.in_force.paths())
        {
            directories.follow(files.paths().chain(self.in_force.paths()));
        }
        files
    }

    /// The plan that these files make; none if they change meanwhile.
    async fn read(&self, files: Snapshot) -> Option<(Snapshot, Result<Plan, Problems>)> {
        let (path, before) = (self.path.clone(), self.in_force.clone());
        blocking(move || {
            let look = || Snapshot::take(&path, &before);
            if look() != files {
                return None;
            }
            let plan = Plan::load(&path);
            (look() == files).then_some((files, plan))
        })
        .await
    }
}

/// Runs what waits for the disk beside the main thread, which accepts clients. It does not panic; if it did, so would we.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

// === directories ===

/// The directories that are watched.
struct Directories {
    watcher: RecommendedWatcher,
    watched: HashSet<Watched>,
    /// What matters there.
    names: Arc<Mutex<HashSet<PathBuf>>>,
    reported: Arc<Notify>,
}

/// A directory, and which one it was: another one of the same name has to be watched anew.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Directories {
    fn new() -> notify::Result<Directories> {
        let names: Arc<Mutex<HashSet<PathBuf>>> = Arc::default();
        let reported: Arc<Notify> = Arc::default();
        let (relevant, told) = (names.clone(), reported.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let matters = event.is_ok_and(|event| {
                // Reading, which we do ourselves, is reported too.
                let change = match event.kind {
                    EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
                    _ => true,
                };
                let names = relevant.lock().unwrap_or_else(PoisonError::into_inner);
                // Of a folder that is named, every file matters.
                let within =
                    |path: &Path| path.parent().is_some_and(|folder| names.contains(&folder.join("*")));
                let matters = |path: &PathBuf| names.contains(path) || within(path);
                change && (event.need_rescan() || event.paths.iter().any(matters))
            });
            if matters {
                told.notify_one();
            }
        })?;
        Ok(Directories { watcher, watched: HashSet::new(), names, reported })
    }

    /// Watches what the way to these files leads through, and nothing else any more.
    fn follow<'p>(&mut self, files: impl Iterator<Item = &'p Path>) {
        let names: HashSet<PathBuf> = files.flat_map(names_on_the_way).collect();
        let parents: HashSet<&Path> = names.iter().filter_map(|name| name.parent()).collect();
        let wanted: HashSet<Watched> = parents.iter().filter_map(|path| Watched::of(path)).collect();
        // A directory itself is reported when it is moved or removed.
        let with_parents = names.iter().map(PathBuf::as_path).chain(parents).map(Path::to_path_buf).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = with_parents;
        for old in self.watched.difference(&wanted) {
            // It may be gone, and the watch with it.
            let _ = self.watcher.unwatch(&old.path);
        }
        self.watched.retain(|old| wanted.contains(old));
        for new in wanted {
            if self.watched.contains(&new) {
                continue;
            }
            match self.watcher.watch(&new.path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(new);
                }
                // It is tried again with each look.
                Err(error) => warn!(directory = %new.path.display(), %error, "a directory cannot be watched"),
            }
        }
    }
}

impl Watched {
    fn of(path: &Path) -> Option<Watched> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Watched { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }
}

/// The names whose change can change what is found at `path`: each symbolic link on the way, where it really stands, the
/// file itself (of a folder, all its files, written `*`), or the first name that is missing.
fn names_on_the_way(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let (mut here, mut names, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    let mut left: VecDeque<OsString> = parts(&path).collect();
    while let Some(part) = left.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let name = here.join(&part);
        let Ok(metadata) = std::fs::symlink_metadata(&name) else {
            names.push(name);
            break;
        };
        if !metadata.is_symlink() {
            if left.is_empty() {
                names.push(name.clone());
                names.extend(metadata.is_dir().then(|| name.join("*")));
            }
            here = name;
            continue;
        }
        names.push(name.clone());
        links += 1;
        let Some(target) = std::fs::read_link(&name).ok().filter(|_| links <= MAX_LINKS) else { break };
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            left.push_front(part);
        }
    }
    names
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
