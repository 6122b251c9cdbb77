//! Who calls and who answers: workloads, their pods, and how the mesh is set up.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use galleria_manifest::Position;
use galleria_manifest::model::{ContainerPort, Labels};

/// The identity of a caller or a destination: what all pods of one Deployment share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub namespace: String,
    /// The Deployment's name.
    pub name: String,
    pub service_account: String,
    /// The pod template's labels.
    pub labels: Labels,
    /// `app` of Istio's metrics; `unknown` where no label says it.
    pub app: String,
    /// `version` of Istio's metrics; `unknown` where no label says it.
    pub version: String,
    /// `service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, or the name.
    pub canonical_service: String,
    /// `service.istio.io/canonical-revision`, `app.kubernetes.io/version`, `version`, or `latest`.
    pub canonical_revision: String,
}

/// One replica.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Unique in its namespace; the key of everything that is remembered about it.
    pub name: String,
    pub workload: Arc<Workload>,
    pub labels: Labels,
    pub ports: Vec<ContainerPort>,
    /// Whether it takes requests now; the host flips it, the mesh only reads it.
    pub ready: Arc<AtomicBool>,
    pub location: Location,
}

/// Where a pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In this process; the host's own index of it, handed back in
    /// [`crate::Target::Pod`].
    Here(usize),
    /// In another host of the mesh, at this name or address. `port` is where
    /// that host takes its requests, if not on the pod's own port.
    Peer { host: String, port: Option<u16> },
}

/// A port on which other hosts call the pods of a workload of this one. They
/// have routed already: what comes in goes to those pods and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPort {
    pub namespace: String,
    /// The workload.
    pub name: String,
    /// The pods' own.
    pub port: u16,
}

/// What holds for the whole mesh.
#[derive(Debug, Clone)]
pub struct Options {
    pub outbound_policy: OutboundPolicy,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// Where DestinationRules for every namespace live; `istio-system`.
    pub root_namespace: String,
    /// The port by which clients reach HTTPS, where it is not 443: what
    /// `httpsRedirect` names in its location.
    pub https_redirect_port: Option<u16>,
    /// Whether this host is a gateway too: else what Gateways and Ingresses
    /// declare has no listeners here.
    pub gateway: bool,
    /// Ports for the other hosts of the mesh; none where every workload runs here.
    pub inbound: Vec<InboundPort>,
}

/// `outboundTrafficPolicy.mode`: what happens to a destination that nothing declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// Refused with 502; the default here.
    RegistryOnly,
    /// Forwarded to wherever the request says; Istio's default.
    AllowAny,
}

/// The object that a decision comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub at: Position,
}

impl Workload {
    /// A workload whose Istio names are read from `labels`.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        service_account: impl Into<String>,
        labels: Labels,
    ) -> Self {
        let name = name.into();
        let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned();
        let app = first(&["app", "app.kubernetes.io/name"]);
        let version = first(&["version", "app.kubernetes.io/version"]);
        let canonical_service = first(&[
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ]);
        let canonical_revision = first(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]);
        Self {
            namespace: namespace.into(),
            service_account: service_account.into(),
            app: app.unwrap_or_else(|| "unknown".into()),
            version: version.unwrap_or_else(|| "unknown".into()),
            canonical_service: canonical_service.unwrap_or_else(|| name.clone()),
            canonical_revision: canonical_revision.unwrap_or_else(|| "latest".into()),
            name,
            labels,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            outbound_policy: OutboundPolicy::RegistryOnly,
            cluster_domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            https_redirect_port: None,
            gateway: true,
            inbound: Vec::new(),
        }
    }
}

impl ObjectRef {
    /// `namespace/name`, as Istio writes references.
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
