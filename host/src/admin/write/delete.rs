//! Delete: one object, or all that a selector matches.

use axum::body::Body;
use axum::extract::Query;
use http::Response;
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::dependents::{Deletion, Propagation};
use super::{ATTEMPTS, DeleteOptions, WriteOptions, check_owner, check_preconditions, key, span};
use crate::admin::Api;
use crate::admin::answer::json;
use crate::admin::failure::Failure;
use crate::admin::form::Form;
use crate::admin::kind::api_version;
use crate::admin::list::Options;
use crate::admin::object::shown;
use crate::admin::path::Resource;
use crate::store::{Source, StoredObject};
use crate::writes::{Command, WriteError};

/// Namespaces that a cluster always has.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

/// Kinds whose deleted object is the response, as in an API server; that of the others is a
/// `Status`.
const RETURNED: &[&str] = &[
    "Namespace",
    "PersistentVolumeClaim",
    "Pod",
    "ResourceQuota",
    "Service",
    "ServiceAccount",
];

impl Api {
    /// Deletes one object. A pod that the host made is evicted: its owner replaces it. An
    /// object with finalizers is only marked.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn delete(
        &self,
        request: &Parts,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        body: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let body = DeleteOptions::of(request, body)?;
        let dry_run = is_dry_run(options, &body);
        refuse_orphans(resource, &body)?;
        check_protected(resource, name)?;
        let key = key(resource, name);
        for _ in 0..ATTEMPTS {
            let stored = self.stored(resource, &key)?;
            let shown = shown(&stored, resource.kind, &resource.version);
            check_preconditions(resource, &shown, &body.preconditions())?;
            let is_pod = resource.kind.kind == "Pod";
            let mut marked = false;
            let deleted = if is_pod && stored.source == Source::Host {
                match dry_run {
                    true => Ok(()),
                    false => self.writer.send(Command::Evict(key.clone())).await,
                }
            } else {
                check_owner(resource, &stored)?;
                let mut deletion = Deletion::new(self, body.propagation());
                deletion.delete(&stored);
                marked = deletion.is_marked(&key);
                self.submit(deletion.edits(), dry_run).await
            };
            match deleted {
                Ok(()) if marked => {
                    let now = self.store.get(&key);
                    let now = now.map(|now| resource.shown(&now));
                    return Ok(json(&now.unwrap_or(shown)));
                }
                Ok(()) if RETURNED.contains(&resource.kind.kind) => {
                    return Ok(json(&ending(resource, shown)));
                }
                Ok(()) => return Ok(json(&success(resource, name, &shown))),
                Err(WriteError::Changed) => {}
                Err(error) => return Err(Failure::of(error, resource.kind, name)),
            }
        }
        Err(Failure::conflict(resource.kind, name))
    }

    /// Deletes what the query's selectors match, all of it or nothing.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn delete_collection(
        &self,
        request: &Parts,
        options: &WriteOptions,
        resource: &Resource,
        body: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let body = DeleteOptions::of(request, body)?;
        refuse_orphans(resource, &body)?;
        let query = Query::<Options>::try_from_uri(&request.uri);
        let query = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let selector = resource.selector(&query)?;
        let dry_run = is_dry_run(options, &body);
        let mut attempts = 1;
        let shown = loop {
            let mut shown = Vec::new();
            let mut deletion = Deletion::new(self, body.propagation());
            for stored in self.store.list().0 {
                let object = resource.shown(&stored);
                if resource.covers(&stored.object.key()) && selector.matches(&object) {
                    check_owner(resource, &stored)?;
                    check_protected(resource, &stored.object.metadata.name.value)?;
                    deletion.delete(&stored);
                    shown.push(object);
                }
            }
            match self.submit(deletion.edits(), dry_run).await {
                Ok(()) => break shown,
                Err(WriteError::Changed) if attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(Failure::of(error, resource.kind, "*")),
            }
        };
        let version = api_version(resource.kind.group, &resource.version);
        let metadata = json!({"resourceVersion": self.store.list().1.to_string()});
        let list = Form::Whole.list(resource.kind, &version, &shown, &metadata);
        Ok(json(&list))
    }

    /// Deletes a Pod without an owner.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(in crate::admin) async fn delete_bare(
        &self,
        pod: &StoredObject,
        dry_run: bool,
    ) -> Result<(), WriteError> {
        let mut deletion = Deletion::new(self, Propagation::Background);
        deletion.delete(pod);
        self.submit(deletion.edits(), dry_run).await
    }
}

/// A deleted object in the response. In a cluster, a namespace ends after its objects, and a pod
/// after its containers.
fn ending(resource: &Resource, mut shown: Value) -> Value {
    let metadata = &mut shown["metadata"];
    let now = format!("{:.0}", Timestamp::now());
    match resource.kind.kind {
        "Namespace" => {
            metadata["deletionTimestamp"] = now.into();
            shown["status"]["phase"] = "Terminating".into();
        }
        "Pod" => {
            metadata["deletionTimestamp"] = now.into();
            metadata["deletionGracePeriodSeconds"] = 0.into();
            let generation = metadata["generation"].as_u64().unwrap_or_default();
            metadata["generation"] = (generation + 1).into();
        }
        _ => {}
    }
    shown
}

fn success(resource: &Resource, name: &str, shown: &Value) -> Value {
    let mut details = json!({
        "name": name,
        "kind": resource.kind.plural,
        "uid": shown["metadata"]["uid"],
    });
    if !resource.kind.group.is_empty() {
        details["group"] = resource.kind.group.into();
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

/// Either the query or the body can ask for a dry run.
fn is_dry_run(options: &WriteOptions, body: &DeleteOptions) -> bool {
    if body.is_dry_run() && !options.is_dry_run() {
        span::set_dry_run();
    }
    body.is_dry_run() || options.is_dry_run()
}

/// Deletes pods together with their owner: without one, nothing would supervise them.
fn refuse_orphans(resource: &Resource, options: &DeleteOptions) -> Result<(), Failure> {
    if options.orphans() && resource.kind.owns_pods {
        return Err(Failure::BadRequest(
            "pods cannot outlive their owner; delete with --cascade=background".into(),
        ));
    }
    Ok(())
}

fn check_protected(resource: &Resource, name: &str) -> Result<(), Failure> {
    match resource.kind.kind == "Namespace" && PROTECTED.contains(&name) {
        true => Err(Failure::ForbiddenObject {
            kind: resource.kind,
            name: name.to_owned(),
            why: "this namespace may not be deleted",
        }),
        false => Ok(()),
    }
}
