//! The host's settings, from flags and `GALLERIA_…` variables: the only file
//! that reads the process environment. Everything is checked here, before
//! anything is started.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::guest::RequestLimits;
use crate::listen::{Binding, ClientTimeouts, PortRule};
use crate::telemetry::access_log::Format;
use crate::topology::{PeerAddress, TrustedPeer, WorkloadName};
use crate::workload::RegistrySettings;

/// Where a redirect to HTTPS leads.
const HTTPS: u16 = 443;

/// Settings of `galleria run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunSettings {
    /// Files and folders with Kubernetes and Istio YAML; changes are applied while running
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Folder in which images are looked up: NAME/TAG.wasm, NAME.wasm, or an OCI image layout NAME
    #[arg(
        long,
        value_name = "DIR",
        default_value = "components",
        env = "GALLERIA_COMPONENTS"
    )]
    pub components: PathBuf,

    /// A certificate authority for registries, in PEM, in addition to the system's
    #[arg(long, value_name = "FILE", env = "GALLERIA_REGISTRY_CA")]
    pub registry_ca: Option<PathBuf>,

    /// A registry to access over plain HTTP, as `HOST[:PORT]`; not needed for loopback
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "GALLERIA_REGISTRY_INSECURE"
    )]
    pub registry_insecure: Vec<String>,

    /// Where volumes, databases and compiled code are stored
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".galleria",
        env = "GALLERIA_DATA"
    )]
    pub data: PathBuf,

    /// Where compiled code is stored [default: the folder `cache` in the data folder]
    #[arg(long, value_name = "DIR", env = "GALLERIA_CACHE")]
    pub cache: Option<PathBuf>,

    /// Run only this workload, NAME or NAMESPACE/NAME; calls to others go over the network (can be repeated)
    #[arg(
        long = "workload",
        value_name = "NAME",
        value_delimiter = ',',
        env = "GALLERIA_WORKLOAD"
    )]
    pub workloads: Vec<WorkloadName>,

    /// Open the ports of Gateways and Ingresses even if not every workload runs here; without --workload, run nothing else
    #[arg(long, env = "GALLERIA_GATEWAY")]
    pub gateway: bool,

    /// The address of a workload that runs elsewhere [default: its headless Service's name]
    #[arg(
        long = "peer",
        value_name = "NAME=HOST[:PORT]",
        value_delimiter = ',',
        env = "GALLERIA_PEER"
    )]
    pub peers: Vec<PeerAddress>,

    /// Callers trusted as hosts of the mesh, in addition to the pods of workloads that run elsewhere: a name, an address or a network (can be repeated)
    #[arg(
        long = "trusted-peer",
        value_name = "HOST|CIDR",
        value_delimiter = ',',
        env = "GALLERIA_TRUSTED_PEER"
    )]
    pub trusted_peers: Vec<TrustedPeer>,

    /// Address to bind listeners on; 0.0.0.0 opens them to the network
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GALLERIA_BIND")]
    pub bind: IpAddr,

    /// Bind every declared port P on P + N [default: ports below 1024 on 8000 + P, others as declared]
    #[arg(long, value_name = "N", env = "GALLERIA_PORT_OFFSET")]
    pub port_offset: Option<u16>,

    /// Bind every declared port on any free port; see --addresses-file
    #[arg(long, conflicts_with = "port_offset", env = "GALLERIA_FREE_PORTS")]
    pub free_ports: bool,

    /// Address of the health and metrics port
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15020",
        env = "GALLERIA_STATUS"
    )]
    pub status: SocketAddr,

    /// Address of the Kubernetes API, with TLS and a token; see `galleria kubeconfig`
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15000",
        env = "GALLERIA_ADMIN"
    )]
    pub admin: SocketAddr,

    /// Write the bound addresses to FILE, as JSON, once everything is ready
    #[arg(long, value_name = "FILE", env = "GALLERIA_ADDRESSES_FILE")]
    pub addresses_file: Option<PathBuf>,

    /// One line per call on standard output [default: readable on a terminal, else json]
    #[arg(long, value_enum, env = "GALLERIA_ACCESS_LOG")]
    pub access_log: Option<Format>,

    /// Whether to collect metrics of every call; those of pods and the host are always collected
    #[arg(long, value_enum, default_value_t = Switch::On, value_name = "on|off", env = "GALLERIA_METRICS")]
    pub metrics: Switch,

    /// Share of the traces that begin here to sample, from 0 to 1; a caller's own decision is kept [default: OTEL_TRACES_SAMPLER, or 1]
    #[arg(long, value_name = "RATIO", value_parser = ratio, env = "GALLERIA_TRACE_SAMPLE")]
    pub trace_sample: Option<f64>,

    /// Log level of the host on standard error: error, warn, info, debug, or by module, as in `galleria=debug`
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "GALLERIA_LOG"
    )]
    pub log: String,

    /// Whether services may call hosts that no ServiceEntry declares
    #[arg(long, value_enum, default_value_t = OutboundPolicy::RegistryOnly, env = "GALLERIA_OUTBOUND_POLICY")]
    pub outbound_policy: OutboundPolicy,

    /// How long a service may take until its response begins
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_REQUEST_TIMEOUT")]
    pub request_timeout: Duration,

    /// How long a service may pause within a response
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_IDLE_TIMEOUT")]
    pub idle_timeout: Duration,

    /// How long a client may take to send the head of a request, and a new connection to send its first
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_CLIENT_HEAD_TIMEOUT")]
    pub client_head_timeout: Duration,

    /// How long an idle client connection is kept open
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_CLIENT_IDLE_TIMEOUT")]
    pub client_idle_timeout: Duration,

    /// How long a client may pause within a request body; the whole body may take six times that, plus a second for every 4 KiB
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_CLIENT_BODY_TIMEOUT")]
    pub client_body_timeout: Duration,

    /// How long a client may stop reading a response
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "GALLERIA_CLIENT_STALL_TIMEOUT")]
    pub client_stall_timeout: Duration,

    /// Maximum number of connections of one client address; raise it for hosts behind a load balancer [default: a quarter of a listener's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), env = "GALLERIA_CLIENT_CONNECTIONS")]
    pub client_connections: Option<u32>,

    /// Maximum size of a request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, env = "GALLERIA_MAX_REQUEST_BODY")]
    pub max_request_body: u64,

    /// Memory limit of all guests together, in bytes [default: nine tenths of the machine's or control group's]
    #[arg(long, value_name = "BYTES", env = "GALLERIA_GUEST_MEMORY")]
    pub guest_memory: Option<u64>,

    /// Initial back-off before a crashed pod is restarted; it doubles up to 5 minutes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_RESTART_BACKOFF_INITIAL")]
    pub restart_backoff_initial: Duration,

    /// Interval at which HorizontalPodAutoscalers are evaluated
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, env = "GALLERIA_HORIZONTAL_POD_AUTOSCALER_SYNC_PERIOD")]
    pub horizontal_pod_autoscaler_sync_period: Duration,
}

/// `outboundTrafficPolicy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutboundPolicy {
    /// Only hosts that a Service or ServiceEntry declares; others get 502
    RegistryOnly,
    /// Anything
    AllowAny,
}

impl RunSettings {
    pub(crate) fn cache_folder(&self) -> PathBuf {
        self.cache
            .clone()
            .unwrap_or_else(|| self.data.join("cache"))
    }

    /// # Errors
    /// `--registry-ca` names a file that cannot be read or holds no certificate.
    pub(crate) fn registries(&self) -> anyhow::Result<RegistrySettings> {
        let ca = match &self.registry_ca {
            Some(file) => {
                let failed = || format!("cannot read --registry-ca `{}`", file.display());
                Some(std::fs::read(file).with_context(failed)?)
            }
            None => None,
        };
        Ok(RegistrySettings {
            ca,
            insecure: self.registry_insecure.clone(),
        })
    }

    pub(crate) fn traces(&self) -> Traces {
        Traces::new(self.trace_sample, &|name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    /// Nobody calls a host that runs no workload of its own.
    pub(crate) fn trusted_peers(&self) -> &[TrustedPeer] {
        match self.workloads.as_slice() {
            [] => &[],
            _ => &self.trusted_peers,
        }
    }

    pub(crate) fn binding(&self) -> Binding {
        let ports = match (self.free_ports, self.port_offset) {
            (true, _) => PortRule::Free,
            (false, Some(offset)) => PortRule::Offset(offset),
            (false, None) => PortRule::Default,
        };
        Binding {
            address: self.bind,
            ports,
        }
    }

    /// How calls and what guests say are written.
    pub(crate) fn access_log_format(&self) -> Format {
        self.access_log.unwrap_or(match io::stdout().is_terminal() {
            true => Format::Readable,
            false => Format::Json,
        })
    }

    pub(crate) fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            response: self.request_timeout,
            body_idle: self.idle_timeout,
        }
    }

    /// How long clients may take over each step.
    pub(crate) fn client_timeouts(&self) -> ClientTimeouts {
        ClientTimeouts {
            head: self.client_head_timeout,
            idle: self.client_idle_timeout,
            body: self.client_body_timeout,
            grpc: self.idle_timeout,
            stall: self.client_stall_timeout,
        }
    }

    pub(crate) fn mesh_options(&self) -> galleria_mesh::Options {
        galleria_mesh::Options {
            outbound_policy: match self.outbound_policy {
                OutboundPolicy::RegistryOnly => galleria_mesh::OutboundPolicy::RegistryOnly,
                OutboundPolicy::AllowAny => galleria_mesh::OutboundPolicy::AllowAny,
            },
            https_redirect_port: self.binding().ports.fixed(HTTPS),
            ..galleria_mesh::Options::default()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// What the flags and the standard `OTEL_*` variables say of traces. Of the
/// exporter's own (endpoint, headers, timeout) the exporter reads the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Traces {
    /// Of those that begin here, from 0 to 1.
    pub ratio: f64,
    pub export: TraceProtocol,
    /// How long spans wait for others to be sent with.
    pub gather: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceProtocol {
    /// Nothing is exported.
    Off,
    Grpc,
    Http,
}

impl Traces {
    fn new(flag: Option<f64>, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let argument = || ratio(&variable("OTEL_TRACES_SAMPLER_ARG")?).ok();
        let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let said = match sampler.trim_start_matches("parentbased_") {
            "always_off" => 0.0,
            "traceidratio" => argument().unwrap_or(1.0),
            _ => 1.0,
        };
        let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|it| it == "true");
        let exporter = variable("OTEL_TRACES_EXPORTER");
        let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let is_on = match exporter.as_deref() {
            Some(named) => named == "otlp",
            None => endpoint.is_some(),
        };
        let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let gather = variable("OTEL_BSP_SCHEDULE_DELAY").and_then(|text| text.parse().ok());
        Self {
            gather: gather.map_or(Duration::from_secs(5), Duration::from_millis),
            ratio: flag.unwrap_or(said),
            export: match protocol.as_deref() {
                _ if is_disabled || !is_on => TraceProtocol::Off,
                Some("grpc") => TraceProtocol::Grpc,
                Some(_) => TraceProtocol::Http,
                // The port is each protocol's own.
                None if endpoint.is_some_and(|it| it.ends_with(":4318")) => TraceProtocol::Http,
                None => TraceProtocol::Grpc,
            },
        }
    }
}

/// From 0 to 1.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "use a number such as `0.01`")?;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err("must be from 0 to 1".into()),
    }
}

/// `90s`, `1m30s`, `500ms`: more than zero, at most a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "use a duration such as `30s`, `500ms` or `1m30s`".to_owned())?;
    let duration =
        Duration::try_from(parsed).map_err(|_| "a duration must not be negative".to_owned())?;
    if duration.is_zero() || duration > Duration::from_secs(86_400) {
        return Err("a duration must be more than zero and at most 24h".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_follow_the_standard_variables() {
        let traces = |flag, variables: &[(&str, &str)]| {
            Traces::new(flag, &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let off = traces(None, &[]);
        assert_eq!((off.ratio, off.export), (1.0, TraceProtocol::Off));
        assert_eq!(traces(None, &[endpoint]).export, TraceProtocol::Grpc);
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(traces(None, &[endpoint, http]).export, TraceProtocol::Http);
        let none = ("OTEL_TRACES_EXPORTER", "none");
        assert_eq!(traces(None, &[endpoint, none]).export, TraceProtocol::Off);
        let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        let argument = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
        assert_eq!(traces(None, &[sampler, argument]).ratio, 0.25);
        assert_eq!(traces(Some(0.5), &[sampler, argument]).ratio, 0.5);
        assert!(ratio("1.1").is_err() && ratio("-1").is_err() && ratio("x").is_err());
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "-1s", "0s", "25h", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
