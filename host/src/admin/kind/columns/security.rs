//! Policies, roles and definitions of custom resources.

use serde_json::Value;

use super::{AGE, CREATED_AT, Cell, Column, NAME, column, joined, wide};

pub(super) const PEER_AUTHENTICATION: &[Column] = &[
    NAME,
    column("Mode", |it| it.text("/spec/mtls/mode").into()),
    AGE,
];

pub(super) const ROLE: &[Column] = &[NAME, CREATED_AT];

pub(super) const CUSTOM_RESOURCE_DEFINITION: &[Column] = &[
    NAME,
    column("Scope", |it| it.text("/spec/scope").into()),
    column("Versions", |it| it.joined("/spec/versions", "name")),
    CREATED_AT,
    wide("Group", |it| it.text("/spec/group").into()),
    wide("Kind", |it| it.text("/spec/names/kind").into()),
    wide("ShortNames", |it| it.joined("/spec/names/shortNames", "")),
    Column {
        data_type: "boolean",
        ..wide("Established", |it| it.condition("Established").into())
    },
];

pub(super) const ROLE_BINDING: &[Column] = &[
    NAME,
    column("Role", |it| {
        let (kind, name) = (it.text("/roleRef/kind"), it.text("/roleRef/name"));
        format!("{kind}/{name}").into()
    }),
    AGE,
    wide("Users", |it| subjects(it, "User")),
    wide("Groups", |it| subjects(it, "Group")),
    wide("ServiceAccounts", |it| subjects(it, "ServiceAccount")),
];

/// The subjects of a kind, or nothing.
fn subjects(it: Cell<'_>, kind: &str) -> Value {
    let subjects = it.list("/subjects").filter(|it| it["kind"] == kind);
    let shown = subjects.map(|it| {
        let name = it["name"].as_str().unwrap_or_default();
        match it["namespace"].as_str() {
            Some(namespace) if kind == "ServiceAccount" => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        }
    });
    match joined(shown) {
        Value::String(none) if none == "<none>" => "".into(),
        Value::String(shown) => shown.replace(',', ", ").into(),
        other => other,
    }
}
