//! The disk cache of compiled components.
//!
//! The name of an entry is derived from the content of the component and from all engine
//! settings that affect native code. An entry begins with a MAC over its name and its content,
//! with a key that only the owner of the folder can read. Code that was planted, altered,
//! truncated, renamed from another component or created by another engine is never loaded; the
//! component is compiled again. The bytes in memory are checked and then loaded, so a file
//! that changes in between has no effect.

mod key;

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use wasmtime::component;

use super::component::FILE_MAX;
use crate::private_folder::{self, FolderError};
use key::Key;

/// The largest entry. Native code is a few times as large as its component.
const ENTRY_MAX: u64 = 8 * FILE_MAX;

/// Compiled components in one folder, or no cache if no folder can be used.
#[derive(Clone, Default)]
pub(crate) struct Cache {
    folder: Option<Arc<Folder>>,
}

/// The open folder. Even if its path changes, entries belong to the folder that was checked.
struct Folder {
    path: PathBuf,
    opened: OwnedFd,
    key: Key,
}

/// The result of a look-up.
pub(super) enum Lookup {
    Hit(component::Component),
    Miss,
    /// There was an entry that could not be used.
    Unusable {
        file: PathBuf,
        reason: String,
    },
}

impl Cache {
    /// Without space, or on a read-only file system, there is no cache, and a warning is
    /// logged.
    ///
    /// # Errors
    /// The folder is accessible by others, or cannot be created.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let opened = match private_folder::open(path) {
            Ok(opened) => opened,
            Err(error) if error.is_unavailable() => return Ok(Self::unusable(path, &error)),
            Err(error) => return Err(error),
        };
        Ok(match Key::of(&opened) {
            Ok(key) => Self {
                folder: Some(Arc::new(Folder {
                    path: path.into(),
                    opened,
                    key,
                })),
            },
            Err(error) => Self::unusable(path, &error),
        })
    }

    fn unusable(path: &Path, error: &dyn std::error::Error) -> Self {
        let folder = path.display();
        tracing::warn!(%folder, %error, "cannot cache compiled code: every start recompiles until the folder is writable");
        Self::default()
    }

    pub(super) fn load(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Lookup {
        let Some(folder) = &self.folder else {
            return Lookup::Miss;
        };
        let name = name(engine, wasm);
        let unusable = |reason: String| Lookup::Unusable {
            file: folder.path.join(&name),
            reason,
        };
        let entry = match folder.read(&name) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Lookup::Miss,
            Err(error) => return unusable(error.to_string()),
        };
        let Some(code) = folder.key.verified(&name, &entry) else {
            return unusable("it was not written by this host, or was altered".into());
        };
        #[expect(unsafe_code, reason = "wasmtime's only way to load what it compiled")]
        // SAFETY: these bytes, in memory, have a MAC with a key that only this host's user can
        // read: they are what `store` was given for this component and this engine. wasmtime
        // rejects code of another version or configuration.
        let loaded = unsafe { component::Component::deserialize(engine, code) };
        loaded.map_or_else(|error| unusable(error.to_string()), Lookup::Hit)
    }

    /// Writes an entry atomically: neither a reader nor a crash sees a part of it.
    ///
    /// # Errors
    /// The folder is not writable.
    pub(super) fn store(
        &self,
        engine: &wasmtime::Engine,
        wasm: &[u8],
        code: &[u8],
    ) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let name = name(engine, wasm);
        let mac = folder.key.mac(&name, code);
        folder.replace(&name, &[mac.as_slice(), code])
    }
}

impl Folder {
    /// The content of a regular file with this name; symbolic and hard links are rejected.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.opened, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
            opened => opened?,
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        if stat.st_nlink != 1 {
            return Err(io::Error::other("it has more than one name"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > ENTRY_MAX {
            return Err(io::Error::other(format!(
                "it has more than {ENTRY_MAX} bytes"
            )));
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        File::from(file).take(ENTRY_MAX).read_to_end(&mut content)?;
        Ok(content)
    }

    fn replace(&self, name: &str, content: &[&[u8]]) -> io::Result<()> {
        let written = write_new(&self.opened, content)?;
        let moved = renameat(&self.opened, &written, &self.opened, name);
        if moved.is_err() {
            // Nothing refers to the file; a failure to remove it is reported below.
            let _ = unlinkat(&self.opened, &written, AtFlags::empty());
        }
        moved.map_err(Into::into)
    }
}

/// Writes a new file that only its owner can read, and returns its name.
fn write_new(folder: &OwnedFd, content: &[&[u8]]) -> io::Result<String> {
    let name = format!(".{:032x}.new", rand::random::<u128>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &name, flags, Mode::RUSR | Mode::WUSR)?);
    let written = content
        .iter()
        .try_for_each(|piece| file.write_all(piece))
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = unlinkat(folder, &name, AtFlags::empty());
        return Err(error);
    }
    Ok(name)
}

fn name(engine: &wasmtime::Engine, wasm: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(wasm);
    let mut compatibility = DigestHasher(Sha256::new());
    engine
        .precompile_compatibility_hash()
        .hash(&mut compatibility);
    digest.update(compatibility.0.finalize());
    format!("{}.cwasm", hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Feeds a `Hash` value into a digest that does not change between runs.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
