//! What a policy knows of a request: its verb, user and path, as an API server of
//! Kubernetes reads them. Whether the object, the resource or the path exists does not
//! matter.

use axum::extract::Query;
use http::Method;
use http::request::Parts;
use serde::Deserialize;

use crate::admin::access::Access;
use crate::admin::flag::Flag;

/// The user of requests without a valid token.
const ANONYMOUS: &str = "system:anonymous";

/// See the module's documentation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub user: &'static str,
    pub groups: &'static [&'static str],
    pub verb: String,
    pub path: String,
    /// `None` for a path that has no objects.
    pub resource: Option<ResourceAttributes>,
    /// Whether the response is long: a watch, a log that is followed.
    pub is_streamed: bool,
}

/// Where objects are. What is absent is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ResourceAttributes {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parameters {
    watch: Flag,
    follow: Flag,
}

impl Attributes {
    /// `access` is `None` without a valid token.
    pub(super) fn of(request: &Parts, access: Option<Access>) -> Self {
        let path = request.uri.path();
        let resource = ResourceAttributes::of(path);
        let parameters = Query::<Parameters>::try_from_uri(&request.uri);
        let parameters = parameters.map(|query| query.0).unwrap_or_default();
        let watches = parameters.watch.is_set();
        let follows = parameters.follow.is_set();
        let verb = match &resource {
            None => request.method.as_str().to_ascii_lowercase(),
            Some(resource) => verb(&request.method, resource, watches).to_owned(),
        };
        Self {
            user: access.map_or(ANONYMOUS, Access::user),
            groups: match access {
                Some(_) => &["system:authenticated"],
                None => &["system:unauthenticated"],
            },
            is_streamed: verb == "watch" || follows && verb == "get",
            verb,
            path: path.to_owned(),
            resource,
        }
    }
}

fn verb(method: &Method, resource: &ResourceAttributes, watches: bool) -> &'static str {
    let has_name = !resource.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if has_name => "delete",
        Method::DELETE => "deletecollection",
        _ if watches => "watch",
        _ if has_name => "get",
        _ => "list",
    }
}

impl ResourceAttributes {
    /// `None` for paths such as `/healthz`, `/apis` and `/api/v1`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize"] => {
                (*namespace, rest)
            }
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            _ => ("", rest),
        };
        let at = |index: usize| {
            rest.get(index)
                .map_or_else(String::new, |it| (*it).to_owned())
        };
        let resource = rest.first().filter(|it| !it.is_empty())?;
        Some(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: (*resource).to_owned(),
            name: at(1),
            subresource: at(2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method, URI, verb, group, namespace, resource, name, subresource.
    const ROWS: &[(&str, &str, &str)] = &[
        ("GET", "/api/v1/pods", "list || |pods||"),
        ("GET", "/api/v1/namespaces/a/pods", "list ||a|pods||"),
        (
            "GET",
            "/api/v1/namespaces/a/pods?watch=true",
            "watch ||a|pods||",
        ),
        (
            "GET",
            "/api/v1/namespaces/a/pods?watch=1&x=y",
            "watch ||a|pods||",
        ),
        ("GET", "/api/v1/namespaces/a/pods/p", "get ||a|pods|p|"),
        (
            "GET",
            "/api/v1/namespaces/a/pods/p/log?follow=true",
            "get ||a|pods|p|log",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/secrets",
            "create ||a|secrets||",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods/p/portforward",
            "create ||a|pods|p|portforward",
        ),
        (
            "PUT",
            "/apis/apps/v1/namespaces/a/deployments/d",
            "update |apps|a|deployments|d|",
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            "patch |apps|a|deployments|d|scale",
        ),
        ("DELETE", "/api/v1/namespaces/a", "delete ||a|namespaces|a|"),
        (
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update ||a|namespaces|a|finalize",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/a/pods",
            "deletecollection ||a|pods||",
        ),
        ("GET", "/api/v1/namespaces", "list || |namespaces||"),
        (
            "GET",
            "/apis/no.such/v1/widgets/w",
            "get |no.such| |widgets|w|",
        ),
        ("HEAD", "/api/v1/nodes/n", "get || |nodes|n|"),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "create |authorization.k8s.io| |selfsubjectaccessreviews||",
        ),
        ("GET", "/healthz", "get"),
        ("GET", "/api", "get"),
        ("GET", "/api/v1", "get"),
        ("GET", "/apis/apps/v1", "get"),
        ("POST", "/openapi/v2", "post"),
        ("GET", "/", "get"),
    ];

    #[test]
    fn paths_and_methods_are_read_as_by_an_api_server() {
        for (method, uri, expected) in ROWS {
            let request = http::Request::builder().method(*method).uri(*uri);
            let request = request.body(()).expect("a request").into_parts().0;
            let read = Attributes::of(&request, Some(Access::Full));
            let resource = read.resource.as_ref().map_or_else(String::new, |it| {
                let namespace = match it.namespace.as_str() {
                    "" => " ",
                    namespace => namespace,
                };
                format!(
                    " |{}|{namespace}|{}|{}|{}",
                    it.group, it.resource, it.name, it.subresource
                )
            });
            assert_eq!(
                format!("{}{resource}", read.verb),
                *expected,
                "{method} {uri}"
            );
            let streams = uri.contains("watch=") || uri.contains("follow=");
            assert_eq!(read.is_streamed, streams, "{uri}");
            assert_eq!(read.user, "galleria:full");
            assert_eq!(Attributes::of(&request, None).user, ANONYMOUS);
        }
    }
}
