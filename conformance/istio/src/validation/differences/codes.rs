//! Codes that only one of them reports.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Accepted, Difference, Verdict};

pub(super) const ACCEPTED: [Accepted; 12] = [
    Accepted {
        name: "rules that earlier ones cover",
        reason: "Galleria compares all conditions of http rules (IST0130 for a rule, IST0131 for \
                 a match); Istio compares prefixes of paths, and equal matches also of tls and tcp",
        is: |it| {
            it.only_galleria_reports("IST0130")
                || it.only_galleria_reports("IST0131")
                || it.only_istio_reports("IST0131")
                || it.only_istio_reports("IST0130")
                    && ["tls", "tcp"]
                        .iter()
                        .any(|list| it.object["spec"][list].is_array())
        },
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], gateways: [mesh], http: [{match: \
                  [{uri: {prefix: /}}], directResponse: {status: 200}}, {match: [{uri: {exact: \
                  /a}}], directResponse: {status: 404}}]}}",
    },
    Accepted {
        name: "IST0101 of what has no code there",
        reason: "Galleria reports selectors of Gateways and Sidecars with GAL0605 and GAL0802; \
                 namespaces of policies need not be declared",
        is: |it| {
            let kinds = ["Gateway", "Sidecar", "AuthorizationPolicy"];
            it.only_istio_reports("IST0101") && kinds.iter().any(|kind| it.is_kind(kind))
        },
        example: "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a, \
                  namespace: shop}, spec: {workloadSelector: {labels: {app: gone}}, egress: \
                  [{hosts: ['./*']}]}}",
    },
    Accepted {
        name: "destinations for some namespaces",
        reason: "a rule with `exportTo: [\"*\"]` works in its own namespace, which sees the \
                 destination",
        is: |it| {
            let export = it.object["spec"]["exportTo"].as_array();
            let is_for_all = export.is_some_and(|names| names.iter().any(|name| name == "*"));
            let missing = ["IST0101", "IST0174"];
            let is_missing = missing.iter().any(|code| it.only_istio_reports(code));
            is_for_all && (is_missing || it.only_galleria_reports("IST0112"))
        },
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, exportTo: ['*']}}\n---\n{apiVersion: v1, \
                  kind: Service, metadata: {name: cart, namespace: shop, annotations: \
                  {networking.istio.io/exportTo: .}}, spec: {selector: {app: cart}, ports: \
                  [{name: http, port: 80}]}}",
    },
    Accepted {
        name: "further references",
        reason: "Galleria also looks for delegates, gateways of a match, and targets and \
                 selectors of all policies",
        is: |it| {
            let is_policy = it.object["apiVersion"] == "security.istio.io/v1";
            it.only_galleria_reports("IST0101") && (is_policy || it.is_kind("VirtualService"))
                || it.only_galleria_reports("IST0127") && is_policy
        },
        example: "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: \
                  a, namespace: shop}, spec: {selector: {matchLabels: {app: gone}}}}",
    },
    Accepted {
        name: "authorities in a Secret",
        reason: "`credentialName` of a DestinationRule is not supported here, as a warning says",
        is: |it| {
            let ports = it.object.pointer("/spec/trafficPolicy/portLevelSettings");
            let ports = ports.and_then(Value::as_array).into_iter().flatten();
            let whole = it.object.pointer("/spec/trafficPolicy/tls");
            let mut all = ports.map(|port| &port["tls"]).chain(whole);
            let has_code = ["IST0128", "IST0129"]
                .iter()
                .any(|code| it.only_istio_reports(code));
            has_code && all.any(|tls| tls["credentialName"].is_string())
        },
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: a.test, trafficPolicy: {tls: {mode: SIMPLE, \
                  credentialName: ca}}}}\n---\n{apiVersion: networking.istio.io/v1, kind: \
                  ServiceEntry, metadata: {name: b, namespace: shop}, spec: {hosts: [a.test], \
                  resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}}",
    },
    Accepted {
        name: "wildcards of DestinationRules",
        reason: "a rule for many hosts need not have one of them",
        is: |it| {
            let host = it.object["spec"]["host"].as_str().unwrap_or_default();
            it.only_istio_reports("IST0174") && host.starts_with('*')
        },
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: '*.a.test'}}",
    },
    Accepted {
        name: "subsets without a pod",
        reason: "Galleria looks for a subset among the pods of its Service, Istio among all pods",
        is: |it| it.only_galleria_reports("IST0173"),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: bank}, spec: {host: ledger, subsets: [{name: v2, labels: {version: \
                  v2}}]}}\n---\n{apiVersion: v1, kind: Service, metadata: {name: ledger, \
                  namespace: bank}, spec: {selector: {app: ledger}, ports: [{name: http, port: \
                  80}]}}",
    },
    Accepted {
        name: "hosts that a Gateway does not serve",
        reason: "Galleria looks for each host, Istio for any of them; a missing Gateway is only \
                 reported as missing",
        is: |it| {
            it.only_galleria_reports("IST0132")
                || it.only_istio_reports("IST0132") && names_missing_gateway(it)
        },
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], gateways: [gone], http: \
                  [{directResponse: {status: 200}}]}}",
    },
    Accepted {
        name: "subsets at gateways",
        reason: "Galleria compares full names, and only of other VirtualServices with routes at a \
                 gateway",
        is: |it| it.only_galleria_reports("IST0140") || it.only_istio_reports("IST0140"),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], gateways: [mesh], http: [{route: \
                  [{destination: {host: cart, subset: v1}, weight: 50}, {destination: {host: \
                  cart}, weight: 50}]}]}}\n---\n{apiVersion: networking.istio.io/v1, kind: \
                  DestinationRule, metadata: {name: a, namespace: shop}, spec: {host: cart, \
                  subsets: [{name: v1, labels: {version: v1}}]}}\n---\n{apiVersion: v1, kind: \
                  Service, metadata: {name: cart, namespace: shop}, spec: {selector: {app: cart}, \
                  ports: [{name: http, port: 80}]}}",
    },
    Accepted {
        name: "conflicts within one port",
        reason: "Galleria also reports a host twice in one Gateway, and servers of one port with \
                 protocols that do not fit",
        is: |it| it.only_galleria_reports("IST0145") && (has_host_twice(it) || has_protocols(it)),
        example: "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a, \
                  namespace: shop}, spec: {selector: {istio: ingressgateway}, servers: [{port: \
                  {number: 80, name: http, protocol: HTTP}, hosts: [a.test, a.test]}]}}",
    },
    Accepted {
        name: "ports without a protocol",
        reason: "they are HTTP here, as other declarations of the port say",
        is: |it| it.only_istio_reports("IST0177"),
        example: "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], resolution: DNS, ports: [{number: 80, \
                  name: http, protocol: HTTP}]}}\n---\n{apiVersion: networking.istio.io/v1, kind: \
                  ServiceEntry, metadata: {name: b, namespace: shop}, spec: {hosts: [a.test], \
                  resolution: DNS, ports: [{number: 80, name: http}]}}",
    },
    Accepted {
        name: "a Gateway without a selector",
        reason: "it is served by this host's gateway, not by every pod",
        is: |it| {
            let selector = &it.object["spec"]["selector"];
            let is_empty = selector.as_object().is_none_or(serde_json::Map::is_empty);
            it.only_istio_reports("IST0162") && is_empty
        },
        example: "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a, \
                  namespace: shop}, spec: {servers: [{port: {number: 8081, name: http, protocol: \
                  HTTP}, hosts: [a.test]}]}}",
    },
];

/// Whether a VirtualService names a Gateway that is not among the objects.
fn names_missing_gateway(it: &Difference<'_>) -> bool {
    let Verdict::Code { objects, .. } = it.verdict else {
        return false;
    };
    let home = it.object["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    let gateways = it.object["spec"]["gateways"].as_array();
    let names = gateways.into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| *name != "mesh").any(|name| {
        let (namespace, name) = name.split_once('/').unwrap_or((home, name));
        let is_it = |object: &Value| {
            let metadata = &object["metadata"];
            object["kind"] == "Gateway"
                && metadata["namespace"] == namespace
                && metadata["name"] == name
        };
        !objects.iter().any(is_it)
    })
}

/// Whether a Gateway has a host twice on one port.
fn has_host_twice(it: &Difference<'_>) -> bool {
    let mut known = HashSet::new();
    servers(it).any(|(gateway, server)| {
        let port = server["port"]["number"].as_u64();
        let hosts = server["hosts"].as_array();
        let mut hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
        hosts.any(|host| !known.insert((gateway, port, host)))
    })
}

/// Whether servers of one port have several protocols.
fn has_protocols(it: &Difference<'_>) -> bool {
    let mut known = HashMap::new();
    servers(it).any(|(_, server)| {
        let port = &server["port"];
        let protocol = port["protocol"].as_str();
        *known.entry(port["number"].as_u64()).or_insert(protocol) != protocol
    })
}

/// Every server, with the number of its Gateway among the objects.
fn servers<'a>(it: &Difference<'a>) -> impl Iterator<Item = (usize, &'a Value)> {
    let objects = match it.verdict {
        Verdict::Code { objects, .. } => objects,
        Verdict::Refused { .. } => &[],
    };
    let gateways = objects.iter().enumerate();
    let gateways = gateways.filter(|(_, object)| object["kind"] == "Gateway");
    gateways.flat_map(|(number, gateway)| {
        let servers = gateway["spec"]["servers"].as_array();
        let servers = servers.into_iter().flatten();
        servers.map(move |server| (number, server))
    })
}
