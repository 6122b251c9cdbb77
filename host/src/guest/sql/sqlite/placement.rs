//! The location of a database file: the same path below `databases/` instead of in the volume,
//! where guests could write bytes that SQLite trusts.
//!
//! A file that is in the volume, from an operator or from an earlier version of the host, is
//! imported when the database is first opened: the host copies it (a guest may have it open),
//! checks all of it, and only then moves it to its location. Guests can create symbolic links
//! in a volume; none is followed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_sqlite::{Connection, HostStatement, Kind, Memory, Settings, Watch};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;

use super::{Error, failure};
use crate::guest::sql::access::{File, InVolume};
use crate::private_folder;

/// Makes sure that the file can be opened at its location. Blocks.
///
/// # Errors
/// `access-denied` if the path leads through a symbolic link of the volume, `unavailable` if
/// the file cannot be imported.
pub(super) fn prepare(file: &File, memory: &Arc<Memory>, watch: Watch) -> Result<(), Error> {
    if fs::symlink_metadata(&file.path).is_ok() {
        return Ok(());
    }
    let in_volume = find(file)?;
    if in_volume.is_none() && file.read_only {
        return Err(Error::Unavailable(format!(
            "there is no database {}, and the volume is mounted read-only",
            shown(file)
        )));
    }
    let folder = file.path.parent().unwrap_or(&file.path);
    private_folder::create(folder).map_err(|error| unavailable(file, &error))?;
    match in_volume {
        Some(in_volume) => import(file, in_volume, memory, watch),
        None => Ok(()),
    }
}

/// The file in the volume, if there is one.
fn find(file: &File) -> Result<Option<fs::File>, Error> {
    open(&file.in_volume, "").map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => Error::AccessDenied("the path leads through a symbolic link".into()),
        _ => unavailable(file, &error),
    })
}

fn unavailable(file: &File, error: &io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", shown(file)))
}

fn import(
    file: &File,
    in_volume: fs::File,
    memory: &Arc<Memory>,
    watch: Watch,
) -> Result<(), Error> {
    let partial = beside(&file.path, "-partial");
    let imported = copy(file, in_volume, &partial)
        .map_err(|error| unavailable(file, &error))
        .and_then(|()| check(&partial, memory, watch))
        .and_then(|()| {
            fs::rename(&partial, &file.path)
                .and_then(|()| fs::File::open(file.path.parent().unwrap_or(&file.path))?.sync_all())
                .map_err(|error| unavailable(file, &error))
        });
    if let Err(error) = imported {
        remove(&partial);
        return Err(match error {
            Error::Unavailable(message) => Error::Unavailable(format!(
                "cannot import the file in the volume as a database: {message}"
            )),
            other => other,
        });
    }
    let place = file.path.display();
    tracing::info!(database = %place, "imported a database from a volume; it is now stored here");
    if !file.read_only {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let name = beside(&file.in_volume.below, suffix);
            // A file that remains is not read again.
            let _ = unlinkat(&file.in_volume.folder, &name, AtFlags::empty());
        }
    }
    Ok(())
}

fn copy(file: &File, mut in_volume: fs::File, partial: &Path) -> io::Result<()> {
    remove(partial);
    let copy_to = |from: &mut fs::File, suffix: &str| {
        let mut to = fs::File::create_new(beside(partial, suffix))?;
        io::copy(from, &mut to)?;
        to.sync_all()
    };
    copy_to(&mut in_volume, "")?;
    for suffix in ["-wal", "-journal"] {
        if let Some(mut log) = open(&file.in_volume, suffix)? {
            copy_to(&mut log, suffix)?;
        }
    }
    Ok(())
}

/// Checks the copy, and moves the contents of its log into it.
fn check(partial: &Path, memory: &Arc<Memory>, watch: Watch) -> Result<(), Error> {
    let settings = Settings {
        path: partial,
        kind: Kind::Writer,
        memory: memory.clone(),
        size_max: u64::MAX,
    };
    let mut connection = Connection::open(&settings).map_err(failure)?;
    connection.quick_check(watch).map_err(failure)?;
    connection.host(HostStatement::Checkpoint).map_err(failure)
}

fn remove(partial: &Path) {
    for suffix in ["", "-wal", "-journal"] {
        // Usually there is none.
        let _ = fs::remove_file(beside(partial, suffix));
    }
}

/// Opens a regular file of the volume without following symbolic links.
fn open(place: &InVolume, suffix: &str) -> io::Result<Option<fs::File>> {
    let name = beside(&place.below, suffix);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened: OwnedFd = match openat2(&place.folder, &name, flags, Mode::empty(), resolve) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let file = fs::File::from(opened);
    match file.metadata()?.is_file() {
        true => Ok(Some(file)),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The path that the guest sees.
fn shown(file: &File) -> String {
    let path = Path::new(&file.mounted_at).join(&file.in_volume.below);
    format!("`{}`", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn symbolic_link_in_the_volume_is_refused() {
        let volume = tempfile::tempdir().expect("a folder");
        symlink("/etc/passwd", volume.path().join("shop.db")).expect("a link");
        symlink("/nowhere", volume.path().join("dangling.db")).expect("a link");
        symlink("/etc", volume.path().join("folder")).expect("a link");
        fs::write(volume.path().join("plain.db"), "").expect("a file");
        let opened = Arc::new(OwnedFd::from(
            fs::File::open(volume.path()).expect("a folder"),
        ));
        let found = |below: &str| {
            find(&File {
                path: Path::new("/nowhere").join(below),
                in_volume: InVolume {
                    folder: opened.clone(),
                    below: below.into(),
                },
                read_only: false,
                quota: None,
                mounted_at: "/data".into(),
            })
        };
        for below in ["shop.db", "dangling.db", "folder/passwd"] {
            assert!(
                matches!(found(below), Err(Error::AccessDenied(_))),
                "{below}"
            );
        }
        assert!(matches!(found("plain.db"), Ok(Some(_))));
        assert!(matches!(found("none.db"), Ok(None)));
    }
}
