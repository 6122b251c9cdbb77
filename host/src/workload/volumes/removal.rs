//! Removes the folders of guests, however they are nested.
//!
//! A guest can nest folders deeper than the limits on path length, stack size and open
//! files allow. Folders are therefore moved up to the root before they are emptied, and no
//! link is followed.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How often the entries of the root are listed. Each round reaches one level deeper, and
/// a volume has no more levels than entries.
const ROUNDS_MAX: usize = 200_000;

/// Removes the folder `root` and everything in it.
///
/// # Errors
/// Something in it cannot be removed, or entries are added as fast as they are removed.
pub(super) fn remove_all(root: &Path) -> io::Result<()> {
    let folder = open(CWD, root)?;
    let mut moved = 0_u64;
    for _ in 0..ROUNDS_MAX {
        let entries = entries(&folder)?;
        if entries.is_empty() {
            return Ok(unlinkat(CWD, root, AtFlags::REMOVEDIR)?);
        }
        for (name, kind) in entries {
            if kind != FileType::Directory && unlink(&folder, &name)? {
                continue;
            }
            empty(&folder, &name, &mut moved)?;
        }
    }
    Err(io::Error::other("it is being written"))
}

/// Removes the folder `name` of `root`, and moves the folders in it to `root`.
fn empty(root: &OwnedFd, name: &CString, moved: &mut u64) -> io::Result<()> {
    let folder = open(root, name.as_c_str())?;
    for (inner, kind) in entries(&folder)? {
        if kind != FileType::Directory && unlink(&folder, &inner)? {
            continue;
        }
        *moved += 1;
        // No guest has a handle of `root`, so nothing there has this prefix.
        renameat(&folder, &inner, root, format!(".removed-{moved}"))?;
    }
    Ok(unlinkat(root, name, AtFlags::REMOVEDIR)?)
}

/// Returns false for a folder.
fn unlink(folder: &OwnedFd, name: &CString) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(above: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(above, name, flags, Mode::empty())?)
}

fn entries(folder: &OwnedFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if ![c".", c".."].contains(&name) {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn deeply_nested_folders_are_removed_without_following_links() {
        let outside = tempfile::tempdir().expect("a folder");
        fs::write(outside.path().join("kept"), "").expect("a file");
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("a/b")).expect("folders");
        fs::write(root.join("a/b/file"), "").expect("a file");
        std::os::unix::fs::symlink(outside.path(), root.join("a/link")).expect("a link");
        let mut folder = open(CWD, &root).expect("opened");
        for _ in 0..2_000 {
            mkdirat(&folder, "deep", Mode::RWXU).expect("a folder");
            folder = open(&folder, "deep").expect("opened");
        }
        remove_all(&root).expect("removed");
        assert!(!root.exists());
        assert!(outside.path().join("kept").exists());
    }
}
