//! Policies.

use super::{AGE, Column, NAME, column};

pub(super) const PEER_AUTHENTICATION: &[Column] = &[
    NAME,
    column("Mode", |it| it.text("/spec/mtls/mode").into()),
    AGE,
];

/// Roles and definitions of custom resources.
pub(super) const CREATED_AT: &[Column] = &[
    NAME,
    column("Created At", |it| {
        it.at("/metadata/creationTimestamp").clone()
    }),
];

pub(super) const ROLE_BINDING: &[Column] = &[
    NAME,
    column("Role", |it| {
        let (kind, name) = (it.text("/roleRef/kind"), it.text("/roleRef/name"));
        format!("{kind}/{name}").into()
    }),
    AGE,
];
