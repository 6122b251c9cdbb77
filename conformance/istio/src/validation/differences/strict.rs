//! What Galleria refuses, and Istio accepts.

use super::Accepted;

pub(super) const ACCEPTED: [Accepted; 11] = [
    Accepted {
        name: "empty texts",
        reason: "an empty text is probably a value that a template has not filled in, not an \
                 absent field",
        is: |it| {
            it.only_galleria_refuses(&[": must not be empty [", "a host name must not be empty"])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, trafficPolicy: {tls: {mode: SIMPLE, sni: \
                  ''}}}}",
    },
    Accepted {
        name: "a delegate with another action",
        reason: "only one of them could happen",
        is: |it| it.only_galleria_refuses(&["and `delegate` are mutually exclusive"]),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], http: [{delegate: {name: b}, \
                  directResponse: {status: 200}}]}}",
    },
    Accepted {
        name: "addresses as names of TLS",
        reason: "clients request names, never addresses (RFC 6066)",
        is: |it| it.only_galleria_refuses(&["is not within the hosts of this VirtualService"]),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [a.test], gateways: [a], tls: [{match: \
                  [{sniHosts: [1.2.3.4]}], route: [{destination: {host: a.test}}]}]}}",
    },
    Accepted {
        name: "consistentHash without a key",
        reason: "requests would be spread at random",
        is: |it| it.only_galleria_refuses(&["needs exactly one of httpHeaderName"]),
        example: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a, \
                  namespace: shop}, spec: {host: cart, trafficPolicy: {loadBalancer: \
                  {consistentHash: {}}}}}",
    },
    Accepted {
        name: "a rule for tokens without an issuer",
        reason: "it would accept the tokens of every issuer",
        is: |it| {
            it.is_kind("RequestAuthentication")
                && it.only_galleria_refuses(&["the required field `issuer` is missing"])
        },
        example: "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: \
                  a, namespace: shop}, spec: {jwtRules: [{jwksUri: 'https://a.test/keys'}]}}",
    },
    Accepted {
        name: "names and ports that no object has",
        reason: "labels, names of Gateways and delegates, and ports that an API server refuses: \
                 they could never match",
        is: |it| {
            it.only_galleria_refuses(&[
                "is not a label value",
                "is not a label key",
                "is not the name of a Gateway",
                "is not a valid name",
                "delegate.name: the required field `name` is missing",
                "port.number: the required field `number` is missing",
                "number: 0 is out of range",
            ])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a, \
                  namespace: shop}, spec: {selector: {istio: 'a b'}, servers: [{port: {number: 80, \
                  name: http, protocol: HTTP}, hosts: [a.test]}]}}",
    },
    Accepted {
        name: "empty lists of a policy",
        reason: "an empty list means the same as no list, which matches everything: more than \
                 its author may think",
        is: |it| {
            it.is_kind("AuthorizationPolicy")
                && it
                    .only_galleria_refuses(&["must not be empty; leave it out to match everything"])
        },
        example: "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: \
                  a, namespace: shop}, spec: {rules: [{from: []}]}}",
    },
    Accepted {
        name: "header names",
        reason: "HTTP does not allow their characters, and Envoy refuses them",
        is: |it| it.only_galleria_refuses(&["is not a header name"]),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], http: [{headers: {request: {remove: ['a \
                  b']}}, route: [{destination: {host: cart}}]}]}}",
    },
    Accepted {
        name: "TLS settings that nothing satisfies",
        reason: "cipher suites that do not exist, and hashes that are none, would refuse every \
                 connection",
        is: |it| {
            it.only_galleria_refuses(&[
                "is not a cipher suite",
                "is not the base64 form of a SHA-256",
                "is not a SHA-256 in 64 hexadecimal digits",
            ])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a, \
                  namespace: shop}, spec: {selector: {istio: ingressgateway}, servers: [{port: \
                  {number: 443, name: https, protocol: HTTPS}, hosts: [a.test], tls: {mode: \
                  SIMPLE, credentialName: cert, cipherSuites: [X]}}]}}",
    },
    Accepted {
        name: "limits of Envoy",
        reason: "Envoy refuses the configuration: sizes of rings, groups of a rewrite that its \
                 expression does not have, weights above 1000000, authorities with a wrong port, \
                 aborts with 600",
        is: |it| {
            it.only_galleria_refuses(&[
                "inimumRingSize: ",
                "but the pattern has",
                "is not an authority",
                "must be 0 to 1000000",
                "must be 200 to 599",
            ])
        },
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], http: [{rewrite: {uriRegexRewrite: \
                  {match: a, rewrite: '\\1'}}, route: [{destination: {host: cart}}]}]}}",
    },
    Accepted {
        name: "numbers without a use",
        reason: "more than 100 attempts are a mistake, and a cookie cannot end before it begins",
        is: |it| it.only_galleria_refuses(&["retries.attempts: ", "httpCookie.ttl: "]),
        example: "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a, \
                  namespace: shop}, spec: {hosts: [cart], http: [{retries: {attempts: 600}, route: \
                  [{destination: {host: cart}}]}]}}",
    },
];
