//! Folders that belong to the host: data, compiled code, pulled images.
//!
//! The host trusts their content: databases, tokens, native code. Therefore it uses a
//! folder only if no user except its owner can write to it, and its owner is the host's
//! user or root. If the host's user owns the folder, the mode is repaired. The check
//! applies to the opened folder, so the path cannot be redirected between check and use.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fchmod, fstat, fstatvfs, openat, statat};
use rustix::process::geteuid;

/// Permissions only for the owner.
const PRIVATE: Mode = Mode::RWXU;

/// Free space below which a host does not start. Its databases, their journals and the
/// progress of Jobs need less, and much less to start with.
const FREE_BYTES_MIN: u64 = 8 << 20;

/// Write permission of the group and of others.
const WRITE_BY_OTHERS: u32 = 0o022;

/// With this bit, as on `/tmp`, only the owner of an entry can rename or remove it.
const STICKY: u32 = 0o1000;

/// Why a folder is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("cannot create or open the folder `{}`", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "no space left to create the folder `{}`; free some on its file system, or choose another folder",
        path.display()
    )]
    Full { path: PathBuf, source: io::Error },
    #[error(
        "the folder `{}` belongs to user {owner}, who could replace what the host trusts; choose a folder that the host's user owns, or `chown {us}` it",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32, us: u32 },
    #[error(
        "other users can write to the folder `{}` (mode {mode:o}), and could replace what the host trusts; choose another folder, or `chmod go-w` it",
        path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error(
        "the file system of `{}` has {free} bytes free, and the host needs {FREE_BYTES_MIN} to start; free some, or choose another folder",
        path.display()
    )]
    Space { path: PathBuf, free: u64 },
}

impl FolderError {
    /// Whether the folder is acceptable, but cannot be used at the moment.
    pub(crate) fn is_unavailable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Space { .. } => true,
            Self::Open { source, .. } => source.kind() == io::ErrorKind::ReadOnlyFilesystem,
            Self::Owner { .. } | Self::Writable { .. } => false,
        }
    }
}

/// Creates the folder if it is missing, and opens it if it is private.
///
/// # Errors
/// See [`FolderError`].
pub(crate) fn open(path: &Path) -> Result<OwnedFd, FolderError> {
    let failed = |source: io::Error| {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                FolderError::Full { path, source }
            }
            _ => FolderError::Open { path, source },
        }
    };
    create(path).map_err(failed)?;
    let real = path.canonicalize().map_err(failed)?;
    refuse_open_ancestors(&real).map_err(failed)??;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = openat(CWD, &real, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
    check(path, &folder).map_err(failed)??;
    Ok(folder)
}

/// # Errors
/// The file system has less free space than a host needs to start.
pub(crate) fn require_space(path: &Path, folder: &OwnedFd) -> Result<(), FolderError> {
    // If the file system does not report its free space, the host starts.
    let free =
        fstatvfs(folder).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if free >= FREE_BYTES_MIN {
        return Ok(());
    }
    let path = path.to_path_buf();
    Err(FolderError::Space { path, free })
}

/// Creates a folder that other users cannot read.
///
/// # Errors
/// The folder, or one above it, cannot be created.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn check(path: &Path, folder: &OwnedFd) -> io::Result<Result<(), FolderError>> {
    let stat = fstat(folder)?;
    let us = geteuid().as_raw();
    let mode = permissions(&stat);
    if mode & WRITE_BY_OTHERS == 0 && (stat.st_uid == us || stat.st_uid == 0) {
        return Ok(Ok(()));
    }
    let path = path.to_path_buf();
    if stat.st_uid == us {
        fchmod(folder, PRIVATE)?;
        let folder = path.display();
        tracing::warn!(%folder, was = %format!("{mode:o}"), "other users could write to this folder; its mode is now 700");
        return Ok(Ok(()));
    }
    if stat.st_uid != 0 {
        let owner = stat.st_uid;
        return Ok(Err(FolderError::Owner { path, owner, us }));
    }
    if mode & STICKY == 0 && is_mount_point(folder, &stat)? {
        // Container runtimes hand over volumes like this: owned by root, writable by the
        // group or by all, and visible only in this container.
        let folder = path.display();
        tracing::warn!(%folder, mode = %format!("{mode:o}"), "other users could write to this volume; only this host must have access");
        return Ok(Ok(()));
    }
    Ok(Err(FolderError::Writable { path, mode }))
}

/// A user who can write to a folder above can replace this one. The permission of the
/// group is ignored: a user's private group has no other members.
fn refuse_open_ancestors(real: &Path) -> io::Result<Result<(), FolderError>> {
    for ancestor in real.ancestors().skip(1) {
        let stat = statat(CWD, ancestor, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = permissions(&stat);
        if mode & 0o002 != 0 && mode & STICKY == 0 {
            let path = ancestor.to_path_buf();
            return Ok(Err(FolderError::Writable { path, mode }));
        }
    }
    Ok(Ok(()))
}

fn is_mount_point(folder: impl AsFd, stat: &Stat) -> io::Result<bool> {
    let above = statat(folder, "..", AtFlags::empty())?;
    Ok(above.st_dev != stat.st_dev || above.st_ino == stat.st_ino)
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    fn mode(path: &Path) -> u32 {
        let metadata = fs::metadata(path).expect("a folder");
        metadata.permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn new_folder_is_private_and_the_mode_of_an_owned_folder_is_repaired() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("a/b");
        open(&folder).expect("made");
        assert_eq!(mode(&folder), 0o700);
        for (before, after) in [(0o777, 0o700), (0o770, 0o700), (0o755, 0o755)] {
            set_mode(&folder, before);
            open(&folder).expect("taken");
            assert_eq!(mode(&folder), after, "{before:o}");
        }
    }

    #[test]
    fn folder_that_others_own_or_can_replace_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let above = root.path().join("above");
        let folder = above.join("data");
        open(&folder).expect("made");
        set_mode(&above, 0o777);
        let refused = open(&folder).expect_err("replaceable");
        assert!(refused.to_string().contains("mode 777"), "{refused}");
        set_mode(&above, 0o1777);
        open(&folder).expect("sticky");
        set_mode(&above, 0o755);
        // Only root can change the owner of a folder.
        if geteuid().is_root() {
            chown(&folder, Some(12_345), None).expect("another owner");
            let refused = open(&folder).expect_err("another's");
            assert!(refused.to_string().contains("user 12345"), "{refused}");
        }
    }

    #[test]
    fn linked_folder_is_checked_at_its_real_location() {
        let root = tempfile::tempdir().expect("a folder");
        let (real, link) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).expect("a folder");
        set_mode(&real, 0o777);
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        open(&link).expect("taken");
        assert_eq!(mode(&real), 0o700);
        fs::remove_dir(&real).expect("removed");
        assert!(open(&link).is_err(), "a link to nothing");
    }
}
