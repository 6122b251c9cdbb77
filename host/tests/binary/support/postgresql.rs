//! A PostgreSQL server on a free loopback port, in its own folder; it is stopped when it
//! is dropped.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::eventually;

const USER: &str = "ann";
const PASSWORD: &str = "open/sesame@home";
/// The password, percent-encoded for a URL.
const ENCODED: &str = "open%2Fsesame%40home";

/// The host name in its certificate, which manifests use.
pub const HOST: &str = "db.example.com";

/// Debian's `nobody` and `nogroup`: the server does not run as root.
const NOBODY: u32 = 65534;

pub struct Postgresql {
    process: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
    secure: bool,
}

impl Postgresql {
    /// Without TLS.
    pub fn start() -> Self {
        Self::with(false)
    }

    /// With TLS; its certificate is signed by [`Postgresql::authority`].
    pub fn start_secure() -> Self {
        Self::with(true)
    }

    fn with(secure: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut server = Self {
            process: None,
            folder,
            port,
            secure,
        };
        server.write("password", PASSWORD);
        if secure {
            server.make_identity();
        }
        if server.is_root() {
            chown(server.folder.path(), Some(NOBODY), Some(NOBODY)).expect("its folder");
        }
        let made = server
            .command("initdb")
            .args(["--username", USER, "--auth", "scram-sha-256", "--no-sync"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--pwfile"])
            .arg(server.path("password"))
            .arg(server.path("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "initdb failed");
        server.revive();
        server
    }

    /// Starts it if it does not run, and waits until it accepts connections.
    pub fn revive(&mut self) {
        eventually("PostgreSQL answers", || {
            // A killed server may leave processes that end a little later.
            let process = self.process.as_mut();
            let ended =
                process.is_none_or(|process| process.try_wait().expect("a child").is_some());
            if ended {
                self.process = Some(self.serve());
            }
            self.try_ask("select 1")
        });
    }

    fn serve(&self) -> Child {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.path("data"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "max_connections=60"]);
        if self.secure {
            let file = |name: &str| self.path(name).display().to_string();
            command.args(["-c", "ssl=on"]);
            command.args(["-c", &format!("ssl_cert_file={}", file("server.pem"))]);
            command.args(["-c", &format!("ssl_key_file={}", file("server.key"))]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres")
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        process.kill().expect("a running child");
        process.wait().expect("its end");
    }

    /// The result of `sql`: values separated by `|`, one line per row.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.try_ask(sql).unwrap_or_else(|| panic!("{sql} failed"))
    }

    fn try_ask(&self, sql: &str) -> Option<String> {
        let output = Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, "-d", "postgres", "-XAtqc", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql; install it with `apt-get install postgresql`");
        let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(answer)
    }

    /// The URL of `database` with the login, for guests.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{ENCODED}@{HOST}/{database}")
    }

    /// A ServiceEntry that allows `namespace` to reach it.
    pub fn service_entry(&self, namespace: &str) -> String {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: postgresql, namespace: {namespace}}}
spec:
  hosts: [{HOST}]
  location: MESH_EXTERNAL
  ports: [{{number: 5432, name: tcp-postgresql, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp-postgresql: {}}}}}]
",
            self.port
        )
    }

    /// Whether `text` contains its password.
    pub fn shows_password(text: &str) -> bool {
        text.contains(PASSWORD) || text.contains(ENCODED)
    }

    /// The certificate authority, as PEM.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.path("ca.pem")).expect("a certificate")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn is_root(&self) -> bool {
        self.folder.path().metadata().expect("a folder").uid() == 0
    }

    /// A file that only the server can read.
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("a file");
        if self.is_root() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("a file");
        }
    }

    /// One of the server's programs, run by a user that the server accepts.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program));
        command.current_dir(self.folder.path());
        let owner = self.folder.path().metadata().expect("a folder").uid();
        if owner == 0 || owner == NOBODY {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn make_identity(&self) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([HOST.to_owned()]).expect("a name");
        let issued = params.signed_by(&key, &issuer).expect("signed");
        self.write("ca.pem", &issuer.pem());
        self.write("server.pem", &issued.pem());
        self.write("server.key", &key.serialize_pem());
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // `QUIT` also ends its child processes; it may have exited already.
            let id = process.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &id]).status();
            let _ = process.wait();
        }
    }
}

/// Debian does not put the server's programs on the `PATH`.
fn find(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let path = path.join("bin").join(program);
            path.exists().then_some((number, path))
        })
        .max();
    newest.map_or_else(|| Path::new(program).to_owned(), |(_, path)| path)
}
