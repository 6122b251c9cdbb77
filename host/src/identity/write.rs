//! Writes the files of an authority.
//!
//! Several files change together: they are written to a folder beside the others, which is
//! renamed when it is complete, and then moved to their places one by one. Whoever opens the
//! folder for writing next completes a move that was interrupted. The folder is locked, because
//! hosts can share it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfsMountFlags, flock, statvfs};
use rustls::pki_types::CertificateDer;

use super::failure::CaError;
use crate::private_folder;
use crate::tls::certificate_pem;

/// Files that are not complete yet.
pub(super) const STAGED: &str = ".staged";

/// Complete files on the way to their places.
const MOVING: &str = ".moving";

/// A private folder, locked until this is dropped.
pub(super) struct LockedFolder {
    path: PathBuf,
    folder: OwnedFd,
}

/// A file to write. An empty one removes the file of this name.
pub(super) struct NewFile {
    name: &'static str,
    contents: String,
    mode: u32,
}

impl NewFile {
    /// A private key in PEM.
    pub(super) fn key(name: &'static str, pem: String) -> Self {
        Self {
            name,
            contents: pem,
            mode: 0o600,
        }
    }

    pub(super) fn certificates(name: &'static str, certificates: &[CertificateDer<'_>]) -> Self {
        Self {
            name,
            contents: certificates.iter().map(certificate_pem).collect(),
            mode: 0o644,
        }
    }

    pub(super) fn removed(name: &'static str) -> Self {
        Self {
            name,
            contents: String::new(),
            mode: 0o600,
        }
    }
}

/// Whether the file system of the folder is mounted read-only, as that of a Secret is.
pub(super) fn is_read_only(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY))
}

impl LockedFolder {
    /// Creates the folder if it is missing, and waits until no other process has locked it.
    ///
    /// # Errors
    /// The folder is not private, or cannot be locked.
    pub(super) fn open(path: &Path) -> Result<Self, CaError> {
        let folder = private_folder::open(path)?;
        flock(&folder, FlockOperation::LockExclusive).map_err(|source| CaError::Lock {
            folder: path.into(),
            source: source.into(),
        })?;
        let this = Self {
            path: path.into(),
            folder,
        };
        this.move_all().map_err(|source| CaError::Write {
            file: this.path.join(MOVING),
            source,
        })?;
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces all `files`, or none of them.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn replace(&self, files: &[NewFile]) -> Result<(), CaError> {
        for file in files {
            require_replaceable(&self.path.join(file.name))?;
        }
        let staged = self.path.join(STAGED);
        self.stage(&staged, files)
            .and_then(|()| fs::rename(&staged, self.path.join(MOVING)))
            .and_then(|()| self.sync())
            .and_then(|()| self.move_all())
            .map_err(|source| CaError::Write {
                file: self.path.clone(),
                source,
            })
    }

    fn stage(&self, staged: &Path, files: &[NewFile]) -> io::Result<()> {
        match fs::remove_dir_all(staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => private_folder::create(staged)?,
        }
        for file in files {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(file.mode);
            let mut opened = options.open(staged.join(file.name))?;
            opened.write_all(file.contents.as_bytes())?;
            opened.sync_all()?;
        }
        File::open(staged)?.sync_all()
    }

    fn move_all(&self) -> io::Result<()> {
        let moving = self.path.join(MOVING);
        let entries = match fs::read_dir(&moving) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let place = self.path.join(entry.file_name());
            match entry.metadata()?.len() {
                0 => {
                    match fs::remove_file(&place) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                    fs::remove_file(entry.path())?;
                }
                _ => fs::rename(entry.path(), place)?,
            }
        }
        fs::remove_dir(&moving)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::fsync(&self.folder)?;
        Ok(())
    }
}

/// A folder with the name of a file would stop the move half way.
fn require_replaceable(place: &Path) -> Result<(), CaError> {
    match place.is_dir() {
        true => Err(CaError::Write {
            file: place.into(),
            source: io::ErrorKind::IsADirectory.into(),
        }),
        false => Ok(()),
    }
}
