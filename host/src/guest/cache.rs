//! The disk cache of compiled components.
//!
//! An entry is named by the content of the component and everything of the
//! engine that shapes native code; beside it stands its digest. An entry that
//! is missing, cut short, altered or from another engine is compiled anew.
//! Entries are native code: the folder is readable by its owner alone.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component;

/// Compiled components below one folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// What became of one look-up.
pub(super) enum Lookup {
    Hit(component::Component),
    Miss,
    /// An entry was there and could not be used; the reason is for the log.
    Corrupt(String),
}

impl Cache {
    /// # Errors
    /// The folder cannot be made.
    pub(crate) fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        create_private_folder(&folder)?;
        Ok(Self { folder })
    }

    pub(super) fn load(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Lookup {
        let path = self.path(engine, wasm);
        let expected = match fs::read(digest_path(&path)) {
            Ok(digest) => digest,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Lookup::Miss,
            Err(error) => return Lookup::Corrupt(error.to_string()),
        };
        match fs::read(&path) {
            Ok(code) if hex(&Sha256::digest(&code)).as_bytes() == expected => {}
            Ok(_) => return Lookup::Corrupt("its content does not match its digest".into()),
            Err(error) => return Lookup::Corrupt(error.to_string()),
        }
        #[expect(unsafe_code, reason = "wasmtime's only way to load what it compiled")]
        // SAFETY: the file is in a folder that only this user can write, its
        // digest was just checked against the one written with it, and wasmtime
        // itself refuses code of another version or configuration.
        let loaded = unsafe { component::Component::deserialize_file(engine, &path) };
        loaded.map_or_else(|error| Lookup::Corrupt(error.to_string()), Lookup::Hit)
    }

    /// Writes an entry so that a reader, or a crash, sees all of it or nothing.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn store(
        &self,
        engine: &wasmtime::Engine,
        wasm: &[u8],
        code: &[u8],
    ) -> io::Result<()> {
        let path = self.path(engine, wasm);
        self.replace(&path, code)?;
        self.replace(&digest_path(&path), hex(&Sha256::digest(code)).as_bytes())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(content)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn path(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> PathBuf {
        let mut digest = Sha256::new();
        digest.update(wasm);
        let mut compatibility = DigestHasher(Sha256::new());
        engine
            .precompile_compatibility_hash()
            .hash(&mut compatibility);
        digest.update(compatibility.0.finalize());
        self.folder
            .join(format!("{}.cwasm", hex(&digest.finalize())))
    }
}

/// Makes a folder that other users cannot look into.
///
/// # Errors
/// It, or a folder above it, cannot be made.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

fn digest_path(path: &Path) -> PathBuf {
    path.with_extension("sha256")
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

/// Feeds a `Hash` value into a digest that is the same on every run.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
