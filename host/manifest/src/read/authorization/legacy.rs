//! Istio's access control until 1.5: ClusterRbacConfig, RbacConfig, ServiceRole and
//! ServiceRoleBinding. Unlike a policy of today, it denies by default where it is on.

use super::attribute::{attribute_of, value};
use super::condition::some_items;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, items, located_string, map, non_empty};
use crate::model::{
    AccessRule, Attribute, AttributeMatch, DestinationAttribute, DestinationConstraint, RbacConfig,
    RbacMode, RbacTarget, Resource, ServiceRole, ServiceRoleBinding,
};
use crate::yaml::{Node, Value};

pub(crate) fn rbac_config(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let name = fields.get("metadata").and_then(|it| it.get("name"));
    if let Some(name) = name
        && name.as_text() != Some("default")
    {
        let message = "only the object with the name `default` takes effect; rename it";
        let mark = name.mark;
        fields.d.error(mark, codes::INVALID_VALUE, message);
    }
    let config = fields.required("spec", config);
    fields.finish_strictly();
    config.map(Resource::RbacConfig)
}

pub(crate) fn service_role(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let rules = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let rules = spec.required_list("rules", access_rule);
        spec.finish_strictly();
        rules
    });
    fields.finish_strictly();
    rules.map(|rules| Resource::ServiceRole(ServiceRole { rules }))
}

pub(crate) fn service_role_binding(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let binding = fields.required("spec", binding);
    fields.finish_strictly();
    binding.map(Resource::ServiceRoleBinding)
}

#[derive(Clone, Copy)]
enum Mode {
    Off,
    On,
    Inclusion,
    Exclusion,
}

fn config(d: &mut Decoder, node: &Node) -> Option<RbacConfig> {
    let mut spec = Fields::of(d, node)?;
    let mode = spec.optional("mode", |d, node| {
        choice(
            d,
            node,
            "a mode",
            &[
                ("OFF", Mode::Off),
                ("ON", Mode::On),
                ("ON_WITH_INCLUSION", Mode::Inclusion),
                ("ON_WITH_EXCLUSION", Mode::Exclusion),
            ],
        )
    });
    let mode = mode.unwrap_or(Mode::Off);
    let inclusion = spec.optional("inclusion", target);
    let exclusion = spec.optional("exclusion", target);
    let is_permissive = permissive(&mut spec, "enforcementMode");
    let mode = match mode {
        Mode::Off => Some(RbacMode::Off),
        Mode::On => Some(RbacMode::On),
        Mode::Inclusion => {
            if inclusion.is_none() {
                spec.missing("inclusion");
            }
            inclusion.map(RbacMode::OnWithInclusion)
        }
        Mode::Exclusion => {
            if exclusion.is_none() {
                spec.missing("exclusion");
            }
            exclusion.map(RbacMode::OnWithExclusion)
        }
    };
    spec.finish_strictly();
    Some(RbacConfig {
        mode: mode?,
        is_permissive,
    })
}

fn target(d: &mut Decoder, node: &Node) -> Option<RbacTarget> {
    let mut target = Fields::of(d, node)?;
    let services = target.list("services", non_empty);
    let namespaces = target.list("namespaces", non_empty);
    if target.has("workloadSelectors") {
        let message = "is not supported; use `services` or `namespaces`".to_owned();
        target.error_at("workloadSelectors", codes::NOT_HONOURED, message);
        target.ignore(&["workloadSelectors"]);
    }
    target.finish_strictly();
    Some(RbacTarget {
        services,
        namespaces,
    })
}

fn permissive(fields: &mut Fields<'_, '_>, name: &'static str) -> bool {
    let options = [("ENFORCED", false), ("PERMISSIVE", true)];
    let mode = fields.optional(name, |d, node| {
        choice(d, node, "an enforcement mode", &options)
    });
    mode.unwrap_or(false)
}

fn access_rule(d: &mut Decoder, node: &Node) -> Option<AccessRule> {
    let at = d.position(node.mark);
    let mut rule = Fields::of(d, node)?;
    let services = rule.required_list("services", non_empty);
    let mut operation = Vec::new();
    for (name, attribute) in [("methods", Attribute::Method), ("paths", Attribute::Path)] {
        let values = some_items(&mut rule, name, non_empty);
        // `*` is any, not any that is not empty.
        if !values.is_empty() && !values.iter().any(|it| it == "*") {
            operation.push(AttributeMatch::any_of(attribute, values));
        }
    }
    let mut destination = Vec::new();
    for constraint in some_items(&mut rule, "constraints", constraint) {
        match constraint {
            Constraint::Request(it) => operation.push(it),
            Constraint::Destination(it) => destination.push(it),
        }
    }
    rule.finish_strictly();
    Some(AccessRule {
        at,
        services: services?,
        operation,
        destination,
    })
}

enum Constraint {
    Request(AttributeMatch),
    Destination(DestinationConstraint),
}

fn constraint(d: &mut Decoder, node: &Node) -> Option<Constraint> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.required("key", located_string);
    let values = fields.required_list("values", non_empty);
    fields.finish_strictly();
    let (key, values) = (key?, values?);
    let attribute = match key.as_str() {
        "destination.name" => Some(DestinationAttribute::Name),
        "destination.namespace" => Some(DestinationAttribute::Namespace),
        "destination.user" => Some(DestinationAttribute::User),
        key => key
            .strip_prefix("destination.labels[")
            .and_then(|name| name.strip_suffix(']'))
            .map(|name| DestinationAttribute::Label(name.to_owned())),
    };
    if let Some(attribute) = attribute {
        return Some(Constraint::Destination(DestinationConstraint {
            attribute,
            values,
        }));
    }
    request_match(d, node, &key, values).map(Constraint::Request)
}

fn request_match(
    d: &mut Decoder,
    node: &Node,
    key: &str,
    values: Vec<String>,
) -> Option<AttributeMatch> {
    match attribute_of(key) {
        Ok(attribute) => {
            let values = match node.get("values") {
                Some(list) => items(d, list, |d, node| value(d, node, &attribute))?,
                None => values,
            };
            Some(AttributeMatch::any_of(attribute, values))
        }
        Err(message) => {
            d.error(node.mark, codes::INVALID_VALUE, message);
            None
        }
    }
}

fn binding(d: &mut Decoder, node: &Node) -> Option<ServiceRoleBinding> {
    let mut spec = Fields::of(d, node)?;
    let subjects = spec.required_list("subjects", subject);
    let role = spec.required("roleRef", |d, node| {
        let mut role = Fields::of(d, node)?;
        let kinds = [("ServiceRole", ())];
        role.required("kind", |d, node| choice(d, node, "a kind of role", &kinds));
        let name = role.required("name", located_string);
        role.ignore(&["apiGroup"]);
        role.finish_strictly();
        name
    });
    let is_permissive = permissive(&mut spec, "mode");
    spec.finish_strictly();
    Some(ServiceRoleBinding {
        subjects: subjects?,
        role: role?,
        is_permissive,
    })
}

fn subject(d: &mut Decoder, node: &Node) -> Option<Vec<AttributeMatch>> {
    let mut subject = Fields::of(d, node)?;
    let mut conditions = Vec::new();
    match subject.optional("user", non_empty).as_deref() {
        // Everybody, with or without an identity.
        None | Some("*" | "allUsers") => {}
        Some("allAuthenticatedUsers") => {
            let any = vec!["*".to_owned()];
            conditions.push(AttributeMatch::any_of(Attribute::SourcePrincipal, any));
        }
        Some(user) => {
            let user = vec![user.to_owned()];
            conditions.push(AttributeMatch::any_of(Attribute::SourcePrincipal, user));
        }
    }
    if let Some(group) = subject.optional("group", non_empty) {
        let groups = Attribute::RequestClaim(vec!["groups".to_owned()]);
        conditions.push(AttributeMatch::any_of(groups, vec![group]));
    }
    let properties = subject.optional("properties", |d, node| {
        map(d, node, |d, key, node| {
            let attribute = match attribute_of(key) {
                Ok(attribute) => attribute,
                Err(message) => {
                    d.error(node.mark, codes::INVALID_VALUE, message);
                    return None;
                }
            };
            let value = value(d, node, &attribute)?;
            Some(AttributeMatch::any_of(attribute, vec![value]))
        })
    });
    conditions.extend(properties.unwrap_or_default().into_values());
    if matches!(&node.value, Value::Mapping(entries) if entries.is_empty()) {
        let mark = subject.mark;
        let message = "an empty subject is not allowed; use `user: \"*\"` for everybody";
        subject.d.error(mark, codes::MISSING_FIELD, message);
    }
    subject.finish_strictly();
    Some(conditions)
}
