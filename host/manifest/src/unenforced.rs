//! Restrictions that the host does not enforce, and which of them are accepted.
//!
//! A kind or a field is a restriction if its author wants something closed that stays open
//! here: who may call, who is verified, how much is let through. Each has a name. Without
//! that name in [`AllowUnenforced`], its diagnostic is an error, so nothing opens by mistake.
//!
//! What only grants something (roles of Kubernetes), what the host lacks anyway (a security
//! context: a component has no user, no capabilities and no system calls) and what it closes
//! instead (a listener with TLS that it does not serve) are not restrictions.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::decode::did_you_mean;
use crate::{Diagnostic, LoadResult, Severity, kind};

/// Fields and annotations that restrict something and are not enforced.
pub(crate) mod parts {
    pub(crate) const CA_CRL: &str = "DestinationRule.caCrl";
    /// Patches other than rate limits.
    pub(crate) const ENVOY_FILTER: &str = "EnvoyFilter";
    pub(crate) const GATEWAY_BIND: &str = "Gateway.bind";
    pub(crate) const EXTENSION_REF: &str = "HTTPRoute.ExtensionRef";
    pub(crate) const EXTERNAL_AUTH: &str = "HTTPRoute.ExternalAuth";
    pub(crate) const SOURCE_RANGES: &str = "Service.loadBalancerSourceRanges";
    pub(crate) const SUBJECT_ALT_NAMES: &str = "ServiceEntry.subjectAltNames";

    pub(super) const FIELDS: &[&str] = &[
        CA_CRL,
        ENVOY_FILTER,
        GATEWAY_BIND,
        EXTENSION_REF,
        EXTERNAL_AUTH,
        SOURCE_RANGES,
        SUBJECT_ALT_NAMES,
    ];

    /// Annotations of an Ingress. Snippets are among them, because nothing here knows what
    /// they deny.
    pub(crate) const ANNOTATIONS: &[&str] = &[
        "alb.ingress.kubernetes.io/auth-type",
        "alb.ingress.kubernetes.io/inbound-cidrs",
        "alb.ingress.kubernetes.io/mutual-authentication",
        "alb.ingress.kubernetes.io/security-groups",
        "alb.ingress.kubernetes.io/ssl-redirect",
        "alb.ingress.kubernetes.io/wafv2-acl-arn",
        "nginx.ingress.kubernetes.io/allowlist-source-range",
        "nginx.ingress.kubernetes.io/auth-tls-secret",
        "nginx.ingress.kubernetes.io/auth-tls-verify-client",
        "nginx.ingress.kubernetes.io/auth-type",
        "nginx.ingress.kubernetes.io/auth-url",
        "nginx.ingress.kubernetes.io/configuration-snippet",
        "nginx.ingress.kubernetes.io/denylist-source-range",
        "nginx.ingress.kubernetes.io/enable-modsecurity",
        "nginx.ingress.kubernetes.io/force-ssl-redirect",
        "nginx.ingress.kubernetes.io/limit-connections",
        "nginx.ingress.kubernetes.io/limit-rpm",
        "nginx.ingress.kubernetes.io/limit-rps",
        "nginx.ingress.kubernetes.io/server-snippet",
        "nginx.ingress.kubernetes.io/ssl-redirect",
        "nginx.ingress.kubernetes.io/whitelist-source-range",
    ];
}

/// The name of a restriction that the host does not enforce: a kind, a field with its kind,
/// or an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unenforced(&'static str);

/// The restrictions that an operator accepts although the host does not enforce them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowUnenforced(BTreeSet<Unenforced>);

/// There is no restriction of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRestriction(String);

impl Unenforced {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Every name, kinds first.
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds = kind::all().iter().filter_map(|kind| kind.restriction());
        let parts = parts::FIELDS.iter().chain(parts::ANNOTATIONS);
        kinds.chain(parts.map(|name| Self(name)))
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

impl FromStr for Unenforced {
    type Err = UnknownRestriction;

    fn from_str(name: &str) -> Result<Self, UnknownRestriction> {
        Self::all()
            .find(|it| it.0 == name)
            .ok_or_else(|| UnknownRestriction(name.to_owned()))
    }
}

impl fmt::Display for UnknownRestriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Unenforced::all().map(Unenforced::name).collect();
        let hint = did_you_mean(&self.0, names.iter().copied());
        let names = names.join(", ");
        write!(
            f,
            "the host knows no restriction of this name{hint}; the names are {names}"
        )
    }
}

impl std::error::Error for UnknownRestriction {}

impl FromIterator<Unenforced> for AllowUnenforced {
    fn from_iter<I: IntoIterator<Item = Unenforced>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl AllowUnenforced {
    /// Makes warnings of the diagnostics about restrictions that are accepted.
    pub fn accept(&self, diagnostics: &mut [Diagnostic]) {
        for diagnostic in diagnostics {
            if diagnostic.unenforced.is_some_and(|it| self.0.contains(&it)) {
                diagnostic.severity = Severity::Warning;
            }
        }
    }
}

impl LoadResult {
    /// This result with the restrictions of `allowed` accepted.
    #[must_use]
    pub fn allowing(mut self, allowed: &AllowUnenforced) -> Self {
        allowed.accept(&mut self.diagnostics);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn errors(result: &LoadResult) -> Vec<(&'static str, bool)> {
        let found = result.diagnostics.iter();
        let found =
            found.filter_map(|it| Some((it.unenforced?.name(), it.severity == Severity::Error)));
        found.collect()
    }

    /// Each with what it must be reported as.
    const ROWS: &[(&str, &[&str])] = &[
        // Kinds that forbid something.
        (
            "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: a}}",
            &["EnvoyFilter"],
        ),
        (
            "{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: a}}",
            &["WasmPlugin"],
        ),
        (
            "{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: a}}",
            &["PodSecurityPolicy"],
        ),
        (
            "{apiVersion: rbac.istio.io/v1alpha1, kind: AuthorizationPolicy, metadata: {name: a}}",
            &["AuthorizationPolicy.rbac.istio.io"],
        ),
        (
            "{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: a}}",
            &["NetworkPolicy.projectcalico.org"],
        ),
        (
            "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: a}}",
            &["CiliumNetworkPolicy"],
        ),
        (
            "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, \
             metadata: {name: a}}",
            &["ValidatingAdmissionPolicy"],
        ),
        // Kinds that only grant or describe something.
        (
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}}",
            &[],
        ),
        (
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, \
             metadata: {name: a}}",
            &[],
        ),
        (
            "{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: a}}",
            &[],
        ),
        (
            "{apiVersion: v1, kind: ReplicationController, metadata: {name: a}}",
            &[],
        ),
        // Fields.
        (
            "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}], \
             type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]}}",
            &["Service.loadBalancerSourceRanges"],
        ),
        (
            "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}, \
             spec: {host: a, trafficPolicy: {tls: {mode: SIMPLE, caCrl: /crl.pem}}}}",
            &["DestinationRule.caCrl"],
        ),
        (
            "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, \
             spec: {hosts: [a.example], ports: [{number: 443, name: https, protocol: HTTPS}], \
             resolution: DNS, subjectAltNames: [b.example]}}",
            &["ServiceEntry.subjectAltNames"],
        ),
        (
            "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, \
             spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], \
             bind: 127.0.0.1}]}}",
            &["Gateway.bind"],
        ),
        (
            "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, \
             spec: {parentRefs: [{name: g}], rules: [{filters: [{type: ExternalAuth, \
             externalAuth: {}}, {type: ExtensionRef, extensionRef: {}}], \
             backendRefs: [{name: s, port: 80}]}]}}",
            &["HTTPRoute.ExternalAuth", "HTTPRoute.ExtensionRef"],
        ),
        (
            "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a, annotations: \
             {nginx.ingress.kubernetes.io/auth-url: 'http://auth', \
             nginx.ingress.kubernetes.io/ssl-redirect: 'false', \
             nginx.ingress.kubernetes.io/use-regex: 'true', \
             alb.ingress.kubernetes.io/auth-type: none}}, \
             spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}}",
            &["nginx.ingress.kubernetes.io/auth-url"],
        ),
    ];

    #[test]
    fn what_restricts_is_an_error_until_its_name_is_allowed() {
        for (yaml, names) in ROWS {
            let read = crate::read_str(Path::new("test.yaml"), yaml);
            assert_eq!(read.objects.len(), 1, "{yaml}: {:?}", read.diagnostics);
            let expected: Vec<_> = names.iter().map(|name| (*name, true)).collect();
            assert_eq!(errors(&read), expected, "{yaml}");
            assert_eq!(read.has_errors(), !names.is_empty(), "{yaml}");
            for it in read.diagnostics.iter().filter(|it| it.unenforced.is_some()) {
                let flag = "--allow-unenforced ";
                assert!(it.message.contains(flag), "{}", it.message);
            }
            let allowed = names.iter().map(|name| name.parse().expect("a known name"));
            let allowed = read.clone().allowing(&allowed.collect());
            assert!(!allowed.has_errors(), "{yaml}");
            let other = AllowUnenforced::from_iter(["QuotaSpec".parse().expect("a known name")]);
            assert_eq!(read.allowing(&other).has_errors(), !names.is_empty());
        }
    }

    #[test]
    fn names_are_unique_and_unknown_ones_are_refused_with_the_list() {
        let names: Vec<_> = Unenforced::all().map(Unenforced::name).collect();
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        for wrong in ["", "envoyfilter", "EnvoyFilters", "*", "Role"] {
            let error = wrong.parse::<Unenforced>().expect_err(wrong).to_string();
            assert!(error.contains("EnvoyFilter, "), "{error}");
        }
        let error = "EnvoyFilters".parse::<Unenforced>().expect_err("unknown");
        assert!(error.to_string().contains("did you mean `EnvoyFilter`?"));
    }

    #[test]
    fn a_restriction_is_reported_however_many_problems_precede_it() {
        let unknown: Vec<_> = (0..500).map(|n| format!("x{n}: 1")).collect();
        let yaml = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{ports: [{{port: 80, \
             {}}}], loadBalancerSourceRanges: [10.0.0.0/8]}}}}",
            unknown.join(", ")
        );
        let read = crate::read_str(Path::new("test.yaml"), &yaml);
        assert_eq!(errors(&read), [("Service.loadBalancerSourceRanges", true)]);
    }
}
