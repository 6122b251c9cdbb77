//! New connections with TLS at the gateway: full handshakes, and resumed ones.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::contender::{Contender, Running};
use super::envoy::Envoy;
use super::load::{self, Handshake};
use super::plan::Plan;
use super::report::{Metric, Table};
use crate::prerequisites::{self, OPENSSL};
use crate::process::{self, is_on_path};
use crate::server::{Server, free_address};

pub(super) const FULL: &str = "handshakes-full";
pub(super) const RESUMED: &str = "handshakes-resumed";

pub(super) const GALLERIA: &str = "galleria";
pub(super) const ENVOY: &str = "Envoy";
const NGINX: &str = "nginx";

const MANIFESTS: &str = "loadtest/handshakes/gateway.yaml";
const NGINX_CONFIGURATION: &str = "loadtest/handshakes/nginx.conf";
/// Connections at the same time.
const WORKERS: u32 = 32;

const SETUP: &str = "32 clients open a connection with TLS 1.3 for one request each, which the \
    server answers itself: a Gateway with a `directResponse`, the same in Envoy, `return` in nginx \
    (if it is installed). ECDSA P-256 certificate, X25519, no access log. The server has one \
    core (`taskset`), so that its handshakes per second do not depend on what the load \
    generator leaves to it.";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    prerequisites::ensure(&[OPENSSL])?;
    let client = plan.example("handshakes")?;
    let contenders = contenders(plan)?;
    let mut tables = [
        (Handshake::Full, table(FULL, "Full TLS handshakes")),
        (Handshake::Resumed, table(RESUMED, "Resumed TLS handshakes")),
    ];
    plan.in_turn(&contenders, |name, running| {
        running.servers.iter().try_for_each(pin)?;
        for (kind, table) in &mut tables {
            let load = |length| {
                let address = running.address;
                load::handshakes(&client, address, *kind, WORKERS, length)
            };
            load(plan.warm_up())?;
            let sample = running.measure(|| load(plan.length))?;
            plan.told(kind.name(), &sample);
            table.add(name, sample);
        }
        Ok(())
    })?;
    Ok(tables.map(|(_, table)| table).into())
}

fn table(key: &'static str, title: &str) -> Table {
    let compared = [Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest];
    Table::new(key, title, SETUP)
        .columns(&[
            Metric::RequestsPerSecond,
            Metric::CpuMicrosecondsPerRequest,
            Metric::ContextSwitchesPerRequest,
            Metric::P50Milliseconds,
            Metric::P99Milliseconds,
            Metric::GeneratorCores,
            Metric::Errors,
        ])
        .compared(&compared, ENVOY)
}

fn contenders(plan: &Plan) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if plan.takes_part(GALLERIA) {
        let mut host = plan.bare_host("handshakes", MANIFESTS)?;
        let certificate = certificate(&host.folder)?;
        host.overlay = Some(secret(&certificate)?);
        contenders.push(Contender::new(GALLERIA, move || Running::host(&host, "/")));
    }
    if plan.takes_part(ENVOY) {
        let folder = plan.scratch("handshakes-envoy")?;
        certificate(&folder)?;
        let envoy = Envoy::install(plan.workspace, folder)?;
        contenders.push(Contender::new(ENVOY, move || {
            let address = free_address()?;
            listening(address, envoy.start("handshakes", &[("GATEWAY", address)])?)
        }));
    }
    if plan.takes_part(NGINX) && is_on_path("nginx") {
        let folder = plan.scratch("handshakes-nginx")?;
        certificate(&folder)?;
        let template = plan.workspace.root.join(NGINX_CONFIGURATION);
        contenders.push(Contender::new(NGINX, move || nginx(&template, &folder)));
    }
    Ok(contenders)
}

fn nginx(template: &Path, folder: &Path) -> Result<Running> {
    let address = free_address()?;
    let text = fs::read_to_string(template).context(NGINX_CONFIGURATION)?;
    let text = text.replace("${ADDRESS}", &address.to_string());
    let configuration = folder.join("nginx.conf");
    let folder_name = folder.display().to_string();
    fs::write(&configuration, text.replace("${FOLDER}", &folder_name))?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(configuration);
    listening(address, Server::start(&nginx, &folder.join("nginx.log"))?)
}

fn listening(address: SocketAddr, mut server: Server) -> Result<Running> {
    server.wait_until(|| std::net::TcpStream::connect(address).is_ok())?;
    Ok(Running::new(address, "/", vec![server]))
}

/// All threads of a server on one core.
fn pin(server: &Server) -> Result<()> {
    let mut taskset = Command::new("taskset");
    process::read(taskset.args(["-a", "-c", "-p", "0", &server.id().to_string()]))?;
    Ok(())
}

/// `tls.crt` and `tls.key` in a folder, which it returns.
fn certificate(folder: &Path) -> Result<PathBuf> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-batch"]);
    openssl.args(["-subj", "/CN=bench", "-addext"]);
    openssl.arg("subjectAltName=DNS:bench.example");
    openssl.arg("-keyout").arg(folder.join("tls.key"));
    openssl.arg("-out").arg(folder.join("tls.crt"));
    process::read(&mut openssl)?;
    Ok(folder.to_owned())
}

/// The manifest of the Secret with the certificate of `folder`.
fn secret(folder: &Path) -> Result<PathBuf> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).context(name.to_owned());
    let secret = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "bench", "namespace": "bench"},
        "stringData": {"tls.crt": read("tls.crt")?, "tls.key": read("tls.key")?},
    });
    let file = folder.join("secret.yaml");
    fs::write(&file, secret.to_string())?;
    Ok(file)
}
