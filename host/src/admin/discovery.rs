//! API discovery: groups, versions and resources, one by one or aggregated.

use serde_json::{Value, json};

use super::eviction::EVICTION;
use super::failure::Failure;
use super::kind::{Kind, SCALE, api_version, served};

/// Verbs of a kind whose objects clients write.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Verbs of namespaces, which a client deletes one by one.
const VERBS_OF_NAMESPACE: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

/// Verbs of a kind whose objects are measured on request.
const VERBS_OF_MEASURED: &[&str] = &["get", "list"];

/// Verbs of a kind whose objects the host creates.
const VERBS_OF_HOST: &[&str] = &["get", "list", "watch"];

fn verbs(kind: &Kind) -> &'static [&'static str] {
    if !kind.namespaced && kind.kind == "Namespace" {
        return VERBS_OF_NAMESPACE;
    }
    match kind.is_made_by_host() {
        true if kind.is_measured() => VERBS_OF_MEASURED,
        true => VERBS_OF_HOST,
        false => VERBS,
    }
}

/// The minor version of Kubernetes whose API this is.
const MINOR: &str = "33";

/// `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "gitVersion": format!("v1.{MINOR}.0+galleria-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/`: the paths that a client can begin with.
pub(super) fn paths() -> Value {
    let groups = group_names(None).into_iter().flat_map(|group| {
        let versions = versions(group).into_iter();
        let versions = versions.map(move |version| format!("/apis/{group}/{version}"));
        std::iter::once(format!("/apis/{group}")).chain(versions)
    });
    let first = ["/api", "/api/v1", "/apis"].map(str::to_owned);
    let last = [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    let all = first
        .into_iter()
        .chain(groups)
        .chain(last.map(str::to_owned));
    json!({"paths": all.collect::<Vec<_>>()})
}

/// `/api`.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`, with the group `first` before the others: where two groups have a kind of the same
/// name, kubectl takes that of the first.
pub(super) fn groups(first: Option<&str>) -> Value {
    let groups: Vec<_> = group_names(first).into_iter().map(described).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`.
///
/// # Errors
/// There is no such group.
pub(super) fn group(name: &str) -> Result<Value, Failure> {
    if !group_names(None).contains(&name) {
        return Err(Failure::NoSuchPath);
    }
    let mut group = described(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(group)
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
///
/// # Errors
/// There is no such group or version.
pub(super) fn resources(group: &str, version: &str) -> Result<Value, Failure> {
    let kinds = kinds(group, version);
    if kinds.is_empty() {
        return Err(Failure::NoSuchPath);
    }
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": kinds.into_iter().flat_map(|kind| with_subresources(kind, group)).collect::<Vec<_>>(),
    }))
}

/// All of `/api` or of `/apis` in one response, in `version` of `apidiscovery.k8s.io`. The
/// group `first` is before the others, as in [`groups`].
pub(super) fn aggregated(core: bool, first: Option<&str>, version: &str) -> Value {
    let groups = match core {
        true => vec![""],
        false => group_names(first),
    };
    let items = groups.into_iter().map(|group| {
        let versions = versions(group).into_iter().map(|version| {
            let kinds = kinds(group, version);
            json!({
                "version": version,
                "freshness": "Current",
                "resources": kinds.into_iter().map(|kind| aggregated_resource(kind, group, version)).collect::<Vec<_>>(),
            })
        });
        json!({"metadata": {"name": group}, "versions": versions.collect::<Vec<_>>()})
    });
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// In the order of the table, without the core group, and with `first` before the others.
fn group_names(first: Option<&str>) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for kind in served() {
        if !kind.group.is_empty() && !names.contains(&kind.group) {
            names.push(kind.group);
        }
    }
    // Groups of old versions come last: clients prefer the first group that has a resource.
    for (group, _) in old_versions() {
        if !names.contains(&group) {
            names.push(group);
        }
    }
    names.sort_by_key(|name| Some(*name) != first);
    names
}

/// The versions of a group, the preferred one first.
fn versions(group: &str) -> Vec<&'static str> {
    let first = served().find(|kind| kind.group == group);
    let mut versions = first.map_or(Vec::new(), |kind| kind.versions.to_vec());
    for (of, version) in old_versions() {
        if of == group && !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions
}

/// Old versions with their groups.
pub(super) fn old_versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    served()
        .flat_map(Kind::old_served)
        .filter_map(|old| old.split_once('/'))
}

fn kinds(group: &str, version: &str) -> Vec<&'static Kind> {
    served()
        .filter(|kind| kind.is_served_at(group, version))
        .collect()
}

fn described(group: &str) -> Value {
    let version = |version: &&str| {
        let group_version = api_version(group, version);
        json!({"groupVersion": group_version, "version": version})
    };
    let versions: Vec<_> = versions(group).iter().map(version).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn with_subresources(kind: &Kind, group: &str) -> Vec<Value> {
    let mut all = vec![resource(kind, group)];
    if kind.has_subresource("log") {
        all.push(json!({
            "name": format!("{}/log", kind.plural),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": ["get"],
        }));
    }
    if kind.has_subresource(EVICTION) {
        all.push(json!({
            "name": format!("{}/{EVICTION}", kind.plural),
            "singularName": "",
            "namespaced": kind.namespaced,
            "group": "policy",
            "version": "v1",
            "kind": "Eviction",
            "verbs": ["create"],
        }));
    }
    if kind.has_subresource(SCALE) {
        all.push(json!({
            "name": format!("{}/scale", kind.plural),
            "singularName": "",
            "namespaced": kind.namespaced,
            "group": "autoscaling",
            "version": "v1",
            "kind": "Scale",
            "verbs": ["get", "patch", "update"],
        }));
    }
    all
}

fn subresources(kind: &Kind) -> Vec<Value> {
    let mut all = Vec::new();
    if kind.has_subresource(EVICTION) {
        all.push(json!({
            "subresource": EVICTION,
            "responseKind": {"group": "policy", "version": "v1", "kind": "Eviction"},
            "verbs": ["create"],
        }));
    }
    if kind.has_subresource(SCALE) {
        all.push(json!({
            "subresource": "scale",
            "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            "verbs": ["get", "patch", "update"],
        }));
    }
    all
}

/// The categories of a kind. In an old group it has none, so that `kubectl get all` shows each
/// object once.
fn categories(kind: &Kind, group: &str) -> &'static [&'static str] {
    if kind.group == group {
        kind.categories
    } else {
        &[]
    }
}

fn resource(kind: &Kind, group: &str) -> Value {
    let resource = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs(kind),
    });
    with_names(resource, kind, group)
}

/// `resource`, with its short names and categories if it has some.
fn with_names(mut resource: Value, kind: &Kind, group: &str) -> Value {
    for (field, names) in [
        ("shortNames", kind.short_names),
        ("categories", categories(kind, group)),
    ] {
        if !names.is_empty() {
            resource[field] = names.into();
        }
    }
    resource
}

fn aggregated_resource(kind: &Kind, group: &str, version: &str) -> Value {
    let resource = json!({
        "resource": kind.plural,
        "responseKind": {"group": group, "version": version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
        "subresources": subresources(kind),
    });
    with_names(resource, kind, group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_can_be_before_the_others() {
        let istio = "networking.istio.io";
        assert_eq!(groups(Some(istio))["groups"][0]["name"], istio);
        let all = aggregated(false, Some(istio), "v2");
        assert_eq!(all["items"][0]["metadata"]["name"], istio);
        assert_ne!(groups(None)["groups"][0]["name"], istio);
    }

    #[test]
    fn every_kind_is_discovered_in_both_forms() {
        for kind in served() {
            for version in kind.versions {
                let list = resources(kind.group, version).expect("served");
                let plain = list["resources"].as_array().expect("resources").iter();
                assert_eq!(plain.filter(|it| it["name"] == kind.plural).count(), 1);
                let all = aggregated(kind.group.is_empty(), None, "v2").to_string();
                assert!(all.contains(&format!("\"resource\":\"{}\"", kind.plural)));
            }
        }
        assert_eq!(group("none"), Err(Failure::NoSuchPath));
        assert_eq!(resources("apps", "v3"), Err(Failure::NoSuchPath));
        assert_eq!(
            group("apps").expect("apps")["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
        let old = resources("extensions", "v1beta1").expect("served");
        let names: Vec<_> = old["resources"].as_array().into_iter().flatten().collect();
        assert!(names.iter().any(|it| it["name"] == "deployments"));
        assert!(names.iter().all(|it| it["name"] != "statefulsets"));
        assert_eq!(group_names(None).last(), Some(&"extensions"));
    }
}
