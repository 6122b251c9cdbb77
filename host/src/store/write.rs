//! What the admin API asks to be written: it goes through the control loop, as a
//! change of the files does, and is taken whole or not at all.

use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use galleria_manifest::{Diagnostic, Severity};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::canary::Order;

/// One object's change.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub key: ObjectKey,
    /// What the change was made from; `None` where nothing was there.
    pub from: Option<Arc<Object>>,
    /// `None` deletes it.
    pub to: Option<Arc<Object>>,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Changes that are in force together.
    Edits { edits: Vec<Edit>, dry_run: bool },
    /// That a pod leaves; its workload makes another.
    Evict(ObjectKey),
    /// That a canary gets more or less.
    Canary(Order),
}

/// A change, and where to answer.
#[derive(Debug)]
pub(crate) struct Write {
    pub asked: Command,
    pub answer: oneshot::Sender<Result<(), WriteError>>,
}

/// Why a change was not taken. Nothing of it was.
#[derive(Debug, Clone)]
pub(crate) enum WriteError {
    /// Somebody else changed the object meanwhile.
    Changed,
    /// What the manifests would be then is wrong.
    Refused(Vec<Diagnostic>),
    /// The host cannot do what they would say then.
    Impossible(String),
    /// The data folder cannot be written.
    NotKept(String),
}

/// The first part of every [`place`].
const API: &str = "api";

/// Whether messages name it as the file of an object that came by the API.
pub(crate) fn is_place(file: &Path) -> bool {
    file.starts_with(API)
}

/// What messages name as the file of an object that came by the API.
pub(crate) fn place(key: &ObjectKey) -> String {
    let parts = [API, &key.group, &key.namespace, &key.kind, &key.name];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

/// Reads an object that came by the API.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_object(key: &ObjectKey, raw: &Value) -> Result<ReadObject, Vec<Diagnostic>> {
    let read = galleria_manifest::read_json(Path::new(&place(key)), raw);
    let is_error = |it: &Diagnostic| it.severity == Severity::Error;
    match read.objects.first() {
        Some(object) if !read.diagnostics.iter().any(is_error) => Ok(ReadObject {
            object: object.clone(),
            warnings: read.diagnostics,
        }),
        _ => Err(read.diagnostics),
    }
}

/// An object and what is odd about it.
#[derive(Debug)]
pub(crate) struct ReadObject {
    pub object: Arc<Object>,
    pub warnings: Vec<Diagnostic>,
}
