//! Deployments with their pod templates, and the objects that they use: Service, ConfigMap,
//! Secret, ServiceAccount, Namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::{GuestOptions, Labels, MeshConfig, Toleration};
use crate::{Position, WithPosition};

#[derive(Debug, Clone, Default)]
pub struct Namespace {}

#[derive(Debug, Clone, Default)]
pub struct ServiceAccount {
    /// Names of Secrets, for pods of this account.
    pub image_pull_secrets: Vec<WithPosition<String>>,
}

/// A claim for storage; on this host a folder in the data folder.
#[derive(Debug, Clone, Default)]
pub struct PersistentVolumeClaim {
    /// `spec.resources.requests.storage` in bytes.
    pub storage: Option<u64>,
    pub access_modes: Vec<AccessMode>,
    /// Empty if it names none.
    pub storage_class: String,
    /// The PersistentVolume that it asks for.
    pub volume_name: Option<String>,
}

/// A volume that claims can be bound to. The data of a claim is in its own folder, whatever
/// the volume refers to.
#[derive(Debug, Clone, Default)]
pub struct PersistentVolume {
    /// `spec.capacity.storage` in bytes.
    pub storage: Option<u64>,
    pub access_modes: Vec<AccessMode>,
    pub storage_class: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    ReadWriteOnce,
    ReadOnlyMany,
    ReadWriteMany,
    ReadWriteOncePod,
}

#[derive(Debug, Clone)]
pub struct Deployment {
    /// `spec.replicas`, 1 by default.
    pub replicas: WithPosition<u32>,
    pub selector: LabelSelector,
    pub template: PodTemplate,
    pub strategy: Strategy,
    pub min_ready: Duration,
    /// `spec.progressDeadlineSeconds`, 600 s by default.
    pub progress_deadline: Duration,
    /// `spec.revisionHistoryLimit`, 10 by default.
    pub revision_history_limit: u32,
    pub paused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    Recreate,
    /// Counts or percentages of the replicas; 25 % each by default.
    RollingUpdate {
        max_surge: IntOrPercent,
        max_unavailable: IntOrPercent,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOrPercent {
    Int(u32),
    /// 0 to 100.
    Percent(u32),
}

/// `matchLabels` and `matchExpressions`, all of which must hold. An empty
/// selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub match_labels: Labels,
    pub match_expressions: Vec<LabelRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelRequirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

#[derive(Debug, Clone)]
pub struct PodTemplate {
    pub labels: Labels,
    pub annotations: BTreeMap<String, WithPosition<String>>,
    /// The annotations `galleria.dev/…` among them.
    pub options: GuestOptions,
    pub spec: PodSpec,
}

/// Additions to the pods of its namespace that it selects.
#[derive(Debug, Clone)]
pub struct PodPreset {
    pub selector: LabelSelector,
    pub env: Vec<EnvVar>,
    pub env_from: Vec<EnvFrom>,
    pub volumes: Vec<Volume>,
    pub volume_mounts: Vec<VolumeMount>,
}

#[derive(Debug, Clone)]
pub struct PodSpec {
    pub at: Position,
    /// `default` by default.
    pub service_account_name: WithPosition<String>,
    /// At least one. The host runs one component per pod; more is an error.
    pub containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    /// Names of Secrets with credentials for registries.
    pub image_pull_secrets: Vec<WithPosition<String>>,
    /// `terminationGracePeriodSeconds`, 30 s by default.
    pub termination_grace_period: Duration,
    pub restart_policy: RestartPolicy,
    pub tolerations: Vec<Toleration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone)]
pub struct Container {
    pub at: Position,
    pub name: WithPosition<String>,
    pub image: WithPosition<String>,
    /// None means `Always` for the tag `latest` or no tag, else `IfNotPresent`.
    pub image_pull_policy: Option<PullPolicy>,
    /// Command-line arguments: `command` followed by `args`, before `$(VAR)` expansion.
    pub arguments: Vec<String>,
    /// `workingDir`, absolute.
    pub working_dir: Option<String>,
    /// `securityContext.readOnlyRootFilesystem`: the container has no files but its mounts.
    pub read_only_root: bool,
    pub ports: Vec<ContainerPort>,
    pub env: Vec<EnvVar>,
    pub env_from: Vec<EnvFrom>,
    pub volume_mounts: Vec<VolumeMount>,
    pub resources: ResourceRequirements,
    pub startup_probe: Option<Probe>,
    pub liveness_probe: Option<Probe>,
    pub readiness_probe: Option<Probe>,
    /// `lifecycle.preStop.httpGet`.
    pub pre_stop: Option<HttpGet>,
}

/// When an image is pulled from a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    pub name: Option<String>,
    pub container_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvVar {
    pub name: WithPosition<String>,
    pub value: EnvValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// `value`, before `$(VAR)` expansion.
    Literal(String),
    ConfigMapKey {
        name: WithPosition<String>,
        key: WithPosition<String>,
        optional: bool,
    },
    SecretKey {
        name: WithPosition<String>,
        key: WithPosition<String>,
        optional: bool,
    },
    /// `fieldRef.fieldPath`, for example `metadata.name` or `metadata.labels['version']`.
    Field(WithPosition<String>),
    /// `resourceFieldRef`.
    ResourceField {
        resource: WithPosition<String>,
        divisor: Option<Quantity>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFrom {
    pub prefix: String,
    pub source: EnvSource,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvSource {
    ConfigMap(WithPosition<String>),
    Secret(WithPosition<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: WithPosition<String>,
    pub source: VolumeSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    PersistentVolumeClaim {
        claim_name: WithPosition<String>,
        read_only: bool,
    },
    EmptyDir {
        size_limit: Option<u64>,
    },
    /// configMap, secret, downwardAPI, projected: files that the host writes.
    Files(FileVolume),
    HostPath {
        path: WithPosition<String>,
        /// `type: Directory`: the folder is not created.
        must_exist: bool,
    },
    /// The pod's claim from the templates of a StatefulSet, by the name of the volume.
    ClaimTemplate,
    /// A type of volume that is not supported; its name, for messages.
    Other(String),
}

impl Volume {
    /// Whether no mount of it may be written, whatever the mount says.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self.source,
            VolumeSource::PersistentVolumeClaim {
                read_only: true,
                ..
            }
        )
    }
}

/// A volume whose files come from the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVolume {
    /// In order: files of later sources replace those of earlier ones.
    pub sources: Vec<FileSource>,
    /// Mode bits of files without their own, `0o644` by default.
    pub default_mode: u32,
    /// Whether it was written as `projected`, for paths in messages.
    pub projected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    ConfigMap(KeySource),
    Secret(KeySource),
    DownwardApi(Vec<DownwardFile>),
}

/// The keys of a ConfigMap or Secret as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    pub name: WithPosition<String>,
    /// If empty, every key under its own name.
    pub items: Vec<KeyFile>,
    pub optional: bool,
}

/// One key as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    pub key: WithPosition<String>,
    /// Below the volume, without `..`.
    pub path: String,
    pub mode: Option<u32>,
}

/// A field of the pod as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownwardFile {
    /// Below the volume, without `..`.
    pub path: String,
    /// `Field` or `ResourceField`.
    pub value: EnvValue,
    pub mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    pub name: WithPosition<String>,
    /// Absolute.
    pub mount_path: WithPosition<String>,
    pub sub_path: Option<SubPath>,
    pub read_only: bool,
}

/// The part of a volume that is mounted, without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubPath {
    Plain(String),
    /// `subPathExpr`: with `$(NAME)` of the container's environment.
    Expression(WithPosition<String>),
}

#[derive(Debug, Clone, Default)]
pub struct ResourceRequirements {
    pub requests: ResourceList,
    pub limits: ResourceList,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceList {
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes.
    pub ephemeral_storage: Option<u64>,
}

/// A Kubernetes quantity (`500m`, `64Mi`, `1e3`) in thousandths, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    pub millis: i128,
}

impl Quantity {
    /// In the unit itself, rounded to 53 bits.
    pub fn as_f64(self) -> f64 {
        self.millis as f64 / 1000.0
    }
}

#[derive(Debug, Clone)]
pub struct Probe {
    pub at: Position,
    pub handler: ProbeHandler,
    pub initial_delay: Duration,
    /// 10 s by default.
    pub period: Duration,
    /// 1 s by default.
    pub timeout: Duration,
    /// 1 by default.
    pub success_threshold: u32,
    /// 3 by default.
    pub failure_threshold: u32,
    /// Replaces that of the pod when this probe terminates the container.
    pub termination_grace_period: Option<Duration>,
}

#[derive(Debug, Clone)]
pub enum ProbeHandler {
    HttpGet(HttpGet),
    TcpSocket { port: PortReference },
    Grpc { port: u16, service: Option<String> },
}

#[derive(Debug, Clone)]
pub struct HttpGet {
    pub path: String,
    pub port: PortReference,
    pub headers: Vec<(String, String)>,
}

/// A port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortReference {
    Number(u16),
    Name(String),
}

#[derive(Debug, Clone)]
pub struct Service {
    pub kind: ServiceKind,
    pub exposure: Exposure,
    /// If empty, selects nothing.
    pub selector: Labels,
    /// `clusterIP` and `clusterIPs`.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// ClusterIP, NodePort and LoadBalancer.
    ClusterIp,
    Headless,
    ExternalName(String),
}

/// The ports on which clients outside the mesh reach a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// None.
    Internal,
    /// The `nodePort` of each port.
    NodePort,
    /// The `nodePort` of each port, and the port itself.
    LoadBalancer,
}

#[derive(Debug, Clone)]
pub struct ServicePort {
    pub at: Position,
    pub name: Option<String>,
    pub port: u16,
    /// By default the same as `port`.
    pub target_port: PortReference,
    /// In [`NODE_PORTS`](crate::NODE_PORTS).
    pub node_port: Option<u16>,
    pub app_protocol: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ConfigMap {
    /// Whether its data must not change; it can only be deleted and created again.
    pub immutable: bool,
    pub data: BTreeMap<String, String>,
    pub binary_data: BTreeMap<String, Vec<u8>>,
    /// The content of `mesh`, if this is the ConfigMap with Istio's configuration.
    pub mesh_config: Option<MeshConfig>,
}

/// The decoded `data`, overridden by `stringData`.
#[derive(Debug, Clone, Default)]
pub struct Secret {
    /// As in a ConfigMap.
    pub immutable: bool,
    pub secret_type: String,
    pub data: BTreeMap<String, SecretValue>,
}

/// A value that is never printed: `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The value itself. The caller is responsible for where it goes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<redacted, {} bytes>", self.0.len())
    }
}

/// Whether a key of a ConfigMap or Secret, with its prefix, can be an
/// environment variable by `envFrom` (C's identifiers, with `-` and `.`).
pub fn is_variable_name(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    starts_well && name != "." && !name.starts_with("..") && name.bytes().all(part)
}

impl LabelSelector {
    /// Whether it has no requirements, so that it matches everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether `labels` satisfy all requirements.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => {
                !labels.get(key).is_some_and(|value| values.contains(value))
            }
            Self::Exists(key) => labels.contains_key(key),
            Self::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}
