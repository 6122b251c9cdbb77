//! PEM files: certificates and private keys.
//!
//! Reading blocks, so callers are on a thread for blocking work.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// The largest PEM file that is read. A bundle of all public authorities is a fifth of it.
pub(super) const FILE_MAX: u64 = 1 << 20;

/// The path of a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PemFile {
    path: PathBuf,
    /// Below this folder, which no symbolic link on the path may leave.
    within: Option<PathBuf>,
}

impl PemFile {
    /// A regular file that the operator names. Symbolic links are followed.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            within: None,
        }
    }

    /// The file `below` the folder `volume`, to which guests may have access. A symbolic link
    /// that leads out of the folder is refused, as is everything but a regular file.
    pub(crate) fn in_volume(volume: &Path, below: &Path) -> Self {
        Self {
            path: below.into(),
            within: Some(volume.into()),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        match &self.within {
            Some(folder) => folder.join(&self.path),
            None => self.path.clone(),
        }
    }

    /// The contents of the file.
    ///
    /// # Errors
    /// [`TlsError::Read`]
    pub(crate) fn read(&self) -> Result<Vec<u8>, TlsError> {
        self.open()
            .and_then(read_bounded)
            .map_err(|source| TlsError::Read {
                file: self.path(),
                source,
            })
    }

    fn open(&self) -> io::Result<File> {
        // Opening a FIFO must not block.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match &self.within {
            None => openat(CWD, &self.path, flags, Mode::empty())?,
            Some(folder) => {
                let folder = openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty())?;
                let beneath = ResolveFlags::BENEATH;
                openat2(&folder, &self.path, flags, Mode::empty(), beneath)?
            }
        };
        let file = File::from(opened);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a regular file")),
        }
    }
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut contents)?;
    match contents.len() as u64 > FILE_MAX {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {FILE_MAX} bytes"),
        )),
        false => Ok(contents),
    }
}

/// The certificates in `pem`, which was read from `file`.
///
/// # Errors
/// [`TlsError::Pem`]: there is none, or one of them is malformed.
pub(crate) fn certificates(
    file: &PemFile,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| TlsError::Pem {
            file: file.path(),
            what: "certificates",
        })
}

/// The first private key in `pem`, which was read from `file`.
///
/// # Errors
/// [`TlsError::Pem`]: there is none.
pub(crate) fn private_key(file: &PemFile, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Pem {
        file: file.path(),
        what: "a private key",
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::mkfifoat;

    use super::*;

    /// The files of secrets and configMaps are links within their volume.
    #[test]
    fn file_in_a_volume_is_read_unless_a_link_leads_out_of_the_volume() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..2025")).expect("a folder");
        fs::write(path("..2025/ca.pem"), "contents").expect("a file");
        symlink("..2025", path("..data")).expect("a link");
        symlink("..data/ca.pem", path("ca.pem")).expect("a link");
        symlink("/etc/hostname", path("absolute.pem")).expect("a link");
        symlink("../../../../../../etc/hostname", path("up.pem")).expect("a link");
        let read = |name: &str| PemFile::in_volume(folder.path(), Path::new(name)).read();
        assert_eq!(read("ca.pem").expect("contents"), b"contents");
        for name in ["absolute.pem", "up.pem", "none.pem", "..2025", "../x"] {
            assert!(matches!(read(name), Err(TlsError::Read { .. })), "{name}");
        }
    }

    #[test]
    fn fifo_is_refused_instead_of_awaited() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("ca.pem");
        mkfifoat(CWD, &fifo, Mode::RUSR).expect("a FIFO");
        let error = PemFile::new(&fifo).read().expect_err("no file");
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }

    #[test]
    fn file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let mut contents = vec![b'x'; 1 << 20];
        fs::write(&file, &contents).expect("a file");
        assert!(PemFile::new(&file).read().is_ok());
        contents.push(b'x');
        fs::write(&file, &contents).expect("a file");
        let error = PemFile::new(&file).read().expect_err("too large");
        assert!(error.to_string().contains("larger than"), "{error}");
    }
}
