//! What Galleria accepts, most of it with a warning, and Istio refuses.

use super::Accepted;

pub(super) const ACCEPTED: [Accepted; 9] = [
    Accepted {
        name: "unknown field",
        reason: "a warning that it has no effect; an error only where it could allow more",
        is: |it| it.only_istio_refuses(&["unknown fields"]),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, unknown: x}}",
    },
    Accepted {
        name: "null",
        reason: "a field without a value is as absent, as in what kubectl applies",
        is: |it| it.only_istio_refuses(&["\"null\""]),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, subsets: null}}",
    },
    Accepted {
        name: "DENY without rules, AUDIT as a dry run",
        reason: "the first matches no request, and the second decides nothing",
        is: |it| {
            it.is_kind("AuthorizationPolicy")
                && it.only_istio_refuses(&["DENY action without", "istio.io/dry-run"])
        },
        example: "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: \
                  a, namespace: shop}, spec: {action: DENY}}",
    },
    Accepted {
        name: "exportTo: [\"~\"]",
        reason: "no namespace sees the object; a warning says that a cluster refuses it",
        is: |it| it.only_istio_refuses(&["exportTo ~ (none) is not allowed"]),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, exportTo: ['~']}}",
    },
    Accepted {
        name: "exportTo: [., its own namespace]",
        reason: "both mean the same namespace",
        is: |it| it.only_istio_refuses(&["duplicate entries in exportTo"]),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, exportTo: ['.', shop]}}",
    },
    Accepted {
        name: "ports of endpoints",
        reason: "a port that the ServiceEntry does not have is not used; a warning says so",
        is: |it| {
            it.is_kind("ServiceEntry")
                && it.only_istio_refuses(&["is not defined by the service entry"])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], resolution: DNS, ports: [{number: 80, \
                  name: http, protocol: HTTP}], endpoints: [{address: b.test, ports: {x: 1}}]}}",
    },
    Accepted {
        name: "endpoints without a resolution, networks with DNS",
        reason: "neither has an effect here; a warning says that a cluster refuses it",
        is: |it| {
            it.is_kind("ServiceEntry")
                && it.only_istio_refuses(&[
                    "NONE mode cannot set endpoints",
                    "CIDR addresses are allowed only for NONE/STATIC",
                ])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], ports: [{number: 80, name: http, \
                  protocol: HTTP}], endpoints: [{address: b.test}]}}",
    },
    Accepted {
        name: "timeouts of zero",
        reason: "as if the field were absent; a warning says that a cluster refuses it",
        is: |it| it.only_istio_refuses(&["must be a valid duration greater than 1ms"]),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], http: [{timeout: 0s, route: \
                  [{destination: {host: cart}}]}]}}",
    },
    Accepted {
        name: "retries without attempts, * as a regular expression, numbers of gRPC, ./ of a Gateway",
        reason: "they have an obvious meaning; a warning says that a cluster refuses them",
        is: |it| {
            it.is_kind("VirtualService")
                && it.only_istio_refuses(&[
                    "http retry policy configured when attempts are set to 0",
                    "missing argument to repetition operator: `*`",
                    "invalid value for namespace: \".\"",
                    "gRPC status",
                ])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], http: [{retries: {perTryTimeout: 1s}, \
                  route: [{destination: {host: cart}}]}]}}",
    },
];
