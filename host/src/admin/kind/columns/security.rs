//! Policies.

use super::{AGE, Column, NAME, column};

pub(super) const PEER_AUTHENTICATION: &[Column] = &[
    NAME,
    column("Mode", |it| it.text("/spec/mtls/mode").into()),
    AGE,
];
