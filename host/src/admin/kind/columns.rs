//! The columns of `kubectl get`, those of an API server.

use jiff::Timestamp;
use serde_json::Value;

mod batch;
mod config;
mod network;
mod scaling;
mod security;
mod storage;
mod workload;

use batch::{CRON_JOB, JOB};
use config::{AGE_ONLY, CONFIG_MAP, EVENT, LIMIT_RANGE, NAMESPACE, RESOURCE_QUOTA, SECRET};
use network::{
    AUTHORIZATION_POLICY, DESTINATION_RULE, ENDPOINT_SLICE, ENDPOINTS, GATEWAY_API_GATEWAY,
    HTTP_ROUTE, INGRESS, NETWORK_POLICY, SERVICE, SERVICE_ENTRY, VIRTUAL_SERVICE,
};
use scaling::{CANARY, HORIZONTAL_POD_AUTOSCALER, POD_DISRUPTION_BUDGET};
use security::{CUSTOM_RESOURCE_DEFINITION, PEER_AUTHENTICATION, ROLE, ROLE_BINDING};
use storage::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
use workload::{DAEMON_SET, DEPLOYMENT, NODE, POD, REPLICA_SET, STATEFUL_SET};

use super::Kind;

/// The columns of a kind.
pub(crate) fn of(kind: &Kind) -> &'static [Column] {
    find(kind).unwrap_or(AGE_ONLY)
}

fn find(kind: &Kind) -> Option<&'static [Column]> {
    Some(match (kind.group, kind.kind) {
        ("", "ConfigMap") => CONFIG_MAP,
        ("", "Endpoints") => ENDPOINTS,
        ("", "Event") => EVENT,
        ("", "LimitRange") => LIMIT_RANGE,
        ("", "Namespace") => NAMESPACE,
        ("", "Node") => NODE,
        ("", "PersistentVolume") => PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => PERSISTENT_VOLUME_CLAIM,
        ("", "Pod") => POD,
        ("", "ResourceQuota") => RESOURCE_QUOTA,
        ("", "Secret") => SECRET,
        ("", "Service") => SERVICE,
        ("", "ServiceAccount") => AGE_ONLY,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => CUSTOM_RESOURCE_DEFINITION,
        ("apps", "DaemonSet") => DAEMON_SET,
        ("apps", "Deployment") => DEPLOYMENT,
        ("apps", "ReplicaSet") => REPLICA_SET,
        ("apps", "StatefulSet") => STATEFUL_SET,
        ("authentication.istio.io", "MeshPolicy" | "Policy") => AGE_ONLY,
        ("autoscaling", "HorizontalPodAutoscaler") => HORIZONTAL_POD_AUTOSCALER,
        ("batch", "CronJob") => CRON_JOB,
        ("batch", "Job") => JOB,
        ("discovery.k8s.io", "EndpointSlice") => ENDPOINT_SLICE,
        ("flagger.app", "Canary") => CANARY,
        ("gateway.networking.k8s.io", "Gateway") => GATEWAY_API_GATEWAY,
        ("gateway.networking.k8s.io", "HTTPRoute") => HTTP_ROUTE,
        ("metrics.k8s.io", "NodeMetrics" | "PodMetrics") => AGE_ONLY,
        ("networking.istio.io", "DestinationRule") => DESTINATION_RULE,
        ("networking.istio.io", "Gateway") => AGE_ONLY,
        ("networking.istio.io", "ServiceEntry") => SERVICE_ENTRY,
        ("networking.istio.io", "Sidecar") => AGE_ONLY,
        ("networking.istio.io", "VirtualService") => VIRTUAL_SERVICE,
        ("networking.k8s.io", "Ingress") => INGRESS,
        ("networking.k8s.io", "NetworkPolicy") => NETWORK_POLICY,
        ("policy", "PodDisruptionBudget") => POD_DISRUPTION_BUDGET,
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => ROLE,
        ("rbac.authorization.k8s.io", _) => ROLE_BINDING,
        ("rbac.istio.io", _) => AGE_ONLY,
        ("security.istio.io", "AuthorizationPolicy") => AUTHORIZATION_POLICY,
        ("security.istio.io", "PeerAuthentication") => PEER_AUTHENTICATION,
        ("security.istio.io", "RequestAuthentication") => AGE_ONLY,
        ("settings.k8s.io", "PodPreset") => AGE_ONLY,
        ("storage.k8s.io", "StorageClass") => STORAGE_CLASS,
        _ => return None,
    })
}

/// The input of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell<'a> {
    /// The whole object as the API shows it.
    pub object: &'a Value,
    pub now: Timestamp,
}

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    pub name: &'static str,
    /// A type of OpenAPI: `string`, `integer`, `boolean`, `date`. That of a number may be
    /// `string`, as in an API server.
    pub data_type: &'static str,
    /// Shown only with `-o wide`.
    pub wide: bool,
    pub cell: fn(Cell<'_>) -> Value,
}

const fn column(name: &'static str, cell: fn(Cell<'_>) -> Value) -> Column {
    Column {
        name,
        data_type: "string",
        wide: false,
        cell,
    }
}

const fn wide(name: &'static str, cell: fn(Cell<'_>) -> Value) -> Column {
    Column {
        wide: true,
        ..column(name, cell)
    }
}

const fn number(name: &'static str, cell: fn(Cell<'_>) -> Value) -> Column {
    Column {
        data_type: "integer",
        ..column(name, cell)
    }
}

const fn date(name: &'static str, cell: fn(Cell<'_>) -> Value) -> Column {
    Column {
        data_type: "date",
        ..column(name, cell)
    }
}

/// `Name`, the first column of almost every kind.
const NAME: Column = column("Name", |it| it.at("/metadata/name").clone());
/// The time itself, for kinds that have no `Age`.
const CREATED_AT: Column = date("Created At", |it| {
    it.at("/metadata/creationTimestamp").clone()
});
/// `Age`, a column of almost every kind.
const AGE: Column = column("Age", |it| it.since("/metadata/creationTimestamp").into());

impl<'a> Cell<'a> {
    /// The value at a JSON pointer, or null.
    fn at(self, pointer: &str) -> &'a Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(self, pointer: &str) -> &'a str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    /// The text, or `<none>` if there is none.
    fn text_or_none(self, pointer: &str) -> Value {
        match self.text(pointer) {
            "" => "<none>".into(),
            text => text.into(),
        }
    }

    /// The status of a condition: `True`, `False`, or `Unknown` if it is absent.
    fn condition(self, name: &str) -> &'a str {
        let mut conditions = self.list("/status/conditions");
        let found = conditions.find(|it| it["type"] == name);
        found
            .and_then(|it| it["status"].as_str())
            .unwrap_or("Unknown")
    }

    fn count(self, pointer: &str) -> u64 {
        self.at(pointer).as_u64().unwrap_or_default()
    }

    /// The length of a list or map.
    fn len(self, pointer: &str) -> usize {
        match self.at(pointer) {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    fn list(self, pointer: &str) -> impl Iterator<Item = &'a Value> {
        self.at(pointer).as_array().into_iter().flatten()
    }

    /// `a,b`, or `<none>`.
    fn joined(self, pointer: &str, field: &str) -> Value {
        let text = |value: &Value| match field {
            "" => value.as_str().unwrap_or_default().to_owned(),
            field => value[field].as_str().unwrap_or_default().to_owned(),
        };
        joined(self.list(pointer).map(text))
    }

    /// The time since the one at `pointer`.
    fn since(self, pointer: &str) -> String {
        match self.text(pointer).parse::<Timestamp>() {
            Ok(time) => duration(self.now.as_second() - time.as_second()),
            Err(_) => "<unknown>".into(),
        }
    }

    /// A label selector as text.
    fn selector(self, pointer: &str) -> Value {
        let labels = self.at(pointer).as_object().into_iter().flatten();
        joined(labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())))
    }
}

fn joined(parts: impl Iterator<Item = String>) -> Value {
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => "<none>".into(),
        false => parts.join(",").into(),
    }
}

/// A duration in kubectl's form: one unit, or two for short durations.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::kind::served;

    #[test]
    fn every_served_kind_has_columns() {
        for kind in served() {
            assert!(find(kind).is_some(), "{} of {}", kind.kind, kind.group);
        }
    }

    #[test]
    fn ages_have_the_form_of_kubectl() {
        let shown = [
            (-3, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3_600, "60m"),
            (11_000, "3h3m"),
            (36_000, "10h"),
            (200_000, "2d7h"),
            (864_000, "10d"),
            (70_000_000, "2y80d"),
        ];
        for (seconds, text) in shown {
            assert_eq!(duration(seconds), text);
        }
    }
}
