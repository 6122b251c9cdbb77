//! Parses the paths of the API, regardless of whether the objects exist.

use http::Uri;

use super::discovery::old_versions;
use super::failure::Failure;
use super::kind::{Kind, served};
use super::review;

/// See the module's documentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/`.
    Root,
    /// `/healthz`, `/livez`, `/readyz`, and `ping` below them.
    Health,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources {
        group: String,
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiV3Index,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
    OpenApiV3 {
        group: String,
        version: String,
    },
    /// A review of the client's own access, by its plural name.
    Review(&'static str),
    Objects(Resource),
}

/// Objects of one kind, or one of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub kind: &'static Kind,
    /// The requested version, which the objects of the response have. With its group if that is
    /// not the kind's.
    pub version: String,
    /// None for all namespaces, and for kinds without a namespace.
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Resource {
    /// Whether the path names the subresource `name`, and the kind has it.
    pub(super) fn is_subresource(&self, name: &str) -> bool {
        self.subresource.as_deref() == Some(name) && self.kind.has_subresource(name)
    }
}

impl Target {
    /// # Errors
    /// The API has no such path.
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        let path = uri.path().trim_matches('/');
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["healthz" | "livez" | "readyz"] | ["healthz" | "livez" | "readyz", "ping"] => {
                Ok(Self::Health)
            }
            ["version"] => Ok(Self::Version),
            ["api"] => Ok(Self::CoreVersions),
            ["apis"] => Ok(Self::Groups),
            ["apis", group] if is_group(group) => Ok(Self::Group((*group).to_owned())),
            ["openapi", "v2"] => Ok(Self::OpenApiV2),
            ["openapi", "v3"] => Ok(Self::OpenApiV3Index),
            ["openapi", "v3", "api", version] => Ok(schemas("", version)),
            ["openapi", "v3", "apis", group, version] => Ok(schemas(group, version)),
            ["api", version] => Ok(resources("", version)),
            ["apis", group, version] if is_group(group) => Ok(resources(group, version)),
            ["api", version, rest @ ..] => objects("", version, rest),
            ["apis", group, version, rest @ ..] if is_group(group) => objects(group, version, rest),
            [""] => Ok(Self::Root),
            _ => Err(Failure::NoSuchPage),
        }
    }
}

/// Whether the API has the group, also if only for reviews.
fn is_group(group: &str) -> bool {
    served().any(|kind| kind.group == group)
        || old_versions().any(|(of, _)| of == group)
        || review::has_group(group)
}

fn resources(group: &str, version: &str) -> Target {
    Target::Resources {
        group: group.to_owned(),
        version: version.to_owned(),
    }
}

fn schemas(group: &str, version: &str) -> Target {
    Target::OpenApiV3 {
        group: group.to_owned(),
        version: version.to_owned(),
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Result<Target, Failure> {
    let (namespace, plural, rest) = match rest {
        // A namespace is an object itself, with subresources of its own.
        ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => {
            (None, "namespaces", rest.get(1..).unwrap_or_default())
        }
        ["namespaces", namespace, plural, rest @ ..] => (Some(*namespace), *plural, rest),
        [plural, rest @ ..] => (None, *plural, rest),
        [] => return Err(Failure::NoSuchPath),
    };
    if let Some(review) = review::find(group, version, plural) {
        return Ok(Target::Review(review));
    }
    let kind = Kind::at(group, version, plural).ok_or(Failure::NoSuchPath)?;
    let (name, subresource) = match rest {
        [] => (None, None),
        [name] => (Some(*name), None),
        [name, subresource] => (Some(*name), Some(*subresource)),
        _ => return Err(Failure::NoSuchPath),
    };
    // The path of a namespaced object has its namespace.
    let is_complete = match namespace {
        Some(_) => kind.namespaced,
        None => !kind.namespaced || name.is_none(),
    };
    if !is_complete {
        return Err(Failure::NoSuchPath);
    }
    Ok(Target::Objects(Resource {
        kind,
        version: match kind.group == group {
            true => version.to_owned(),
            false => format!("{group}/{version}"),
        },
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        match Target::of(&path.parse().expect("a path")).expect(path) {
            Target::Objects(it) => (it.kind.resource(), it.namespace, it.name, it.subresource),
            other => unreachable!("{path}: {other:?}"),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn paths_of_objects_are_parsed() {
        assert_eq!(resource("/api/v1/pods"), ("pods".into(), None, None, None));
        assert_eq!(
            resource("/api/v1/namespaces/shop/pods/a/log?follow=true"),
            ("pods".into(), some("shop"), some("a"), some("log"))
        );
        assert_eq!(
            resource("/apis/apps/v1/namespaces/shop/deployments/ui"),
            ("deployments.apps".into(), some("shop"), some("ui"), None)
        );
        assert_eq!(
            resource("/api/v1/namespaces/shop"),
            ("namespaces".into(), None, some("shop"), None)
        );
        assert_eq!(resource("/api/v1/namespaces/shop/status").3, some("status"));
    }

    #[test]
    fn path_of_an_old_version_is_that_of_the_kind_of_today() {
        let uri = "/apis/extensions/v1beta1/namespaces/shop/deployments/ui";
        let target = Target::of(&uri.parse().expect("a path"));
        let Ok(Target::Objects(resource)) = target else {
            unreachable!("{target:?}");
        };
        assert_eq!(resource.kind.group, "apps");
        assert_eq!(resource.version, "extensions/v1beta1");
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "/api/v1/deployments",
            "/apis/apps/v2/deployments",
            "/api/v1/pods/a",
            "/api/v1/namespaces/shop/pods/a/log/more",
            "/apis/apps/v1/namespaces/shop/unicorns",
        ] {
            let uri = path.parse().expect("a path");
            assert_eq!(Target::of(&uri), Err(Failure::NoSuchPath), "{path}");
        }
        for path in ["/console", "/apis/none/v1", "/apis/none/v1/unicorns"] {
            let uri = path.parse().expect("a path");
            assert_eq!(Target::of(&uri), Err(Failure::NoSuchPage), "{path}");
        }
    }
}
