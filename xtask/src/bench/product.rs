//! The race of the product page: one service that calls another, each with its database.
//! The services run the same code everywhere; what differs is the network between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::contender::{Contender, Running};
use super::envoy::Envoy;
use super::shop;
use crate::galleria::Host;
use crate::process::{self, cargo};
use crate::server::{Server, free_address, get};
use crate::workspace::Workspace;

pub(super) const PAGE: &str = "/productms/product/catalogue/1";

pub(super) const GALLERIA: &str = "galleria";
pub(super) const NATIVE: &str = "native over loopback";
pub(super) const ENVOY: &str = "native with Envoy gateway and sidecars";

/// Builds all contenders.
pub(super) fn contenders(
    workspace: &Workspace,
    takes_part: &dyn Fn(&str) -> bool,
) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if takes_part(GALLERIA) {
        let host = shop::build(workspace, workspace.scratch("bench/product")?)?;
        contenders.push(Contender::new(GALLERIA, move || through_galleria(&host)));
    }
    if takes_part(NATIVE) || takes_part(ENVOY) {
        build_native(workspace)?;
    }
    if takes_part(NATIVE) {
        let native = Native::new(workspace, workspace.scratch("bench/product-native")?);
        contenders.push(Contender::new(NATIVE, move || {
            let review = free_address()?;
            let product = free_address()?;
            let servers = native.start(product, review, review)?;
            page(product, servers)
        }));
    }
    if takes_part(ENVOY) {
        let folder = workspace.scratch("bench/product-envoy")?;
        let envoy = Envoy::install(workspace, folder.clone())?;
        let native = Native::new(workspace, folder);
        contenders.push(Contender::new(ENVOY, move || {
            through_envoy(&native, &envoy)
        }));
    }
    Ok(contenders)
}

pub(super) fn through_galleria(host: &Host) -> Result<Running> {
    let mut started = host.start()?;
    started.wait()?;
    let gateway = started.gateway()?;
    page(gateway, vec![started.server])
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
    page(gateway, servers)
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
fn page(address: SocketAddr, mut servers: Vec<Server>) -> Result<Running> {
    if let Some(last) = servers.last_mut() {
        last.wait_for(address, PAGE)?;
    }
    let answer = get(address, PAGE)?;
    if !answer.contains("\"reviews\":[") {
        bail!("the page came without reviews: {answer}");
    }
    Ok(Running {
        url: format!("http://{address}{PAGE}"),
        servers,
    })
}

/// The two services as native programs.
struct Native {
    programs: PathBuf,
    folder: PathBuf,
}

impl Native {
    fn new(workspace: &Workspace, folder: PathBuf) -> Self {
        Self {
            programs: workspace.target.join("release"),
            folder,
        }
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

fn build_native(workspace: &Workspace) -> Result<()> {
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args([
        "build",
        "--release",
        "-p",
        "shop-product",
        "-p",
        "shop-review",
        "--bins",
    ]);
    process::run(&mut build)
}
