//! Istio's AuthorizationPolicy.
//!
//! A policy that is not understood completely must not be used: any problem that could
//! change which requests match is an error.

mod attribute;
mod condition;
mod legacy;
mod path_template;
pub(super) mod scope;

pub(crate) use legacy::{rbac_config, service_role, service_role_binding};

use condition::{attribute_match, operation, some_items, source};

use crate::codes;
use crate::decode::{Decoder, Fields, choice, non_empty};
use crate::model::{AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Resource};
use crate::yaml::Node;

pub(crate) fn policy(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let policy = fields.optional("spec", spec).unwrap_or_default();
    fields.finish_strictly();
    Some(Resource::AuthorizationPolicy(policy))
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Allow,
    Deny,
    Audit,
    Custom,
}

fn spec(d: &mut Decoder, node: &Node) -> Option<AuthorizationPolicy> {
    let mut spec = Fields::of(d, node)?;
    let applies_to = scope::read(&mut spec);
    let action = spec.optional("action", action).unwrap_or(Action::Allow);
    let action = read_provider(&mut spec, action);
    let rules = spec.list("rules", rule);
    if rules.is_empty() && action != Some(AuthorizationAction::Allow) {
        let message = "this policy has no rules, so it matches no request; add `rules`".to_owned();
        spec.warn_at("action", codes::POLICY_MATCHES_NOTHING, message);
    }
    spec.finish_strictly();
    Some(AuthorizationPolicy {
        action: action?,
        applies_to: applies_to?,
        rules,
    })
}

fn action(d: &mut Decoder, node: &Node) -> Option<Action> {
    choice(
        d,
        node,
        "an action",
        &[
            ("ALLOW", Action::Allow),
            ("DENY", Action::Deny),
            ("AUDIT", Action::Audit),
            ("CUSTOM", Action::Custom),
        ],
    )
}

fn read_provider(spec: &mut Fields<'_, '_>, action: Action) -> Option<AuthorizationAction> {
    if action == Action::Custom {
        let provider = spec.required("provider", |d, node| {
            let mut provider = Fields::of(d, node)?;
            let name = provider.required("name", non_empty);
            provider.finish_strictly();
            name
        });
        return provider.map(AuthorizationAction::Custom);
    }
    if spec.has("provider") {
        let message = "`provider` needs `action: CUSTOM`".to_owned();
        spec.error_at("provider", codes::EXCLUSIVE_FIELDS, message);
        spec.ignore(&["provider"]);
    }
    Some(match action {
        Action::Deny => AuthorizationAction::Deny,
        Action::Audit => AuthorizationAction::Audit,
        Action::Allow | Action::Custom => AuthorizationAction::Allow,
    })
}

fn rule(d: &mut Decoder, node: &Node) -> Option<AuthorizationRule> {
    let at = d.position(node.mark);
    let mut rule = Fields::of(d, node)?;
    let from = some_items(&mut rule, "from", |d, node| {
        let mut from = Fields::of(d, node)?;
        let source = from.required("source", source);
        from.finish_strictly();
        source
    });
    let to = some_items(&mut rule, "to", |d, node| {
        let mut to = Fields::of(d, node)?;
        let operation = to.required("operation", operation);
        to.finish_strictly();
        operation
    });
    let when = some_items(&mut rule, "when", attribute_match);
    rule.finish_strictly();
    Some(AuthorizationRule { at, from, to, when })
}
