//! Server-side apply: a manager owns the fields that it applies, until it applies an
//! object without them. Two managers that want different values conflict.

mod managers;
mod paths;

use jiff::Timestamp;
use serde_json::Value;

use super::failure::Failure;
use super::kind::{Kind, api_version};
use super::patch::strategic;
use super::path::Resource;
use super::write::{WriteOptions, WriteResult, key};
use super::{Api, bounds};
use managers::{Manager, Managers, Operation};
use paths::Paths;

/// The content type of an apply.
pub(super) const MEDIA_TYPE: &str = "application/apply-patch+yaml";

/// Where `kubectl apply` keeps what it applied on the client's side.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Makes `manager` the manager of the fields that it changed by anything but an apply.
/// `before` is the object before the change, null for a new one. As in an API server, an object
/// without managers gets the first one by an apply; a Namespace always has one, since it is created
/// with a label.
pub(super) fn note_update(
    object: &mut Value,
    before: &Value,
    manager: &str,
    version: &str,
    kind: &Kind,
) {
    let now = Paths::of(object, kind);
    let gone = Paths::of(before, kind).without(&now);
    let changed = now.differing(object, before);
    let mut managers = Managers::wanted(object, before);
    if managers.0.is_empty() && !before.is_null() && kind.kind != "Namespace" {
        return managers.write(object);
    }
    if changed.is_empty() && gone.is_empty() {
        return managers.write(object);
    }
    for other in &mut managers.0 {
        other.paths = other.paths.without(&gone).without(&changed);
    }
    managers.add(
        Manager {
            name: manager.to_owned(),
            operation: Operation::Update,
            api_version: api_version(kind.group, version),
            time: now_text(),
            paths: Paths::default(),
        },
        &changed,
    );
    managers.write(object);
}

impl Api {
    /// Applies the fields of `wanted`; creates the object if it does not exist.
    ///
    /// # Errors
    /// See [`Failure`]; among them a conflict with another manager.
    pub(super) async fn apply(
        &self,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        wanted: Value,
    ) -> Result<WriteResult, Failure> {
        let manager = options.field_manager.as_deref().unwrap_or_default();
        check_type(resource, &wanted)?;
        if !wanted["metadata"]["managedFields"].is_null() {
            return Err(Failure::BadRequest(
                "metadata.managedFields must be absent from the applied object".into(),
            ));
        }
        bounds::check(&wanted)?;
        let kind = resource.kind;
        self.check_applied(&key(resource, name), &wanted)?;
        if let Some(list) = paths::repeated(&wanted).filter(|_| !kind.is_custom) {
            return Err(Failure::BadRequest(format!(
                "cannot apply the object: {list} has two entries with the same key"
            )));
        }
        let version = api_version(kind.group, &resource.version);
        let paths = Paths::of(&wanted, kind);
        let own = || Manager {
            name: manager.to_owned(),
            operation: Operation::Apply,
            api_version: version.clone(),
            time: now_text(),
            paths: Paths::default(),
        };
        if self.store.get(&key(resource, name)).is_none() {
            let mut object = wanted.clone();
            let mut managers = Managers::default();
            managers.add(own(), &paths);
            managers.write(&mut object);
            match self.create(options, resource, object).await {
                // Another client was faster.
                Err(Failure::AlreadyExists { .. }) => {}
                created => return created,
            }
        }
        let force = options.force.unwrap_or_default();
        self.change(options, resource, name, |_, shown| {
            let mut managers = Managers::of(shown);
            managers.note_earlier(shown, kind, &version);
            let is_own = |it: &Manager| it.name == manager && it.operation == Operation::Apply;
            let migrated = last_applied(manager, shown, kind);
            let mut conflicts = Vec::new();
            for other in managers.0.iter_mut().filter(|it| !is_own(it)) {
                let common = other.paths.common(&paths).differing(&wanted, shown);
                if force || common.without(&migrated).is_empty() {
                    other.paths = other.paths.without(&common);
                } else {
                    conflicts.extend(common.shown().map(|path| (other.described(), path)));
                }
            }
            if !conflicts.is_empty() {
                return Err(Failure::ApplyConflict(conflicts));
            }
            let mut merged = shown.clone();
            match kind.is_custom {
                true => json_patch::merge(&mut merged, &wanted),
                false => strategic::apply(&mut merged, wanted.clone()),
            }
            let before = managers.take(is_own).unwrap_or_default();
            let mut removed = before.without(&paths);
            for other in &managers.0 {
                removed = removed.without(&other.paths);
            }
            removed.remove_from(&mut merged);
            keep_last_applied(manager, &wanted, &mut merged);
            managers.add(own(), &paths);
            managers.write(&mut merged);
            Ok(merged)
        })
        .await
    }
}

/// An apply names what it applies, unlike other patches.
///
/// # Errors
/// It has no kind, or another.
fn check_type(resource: &Resource, wanted: &Value) -> Result<(), Failure> {
    let version = api_version(resource.kind.group, &resource.version);
    for (field, expected) in [
        ("kind", resource.kind.kind),
        ("apiVersion", version.as_str()),
    ] {
        if wanted[field] != *expected {
            return Err(Failure::BadRequest(format!(
                "{field} of the object must be `{expected}`, as in the request"
            )));
        }
    }
    Ok(())
}

/// What `kubectl apply` has written on the client's side: the same manager may now change it
/// from the server's side.
fn last_applied(manager: &str, shown: &Value, kind: &Kind) -> Paths {
    if manager != "kubectl" {
        return Paths::default();
    }
    let annotation = &shown["metadata"]["annotations"][LAST_APPLIED];
    let written = annotation
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    match written {
        Some(written) if bounds::check(&written).is_ok() => Paths::of(&written, kind),
        _ => Paths::default(),
    }
}

/// Where `kubectl apply` has written on the client's side what it applied, it finds there what it
/// has applied on the server's side since, so that it can go back.
fn keep_last_applied(manager: &str, wanted: &Value, merged: &mut Value) {
    const ANNOTATIONS: &str = "/metadata/annotations";
    let annotation = merged
        .pointer_mut(ANNOTATIONS)
        .and_then(|it| it.get_mut(LAST_APPLIED));
    if let Some(annotation) = annotation.filter(|_| manager == "kubectl") {
        let mut applied = wanted.clone();
        if let Some(Value::Object(annotations)) = applied.pointer_mut(ANNOTATIONS) {
            annotations.remove(LAST_APPLIED);
        }
        *annotation = format!("{applied}\n").into();
    }
}

fn now_text() -> String {
    format!("{:.0}", Timestamp::now())
}
