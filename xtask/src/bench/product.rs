//! The race of the product page: one service that calls another, each with its database.
//! The services run the same code everywhere; what differs is the network between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::contender::{Contender, Running, closed_loops};
use super::envoy::Envoy;
use super::plan::Plan;
use super::report::{Metric, Table};
use crate::galleria::Host;
use crate::server::{Server, free_address, get};

pub(super) const PAGE: &str = "/productms/product/catalogue/1";

pub(super) const ALONE: &str = "product-1";
pub(super) const BUSY: &str = "product-32";
const CROWDED: &str = "product-256";

pub(super) const GALLERIA: &str = "galleria";
pub(super) const NATIVE: &str = "native, without a mesh";
pub(super) const ENVOY: &str = "native, Envoy gateway and sidecars";

/// What the contenders are, for the report.
pub(super) const SETUP: &str = "The product service calls the review service; each runs one SQL \
    statement in SQLite. galleria runs the whole shop, with access log, metrics, probes and \
    limits on. Native: the same code compiled for this machine, two processes, no access log. \
    Envoy: the same processes with three proxies, their access logs on, no TLS.";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let table = |key, connections| {
        let title = format!("Product page, `wrk -t1 -c{connections}`");
        let compared = [Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest];
        (
            connections,
            Table::new(key, title, SETUP).compared(&compared, NATIVE),
        )
    };
    let tables = vec![table(ALONE, 1), table(BUSY, 32), table(CROWDED, 256)];
    closed_loops(plan, &contenders(plan, "product")?, tables)
}

/// Builds all contenders, whose data is stored in folders that begin with `race`.
pub(super) fn contenders(plan: &Plan, race: &str) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if plan.takes_part(GALLERIA) {
        let host = plan.shop(race)?;
        contenders.push(Contender::new(GALLERIA, move || through_galleria(&host)));
    }
    if plan.takes_part(NATIVE) {
        let native = Native::new(plan, plan.scratch(&format!("{race}-native"))?)?;
        contenders.push(Contender::new(NATIVE, move || {
            let review = free_address()?;
            let product = free_address()?;
            let servers = native.start(product, review, review)?;
            page(Running::new(product, PAGE, servers))
        }));
    }
    if plan.takes_part(ENVOY) {
        let folder = plan.scratch(&format!("{race}-envoy"))?;
        let envoy = Envoy::install(plan.workspace, folder.clone())?;
        let native = Native::new(plan, folder)?;
        contenders.push(Contender::new(ENVOY, move || {
            through_envoy(&native, &envoy)
        }));
    }
    Ok(contenders)
}

pub(super) fn through_galleria(host: &Host) -> Result<Running> {
    page(Running::host(host, PAGE)?)
}

/// gateway → product's sidecar → product → its sidecar → review's sidecar →
/// review.
fn through_envoy(native: &Native, envoy: &Envoy) -> Result<Running> {
    let [gateway, product_in, product, product_out, review_in, review] = addresses()?;
    let mut servers = native.start(product, review, product_out)?;
    let review_sidecar = [("INBOUND", review_in), ("APP", review)];
    servers.push(envoy.start("review-sidecar", &review_sidecar)?);
    let product_sidecar = [
        ("INBOUND", product_in),
        ("APP", product),
        ("OUTBOUND", product_out),
        ("REVIEW", review_in),
    ];
    servers.push(envoy.start("product-sidecar", &product_sidecar)?);
    servers.push(envoy.start("gateway", &[("GATEWAY", gateway), ("PRODUCT", product_in)])?);
    page(Running::new(gateway, PAGE, servers))
}

fn addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        *address = free_address()?;
    }
    Ok(addresses)
}

/// Waits for the page, and checks that it is complete: a contender without the reviews
/// would win unfairly.
fn page(mut running: Running) -> Result<Running> {
    let address = running.address;
    if let Some(last) = running.servers.last_mut() {
        last.wait_for(address, PAGE)?;
    }
    let answer = get(address, PAGE)?;
    if !answer.contains("\"reviews\":[") {
        bail!("the page came without reviews: {answer}");
    }
    Ok(running)
}

/// The two services as native programs.
struct Native {
    programs: PathBuf,
    folder: PathBuf,
}

impl Native {
    fn new(plan: &Plan, folder: PathBuf) -> Result<Self> {
        let programs = plan.native_services()?;
        Ok(Self { programs, folder })
    }

    /// `review_url` is the address at which the product service calls the review service.
    fn start(
        &self,
        product: SocketAddr,
        review: SocketAddr,
        review_url: SocketAddr,
    ) -> Result<Vec<Server>> {
        let mut review_program = self.program("review-v1", review);
        review_program.env("REVIEW_DATABASE_URL", self.database("reviews"));
        let mut product_program = self.program("product-v1", product);
        product_program.env("PRODUCT_DATABASE_URL", self.database("products"));
        product_program.env("PRODUCTREVIEW_URL", format!("http://{review_url}"));

        let mut review_server = Server::start(&review_program, &self.folder.join("review.log"))?;
        review_server.wait_for(review, "/productreviewms/check/ready")?;
        let mut product_server = Server::start(&product_program, &self.folder.join("product.log"))?;
        product_server.wait_for(product, "/productms/check/ready")?;
        Ok(vec![review_server, product_server])
    }

    fn program(&self, name: &str, address: SocketAddr) -> Command {
        let mut program = Command::new(self.programs.join(name));
        program.env("PORT", address.port().to_string());
        program
    }

    fn database(&self, name: &str) -> String {
        let file: &Path = &self.folder.join(format!("{name}.db"));
        format!("sqlite:{}", file.display())
    }
}
