//! An image registry on loopback with one user; it is stopped when it is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use oci_client::client::{
    Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::PATIENCE;

pub const USER: &str = "ann";
pub const PASSWORD: &str = "open sesame";
/// The bcrypt hash of the password, as created by `htpasswd -B`.
const HTPASSWD: &str = "ann:$2b$05$SqLlR18b0pHF3/KQ12Bjiu9lO8HDhCaYyb/dhum0BYlozDi4RiiHG\n";

pub struct Registry {
    process: Child,
    folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub host: String,
    secure: bool,
}

impl Registry {
    /// Speaks plain HTTP.
    pub fn start() -> Self {
        Self::serve(tempfile::tempdir().expect("a folder"), false)
    }

    /// Speaks HTTPS with its own certificate authority: [`Registry::authority`].
    pub fn start_secure() -> Self {
        // The test's own client also needs a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        make_identity(folder.path());
        Self::serve(folder, true)
    }

    fn serve(folder: tempfile::TempDir, secure: bool) -> Self {
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("htpasswd"), HTPASSWD).expect("a file");
        let tls = match secure {
            true => format!(
                "\n  tls: {{certificate: {}, key: {}}}",
                path("server.pem"),
                path("server.key")
            ),
            false => String::new(),
        };
        let config = format!(
            "version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {}}}}}
auth: {{htpasswd: {{realm: test, path: {}}}}}
http:
  addr: 127.0.0.1:0
  secret: of this test{tls}
",
            path("storage"),
            path("htpasswd")
        );
        std::fs::write(path("config.yml"), config).expect("a file");
        let mut process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry; install it with `apt-get install docker-registry`");
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let (sender, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("listening on ") {
                    let end = rest.find([',', '"']).unwrap_or(rest.len());
                    let _ = sender.send(rest[..end].to_owned());
                }
            }
        });
        let host = address.recv_timeout(PATIENCE).expect("it listens");
        Self {
            process,
            folder,
            host,
            secure,
        }
    }

    /// Its certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The file in which it stores a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = "storage/docker/registry/v2/blobs/sha256";
        let place = format!("{blobs}/{}/{hex}/data", &hex[..2]);
        self.folder.path().join(place)
    }

    /// Pushes `bytes` as `image` (`repository:tag`), as one layer with this media type;
    /// returns the digests of the manifest and of the layer.
    pub fn push(&self, image: &str, bytes: Vec<u8>, media_type: &str) -> (String, String) {
        self.push_layer(image, ImageLayer::new(bytes, media_type.to_owned(), None))
    }

    /// Pushes `image` with this layer; returns the digests of the manifest and of the layer.
    pub fn push_layer(&self, image: &str, layer: ImageLayer) -> (String, String) {
        let image: Reference = format!("{}/{image}", self.host).parse().expect("a name");
        let blob = layer.sha256_digest();
        let empty = "application/vnd.oci.empty.v1+json".to_owned();
        let config = Config::new(b"{}".to_vec(), empty, None);
        let login = RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned());
        let client = self.client();
        let pushed = async {
            let layers = [layer];
            let pushed = client.push(&image, &layers, config, &login, None).await;
            pushed.expect("the registry accepts the image");
            let digest = client.fetch_manifest_digest(&image, &login).await;
            (digest.expect("the registry has the image"), blob)
        };
        tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(pushed)
    }

    fn client(&self) -> Client {
        let authority = |data| Certificate {
            encoding: CertificateEncoding::Pem,
            data,
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let protocol = match self.secure {
            true => ClientProtocol::Https,
            false => ClientProtocol::Http,
        };
        let authorities = std::fs::read(self.authority()).into_iter().map(authority);
        Client::new(ClientConfig {
            protocol,
            extra_root_certificates: authorities.collect(),
            ..ClientConfig::default()
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Creates a certificate authority, and a certificate for loopback.
fn make_identity(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let issued = params.signed_by(&key, &issuer).expect("signed");
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).expect("a file");
    };
    write("ca.pem", issuer.pem());
    write("server.pem", issued.pem());
    write("server.key", key.serialize_pem());
}
