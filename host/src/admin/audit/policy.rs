//! A Policy of `audit.k8s.io/v1`: how much of a request is logged. The first rule that
//! matches decides; a request that no rule matches is not logged.

use serde::Deserialize;

use super::attributes::{Attributes, ResourceAttributes};
use super::event::Stage;

const API_VERSION: &str = "audit.k8s.io/v1";

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Level {
    None,
    /// Who did what and when, without bodies.
    Metadata,
    /// And the body of the request.
    Request,
    /// And the body of the response.
    RequestResponse,
}

/// See the module's documentation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Policy {
    api_version: String,
    kind: String,
    #[serde(rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// An empty list matches everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What a policy decides about one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Not [`Level::None`].
    pub level: Level,
    pub omitted: Vec<Stage>,
    pub omits_managed_fields: bool,
}

impl Policy {
    /// # Errors
    /// What is wrong with `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value = galleria_manifest::yaml_to_json(text)?;
        let policy: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if policy.api_version != API_VERSION || policy.kind != "Policy" {
            return Err(format!("it must be a Policy of {API_VERSION}"));
        }
        if policy.rules.is_empty() {
            return Err("it has no `rules`, so that nothing would be logged".to_owned());
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{at}]: {why}"))?;
        }
        Ok(policy)
    }

    /// `None` if the request is not logged.
    pub(super) fn decide(&self, attributes: &Attributes) -> Option<Decision> {
        let rule = self.rules.iter().find(|rule| rule.matches(attributes))?;
        if rule.level == Level::None {
            return None;
        }
        let omitted = self.omit_stages.iter().chain(&rule.omit_stages);
        Some(Decision {
            level: rule.level,
            omitted: omitted.copied().collect(),
            omits_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        })
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            return Err("nonResourceURLs exclude resources and namespaces".to_owned());
        }
        for url in &self.non_resource_urls {
            let is_valid = url == "*" || url.starts_with('/');
            if !is_valid || url.trim_end_matches('*').contains('*') {
                let why = "is not `*`, or a path with at most a `*` at its end";
                return Err(format!("the nonResourceURL `{url}` {why}"));
            }
        }
        for entry in &self.resources {
            if entry.group.contains('/') {
                let group = &entry.group;
                return Err(format!("the group `{group}` must not have a version"));
            }
            if entry.resources.is_empty() && !entry.resource_names.is_empty() {
                return Err("resourceNames need resources".to_owned());
            }
        }
        Ok(())
    }

    fn matches(&self, attributes: &Attributes) -> bool {
        let has =
            |list: &[String], value: &str| list.is_empty() || list.iter().any(|it| it == value);
        let in_group = |group: &String| attributes.groups.contains(&group.as_str());
        if !has(&self.users, attributes.user)
            || !has(&self.verbs, &attributes.verb)
            || !(self.user_groups.is_empty() || self.user_groups.iter().any(in_group))
        {
            return false;
        }
        if !self.resources.is_empty() || !self.namespaces.is_empty() {
            return attributes.resource.as_ref().is_some_and(|resource| {
                has(&self.namespaces, &resource.namespace)
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|it| it.matches(resource)))
            });
        }
        if !self.non_resource_urls.is_empty() {
            let urls = &self.non_resource_urls;
            let is_matched = urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => attributes.path.starts_with(prefix),
                None => attributes.path == *url,
            });
            return attributes.resource.is_none() && is_matched;
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, resource: &ResourceAttributes) -> bool {
        let names = &self.resource_names;
        if self.group != resource.group || !(names.is_empty() || names.contains(&resource.name)) {
            return false;
        }
        let ResourceAttributes {
            resource,
            subresource,
            ..
        } = resource;
        let is_pattern_of = |pattern: &String| match pattern.split_once('/') {
            None => pattern == "*" || pattern == resource && subresource.is_empty(),
            Some(("*", of)) => of == subresource,
            Some((name, "*")) => name == resource,
            Some((name, of)) => name == resource && of == subresource,
        };
        self.resources.is_empty() || self.resources.iter().any(is_pattern_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::access::Access;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(&format!(
            "{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}"
        ))
    }

    fn level(policy: &Policy, method: &str, uri: &str) -> Level {
        let request = http::Request::builder().method(method).uri(uri);
        let request = request.body(()).expect("a request").into_parts().0;
        let attributes = Attributes::of(&request, Some(Access::Full));
        policy
            .decide(&attributes)
            .map_or(Level::None, |it| it.level)
    }

    #[test]
    fn rules_match_as_in_kubernetes() {
        let pod = "/api/v1/namespaces/a/pods/p";
        let log = "/api/v1/namespaces/a/pods/p/log";
        let deployment = "/apis/apps/v1/namespaces/a/deployments/d";
        let rows = [
            ("", "GET", pod, true),
            ("users: [galleria:full]", "GET", pod, true),
            ("users: [galleria:read-only]", "GET", pod, false),
            ("userGroups: [system:authenticated]", "GET", pod, true),
            ("userGroups: [system:masters]", "GET", pod, false),
            ("verbs: [get, list]", "GET", pod, true),
            ("verbs: [create]", "GET", pod, false),
            ("verbs: [watch]", "GET", "/api/v1/pods?watch=true", true),
            (
                "resources: [{group: '', resources: [pods]}]",
                "GET",
                pod,
                true,
            ),
            ("resources: [{resources: [pods]}]", "GET", log, false),
            ("resources: [{resources: [pods/log]}]", "GET", log, true),
            ("resources: [{resources: [pods/log]}]", "GET", pod, false),
            ("resources: [{resources: ['pods/*']}]", "GET", log, true),
            ("resources: [{resources: ['pods/*']}]", "GET", pod, true),
            ("resources: [{resources: ['*/log']}]", "GET", log, true),
            ("resources: [{resources: ['*/log']}]", "GET", pod, false),
            ("resources: [{resources: ['*']}]", "GET", log, true),
            ("resources: [{group: ''}]", "GET", log, true),
            ("resources: [{group: ''}]", "GET", deployment, false),
            ("resources: [{group: apps}]", "GET", deployment, true),
            (
                "resources: [{resources: [pods], resourceNames: [p]}]",
                "GET",
                pod,
                true,
            ),
            (
                "resources: [{resources: [pods], resourceNames: [q]}]",
                "GET",
                pod,
                false,
            ),
            ("namespaces: [a]", "GET", pod, true),
            ("namespaces: [b]", "GET", pod, false),
            ("namespaces: ['']", "GET", "/api/v1/nodes", true),
            ("namespaces: ['']", "GET", "/healthz", false),
            (
                "nonResourceURLs: ['/healthz*']",
                "GET",
                "/healthz/ping",
                true,
            ),
            (
                "nonResourceURLs: ['/healthz']",
                "GET",
                "/healthz/ping",
                false,
            ),
            ("nonResourceURLs: ['*']", "GET", "/version", true),
            ("nonResourceURLs: ['*']", "GET", pod, false),
            (
                "resources: [{group: ''}], namespaces: [b]",
                "GET",
                pod,
                false,
            ),
        ];
        for (rule, method, uri, expected) in rows {
            let rule = format!("{{level: Request, {rule}}}");
            let policy = policy(&rule).expect(&rule);
            let expected = if expected {
                Level::Request
            } else {
                Level::None
            };
            assert_eq!(level(&policy, method, uri), expected, "{rule} {uri}");
        }
    }

    #[test]
    fn the_first_rule_decides_and_stages_are_joined() {
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
            omitManagedFields: true\nrules:\n\
            - {level: None, nonResourceURLs: ['*']}\n\
            - {level: Metadata, verbs: [get], omitStages: [ResponseStarted]}\n\
            - {level: RequestResponse, omitManagedFields: false}\n";
        let policy = Policy::parse(text).expect("valid");
        assert_eq!(level(&policy, "GET", "/version"), Level::None);
        let decide = |method: &str| {
            let request = http::Request::builder().method(method);
            let request = request.uri("/api/v1/namespaces/a/pods/p").body(());
            let request = request.expect("a request").into_parts().0;
            policy
                .decide(&Attributes::of(&request, None))
                .expect("logged")
        };
        let read = Decision {
            level: Level::Metadata,
            omitted: vec![Stage::RequestReceived, Stage::ResponseStarted],
            omits_managed_fields: true,
        };
        assert_eq!(decide("GET"), read);
        let write = Decision {
            level: Level::RequestResponse,
            omitted: vec![Stage::RequestReceived],
            omits_managed_fields: false,
        };
        assert_eq!(decide("PUT"), write);
    }

    #[test]
    fn malformed_policies_are_refused() {
        for (rules, expected) in [
            ("", "no `rules`"),
            ("{}", "missing field `level`"),
            ("{level: All}", "unknown variant `All`"),
            ("{level: Request, verb: [get]}", "unknown field `verb`"),
            ("{level: Request, omitStages: [Started]}", "unknown variant"),
            ("{level: Request, nonResourceURLs: [healthz]}", "`healthz`"),
            ("{level: Request, nonResourceURLs: ['/a*b']}", "`/a*b`"),
            (
                "{level: Request, nonResourceURLs: ['*'], namespaces: [a]}",
                "exclude",
            ),
            (
                "{level: Request, resources: [{group: apps/v1}]}",
                "must not have a version",
            ),
            (
                "{level: Request, resources: [{resourceNames: [a]}]}",
                "need resources",
            ),
        ] {
            let error = policy(rules).expect_err(rules);
            assert!(error.contains(expected), "{rules}: {error}");
        }
        for text in [
            "",
            "[]",
            "{apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
    }
}
