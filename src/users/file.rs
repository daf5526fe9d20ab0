//! Replacing a file whole: the new content is there completely or not at all, whatever happens in between.
//!
//! SECURITY: the file keeps its owner and mode; where that is not possible it is not replaced. The new content is never
//! readable to more than the old one, not for a moment.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Puts `content` in the place of the file at `path`, which must exist; a symbolic link goes on pointing to it.
///
/// # Errors
/// What the system said. The old file is untouched then, and the temporary one removed.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = path.canonicalize()?;
    let old = path.metadata()?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // The process' number keeps two proxies with one file apart; within one, the caller holds a lock.
    let temporary = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write(&temporary, content, &old).and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        // What made it fail is told; that it cannot be removed as well would add nothing.
        let _ = std::fs::remove_file(&temporary);
        return written;
    }
    // Without this the name could still point to the old file after a power cut.
    File::open(folder)?.sync_all()
}

fn write(path: &Path, content: &[u8], old: &std::fs::Metadata) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left behind by a process of the same number that was killed.
            std::fs::remove_file(path)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?
        }
        opened => opened?,
    };
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(content)?;
    file.sync_all()
}
