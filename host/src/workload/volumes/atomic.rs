//! Atomic changes of all files of a volume, as the kubelet does it.
//!
//! The files of a volume are in a folder of their own. `..data` is a symbolic link to that
//! folder, and each name in the volume is a link through `..data`. A change creates a new
//! folder and replaces the link `..data`, so a reader sees either all old files or all new
//! files. The previous folder is kept until the next change, for readers that have already
//! followed the link.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Files by their path below the volume.
pub(super) type Payload = BTreeMap<String, File>;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    /// Mode bits.
    pub(super) mode: u32,
}

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_next";

/// Replaces the content of `folder` by `payload`, atomically.
pub(super) fn replace(folder: &Path, payload: &Payload) -> io::Result<()> {
    let before = fs::read_link(folder.join(DATA)).ok();
    let next = tempfile::Builder::new().prefix("..").tempdir_in(folder)?;
    write(next.path(), payload)?;
    let next = next.keep();
    let name = next.file_name().unwrap_or_default();
    let link = folder.join(DATA_NEXT);
    remove(fs::remove_file(&link))?;
    symlink(name, &link)?;
    fs::rename(&link, folder.join(DATA))?;

    let names: BTreeSet<&str> = payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for entry in names.iter().filter(|entry| !exists(&folder.join(entry))) {
        symlink(Path::new(DATA).join(entry), folder.join(entry))?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let is_own = entry.as_bytes().starts_with(b"..");
        let is_kept = entry == name
            || before
                .as_deref()
                .is_some_and(|kept| kept == Path::new(&entry));
        if is_own && entry != DATA && !is_kept {
            fs::remove_dir_all(folder.join(&entry))?;
        } else if !is_own && !names.iter().any(|name| OsStr::new(name) == entry) {
            remove(fs::remove_file(folder.join(&entry)))?;
        }
    }
    Ok(())
}

/// Writes files into a folder that has no readers yet.
pub(super) fn write(folder: &Path, payload: &Payload) -> io::Result<()> {
    for (path, file) in payload {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.content)?;
        fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Ignores that there was nothing to remove.
fn remove(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |content: &str| File {
            content: content.into(),
            mode: 0o640,
        };
        let files = files.iter();
        files
            .map(|(path, content)| ((*path).to_owned(), file(content)))
            .collect()
    }

    #[test]
    fn change_replaces_adds_and_removes_files_atomically() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |path: &str| fs::read_to_string(folder.path().join(path)).ok();
        replace(folder.path(), &payload(&[("a", "1"), ("b/c", "2")])).expect("written");
        assert_eq!(read("a").as_deref(), Some("1"));
        assert_eq!(read("b/c").as_deref(), Some("2"));
        let mode = fs::metadata(folder.path().join("a"))
            .expect("a")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);

        let old = fs::canonicalize(folder.path().join(DATA)).expect("the data");
        replace(folder.path(), &payload(&[("a", "3"), ("d", "4")])).expect("written");
        assert_eq!(read("a").as_deref(), Some("3"));
        assert_eq!(read("d").as_deref(), Some("4"));
        assert_eq!(read("b/c"), None);
        assert!(
            old.exists(),
            "readers that followed the link still find the old files"
        );

        replace(folder.path(), &payload(&[])).expect("written");
        assert!(!old.exists());
        let left = fs::read_dir(folder.path()).expect("entries").count();
        assert_eq!(left, 3, "the link, its folder and the previous folder");
    }
}
