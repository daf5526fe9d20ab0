//! What the files that a configuration names hold at a moment, without keeping it: how a reload knows that something
//! has changed, and that nobody is in the middle of writing it.
//!
//! SECURITY: secrets and keys are read here too, so only digests are kept, and the buffer is wiped. Nothing but a regular
//! file is read: a pipe would be emptied, a device might never end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The content of the configuration file and of every file that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Content>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// SHA-256 of it, and whether its last line has an end.
    Regular([u8; 32], bool),
    /// SHA-256 of the names in a folder and of what is in these files.
    Folder([u8; 32]),
    /// A pipe, a device: of no use (`regular.rs`).
    Special,
    /// It cannot be read, for this reason.
    Unreadable(io::ErrorKind),
}

impl Snapshot {
    /// What the configuration at `path` and the files that it names now hold. While it cannot be understood the files of
    /// `before` count as named.
    pub fn take(path: &Path, before: &Snapshot) -> Snapshot {
        let named = match super::load(path) {
            Ok(config) => config.files,
            Err(_) => before.files.keys().cloned().collect(),
        };
        let paths = std::iter::once(path.to_owned()).chain(named);
        Snapshot { files: paths.map(|path| (path.clone(), Content::of(&path))).collect() }
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Whether a file that has changed since `before` is empty or ends in the middle of a line, so that more of it may
    /// be about to come. Secrets and keys often end like that; a policy of which the end is missing may allow more than
    /// the whole one.
    pub fn may_be_torn(&self, before: &Snapshot, text_files: &[&Path]) -> bool {
        self.files.iter().any(|(path, content)| {
            matches!(content, Content::Regular(_, false))
                && before.files.get(path) != Some(content)
                && text_files.contains(&path.as_path())
        })
    }

    /// Whether nothing differs from `other` but the file at `path`, which has this SHA-256.
    pub fn differs_only_in(&self, other: &Snapshot, path: &Path, digest: &[u8; 32]) -> bool {
        let same = matches!(self.files.get(path), Some(Content::Regular(found, _)) if found == digest);
        let others = |snapshot: &Snapshot| {
            let mut files = snapshot.files.clone();
            files.remove(path);
            files
        };
        same && others(self) == others(other)
    }
}

impl Content {
    fn of(path: &Path) -> Content {
        Content::read(path).unwrap_or_else(|error| Content::Unreadable(error.kind()))
    }

    fn read(path: &Path) -> io::Result<Content> {
        // Asked before it is opened: that could wait for ever.
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Content::read_folder(path);
        }
        if !metadata.is_file() {
            return Ok(Content::Special);
        }
        let mut file = File::open(path)?;
        let (mut hash, mut buffer, mut last) = (Sha256::new(), Zeroizing::new([0; 16 * 1024]), None);
        loop {
            let count = file.read(&mut *buffer)?;
            let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
            hash.update(piece);
            last = piece.last().copied();
        }
        Ok(Content::Regular(hash.finalize().into(), last == Some(b'\n')))
    }

    /// The files of a folder of CAs; folders in it do not count.
    fn read_folder(path: &Path) -> io::Result<Content> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path)? {
            paths.push(entry?.path());
        }
        paths.sort_unstable();
        let mut hash = Sha256::new();
        for path in paths.iter().filter(|path| !path.is_dir()) {
            let name = path.as_os_str().as_encoded_bytes();
            hash.update(name.len().to_be_bytes());
            hash.update(name);
            match Content::of(path) {
                Content::Regular(digest, _) => hash.update(digest),
                _ => hash.update(b"unreadable"),
            }
        }
        Ok(Content::Folder(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("redkeep-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    const CONFIG: &str = "listeners: [{bind: 127.0.0.1:0}]\nupstream: {address: unix:/r.sock, password_file: pw}\nacl: {file: users.acl}\n";

    #[test]
    fn every_change_of_a_named_file_is_seen_and_nothing_else() {
        let folder = folder("changes");
        let path = folder.join("redkeep.yaml");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("redkeep.yaml", CONFIG);
        write("pw", "one");
        write("users.acl", "user default off\n");
        let take = |before: &Snapshot| Snapshot::take(&path, before);
        let first = take(&Snapshot::default());
        let names: Vec<_> = first.paths().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["pw", "redkeep.yaml", "users.acl"]);
        write("other", "x");
        write("pw", "one");
        assert_eq!(take(&first), first);
        write("pw", "two");
        let second = take(&first);
        assert_ne!(second, first);
        let digest = Sha256::digest(b"two").into();
        assert!(second.differs_only_in(&first, &folder.join("pw"), &digest));
        assert!(!second.differs_only_in(&first, &folder.join("users.acl"), &digest));
        std::fs::remove_file(folder.join("users.acl")).unwrap();
        let third = take(&second);
        assert_ne!(third, second);
        assert!(!third.differs_only_in(&first, &folder.join("pw"), &digest));
        write("redkeep.yaml", "listeners: [");
        let broken = take(&third);
        assert_eq!(broken.paths().count(), 3, "the files that are in force are still watched");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_text_without_the_end_of_its_last_line_may_be_torn() {
        let folder = folder("torn");
        let path = folder.join("redkeep.yaml");
        let acl = folder.join("users.acl");
        std::fs::write(&path, CONFIG).unwrap();
        std::fs::write(folder.join("pw"), "a secret").unwrap();
        let take = || Snapshot::take(&path, &Snapshot::default());
        for (text, torn) in
            [("user default off\n", false), ("", true), ("user default off\nuser a +@all", true)]
        {
            std::fs::write(&acl, text).unwrap();
            let snapshot = take();
            assert_eq!(snapshot.may_be_torn(&Snapshot::default(), &[&acl]), torn, "{text}");
            assert!(!snapshot.may_be_torn(&snapshot, &[&acl]), "it has not changed");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_is_what_its_files_are() {
        let folder = folder("folder");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("a.crt", "one");
        let first = Content::of(&folder);
        assert!(matches!(first, Content::Folder(_)));
        assert_eq!(Content::of(&folder), first);
        write("a.crt", "two");
        let second = Content::of(&folder);
        assert_ne!(second, first);
        write("b.crt", "two");
        assert_ne!(Content::of(&folder), second);
        std::fs::remove_file(folder.join("b.crt")).unwrap();
        assert_eq!(Content::of(&folder), second);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        assert_eq!(Content::of(Path::new("/dev/zero")), Content::Special);
        assert_eq!(Content::of(Path::new("/nonexistent")), Content::Unreadable(io::ErrorKind::NotFound));
    }
}
