//! The address of a Service: chosen when a client creates the Service without one, and kept
//! as long as the Service exists. Guests reach the Service by it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use rand::Rng;
use serde_json::{Value, json};

use crate::admin::Api;
use crate::admin::failure::{Cause, Failure};
use crate::admin::kind::Kind;
use crate::admin::path::Resource;

use super::form::remove;

/// The first address of the range, which is that of clusters made by kubeadm.
const RANGE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Bits of the range.
const PREFIX: u32 = 12;
/// How many addresses are tried. The range has a million.
const TRIES: usize = 100;

const FIELD: &str = "spec.clusterIPs";

impl Api {
    /// Gives a new Service an address, or checks the one that it has.
    ///
    /// # Errors
    /// The address is not in the range, or another Service has it.
    pub(super) fn assign_address(
        &self,
        resource: &Resource,
        object: &mut Value,
    ) -> Result<(), Failure> {
        if !is_service(resource.kind) || !has_address(object) {
            return Ok(());
        }
        let refused = |cause| {
            Err(Failure::Invalid {
                kind: resource.kind,
                name: object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                causes: vec![cause],
            })
        };
        let wanted = wanted(object);
        if wanted == Some("None") {
            return Ok(());
        }
        let used = self.addresses();
        let address = match wanted {
            None => free(&used),
            Some(text) => match text.parse::<Ipv4Addr>() {
                Ok(address) if !is_in_range(address) => {
                    let message = format!(
                        "Invalid value: [{text:?}]: failed to allocate IP {text}: the provided IP is \
                         not in the range {RANGE}/{PREFIX}; leave it out to get one"
                    );
                    return refused(Cause::invalid(FIELD, message));
                }
                Ok(address) if used.contains(&IpAddr::V4(address)) => {
                    let message = format!(
                        "Invalid value: [{text:?}]: failed to allocate IP {text}: provided IP is \
                         already allocated"
                    );
                    return refused(Cause::invalid(FIELD, message));
                }
                Ok(address) => Some(address),
                Err(_) => {
                    let message = format!("Invalid value: {text:?}: must be a valid IP address");
                    return refused(Cause::invalid("spec.clusterIPs[0]", message));
                }
            },
        };
        if let Some(address) = address {
            object["spec"]["clusterIP"] = address.to_string().into();
            object["spec"]["clusterIPs"] = json!([address.to_string()]);
        }
        Ok(())
    }

    /// The addresses of all Services.
    fn addresses(&self) -> HashSet<IpAddr> {
        let (all, _) = self.store.list();
        let services = all.iter().filter(|it| it.object.kind == "Service");
        let addresses = services.filter_map(|it| wanted(&it.object.raw)?.parse().ok());
        addresses.collect()
    }
}

/// A client that leaves out the address of a Service keeps it. An ExternalName has none.
pub(super) fn keep_address(kind: &Kind, shown: &Value, object: &mut Value) {
    if is_service(kind) && object["spec"]["type"] == "ExternalName" {
        for field in ["clusterIP", "clusterIPs"] {
            if object["spec"].get(field) == shown["spec"].get(field) {
                remove(&mut object["spec"], field);
            }
        }
    }
    let gone = object["spec"]["clusterIP"]
        .as_str()
        .is_none_or(str::is_empty);
    if !is_service(kind) || !has_address(object) || !gone {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        if let Some(value) = shown["spec"].get(field) {
            object["spec"][field] = value.clone();
        }
    }
}

fn is_service(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.kind == "Service"
}

fn has_address(object: &Value) -> bool {
    object["spec"].is_object() && object["spec"]["type"] != "ExternalName"
}

fn wanted(object: &Value) -> Option<&str> {
    let spec = &object["spec"];
    let first = spec["clusterIP"].as_str().filter(|text| !text.is_empty());
    first.or_else(|| spec["clusterIPs"][0].as_str())
}

fn is_in_range(address: Ipv4Addr) -> bool {
    address.to_bits() >> (32 - PREFIX) == RANGE.to_bits() >> (32 - PREFIX)
}

fn free(used: &HashSet<IpAddr>) -> Option<Ipv4Addr> {
    let size = 1_u32 << (32 - PREFIX);
    let random = || {
        let offset = rand::rng().random_range(1..size - 1);
        Ipv4Addr::from_bits(RANGE.to_bits() + offset)
    };
    let mut tried = std::iter::repeat_with(random).take(TRIES);
    tried.find(|address| !used.contains(&IpAddr::V4(*address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_the_range_and_unused() {
        let mut used = HashSet::new();
        for _ in 0..1_000 {
            let address = free(&used).expect("an address");
            assert!(is_in_range(address), "{address}");
            assert!(used.insert(IpAddr::V4(address)), "{address}");
        }
        assert!(!is_in_range(Ipv4Addr::new(10, 112, 0, 1)));
        assert!(!is_in_range(Ipv4Addr::new(10, 95, 255, 255)));
    }

    #[test]
    fn a_service_keeps_its_address() {
        let kind = Kind::at("", "v1", "services").expect("a kind");
        let shown = json!({"spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]}});
        let mut object = json!({"spec": {"ports": [{"port": 80}]}});
        keep_address(kind, &shown, &mut object);
        assert_eq!(object["spec"]["clusterIP"], "10.96.0.7");
        let mut external = shown.clone();
        external["spec"]["type"] = "ExternalName".into();
        keep_address(kind, &shown, &mut external);
        assert_eq!(external["spec"], json!({"type": "ExternalName"}));
    }
}
