//! Connections that the gateway passes through: Istio's standard metrics for TCP.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_mesh::ResponseFlags;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};

use super::register::Register;
use super::{Present, ServiceNames};
use crate::telemetry::names::{self, TCP_LABELS};

/// Services and flags that get labels of their own.
const SERIES_MAX: usize = 1_000;

/// See the module's documentation.
pub(crate) struct Connections {
    opened: IntCounterVec,
    closed: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
    known: Mutex<HashMap<Key, Arc<ConnectionSeries>>>,
}

/// The name of the service, and the flags.
type Key = (Option<String>, ResponseFlags);

/// The metrics of the connections of one service that ended alike.
pub(crate) struct ConnectionSeries {
    pub opened: IntCounter,
    pub closed: IntCounter,
    /// Bytes of clients.
    pub received: IntCounter,
    /// Bytes of the server.
    pub sent: IntCounter,
    labels: Vec<String>,
}

impl Connections {
    pub(super) fn new(register: &mut Register) -> Self {
        Self {
            opened: register.counters(&names::TCP_OPENED),
            closed: register.counters(&names::TCP_CLOSED),
            received: register.counters(&names::TCP_RECEIVED),
            sent: register.counters(&names::TCP_SENT),
            known: Mutex::default(),
        }
    }

    /// The metrics for connections to `service`; None if no service was found.
    pub(crate) fn of(
        &self,
        service: Option<&ServiceNames>,
        flags: ResponseFlags,
    ) -> Arc<ConnectionSeries> {
        let key = (service.map(|service| service.fqdn.clone()), flags);
        let mut known = self.known.lock();
        if let Some(series) = known.get(&key) {
            return series.clone();
        }
        if known.len() >= SERIES_MAX {
            return Arc::new(self.series(None, flags));
        }
        let series = Arc::new(self.series(service, flags));
        known.insert(key, series.clone());
        series
    }

    fn series(&self, service: Option<&ServiceNames>, flags: ResponseFlags) -> ConnectionSeries {
        let labels = labels(service, flags);
        ConnectionSeries {
            opened: self.opened.with_label_values(&labels),
            closed: self.closed.with_label_values(&labels),
            received: self.received.with_label_values(&labels),
            sent: self.sent.with_label_values(&labels),
            labels,
        }
    }

    /// Removes the series of services that no longer exist.
    pub(super) fn follow(&self, present: &Present<'_>) {
        let mut known = self.known.lock();
        known.retain(|(service, _), series| {
            let service = service.as_ref();
            let kept = service.is_none_or(|service| present.has_service(service));
            if !kept {
                for counters in [&self.opened, &self.closed, &self.received, &self.sent] {
                    // It does not matter if the series is absent.
                    let _ = counters.remove_label_values(&series.labels);
                }
            }
            kept
        });
    }
}

/// The values of [`TCP_LABELS`]. The client and the server are outside the mesh.
fn labels(service: Option<&ServiceNames>, flags: ResponseFlags) -> Vec<String> {
    let of_service = |name: fn(&ServiceNames) -> &String| match service {
        Some(service) => name(service).clone(),
        None => "unknown".to_owned(),
    };
    let value = |label: &&str| match *label {
        "reporter" => "source".to_owned(),
        "destination_service" => of_service(|it| &it.fqdn),
        "destination_service_name" => of_service(|it| &it.name),
        "destination_service_namespace" => of_service(|it| &it.namespace),
        "request_protocol" => "tcp".to_owned(),
        "response_flags" => flags.to_string(),
        _ => "unknown".to_owned(),
    };
    TCP_LABELS.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_service_count_by_their_flags() {
        let connections = Connections::new(&mut Register::default());
        let service = ServiceNames {
            fqdn: "api.example.com".to_owned(),
            name: "api.example.com".to_owned(),
            namespace: "shop".to_owned(),
        };
        for flags in [ResponseFlags::NONE, ResponseFlags::NONE, ResponseFlags::UF] {
            connections.of(Some(&service), flags).opened.inc();
        }
        let opened = |flags| connections.of(Some(&service), flags).opened.get();
        assert_eq!(
            (opened(ResponseFlags::NONE), opened(ResponseFlags::UF)),
            (2, 1)
        );
        let labels = labels(Some(&service), ResponseFlags::UF);
        assert_eq!(labels.len(), TCP_LABELS.len());
        assert!(labels.contains(&"UF".to_owned()) && labels.contains(&"tcp".to_owned()));
    }
}
