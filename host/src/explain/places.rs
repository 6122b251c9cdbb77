//! Positions of subsets and endpoints. The mesh knows only their names; the manifests
//! have their positions and the pods that a subset does not select.

use std::collections::HashMap;

use galleria_manifest::Position;
use galleria_manifest::model::{Object, Resource};
use galleria_mesh::{DestinationStep, EndpointStep, Explanation, Place, RuleStep};
use serde_json::{Value, json};

use super::Subject;
use super::left_out::{LeftOut, left_out};

/// Positions by name.
#[derive(Default)]
pub(super) struct Places {
    /// By `namespace/name` of the Deployment.
    workloads: HashMap<String, Place>,
    /// By `address:port` of a ServiceEntry's endpoint.
    entries: HashMap<String, Place>,
    /// By `namespace/name` of the DestinationRule, and the subset.
    subsets: HashMap<(String, String), Place>,
    /// By the index of the destination.
    left_out: Vec<Vec<LeftOut>>,
}

impl Places {
    pub(super) fn of(subject: &Subject<'_>, explanation: &Explanation) -> Self {
        let destinations = explanation.destinations.iter();
        let mut places = Self {
            left_out: destinations
                .map(|destination| left_out(subject, destination))
                .collect(),
            ..Self::default()
        };
        for object in subject.objects {
            let name = format!("{}/{}", object.metadata.namespace, object.metadata.name);
            places.read(name, object);
        }
        places
    }

    fn read(&mut self, name: String, object: &Object) {
        match &object.resource {
            Resource::Deployment(_)
            | Resource::DaemonSet(_)
            | Resource::Pod(_)
            | Resource::ReplicaSet(_)
            | Resource::StatefulSet(_) => {
                self.workloads.insert(name, place(&object.at));
            }
            Resource::DestinationRule(rule) => {
                for subset in &rule.subsets {
                    let key = (name.clone(), subset.name.value.clone());
                    self.subsets.insert(key, place(&subset.at));
                }
            }
            Resource::ServiceEntry(entry) => {
                for endpoint in &entry.endpoints {
                    let own = endpoint.ports.iter().map(|(_, port)| *port);
                    let declared = entry.ports.iter().map(|port| port.number);
                    for port in own.chain(declared) {
                        let key = format!("{}:{port}", endpoint.address.value);
                        self.entries.insert(key, place(&endpoint.at));
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn endpoint(&self, endpoint: &EndpointStep) -> Option<&Place> {
        match &endpoint.workload {
            Some(workload) => self.workloads.get(workload),
            None => self.entries.get(&endpoint.target),
        }
    }

    pub(super) fn subset(&self, destination: &DestinationStep) -> Option<&Place> {
        let rule = destination.destination_rule.as_ref()?;
        let name = format!("{}/{}", rule.namespace, rule.name);
        self.subsets.get(&(name, destination.subset.clone()?))
    }

    /// The pods that are not in the subset of a destination.
    pub(super) fn left_out(&self, destination: usize) -> &[LeftOut] {
        self.left_out.get(destination).map_or(&[], Vec::as_slice)
    }

    /// The explanation as JSON, with the gateway and the matching rule at the top, and a
    /// position for every subset and endpoint.
    pub(super) fn into_json(self, explanation: &Explanation) -> serde_json::Result<Value> {
        let mut json = serde_json::to_value(explanation)?;
        let listener = explanation.listener.as_ref();
        json["gateway"] = serde_json::to_value(listener.and_then(|it| it.gateway.as_ref()))?;
        json["rule"] = chosen(explanation).map_or(
            Value::Null,
            |(number, rule)| json!({ "number": number + 1, "name": rule.name, "at": rule.at }),
        );
        for (number, destination) in explanation.destinations.iter().enumerate() {
            let step = &mut json["destinations"][number];
            if let Some(subset) = &destination.subset {
                step["subset"] = json!({ "name": subset, "at": self.subset(destination) });
            }
            for (number, endpoint) in destination.endpoints.iter().enumerate() {
                step["endpoints"][number]["at"] = json!(self.endpoint(endpoint));
            }
            if let Some(endpoints) = step["endpoints"].as_array_mut() {
                endpoints.extend(self.left_out(number).iter().map(|pod| json!(pod)));
            }
        }
        Ok(json)
    }
}

/// The matching rule and its index, from 0.
pub(super) fn chosen(explanation: &Explanation) -> Option<(usize, &RuleStep)> {
    let number = explanation.chosen?;
    Some((number, explanation.rules.get(number)?))
}

fn place(position: &Position) -> Place {
    Place::from(position)
}
