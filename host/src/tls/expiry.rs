//! When the certificates expire that this host presents or trusts.
//!
//! Files are read when metrics are collected, and again only after they have changed. Private
//! keys are not read.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use galleria_mesh::Snapshot;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::client::named_file;
use super::files::FILE_MAX;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Expiries {
    /// That of the admin port's certificate.
    admin: Option<i64>,
    files: Mutex<HashMap<PathBuf, FileExpiry>>,
}

/// A file as it was when it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileExpiry {
    modified: Option<SystemTime>,
    size: u64,
    /// None if the file contains no certificate.
    expiry: Option<i64>,
}

impl Expiries {
    /// `admin` is the certificate of the admin port, as PEM.
    pub(crate) fn new(admin: &str) -> Self {
        Self {
            admin: expiry(admin.as_bytes()),
            files: Mutex::default(),
        }
    }

    /// Each file with the expiry of the certificate in it that expires first, in seconds since
    /// 1970. Files that cannot be read are left out: the connections that need them report it.
    pub(crate) async fn all(self: &Arc<Self>, snapshot: &Snapshot) -> Vec<(String, i64)> {
        let files = files(snapshot);
        let admin = self.admin.map(|expiry| ("admin".to_owned(), expiry));
        let mut expiries: Vec<_> = admin.into_iter().collect();
        if files.is_empty() {
            return expiries;
        }
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.read(files)).await;
        expiries.extend(read.unwrap_or_default());
        expiries
    }

    fn read(&self, files: BTreeSet<PathBuf>) -> Vec<(String, i64)> {
        let mut known = self.files.lock();
        known.retain(|file, _| files.contains(file));
        let mut expiries = Vec::new();
        for file in files {
            let Ok(metadata) = fs::metadata(&file) else {
                known.remove(&file);
                continue;
            };
            let (modified, size) = (metadata.modified().ok(), metadata.len());
            let unchanged = |read: &&FileExpiry| (read.modified, read.size) == (modified, size);
            let expiry = match known.get(&file).filter(unchanged) {
                Some(read) => read.expiry,
                None => read_file(&file, size),
            };
            let read = FileExpiry {
                modified,
                size,
                expiry,
            };
            expiries.extend(expiry.map(|expiry| (file.display().to_string(), expiry)));
            known.insert(file, read);
        }
        expiries
    }
}

/// The certificate files that DestinationRules name.
fn files(snapshot: &Snapshot) -> BTreeSet<PathBuf> {
    let clusters = snapshot.services().iter().flat_map(|it| &it.clusters);
    let tls = clusters.filter_map(|cluster| cluster.tls.as_ref());
    let fields = tls.flat_map(|tls| [&tls.ca_certificates, &tls.client_certificate]);
    let named = fields.filter_map(|field| named_file(field.as_ref()));
    named.map(PathBuf::from).collect()
}

fn read_file(file: &Path, size: u64) -> Option<i64> {
    let pem = (size <= FILE_MAX).then(|| fs::read(file).ok())?;
    expiry(&pem?)
}

/// When the first certificate of `pem` to expire does so.
fn expiry(pem: &[u8]) -> Option<i64> {
    let certificates = CertificateDer::pem_slice_iter(pem).map_while(Result::ok);
    let ends = certificates.filter_map(|certificate| {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
        Some(parsed.validity().not_after.timestamp())
    });
    ends.min()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> String {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    const IN_2031: i64 = 1_924_992_000;

    #[test]
    fn earliest_expiry_of_several_certificates_counts() {
        let bundle = certificate(2040) + &certificate(2031) + &certificate(2050);
        assert_eq!(expiry(bundle.as_bytes()), Some(IN_2031));
        assert_eq!(expiry(b"nonsense"), None);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(expiry(broken.as_bytes()), None);
    }

    #[test]
    fn changed_file_is_read_again_and_unused_file_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let expiries = Expiries::default();
        let read = || expiries.read(BTreeSet::from([file.clone()]));
        assert_eq!(read(), []);
        fs::write(&file, certificate(2031)).expect("a file");
        assert_eq!(read(), [(file.display().to_string(), IN_2031)]);
        fs::write(&file, certificate(2040) + &certificate(2050)).expect("a file");
        assert!(read().iter().all(|(_, expiry)| *expiry > IN_2031));
        expiries.read(BTreeSet::new());
        assert!(expiries.files.lock().is_empty());
    }
}
