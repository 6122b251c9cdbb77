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

/// Makes `manager` the manager of the fields that it changed by anything but an apply.
/// `before` is the object before the change, null for a new one.
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
    let mut managers = Managers::of(before);
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
        let Some(manager) = options.field_manager.as_deref() else {
            return Err(Failure::BadRequest(
                "fieldManager is required to apply".into(),
            ));
        };
        if !wanted["metadata"]["managedFields"].is_null() {
            return Err(Failure::BadRequest(
                "metadata.managedFields must be absent from the applied object".into(),
            ));
        }
        bounds::check(&wanted)?;
        let kind = resource.kind;
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
            let is_own = |it: &Manager| it.name == manager && it.operation == Operation::Apply;
            let mut conflicts = Vec::new();
            for other in managers.0.iter_mut().filter(|it| !is_own(it)) {
                let common = other.paths.common(&paths).differing(&wanted, shown);
                if force {
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
                false => strategic::merge(&mut merged, wanted.clone()),
            }
            let before = managers.take(is_own).unwrap_or_default();
            let mut removed = before.without(&paths);
            for other in &managers.0 {
                removed = removed.without(&other.paths);
            }
            removed.remove_from(&mut merged);
            managers.add(own(), &paths);
            managers.write(&mut merged);
            Ok(merged)
        })
        .await
    }
}

fn now_text() -> String {
    format!("{:.0}", Timestamp::now())
}
