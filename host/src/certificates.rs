//! When the certificates end that this host shows or believes.
//!
//! Files are read when somebody asks, and again only when they have changed. Keys
//! are not read here.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use galleria_mesh::Snapshot;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A bundle of all public authorities is a fifth of this.
const FILE_MAX: u64 = 1 << 20;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Certificates {
    /// Of the admin port.
    admin: Option<i64>,
    files: Mutex<HashMap<PathBuf, Read>>,
}

/// A file as it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Read {
    changed: Option<SystemTime>,
    size: u64,
    /// None where there is no certificate in it.
    expiry: Option<i64>,
}

impl Certificates {
    /// `admin` is the certificate of the admin port, as PEM.
    pub(crate) fn new(admin: &str) -> Self {
        Self {
            admin: expiry(admin.as_bytes()),
            files: Mutex::default(),
        }
    }

    /// Certificates by file, and when the first in it ends, in seconds since 1970.
    /// What cannot be read is left out: whoever uses it tells.
    pub(crate) async fn expiries(self: &Arc<Self>, snapshot: &Snapshot) -> Vec<(String, i64)> {
        let files = files(snapshot);
        let mut expiries: Vec<_> = self
            .admin
            .map(|it| ("admin".to_owned(), it))
            .into_iter()
            .collect();
        if files.is_empty() {
            return expiries;
        }
        let certificates = self.clone();
        let read = tokio::task::spawn_blocking(move || certificates.read(files)).await;
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
            let (changed, size) = (metadata.modified().ok(), metadata.len());
            let same = |read: &&Read| (read.changed, read.size) == (changed, size);
            let expiry = match known.get(&file).filter(same) {
                Some(read) => read.expiry,
                None => read_file(&file, size),
            };
            let read = Read {
                changed,
                size,
                expiry,
            };
            expiries.extend(expiry.map(|expiry| (file.display().to_string(), expiry)));
            known.insert(file, read);
        }
        expiries
    }
}

/// What DestinationRules name.
fn files(snapshot: &Snapshot) -> BTreeSet<PathBuf> {
    let clusters = snapshot.services().iter().flat_map(|it| &it.clusters);
    let tls = clusters.filter_map(|cluster| cluster.tls.as_ref());
    let named = tls.flat_map(|tls| [&tls.ca_certificates, &tls.client_certificate]);
    // `system` is Istio's word for the public authorities.
    let named = named
        .flatten()
        .filter(|file| !file.is_empty() && *file != "system");
    named.map(PathBuf::from).collect()
}

fn read_file(file: &Path, size: u64) -> Option<i64> {
    let pem = (size <= FILE_MAX).then(|| fs::read(file).ok())?;
    expiry(&pem?)
}

/// When the first certificate of `pem` ends.
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
    fn of_several_certificates_the_first_that_ends_counts() {
        let bundle = certificate(2040) + &certificate(2031) + &certificate(2050);
        assert_eq!(expiry(bundle.as_bytes()), Some(IN_2031));
        assert_eq!(expiry(b"nonsense"), None);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(expiry(broken.as_bytes()), None);
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_forgotten_when_nobody_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let certificates = Certificates::default();
        let read = || certificates.read(BTreeSet::from([file.clone()]));
        assert_eq!(read(), []);
        fs::write(&file, certificate(2031)).expect("a file");
        assert_eq!(read(), [(file.display().to_string(), IN_2031)]);
        fs::write(&file, certificate(2040) + &certificate(2050)).expect("a file");
        assert!(read().iter().all(|(_, expiry)| *expiry > IN_2031));
        certificates.read(BTreeSet::new());
        assert!(certificates.files.lock().is_empty());
    }
}
