//! The pods of other hosts, found by DNS: each address of a workload's name is a pod.
//!
//! If a name cannot be resolved for a while, the previous addresses are kept: a failing
//! name server must not interrupt the mesh.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::future::join_all;
use galleria_mesh as mesh;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{PeerWorkload, Trust};

/// How often names are resolved: Envoy's default for STRICT_DNS clusters.
const PERIOD: Duration = Duration::from_secs(5);

/// Timeout of one DNS query.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pods of one workload in other hosts that are used as endpoints.
const ADDRESSES_MAX: usize = 1_000;

/// The pods of other hosts, kept up to date.
pub(crate) struct Peers {
    followed: Vec<Arc<Peer>>,
    changes: watch::Sender<u64>,
    /// Gets the addresses of hosts.
    trust: Arc<Trust>,
    /// The task that resolves the names, aborted when this is dropped.
    asking: Option<AbortOnDropHandle<()>>,
}

struct Peer {
    workload: PeerWorkload,
    /// One or more for each of [`PeerWorkload::at`], with its port.
    addresses: Mutex<BTreeSet<(IpAddr, Option<u16>)>>,
    /// Always true: outlier detection finds out whether they respond.
    ready: Arc<AtomicBool>,
}

impl Peers {
    pub(crate) fn new(trust: Arc<Trust>) -> Self {
        Self {
            followed: Vec::new(),
            changes: watch::Sender::new(0),
            trust,
            asking: None,
        }
    }

    /// Changes when a pod is added or removed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows `workloads` from now on. Returns when each of their names has been
    /// resolved once.
    pub(crate) async fn follow(&mut self, workloads: Vec<PeerWorkload>) {
        let peers = workloads.into_iter().map(|workload| {
            let known = self.followed.iter().find(|it| it.workload == workload);
            known
                .cloned()
                .unwrap_or_else(|| Arc::new(Peer::new(workload)))
        });
        let peers: Vec<Arc<Peer>> = peers.collect();
        self.followed.clone_from(&peers);
        self.asking = None;
        ask(&peers, &self.trust).await;
        if peers.is_empty() && !self.trust.has_names() {
            return;
        }
        let (changes, trust) = (self.changes.clone(), self.trust.clone());
        let asking = async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                if ask(&peers, &trust).await {
                    changes.send_modify(|changes| *changes += 1);
                }
            }
        };
        self.asking = Some(AbortOnDropHandle::new(tokio::spawn(asking)));
    }

    /// The pods in the mesh's form.
    pub(crate) fn pods(&self) -> Vec<mesh::Pod> {
        self.followed.iter().flat_map(|peer| peer.pods()).collect()
    }
}

/// Resolves every name; returns whether the addresses of any have changed.
async fn ask(peers: &[Arc<Peer>], trust: &Trust) -> bool {
    let lookups = join_all(peers.iter().map(|peer| peer.ask()));
    let (changed, ()) = tokio::join!(lookups, trust.ask());
    let hosts = peers.iter().flat_map(|peer| {
        let addresses = peer.addresses();
        Vec::from_iter(addresses.iter().map(|(address, _)| *address))
    });
    trust.learn(hosts);
    changed.contains(&true)
}

impl Peer {
    fn new(workload: PeerWorkload) -> Self {
        Self {
            workload,
            addresses: Mutex::default(),
            ready: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Returns whether the addresses have changed.
    async fn ask(&self) -> bool {
        let resolved = join_all(self.workload.at.iter().map(|at| resolve(&at.host))).await;
        let mut found = BTreeSet::new();
        for (at, resolved) in self.workload.at.iter().zip(resolved) {
            match resolved {
                Ok(addresses) => found.extend(addresses.into_iter().map(|it| (it, at.port))),
                Err(reason) => {
                    self.unresolved(&at.host, &reason);
                    return false;
                }
            }
        }
        let mut known = self.addresses();
        if *known == found {
            return false;
        }
        let (workload, pods) = (&self.workload.workload.name, found.len());
        tracing::info!(workload, pods, "found the pods of other hosts");
        *known = found;
        true
    }

    fn unresolved(&self, host: &str, reason: &str) {
        let workload = &self.workload.workload.name;
        if self.addresses().is_empty() {
            tracing::warn!(
                workload,
                host,
                reason,
                "the address of a remote workload is unknown, and calls to it get 503: give it \
                 a headless Service, or set its address with --peer {workload}=HOST"
            );
        } else {
            tracing::debug!(workload, host, reason, "keeping the known pods");
        }
    }

    fn pods(&self) -> Vec<mesh::Pod> {
        let PeerWorkload {
            workload, ports, ..
        } = &self.workload;
        let addresses = self.addresses();
        let pods = addresses.iter().map(|(address, port)| mesh::Pod {
            name: format!("{}@{address}", workload.name),
            workload: workload.clone(),
            labels: workload.labels.clone(),
            ports: ports.clone(),
            ready: self.ready.clone(),
            location: mesh::Location::Peer {
                host: address.to_string(),
                port: *port,
            },
        });
        pods.collect()
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeSet<(IpAddr, Option<u16>)>> {
        self.addresses.lock()
    }
}

pub(super) async fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    let lookup = tokio::net::lookup_host((host, 0));
    let found = tokio::time::timeout(PATIENCE, lookup)
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let found: BTreeSet<_> = found.map(|address| address.ip()).collect();
    Ok(found.into_iter().take(ADDRESSES_MAX).collect())
}
