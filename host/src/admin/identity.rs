//! The identity of the admin port, and the tokens that it accepts: a certificate and two
//! tokens, created at the first start and stored in the data folder, readable by the owner only.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::json;

use crate::private_folder;
use crate::tls::{SelfSignError, SelfSignedCertificate};

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const TOKEN: &str = "token";
const READ_ONLY_TOKEN: &str = "read-only-token";
/// The latest address of the port, for `galleria kubeconfig`.
const ADDRESS: &str = "address";

/// The name that clients verify, whatever the address. It is part of the kubeconfig.
const SERVER_NAME: &str = "localhost";

/// Random bytes in a token.
const TOKEN_LENGTH: usize = 32;

/// Why the identity cannot be created or read. Messages name files, never their contents.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("{}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("cannot create a certificate for the admin listener: {0}")]
    Certificate(#[from] SelfSignError),
    #[error("cannot get random numbers from the system: {0}")]
    Random(#[from] rand::rand_core::OsError),
    #[error(
        "no host has run with the data folder `{}`; start one with `galleria run`, or name its folder with --data",
        folder.display()
    )]
    NoHost { folder: PathBuf },
}

/// See the module's documentation.
pub(crate) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) token: String,
    pub(super) read_only_token: String,
}

impl Identity {
    /// Reads the identity from the data folder `data`, and creates the parts that are missing.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub(crate) fn of(data: &Path) -> Result<Self, IdentityError> {
        let folder = folder(data);
        private_folder::create(&folder).map_err(|source| IdentityError::File {
            file: folder.clone(),
            source,
        })?;
        if !folder.join(CERTIFICATE).exists() || !folder.join(KEY).exists() {
            let made = SelfSignedCertificate::new(&[SERVER_NAME, "127.0.0.1", "::1"])?;
            write(&folder.join(KEY), &made.key)?;
            write(&folder.join(CERTIFICATE), &made.certificate)?;
        }
        for name in [TOKEN, READ_ONLY_TOKEN] {
            if !folder.join(name).exists() {
                write(&folder.join(name), &random_token()?)?;
            }
        }
        Self::read(&folder)
    }

    fn read(folder: &Path) -> Result<Self, IdentityError> {
        Ok(Self {
            certificate: read(&folder.join(CERTIFICATE))?,
            key: read(&folder.join(KEY))?,
            token: read(&folder.join(TOKEN))?,
            read_only_token: read(&folder.join(READ_ONLY_TOKEN))?,
        })
    }

    /// Stores the address that the host listens on.
    pub(super) fn note_address(data: &Path, address: SocketAddr) -> Result<(), IdentityError> {
        write(&folder(data).join(ADDRESS), &address.to_string())
    }
}

/// Writes a kubeconfig for the host with the data folder `data` to `output`, or else to a file
/// in the data folder, and returns its path.
///
/// # Errors
/// See [`IdentityError`].
pub(crate) fn kubeconfig(
    data: &Path,
    output: Option<PathBuf>,
    read_only: bool,
) -> Result<PathBuf, IdentityError> {
    let folder = folder(data);
    if !folder.join(ADDRESS).exists() {
        return Err(IdentityError::NoHost {
            folder: data.into(),
        });
    }
    let identity = Identity::read(&folder)?;
    let address = read(&folder.join(ADDRESS))?;
    let (name, token) = match read_only {
        true => ("kubeconfig-read-only", &identity.read_only_token),
        false => ("kubeconfig", &identity.token),
    };
    // JSON is valid YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "galleria",
        "contexts": [{
            "name": "galleria",
            "context": {"cluster": "galleria", "user": "galleria"},
        }],
        "clusters": [{
            "name": "galleria",
            "cluster": {
                "server": format!("https://{}", reachable(&address)),
                "certificate-authority-data": STANDARD.encode(&identity.certificate),
                "tls-server-name": SERVER_NAME,
            },
        }],
        "users": [{"name": "galleria", "user": {"token": token}}],
    });
    let file = output.unwrap_or_else(|| folder.join(name));
    write(&file, &format!("{config:#}\n"))?;
    std::path::absolute(&file).map_err(|source| IdentityError::File { file, source })
}

fn folder(data: &Path) -> PathBuf {
    data.join("admin")
}

/// The address for clients. A host that listens on all addresses is reached on loopback.
fn reachable(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_owned(),
    }
}

fn random_token() -> Result<String, IdentityError> {
    let mut bytes = [0; TOKEN_LENGTH];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn read(file: &Path) -> Result<String, IdentityError> {
    let text = std::fs::read_to_string(file).map_err(|source| IdentityError::File {
        file: file.into(),
        source,
    })?;
    Ok(text.trim_end().to_owned())
}

/// Writes the file atomically, with mode 0600: that is the mode of temporary files.
fn write(file: &Path, text: &str) -> Result<(), IdentityError> {
    use std::io::Write;
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    let written = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).and_then(
        |mut temporary| {
            temporary.write_all(text.as_bytes())?;
            temporary.persist(file).map_err(|error| error.error)
        },
    );
    written.map(drop).map_err(|source| IdentityError::File {
        file: file.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_created_once_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().expect("a folder");
        let first = Identity::of(data.path()).expect("made");
        let again = Identity::of(data.path()).expect("read");
        assert_eq!(first.token, again.token);
        assert_eq!(first.certificate, again.certificate);
        assert_ne!(first.token, first.read_only_token);
        for entry in std::fs::read_dir(folder(data.path())).expect("the folder") {
            let entry = entry.expect("a file");
            let mode = entry.metadata().expect("it").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[test]
    fn kubeconfig_is_for_a_host_that_has_run() {
        let data = tempfile::tempdir().expect("a folder");
        let none = kubeconfig(data.path(), None, false).expect_err("no host");
        assert!(none.to_string().contains("galleria run"), "{none}");
        let identity = Identity::of(data.path()).expect("made");
        let address = SocketAddr::from(([0, 0, 0, 0], 15_000));
        Identity::note_address(data.path(), address).expect("noted");
        let file = kubeconfig(data.path(), None, true).expect("written");
        let text = std::fs::read_to_string(file).expect("the file");
        assert!(text.contains("https://localhost:15000"), "{text}");
        assert!(text.contains(&identity.read_only_token) && !text.contains(&identity.token));
    }
}
