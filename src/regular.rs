//! Opening files that must be files: secrets, keys, certificates, users.
//!
//! They are read on threads that serve (a reload, `ACL LOAD`), and more than once. A named pipe would hold these up until
//! somebody writes into it, and be empty the next time; so it is refused, as are sockets and devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading, and never waits.
///
/// # Errors
/// What the system says, or that there is something else than a file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // The flag means nothing to a regular file.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    // Of a folder the system's own words come when it is read.
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "not a regular file but a pipe, a socket or a device; write it into a file",
    ))
}

/// All that a file holds.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn nothing_but_a_file_is_read_and_nothing_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("redkeep-regular-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (pipe, socket, file) = (folder.join("pipe"), folder.join("socket"), folder.join("file"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::write(&file, "content").unwrap();
        assert_eq!(read(&file).unwrap(), b"content");
        assert!(read(&pipe).unwrap_err().to_string().starts_with("not a regular file"));
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().starts_with("not a regular file"));
        assert!(read(&socket).is_err());
        assert_eq!(read(&folder).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(&folder.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
