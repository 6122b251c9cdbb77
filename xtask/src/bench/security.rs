//! The cost of security: the product page with tokens, authorization policies and mutual
//! TLS, and without, in one process and across two hosts.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use super::contender::{Contender, Running, closed_loops};
use super::plan::Plan;
use super::product::PAGE;
use super::report::{Metric, Table};
use crate::galleria::Host;
use crate::server::get_with;

pub(super) const TOGETHER: &str = "security";
pub(super) const APART: &str = "security-hosts";

pub(super) const OPEN: &str = "galleria, no policies";
pub(super) const SECURED: &str = "galleria, token and 20 policies";
pub(super) const OPEN_HOSTS: &str = "two hosts, no policies";
pub(super) const SECURED_HOSTS: &str = "two hosts, mutual TLS, token and 20 policies";

/// The policies, and a token that they admit.
const POLICIES: &str = "loadtest/security/policies.yaml";
const TOKEN: &str = "loadtest/security/token.txt";

const PRODUCT: &str = "productms-v1";
const REVIEW: &str = "productreviewms-v1";

const SETUP: &str = "The product page at the shop's gateway. Secured: each request has a JSON Web \
    Token that the gateway verifies, 20 AuthorizationPolicies select the gateway and the \
    workloads, mutual TLS is strict. Two hosts: one has the gateway and the product service, \
    the other one the review service, which the first calls over the network.";

pub(super) fn race(plan: &Plan) -> Result<Vec<Table>> {
    let token = fs::read_to_string(plan.workspace.root.join(TOKEN)).context(TOKEN)?;
    let headers = vec![format!("authorization: Bearer {}", token.trim())];
    let mut tables = together(plan, &headers)?;
    tables.extend(apart(plan, &headers)?);
    Ok(tables)
}

fn table(key: &'static str, title: &str, baseline: &'static str) -> Table {
    let compared = [Metric::RequestsPerSecond, Metric::CpuMicrosecondsPerRequest];
    Table::new(key, title, SETUP).compared(&compared, baseline)
}

fn together(plan: &Plan, headers: &[String]) -> Result<Vec<Table>> {
    let mut contenders = Vec::new();
    if plan.takes_part(OPEN) {
        let host = plan.shop("security-open")?;
        contenders.push(Contender::new(OPEN, move || {
            with_page(Running::host(&host, PAGE)?, Vec::new())
        }));
    }
    if plan.takes_part(SECURED) {
        let host = secured(plan.shop("security-secured")?);
        let headers = headers.to_vec();
        contenders.push(Contender::new(SECURED, move || {
            with_page(Running::host(&host, PAGE)?, headers.clone())
        }));
    }
    let title = "Security in one process, `wrk -t1 -c32`";
    closed_loops(plan, &contenders, vec![(32, table(TOGETHER, title, OPEN))])
}

fn apart(plan: &Plan, headers: &[String]) -> Result<Vec<Table>> {
    let mut contenders = Vec::new();
    if plan.takes_part(OPEN_HOSTS) {
        let hosts = Hosts::new(plan, "security-hosts-open")?;
        contenders.push(Contender::new(OPEN_HOSTS, move || hosts.start(Vec::new())));
    }
    if plan.takes_part(SECURED_HOSTS) {
        let hosts = Hosts::new(plan, "security-hosts-secured")?.secured(plan)?;
        let headers = headers.to_vec();
        contenders.push(Contender::new(SECURED_HOSTS, move || {
            hosts.start(headers.clone())
        }));
    }
    let title = "Security between two hosts, `wrk -t1 -c32`";
    closed_loops(
        plan,
        &contenders,
        vec![(32, table(APART, title, OPEN_HOSTS))],
    )
}

fn secured(mut host: Host) -> Host {
    host.overlay = Some(POLICIES.into());
    host
}

/// Checks that the page is complete, and that a page that needs a token is refused without.
fn with_page(mut running: Running, headers: Vec<String>) -> Result<Running> {
    let answer = get_with(running.address, PAGE, &headers)?;
    if !answer.contains("\"reviews\":[") {
        bail!("the page came without reviews: {answer}");
    }
    if !headers.is_empty() {
        let refused = get_with(running.address, PAGE, &[])?;
        if !refused.starts_with("HTTP/1.1 403") {
            bail!("the page came without a token: {refused}");
        }
    }
    running.headers = headers;
    Ok(running)
}

/// The host of the gateway and the product service, and that of the review service.
struct Hosts {
    product: Host,
    review: Host,
}

impl Hosts {
    fn new(plan: &Plan, race: &str) -> Result<Self> {
        let mut product = plan.shop(&format!("{race}-product"))?;
        product
            .environment
            .push(("GALLERIA_WORKLOAD", PRODUCT.into()));
        product
            .environment
            .push(("GALLERIA_GATEWAY", "true".into()));
        let mut review = plan.shop(&format!("{race}-review"))?;
        review
            .environment
            .push(("GALLERIA_WORKLOAD", REVIEW.into()));
        for host in [&mut product, &mut review] {
            host.environment
                .push(("GALLERIA_TRUSTED_PEER", "127.0.0.1".into()));
        }
        Ok(Self { product, review })
    }

    /// With the policies, and with one certificate authority.
    fn secured(self, plan: &Plan) -> Result<Self> {
        let authority = plan.scratch("security-ca")?.display().to_string();
        let mut hosts = Self {
            product: secured(self.product),
            review: secured(self.review),
        };
        for host in [&mut hosts.product, &mut hosts.review] {
            host.environment
                .push(("GALLERIA_CA_DIR", authority.clone()));
        }
        Ok(hosts)
    }

    fn start(&self, headers: Vec<String>) -> Result<Running> {
        let mut review = self.review.start()?;
        review.wait()?;
        let address: SocketAddr = review.gateway()?;
        let mut product = self.product.clone();
        let peer = format!("{REVIEW}={address}");
        product.environment.push(("GALLERIA_PEER", peer));
        let mut running = Running::host(&product, PAGE)?;
        running.servers.push(review.server);
        with_page(running, headers)
    }
}
