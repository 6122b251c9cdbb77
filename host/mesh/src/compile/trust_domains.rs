//! The trust domain of the mesh and its aliases: MeshConfig's `trustDomain` and
//! `trustDomainAliases`.
//!
//! Workloads have identities of the one trust domain that the host runs with. Aliases are names
//! of it in policies, so that these hold while a mesh changes its trust domain. `cluster.local`
//! is always one, as in Istio.

use std::borrow::Cow;

use galleria_manifest::model::{Attribute, MeshConfig};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::inventory::Inventory;
use crate::Options;
use crate::inbound::TRUST_DOMAIN;

/// The trust domain, and then its aliases.
#[derive(Debug, Clone)]
pub(crate) struct TrustDomains(Vec<String>);

impl TrustDomains {
    pub(crate) fn new(inventory: &Inventory<'_>, options: &Options) -> Self {
        let mut names = vec![options.trust_domain.to_string()];
        for alias in inventory
            .mesh_configs
            .iter()
            .flat_map(|config| &config.trust_domain_aliases)
        {
            if !names.contains(alias) {
                names.push(alias.clone());
            }
        }
        Self(names)
    }

    /// `values` of `attribute`, with one for each trust domain where they name one of this mesh.
    pub(crate) fn expand<'v>(
        &self,
        attribute: &Attribute,
        values: &'v [String],
    ) -> Cow<'v, [String]> {
        let expand: fn(&Self, &str) -> Vec<String> = match attribute {
            Attribute::SourcePrincipal => Self::principals,
            Attribute::SourceTrustDomain => Self::trust_domains,
            _ => return values.into(),
        };
        let mut expanded = Vec::new();
        for value in values.iter().flat_map(|value| expand(self, value)) {
            if !expanded.contains(&value) {
                expanded.push(value);
            }
        }
        expanded.into()
    }

    /// Istio's `ReplaceTrustDomainAliases`.
    fn principals(&self, principal: &str) -> Vec<String> {
        let as_is = || vec![principal.to_owned()];
        let Some((named, rest)) = principal.split_once('/') else {
            return as_is();
        };
        let is_identity = rest.matches('/').count() == 3;
        let is_of_mesh = named == TRUST_DOMAIN || self.0.iter().any(|it| overlaps(named, it));
        if !is_identity || named == "*" || !is_of_mesh {
            return as_is();
        }
        let with = |name: &String| match named.strip_prefix('*') {
            Some(suffix) if name.ends_with(suffix) => principal.to_owned(),
            _ => format!("{name}/{rest}"),
        };
        self.0.iter().map(with).collect()
    }

    /// Istio's `ExpandTrustDomainAliases`.
    fn trust_domains(&self, named: &str) -> Vec<String> {
        match self.0.iter().any(|it| it == named) {
            true => self.0.clone(),
            false => vec![named.to_owned()],
        }
    }
}

/// Whether the trust domain `named` in a policy, which may have a `*` at one end, is `own`.
fn overlaps(named: &str, own: &str) -> bool {
    named == own
        || named.strip_prefix('*').is_some_and(|it| own.ends_with(it))
        || named
            .strip_suffix('*')
            .is_some_and(|it| own.starts_with(it))
}

/// Reports a MeshConfig for another trust domain than the one that the host runs with: its
/// certificates and its policies would not fit together.
pub(crate) fn find_others(
    inventory: &Inventory<'_>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let named = inventory.mesh_configs.iter();
    let named = named.filter_map(|config: &&MeshConfig| config.trust_domain.as_ref());
    for other in named.filter(|it| *it.value != *options.trust_domain) {
        diagnostics.push(Diagnostic {
            at: other.at.clone(),
            severity: Severity::Error,
            object: None,
            path: "trustDomain".to_owned(),
            message: format!(
                "the trust domain of this host is `{}`; start every host of the mesh with \
                 `--trust-domain {}`",
                options.trust_domain, other.value
            ),
            code: codes::RESTRICTION_NOT_ENFORCED,
            unenforced: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of Istio's own test, `pilot/pkg/security/trustdomain/bundle_test.go`, and others.
    #[test]
    fn principals_of_the_mesh_are_those_of_all_its_trust_domains() {
        let names = ["new", "old", "old-2"].map(str::to_owned).to_vec();
        let domains = TrustDomains(names);
        for (principal, expected) in [
            (
                "old/ns/a/sa/b",
                &["new/ns/a/sa/b", "old/ns/a/sa/b", "old-2/ns/a/sa/b"][..],
            ),
            (
                "new/ns/a/sa/b",
                &["new/ns/a/sa/b", "old/ns/a/sa/b", "old-2/ns/a/sa/b"],
            ),
            (
                "cluster.local/ns/a/sa/b",
                &["new/ns/a/sa/b", "old/ns/a/sa/b", "old-2/ns/a/sa/b"],
            ),
            ("other/ns/a/sa/b", &["other/ns/a/sa/b"]),
            ("*/ns/a/sa/b", &["*/ns/a/sa/b"]),
            ("*", &["*"]),
            ("cluster.local*", &["cluster.local*"]),
            ("cluster.local/ns/a/*", &["cluster.local/ns/a/*"]),
            (
                "*ld/ns/a/sa/b",
                &["new/ns/a/sa/b", "*ld/ns/a/sa/b", "old-2/ns/a/sa/b"],
            ),
            ("sa/b", &["sa/b"]),
        ] {
            let values = [principal.to_owned()];
            let expanded = domains.expand(&Attribute::SourcePrincipal, &values);
            assert_eq!(*expanded, *expected, "{principal}");
        }
        let values = ["old", "cluster.local", "new"].map(str::to_owned);
        let expanded = domains.expand(&Attribute::SourceTrustDomain, &values);
        assert_eq!(*expanded, ["new", "old", "old-2", "cluster.local"]);
        assert_eq!(*domains.expand(&Attribute::Method, &values), values);
    }
}
