//! The key with which a host recognizes the native code that it wrote.
//!
//! The first host creates it together with the cache's folder, and it never leaves the folder.
//! Whoever can read it can create code that hosts execute.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use hmac::{Hmac, KeyInit, Mac};
use hmac_sha2::Sha256;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::fs::{fstat, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::write_new;

/// The file name in the folder.
const FILE: &str = "key";

/// As long as the hash; a longer key adds nothing.
const LENGTH: usize = 32;

/// The length of the header before the code of an entry.
pub(super) const MAC_LENGTH: usize = 32;

/// Separates these MACs from any other use of a key. The number is the version of the format.
const PURPOSE: &[u8] = b"galleria native code 1\0";

/// How often to try when hosts that start at the same time create the key.
const TRIES: usize = 3;

pub(super) struct Key(Hmac<Sha256>);

impl Key {
    /// Reads the key of the folder. Creates a new one if there is none, or if others could
    /// have read it.
    ///
    /// # Errors
    /// The key can neither be read nor created.
    pub(super) fn of(folder: &OwnedFd) -> io::Result<Self> {
        for _ in 0..TRIES {
            match read(folder) {
                Ok(Some(secret)) => return Self::new(&secret),
                Ok(None) => {
                    tracing::warn!(
                        "other users had access to the key of compiled code: creating a new key and recompiling"
                    );
                    remove(folder)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            make(folder)?;
        }
        Err(io::Error::other("the file of its key keeps changing"))
    }

    fn new(secret: &[u8]) -> io::Result<Self> {
        let key = Hmac::new_from_slice(secret).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    pub(super) fn mac(&self, name: &str, code: &[u8]) -> [u8; MAC_LENGTH] {
        self.over(name, code).finalize().into_bytes().into()
    }

    /// The code of an entry, if it is what was written under this name.
    pub(super) fn verified<'a>(&self, name: &str, entry: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, code) = entry.split_at_checked(MAC_LENGTH)?;
        self.over(name, code).verify_slice(mac).ok()?;
        Some(code)
    }

    fn over(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        // All names have the same length, so the boundary between name and code is
        // unambiguous.
        self.0
            .clone()
            .chain_update(PURPOSE)
            .chain_update(name)
            .chain_update(code)
    }
}

/// `None` for a file that others could have written or read.
fn read(folder: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(folder, FILE, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Ok(None),
        opened => opened?,
    };
    if !is_trusted(&fstat(&file)?, &fstat(folder)?) {
        return Ok(None);
    }
    let mut secret = Vec::with_capacity(LENGTH);
    File::from(file)
        .take(LENGTH as u64 + 1)
        .read_to_end(&mut secret)?;
    Ok(Some(secret).filter(|secret| secret.len() == LENGTH))
}

/// The key must be our own and unreadable for others. A key of root in a folder that only root
/// can write is also accepted, as in a container image that was built with its code: whoever
/// can read it cannot write an entry.
fn is_trusted(key: &Stat, folder: &Stat) -> bool {
    let mode = key.st_mode & 0o777;
    let is_file = FileType::from_raw_mode(key.st_mode) == FileType::RegularFile;
    let us = geteuid().as_raw();
    let is_ours = key.st_uid == us && mode & 0o077 == 0 && key.st_nlink == 1;
    let is_of_image =
        us != 0 && key.st_uid == 0 && folder.st_uid == 0 && (mode | folder.st_mode) & 0o022 == 0;
    is_file && (is_ours || is_of_image)
}

/// Does not replace a key that another host has created in the meantime.
fn make(folder: &OwnedFd) -> io::Result<()> {
    let written = write_new(folder, &[&rand::random::<[u8; LENGTH]>()])?;
    match renameat_with(folder, &written, folder, FILE, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = unlinkat(folder, &written, AtFlags::empty());
            match error {
                Errno::EXIST => Ok(()),
                error => Err(error.into()),
            }
        }
    }
}

fn remove(folder: &OwnedFd) -> io::Result<()> {
    match unlinkat(folder, FILE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
