//! Create, update, patch and delete.
//!
//! An object is checked in the same way as by `galleria check` and passed to the control
//! loop, which applies it as a whole or refuses it. Fields that a client sends back
//! unchanged stay as they were written: defaults do not become part of an object.

mod abandoned;
mod answer;
mod cluster_ip;
mod conditions;
mod delete;
mod delete_options;
mod dependents;
mod form;
mod immutable;
mod metadata;
mod node_ports;
mod options;
mod span;
mod submit;

pub(super) use answer::WriteResult;
pub(super) use conditions::{check_preconditions, check_seen};
pub(super) use delete_options::DeleteOptions;
pub(super) use options::WriteOptions;

use axum::body::Body;
use bytes::Bytes;
use galleria_manifest::model::{NODE_NAME, ObjectKey};
use http::request::Parts;
use http::{Method, Response};
use jiff::Timestamp;
use serde_json::Value;
use tracing::Instrument;

use super::Api;
use super::eviction::EVICTION;
use super::failure::Failure;
use super::kind::SCALE;
use super::object::shown;
use super::object::versions::to_stored;
use super::path::Resource;
use super::{apply, body, bounds, patch};
use crate::store::{StoredObject, fresh_uid};
use crate::writes::{Edit, WriteError};
use answer::answer;
use cluster_ip::keep_address;
use conditions::{check_finalizers, check_new, check_owner};
use dependents::{has_finalizers, is_marked};
use form::{as_written, identify, keep_unchanged, remove, strip, without_times};

/// Fields of metadata that a client cannot change.
const SET_BY_HOST: [&str; 4] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Kinds whose objects a PUT creates, as in an API server.
const CREATED_BY_UPDATE: &[&str] = &[
    "ClusterRole",
    "ClusterRoleBinding",
    "LimitRange",
    "Role",
    "RoleBinding",
    "Service",
];

/// How often a change is computed again after another client changed the object.
const ATTEMPTS: usize = 5;

impl Api {
    /// Answers a request that is not a read.
    ///
    /// # Errors
    /// See [`Failure`]; nothing is changed then.
    pub(super) async fn write(
        &self,
        request: &Parts,
        body: Bytes,
        resource: &Resource,
    ) -> Result<Response<Body>, Failure> {
        let span = span::begin(request, resource);
        let writing = self.execute(request, body, resource);
        let result = writing.instrument(span.clone()).await;
        span::end(&span, &result);
        result
    }

    async fn execute(
        &self,
        request: &Parts,
        body: Bytes,
        resource: &Resource,
    ) -> Result<Response<Body>, Failure> {
        let options = WriteOptions::of(request)?;
        if options.is_dry_run() {
            span::set_dry_run();
        }
        let subresource = resource.subresource.as_deref();
        let name = resource.name.as_deref();
        match (&request.method, name, subresource) {
            (&Method::POST, None, None) => {
                let repeated = options.check_fields(request, &body)?;
                let object = body::object(request, &body)?;
                let nothing = Value::Null;
                let object = self.with_manager(request, &options, resource, &nothing, object)?;
                let mut created = self.create(&options, resource, object).await?;
                created.warnings.extend(repeated);
                Ok(answer(created))
            }
            (&Method::PUT, Some(name), None) => {
                let repeated = options.check_fields(request, &body)?;
                let wanted = body::object(request, &body)?;
                let change = |_: &StoredObject, shown: &Value| {
                    self.with_manager(request, &options, resource, shown, wanted.clone())
                };
                let changed = self.change(&options, resource, name, change).await;
                let mut written = match changed {
                    Err(Failure::NotFound { .. })
                        if CREATED_BY_UPDATE.contains(&resource.kind.kind) =>
                    {
                        let (new, nothing) = (wanted.clone(), Value::Null);
                        let new = self.with_manager(request, &options, resource, &nothing, new)?;
                        self.create(&options, resource, new).await?
                    }
                    changed => changed?,
                };
                written.warnings.extend(repeated);
                Ok(answer(written))
            }
            (&Method::PATCH, Some(name), None) => {
                let media_type = body::media_type(&request.headers);
                if media_type == apply::MEDIA_TYPE {
                    let wanted = body::yaml(&body)?;
                    let applied = self.apply(&options, resource, name, wanted).await?;
                    return Ok(answer(applied));
                }
                let change = |_: &StoredObject, shown: &Value| {
                    let wanted = patch::patched(media_type, &body, resource.kind, shown)?;
                    self.with_manager(request, &options, resource, shown, wanted)
                };
                Ok(answer(self.change(&options, resource, name, change).await?))
            }
            (&Method::PUT | &Method::PATCH, Some(name), Some(SCALE))
                if resource.is_subresource(SCALE) =>
            {
                Ok(answer(
                    self.scale(request, &options, resource, name, &body).await?,
                ))
            }
            (&Method::POST, Some(name), Some(EVICTION)) if resource.is_subresource(EVICTION) => {
                self.evict(request, &options, resource, name, &body).await
            }
            (&Method::POST, Some(name), Some("binding")) if resource.kind.kind == "Pod" => {
                self.stored(resource, &key(resource, name))?;
                Err(Failure::Bound(name.to_owned()))
            }
            (&Method::DELETE, Some(name), None) => {
                self.delete(request, &options, resource, name, &body).await
            }
            // Namespaces are deleted one by one.
            (&Method::DELETE, None, None) if resource.kind.kind != "Namespace" => {
                self.delete_collection(request, &options, resource, &body)
                    .await
            }
            _ => Err(Failure::MethodNotAllowed),
        }
    }

    pub(super) async fn create(
        &self,
        options: &WriteOptions,
        resource: &Resource,
        mut object: Value,
    ) -> Result<WriteResult, Failure> {
        identify(resource, &mut object)?;
        if resource.kind.kind == "Node" {
            let message = format!("this host is the only node, {NODE_NAME}");
            return Err(Failure::Forbidden(message));
        }
        metadata::check(resource, &object)?;
        check_new(&object)?;
        strip(&mut object);
        let metadata = &mut object["metadata"];
        metadata["uid"] = fresh_uid().into();
        metadata["creationTimestamp"] = format!("{:.0}", Timestamp::now()).into();
        let key = key(resource, metadata["name"].as_str().unwrap_or_default());
        if resource.name.is_none() {
            span::set_name(&key.name);
        }
        self.check_namespace(resource)?;
        if self.store.get(&key).is_some() {
            return Err(Failure::exists(resource.kind, &key.name));
        }
        self.assign_address(resource, &mut object)?;
        self.assign_node_ports(resource, None, &mut object)?;
        let object = to_stored(object, resource.kind, &resource.version, None);
        bounds::check_stored(&object)?;
        let read = self.read_object(resource, &key, options, &object)?;
        let edit = Edit {
            key: key.clone(),
            from: None,
            to: Some(read.object.clone()),
        };
        let submitted = self.submit(vec![edit], options.is_dry_run()).await;
        submitted.map_err(|error| match error {
            WriteError::Changed => Failure::exists(resource.kind, &key.name),
            error => Failure::of(error, resource.kind, &key.name),
        })?;
        let written = self.written(resource, &key, &read, None);
        self.collect_abandoned(options, &key).await;
        Ok(written)
    }

    /// `wanted`, with this client as the manager of the fields that it changes.
    pub(super) fn with_manager(
        &self,
        request: &Parts,
        options: &WriteOptions,
        resource: &Resource,
        shown: &Value,
        mut wanted: Value,
    ) -> Result<Value, Failure> {
        if !wanted["metadata"].is_object() {
            return Err(Failure::BadRequest("the object has no metadata".into()));
        }
        bounds::check(&wanted)?;
        let manager = options.manager(request);
        apply::note_update(
            &mut wanted,
            shown,
            &manager,
            &resource.version,
            resource.kind,
        );
        Ok(wanted)
    }

    /// Replaces an object by what `change` returns for it, as stored and as shown.
    pub(super) async fn change(
        &self,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        change: impl Fn(&StoredObject, &Value) -> Result<Value, Failure>,
    ) -> Result<WriteResult, Failure> {
        let key = key(resource, name);
        for _ in 0..ATTEMPTS {
            let stored = self.stored(resource, &key)?;
            check_owner(resource, &stored)?;
            let shown = shown(&stored, resource.kind, &resource.version);
            let mut wanted = change(&stored, &shown)?;
            metadata::check_patch(resource, options, &shown, &wanted)?;
            identify(resource, &mut wanted)?;
            metadata::check(resource, &wanted)?;
            check_seen(resource, &shown, &wanted["metadata"])?;
            check_finalizers(resource, &shown, &wanted)?;
            keep_address(resource.kind, &shown, &mut wanted);
            self.assign_node_ports(resource, Some(&shown), &mut wanted)?;
            immutable::check(resource, &shown, &wanted)?;
            let written = as_written(&stored, resource);
            let mut object = keep_unchanged(wanted, &shown, &written);
            strip(&mut object);
            for field in SET_BY_HOST {
                match written["metadata"].get(field) {
                    Some(value) => object["metadata"][field] = value.clone(),
                    None => remove(&mut object["metadata"], field),
                }
            }
            let object = to_stored(
                object,
                resource.kind,
                &resource.version,
                Some(&stored.object.raw),
            );
            bounds::check_stored(&object)?;
            let read = self.read_object(resource, &key, options, &object)?;
            if without_times(&read.object.raw) == without_times(&stored.object.raw) {
                return Ok(WriteResult {
                    object: shown,
                    warnings: Vec::new(),
                    is_new: false,
                });
            }
            let ends = is_marked(&object) && !has_finalizers(&object);
            let edits = match ends {
                true => self.ends(&stored),
                false => vec![Edit {
                    key: key.clone(),
                    from: Some(stored.object.clone()),
                    to: Some(read.object.clone()),
                }],
            };
            match self.submit(edits, options.is_dry_run()).await {
                Ok(()) => {
                    let written = self.written(resource, &key, &read, Some(&stored));
                    self.collect_abandoned(options, &key).await;
                    return Ok(written);
                }
                Err(WriteError::Changed) => {}
                Err(error) => return Err(Failure::of(error, resource.kind, &key.name)),
            }
        }
        Err(Failure::conflict(resource.kind, name))
    }
}

pub(super) fn key(resource: &Resource, name: &str) -> ObjectKey {
    ObjectKey {
        group: resource.kind.group.to_owned(),
        kind: resource.kind.kind.to_owned(),
        namespace: resource.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    }
}
