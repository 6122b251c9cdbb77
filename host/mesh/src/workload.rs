//! Workloads and their pods, and the options of the mesh.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use galleria_manifest::Position;
use galleria_manifest::model::{ContainerPort, Labels};
use ipnet::IpNet;

use crate::inbound::{SpiffeId, TRUST_DOMAIN};

/// The identity of a caller or a destination, which all pods of a Deployment share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub namespace: String,
    /// The Deployment's name.
    pub name: String,
    pub service_account: String,
    /// That of its SPIFFE ID.
    pub trust_domain: Arc<str>,
    /// `None` if a name has characters that the standard does not allow.
    pub spiffe_id: Option<SpiffeId>,
    /// The pod template's labels.
    pub labels: Labels,
    /// `app` in Istio's metrics; `unknown` without a label.
    pub app: String,
    /// `version` in Istio's metrics; `unknown` without a label.
    pub version: String,
    /// `service.istio.io/canonical-name`, `app.kubernetes.io/name`, `app`, or the name.
    pub canonical_service: String,
    /// `service.istio.io/canonical-revision`, `app.kubernetes.io/version`, `version`, or `latest`.
    pub canonical_revision: String,
}

/// One replica.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Unique in its namespace. It is the key of the pod's state.
    pub name: String,
    pub workload: Arc<Workload>,
    pub labels: Labels,
    pub ports: Vec<ContainerPort>,
    /// Whether the pod accepts requests. The host changes it, the mesh only reads it.
    pub ready: Arc<AtomicBool>,
    pub location: Location,
}

/// Where a pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In this process, with the host's index of the pod, which [`crate::Target::Pod`]
    /// returns.
    Here(usize),
    /// In another host of the mesh, at this name or address. `port` is the port on which
    /// that host accepts requests, if it differs from the pod's own port.
    Peer { host: String, port: Option<u16> },
}

/// A port on which other hosts call the pods of a workload in this host. They have routed
/// the request already, so it is sent to these pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundPort {
    pub namespace: String,
    /// The name of the workload.
    pub name: String,
    pub service_account: String,
    /// The port of the pods.
    pub port: u16,
}

/// The namespace and the service account of the gateway.
pub(crate) const GATEWAY_NAMESPACE: &str = "istio-system";
pub(crate) const GATEWAY_ACCOUNT: &str = "istio-ingressgateway-service-account";

/// The options of the mesh.
#[derive(Debug, Clone)]
pub struct Options {
    pub outbound_policy: OutboundPolicy,
    /// Networks whose addresses workloads may call, although no ServiceEntry declares them.
    pub private_networks: Vec<IpNet>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The trust domain of this mesh: that of the SPIFFE IDs of its workloads.
    pub trust_domain: Arc<str>,
    /// The namespace of the DestinationRules for every namespace; `istio-system`.
    pub root_namespace: String,
    /// The port that clients use for HTTPS, if it is not 443: the port in the location of
    /// `httpsRedirect`.
    pub https_redirect_port: Option<u16>,
    /// Whether this host is a gateway. If not, it has no listeners for Gateways and
    /// Ingresses.
    pub gateway: bool,
    /// The labels of this host's gateway. Gateways whose selector does not select them are for
    /// another one.
    pub gateway_labels: Labels,
    /// The namespace of the Secrets of Istio's Gateways: that of the gateway's pods in a cluster.
    /// `None` is that of each Gateway.
    pub gateway_namespace: Option<String>,
    /// Ports for the other hosts of the mesh; empty if every workload runs in this host.
    pub inbound: Vec<InboundPort>,
}

/// `outboundTrafficPolicy.mode`: what happens to a request for an undeclared destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// It is refused with 502. This is the default.
    RegistryOnly,
    /// It is forwarded to the host that it addresses. This is Istio's default.
    AllowAny,
}

/// The resource that a decision comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub at: Position,
}

impl Workload {
    /// A workload of the trust domain `cluster.local`. Its names in Istio are read from
    /// `labels`.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        service_account: impl Into<String>,
        labels: Labels,
    ) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        let service_account = service_account.into();
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
            trust_domain: TRUST_DOMAIN.into(),
            spiffe_id: SpiffeId::new(TRUST_DOMAIN, &namespace, &service_account).ok(),
            namespace,
            service_account,
            app: app.unwrap_or_else(|| "unknown".into()),
            version: version.unwrap_or_else(|| "unknown".into()),
            canonical_service: canonical_service.unwrap_or_else(|| name.clone()),
            canonical_revision: canonical_revision.unwrap_or_else(|| "latest".into()),
            name,
            labels,
        }
    }
}

impl Workload {
    /// The workload in another trust domain.
    #[must_use]
    pub fn in_trust_domain(self, trust_domain: &Arc<str>) -> Self {
        let id = SpiffeId::new(trust_domain, &self.namespace, &self.service_account);
        Self {
            trust_domain: Arc::clone(trust_domain),
            spiffe_id: id.ok(),
            ..self
        }
    }

    /// The gateway of this host, as a workload that policies select: Istio's own name,
    /// labels and account.
    pub fn gateway() -> Self {
        let labels = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::new(
            GATEWAY_NAMESPACE,
            "istio-ingressgateway",
            GATEWAY_ACCOUNT,
            labels.into_iter().collect(),
        )
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            outbound_policy: OutboundPolicy::RegistryOnly,
            private_networks: Vec::new(),
            cluster_domain: "cluster.local".into(),
            trust_domain: TRUST_DOMAIN.into(),
            root_namespace: "istio-system".into(),
            https_redirect_port: None,
            gateway: true,
            gateway_labels: Workload::gateway().labels,
            gateway_namespace: None,
            inbound: Vec::new(),
        }
    }
}

impl ObjectRef {
    /// `namespace/name`, Istio's notation of references.
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
