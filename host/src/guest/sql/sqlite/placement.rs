//! Where a database's file really lies: on the same path below `databases/`, and
//! not in the volume, where guests could write bytes that SQLite trusts.
//!
//! A file that lies in the volume, from an operator or from an earlier version of
//! the host, is taken over when it is opened first: copied (a guest may have it
//! open), checked from end to end, and only then put in its place.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_sqlite::{Connection, Kind, Memory, Settings, Watch};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;

use super::{Error, failure};
use crate::guest::sql::access::{File, InVolume};
use crate::private_folder;

/// Sees to it that the file can be opened where it belongs.
pub(super) fn prepare(file: &File, memory: &Arc<Memory>, watch: Watch) -> Result<(), Error> {
    let found = |error: &io::Error| Error::Unavailable(format!("{}: {error}", shown(file)));
    let folder = file.path.parent().unwrap_or(&file.path);
    private_folder::create(folder).map_err(|error| found(&error))?;
    if fs::symlink_metadata(&file.path).is_ok() {
        return Ok(());
    }
    match open(&file.in_volume, "") {
        Ok(Some(there)) => take_over(file, there, memory, watch),
        Ok(None) if file.read_only => Err(Error::Unavailable(format!(
            "there is no database {}, and the volume is mounted read-only",
            shown(file)
        ))),
        Ok(None) => Ok(()),
        Err(error) => Err(found(&error)),
    }
}

fn take_over(
    file: &File,
    there: fs::File,
    memory: &Arc<Memory>,
    watch: Watch,
) -> Result<(), Error> {
    let partial = beside(&file.path, "-partial");
    let taken = copy(file, there, &partial)
        .map_err(|error| Error::Unavailable(format!("{}: {error}", shown(file))))
        .and_then(|()| check(&partial, memory, watch))
        .and_then(|()| {
            fs::rename(&partial, &file.path)
                .and_then(|()| fs::File::open(file.path.parent().unwrap_or(&file.path))?.sync_all())
                .map_err(|error| Error::Unavailable(format!("{}: {error}", shown(file))))
        });
    if let Err(error) = taken {
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
            // What stays is looked at no more.
            let _ = unlinkat(&file.in_volume.folder, &name, AtFlags::empty());
        }
    }
    Ok(())
}

fn copy(file: &File, mut there: fs::File, partial: &Path) -> io::Result<()> {
    remove(partial);
    let copy_to = |from: &mut fs::File, suffix: &str| {
        let mut to = fs::File::create_new(beside(partial, suffix))?;
        io::copy(from, &mut to)?;
        to.sync_all()
    };
    copy_to(&mut there, "")?;
    for suffix in ["-wal", "-journal"] {
        if let Some(mut there) = open(&file.in_volume, suffix)? {
            copy_to(&mut there, suffix)?;
        }
    }
    Ok(())
}

/// What is in the log goes into the file, so that this is all there is.
fn check(partial: &Path, memory: &Arc<Memory>, watch: Watch) -> Result<(), Error> {
    let settings = Settings {
        path: partial,
        kind: Kind::Writer,
        memory: memory.clone(),
        size_max: u64::MAX,
    };
    let mut connection = Connection::open(&settings).map_err(failure)?;
    connection.quick_check(watch).map_err(failure)?;
    connection
        .host("pragma wal_checkpoint(truncate)")
        .map_err(failure)
}

fn remove(partial: &Path) {
    for suffix in ["", "-wal", "-journal"] {
        // Not there, as a rule.
        let _ = fs::remove_file(beside(partial, suffix));
    }
}

/// A regular file of the volume, following no link on the way to it.
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

/// As the guest names it.
fn shown(file: &File) -> String {
    let path = Path::new(&file.mounted_at).join(&file.in_volume.below);
    format!("`{}`", path.display())
}
