//! Opening folders inside of a volume without following symbolic links.
//!
//! Guests can create links in their volumes, and can replace a folder by a link at any
//! time. A folder is therefore opened one path component at a time without following
//! links, and the mount uses the opened folder, not its path.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

/// Opens `path` below `root`. With `make`, missing folders are created.
///
/// # Errors
/// A component of `path` is a link, a file, or not a plain name.
pub(super) fn open(root: &Path, path: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, root, flags, Mode::empty())?;
    for part in path.components() {
        let name = match part {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if make {
            match mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        folder = openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(folder)
}

/// The size in bytes of the file system of `folder`.
pub(super) fn capacity(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_parent_folders_are_refused() {
        let root = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc", root.path().join("link")).expect("a link");
        std::fs::write(root.path().join("file"), "").expect("a file");
        assert!(open(root.path(), Path::new("new/one"), true).is_ok());
        assert!(root.path().join("new/one").is_dir());
        for path in ["link", "link/ssl", "file", "new/../..", "/etc"] {
            assert!(open(root.path(), Path::new(path), true).is_err(), "{path}");
        }
        assert!(open(root.path(), Path::new("absent"), false).is_err());
    }
}
