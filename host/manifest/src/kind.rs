//! The kinds of objects: what they are called, and what the host does with them.
//!
//! [`all`] is the only table of kinds. The reader finds in it which documents it knows,
//! admission the name that a quota counts a kind by, the admin API its paths, discovery
//! and OpenAPI, and `docs/COMPATIBILITY.md` its lists. To add a kind, write a row in
//! `kind/table.rs`, a reader in `read/`, and the code that enforces it.
//!
//! The table does not describe fields; `read/` and `model/` do.

mod row;
mod table;

#[cfg(test)]
mod document;

use crate::Unenforced;
use crate::decode::Fields;
use crate::model::Resource;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The API group, empty for the core group.
    pub group: &'static str,
    pub kind: &'static str,
    /// Versions of `group` that are read and served, the preferred one first. Empty for
    /// a kind that is not read: a manifest may have it in any version.
    pub versions: &'static [&'static str],
    /// Removed apiVersions that manifests may still have, some of them in another group.
    /// They are not served.
    pub old_api_versions: &'static [&'static str],
    /// Whether its objects belong to a namespace, or to the whole cluster.
    pub namespaced: bool,
    /// As in paths: `deployments`. Empty for a kind that the admin API does not serve.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    /// Groups of kinds that `kubectl get` knows: `all`.
    pub categories: &'static [&'static str],
    /// Paths that a field selector may name, besides the name and the namespace.
    pub field_selectors: &'static [&'static str],
    /// Besides `status`, which every kind has.
    pub subresources: &'static [&'static str],
    /// Whether clients must treat it as a custom resource: its lists have no merge keys.
    pub is_custom: bool,
    /// Whether only the full token may read it.
    pub is_confidential: bool,
    /// Whether the host adds objects that are in use and not declared. Clients may
    /// change those, unlike other objects that the host makes.
    pub is_provided: bool,
    /// Whether its objects create pods, which are deleted together with them.
    pub owns_pods: bool,
    /// Whether its pods may serve requests.
    pub serves_requests: bool,
    /// Whether a name is a DNS label, without dots, since it becomes part of host names.
    pub(crate) is_named_by_label: bool,
    pub(crate) handling: Handling,
}

/// What the host does with the objects of a kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handling {
    /// Manifests and clients write them, and the host acts on them.
    Enforced(Reader),
    /// The host reports them to the store; in manifests they are left to the cluster.
    Reported,
    /// The host measures them when a client requests them.
    Measured,
    /// Manifests and clients write them, and the API shows them; the host does not act on them.
    Stored,
    /// Left to the cluster.
    NotEnforced,
    /// Left to the cluster although they forbid something: an operator has to accept it.
    Restriction(Unenforced),
}

/// Reads everything but apiVersion, kind and metadata.
pub(crate) type Reader = fn(Fields<'_, '_>) -> Option<Resource>;

/// Groups whose kinds are all in the table: any other kind there is a misspelling.
const COMPLETE_GROUPS: &[&str] = &[
    "",
    "apps",
    EXTENSIONS,
    "networking.k8s.io",
    "gateway.networking.k8s.io",
    "networking.istio.io",
    "security.istio.io",
    "rbac.istio.io",
];

/// Old apiVersions that the admin API has too, as API servers had when they were current.
const SERVED_OLD: &[&str] = &[
    "apps/v1beta2",
    "apps/v1beta1",
    "batch/v1beta1",
    "extensions/v1beta1",
    "policy/v1beta1",
];

/// The subresource of a kind with `spec.replicas`: an autoscaler can target it.
pub const SCALE: &str = "scale";

/// The group in which many kinds began, before Kubernetes moved them to their own.
const EXTENSIONS: &str = "extensions";

/// The table, in the order in which `kubectl api-resources` and `kubectl get all` show
/// what is served.
pub fn all() -> &'static [Kind] {
    table::ALL
}

/// The kinds of the admin API.
pub fn served() -> impl Iterator<Item = &'static Kind> {
    all().iter().filter(|kind| kind.is_served())
}

/// Finds a kind by its group of today.
pub(crate) fn find(group: &str, kind: &str) -> Option<&'static Kind> {
    all()
        .iter()
        .find(|row| row.group == group && row.kind == kind)
}

/// Whether objects of a kind belong to a namespace; a kind that is not in the table does.
pub(crate) fn is_namespaced(group: &str, kind: &str) -> bool {
    // Some kinds used to be in another group, so the name of a kind decides in any group.
    let is_of_cluster = |row: &&Kind| row.kind == kind && !row.namespaced && !row.is_enforced();
    find(group, kind).map_or_else(
        || !all().iter().any(|row| is_of_cluster(&row)),
        |row| row.namespaced,
    )
}

/// Whether a kind of this name, in any group, may contain what only the full token reads.
pub(crate) fn is_confidential(kind: &str) -> bool {
    let mut rows = all().iter().filter(|row| row.kind == kind);
    rows.any(|row| row.is_confidential)
}

/// Whether the table has all kinds of `group`.
pub(crate) fn is_complete(group: &str) -> bool {
    COMPLETE_GROUPS.contains(&group)
}

/// The group of an apiVersion; for kinds that were in `extensions`, today's.
pub(crate) fn canonical_group<'a>(api_version: &'a str, kind: &str) -> &'a str {
    match group_of(api_version) {
        EXTENSIONS => all()
            .iter()
            .find(|row| row.kind == kind && row.was_in(EXTENSIONS))
            .map_or(EXTENSIONS, |row| row.group),
        group => group,
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Kind {
    /// Finds a kind of the admin API. All names are as in a path, with an empty group
    /// for the core group.
    pub fn at(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        served().find(|kind| kind.plural == plural && kind.is_served_at(group, version))
    }

    /// Whether the admin API has it in `version` of `group`, which may be an old one.
    pub fn is_served_at(&self, group: &str, version: &str) -> bool {
        let is_it = |old: &str| old.split_once('/') == Some((group, version));
        self.group == group && self.versions.contains(&version) || self.old_served().any(is_it)
    }

    /// The old apiVersions in which the admin API has it.
    pub fn old_served(&self) -> impl Iterator<Item = &'static str> {
        let old = self.old_api_versions.iter().copied();
        old.filter(|old| SERVED_OLD.contains(old))
    }

    /// The plural with the group: `deployments.apps`, `pods`.
    pub fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Every apiVersion that is read, the preferred one first.
    pub fn api_versions(&self) -> impl Iterator<Item = String> {
        let current = self.versions.iter();
        let current = current.map(|version| match self.group {
            "" => (*version).to_owned(),
            group => format!("{group}/{version}"),
        });
        let old = self.old_api_versions.iter();
        current.chain(old.map(|api_version| (*api_version).to_owned()))
    }

    /// Whether the admin API has it.
    pub fn is_served(&self) -> bool {
        !self.plural.is_empty()
    }

    pub fn is_enforced(&self) -> bool {
        matches!(self.handling, Handling::Enforced(_))
    }

    /// Whether its objects are only stored and shown.
    pub fn is_only_stored(&self) -> bool {
        matches!(self.handling, Handling::Stored)
    }

    /// Whether only the host makes its objects: clients cannot write them.
    pub fn is_made_by_host(&self) -> bool {
        matches!(self.handling, Handling::Reported | Handling::Measured)
    }

    /// Whether its objects are measured on request and not stored.
    pub fn is_measured(&self) -> bool {
        matches!(self.handling, Handling::Measured)
    }

    /// Whether its objects forbid something that the host allows.
    pub fn is_unenforced_restriction(&self) -> bool {
        self.restriction().is_some()
    }

    /// What operators call it, if its objects forbid something that the host allows.
    pub(crate) fn restriction(&self) -> Option<Unenforced> {
        match self.handling {
            Handling::Restriction(name) => Some(name),
            _ => None,
        }
    }

    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.contains(&name)
    }

    fn was_in(&self, group: &str) -> bool {
        let mut old = self.old_api_versions.iter();
        old.any(|api_version| group_of(api_version) == group)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.kind) == (other.group, other.kind)
    }
}

impl Eq for Kind {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let mut seen = HashSet::new();
        for row in all() {
            assert!(seen.insert((row.group, row.kind)), "{}", row.kind);
        }
        for kind in served() {
            assert!(seen.insert((kind.group, kind.plural)), "{}", kind.plural);
            for short in kind.short_names {
                assert!(seen.insert(("short", *short)), "{short}");
            }
        }
    }

    #[test]
    fn rows_agree_with_what_is_done_with_them() {
        for row in all() {
            let is_read = row.is_enforced() || row.is_made_by_host() || row.is_only_stored();
            assert_eq!(row.versions.is_empty(), !is_read, "{}", row.kind);
            assert!(!row.is_made_by_host() || row.is_served(), "{}", row.kind);
            assert!(is_read || !row.is_served(), "{}", row.kind);
        }
    }

    #[test]
    fn a_group_serves_all_its_kinds_in_the_same_versions() {
        for kind in served() {
            let first = served().find(|it| it.group == kind.group);
            // Discovery says which versions a group has by its first kind.
            let of_group = first.map_or(&[][..], |it| it.versions);
            assert_eq!(kind.versions, of_group, "{}", kind.kind);
        }
    }

    #[test]
    fn a_kind_is_at_each_of_its_versions_only() {
        let found = Kind::at("networking.istio.io", "v1alpha3", "gateways");
        assert_eq!(found.map(|kind| kind.kind), Some("Gateway"));
        for (group, version) in [("apps", "v1beta1"), ("extensions", "v1beta1")] {
            let found = Kind::at(group, version, "deployments");
            assert_eq!(found.map(|kind| kind.group), Some("apps"));
        }
        assert!(Kind::at("apps", "v1beta1", "replicasets").is_none());
        assert!(Kind::at("networking.k8s.io", "v1beta1", "ingresses").is_none());
        assert!(Kind::at("", "v1", "deployments").is_none());
        assert!(Kind::at("", "v1", "").is_none());
    }

    #[test]
    fn kinds_of_extensions_have_moved() {
        for (kind, group) in [
            ("Deployment", "apps"),
            ("DaemonSet", "apps"),
            ("NetworkPolicy", "networking.k8s.io"),
            ("PodSecurityPolicy", "extensions"),
            ("Unknown", "extensions"),
        ] {
            assert_eq!(canonical_group("extensions/v1beta1", kind), group);
        }
        assert_eq!(canonical_group("v1", "Deployment"), "");
        assert_eq!(canonical_group("batch/v1", "Job"), "batch");
    }
}
