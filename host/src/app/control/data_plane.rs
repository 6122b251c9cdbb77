//! What serves requests: the listeners, and the snapshot of routes and endpoints.

use std::sync::Arc;

use galleria_manifest::model::Object;
use galleria_mesh as mesh;
use galleria_mesh::inbound::SpiffeId;

use crate::active_config::ActiveConfig;
use crate::call::Mesh;
use crate::causes::with_causes;
use crate::listen::Listeners;
use crate::telemetry::metrics::Present;
use crate::tls::{GatewayFiles, GatewayTls, MeshCertificates, MeshIdentity};
use crate::topology::{Peers, Topology};
use crate::workload::Pod;

/// See the module's documentation.
pub(in crate::app) struct DataPlane {
    pub(in crate::app) mesh: Arc<Mesh>,
    pub(in crate::app) state: Arc<mesh::State>,
    pub(in crate::app) options: mesh::Options,
    pub(in crate::app) listeners: Listeners,
    pub(in crate::app) topology: Topology,
    pub(in crate::app) peers: Peers,
    /// The TLS configuration in force.
    pub(in crate::app) tls: Arc<GatewayTls>,
    pub(in crate::app) tls_files: GatewayFiles,
}

impl DataPlane {
    /// Opens the listeners that are bound.
    pub(super) fn serve(&mut self) {
        self.listeners.serve(&self.mesh);
    }

    /// The snapshot of `objects` with `pods` and those of other hosts as endpoints.
    pub(super) fn compile(&self, objects: &[Arc<Object>], pods: &[Arc<Pod>]) -> mesh::CompiledMesh {
        let here = pods.iter().map(|pod| pod.endpoint());
        let endpoints: Vec<mesh::Pod> = here.chain(self.peers.pods()).collect();
        let options = mesh::Options {
            inbound: self.topology.inbound(objects),
            ..self.options.clone()
        };
        mesh::compile(objects, &endpoints, &options, &self.state)
    }

    /// The TLS configuration of the listeners of `snapshot`. Reads certificate files.
    pub(super) fn load_tls(
        &self,
        snapshot: &mesh::Snapshot,
        objects: &[Arc<Object>],
    ) -> GatewayTls {
        let listeners = snapshot.listeners();
        let mesh = self.mesh_certificates();
        tokio::task::block_in_place(|| GatewayTls::load(listeners, objects, &mesh, &self.tls))
    }

    /// The identity of the gateway, for servers with mode ISTIO_MUTUAL.
    pub(super) fn mesh_certificates(&self) -> MeshCertificates {
        let identities = &self.mesh.identities;
        if !identities.is_shared() {
            return MeshCertificates::NotShared;
        }
        let gateway = mesh::Workload::gateway();
        let (namespace, account) = (&gateway.namespace, &gateway.service_account);
        let id = SpiffeId::new(identities.trust_domain(), namespace, account);
        let id = match id {
            Ok(id) => id,
            Err(error) => return MeshCertificates::Failed(with_causes(&error)),
        };
        match identities.certificate(&id) {
            Ok(certificate) => MeshCertificates::Shared(MeshIdentity {
                certificate,
                roots: identities.roots(),
            }),
            Err(error) => MeshCertificates::Failed(with_causes(&error)),
        }
    }

    /// Makes the snapshot of `objects` and `pods` the active one.
    pub(super) fn publish(&self, objects: &[Arc<Object>], pods: &[Arc<Pod>]) {
        let compiled = self.compile(objects, pods);
        self.retain_present(objects, &compiled.snapshot, pods);
        self.mesh
            .current
            .replace(ActiveConfig::new(compiled.snapshot, pods.to_vec()));
    }

    /// Removes counters of workloads, services and rules that no longer exist.
    fn retain_present(
        &self,
        objects: &[Arc<Object>],
        snapshot: &mesh::Snapshot,
        pods: &[Arc<Pod>],
    ) {
        let declared = objects.iter().filter(|it| it.is_workload());
        let declared = declared.map(|it| {
            let metadata = &it.metadata;
            (metadata.namespace.as_str(), metadata.name.as_str())
        });
        let here = pods.iter().map(|pod| &*pod.plan.identity);
        let peers = self.peers.pods();
        let elsewhere = peers.iter().map(|pod| &*pod.workload);
        let present = Present::new(declared, here.chain(elsewhere), snapshot);
        self.mesh.metrics.follow(&present);
        self.state
            .retain_callers(|namespace, name| present.has_workload(namespace, name));
    }
}
