//! Delete: one object, or all that a selector matches.

use axum::body::Body;
use axum::extract::Query;
use http::Response;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ATTEMPTS, WriteOptions, check_owner, check_preconditions, key, span};
use crate::admin::Api;
use crate::admin::answer::json;
use crate::admin::body;
use crate::admin::failure::Failure;
use crate::admin::kind::api_version;
use crate::admin::list::Options;
use crate::admin::object::shown;
use crate::admin::path::Resource;
use crate::admin::table::Form;
use crate::store::{Source, StoredObject};
use crate::writes::{Command, Edit, WriteError};

/// The body of a delete.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::admin) struct DeleteOptions {
    dry_run: Vec<String>,
    propagation_policy: Option<String>,
    preconditions: Preconditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// # Errors
    /// `value` is neither null nor DeleteOptions.
    pub(in crate::admin) fn read(value: &Value) -> Result<Self, Failure> {
        if value.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(value).map_err(|error| {
            Failure::BadRequest(format!("the body is not valid DeleteOptions: {error}"))
        })
    }

    pub(in crate::admin) fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// The `metadata` that the object must have.
    pub(in crate::admin) fn expected(&self) -> Value {
        let Preconditions {
            uid,
            resource_version,
        } = &self.preconditions;
        json!({"uid": uid, "resourceVersion": resource_version})
    }
}

impl Api {
    /// Deletes one object. A pod that the host made is evicted: its owner replaces it.
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
        let body = delete_options(request, body)?;
        let dry_run = is_dry_run(options, &body);
        refuse_orphans(resource, options, &body)?;
        let key = key(resource, name);
        for _ in 0..ATTEMPTS {
            let stored = self.stored(resource, &key)?;
            let shown = shown(&stored, resource.kind, &resource.version);
            check_preconditions(resource, &shown, &body.expected())?;
            let is_pod = resource.kind.kind == "Pod";
            let deleted = if is_pod && stored.source == Source::Host {
                match dry_run {
                    true => Ok(()),
                    false => self.writer.send(Command::Evict(key.clone())).await,
                }
            } else {
                check_owner(resource, &stored)?;
                self.submit(self.deleted_with(&stored), dry_run).await
            };
            match deleted {
                Ok(()) => {
                    let details = json!({
                        "name": name,
                        "group": resource.kind.group,
                        "kind": resource.kind.plural,
                        "uid": shown["metadata"]["uid"],
                    });
                    return Ok(json(&json!({
                        "kind": "Status",
                        "apiVersion": "v1",
                        "metadata": {},
                        "status": "Success",
                        "details": details,
                    })));
                }
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
        let body = delete_options(request, body)?;
        refuse_orphans(resource, options, &body)?;
        let query = Query::<Options>::try_from_uri(&request.uri);
        let query = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let selector = resource.selector(&query)?;
        let dry_run = is_dry_run(options, &body);
        let mut shown = Vec::new();
        let mut edits = Vec::new();
        for stored in self.store.list().0 {
            let object = resource.shown(&stored);
            if resource.covers(&stored.object.key()) && selector.matches(&object) {
                check_owner(resource, &stored)?;
                edits.extend(self.deleted_with(&stored));
                shown.push(object);
            }
        }
        let deleted = self.submit(edits, dry_run).await;
        deleted.map_err(|error| Failure::of(error, resource.kind, "*"))?;
        let version = api_version(resource.kind.group, &resource.version);
        let list = Form::Whole.list(resource.kind, &version, &shown, &json!({}));
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
        self.submit(self.deleted_with(pod), dry_run).await
    }

    /// Deletes an object, and if it is a namespace all objects in it.
    fn deleted_with(&self, stored: &StoredObject) -> Vec<Edit> {
        let delete = |stored: &StoredObject| Edit {
            key: stored.object.key(),
            from: Some(stored.object.clone()),
            to: None,
        };
        let mut edits = vec![delete(stored)];
        if stored.object.kind == "Namespace" {
            let name = &stored.object.metadata.name.value;
            let (all, _) = self.store.list();
            let within = all
                .iter()
                .filter(|it| it.object.metadata.namespace == *name && it.source != Source::Host);
            edits.extend(within.map(|it| delete(it)));
        }
        edits
    }
}

fn delete_options(request: &Parts, body: &[u8]) -> Result<DeleteOptions, Failure> {
    if body.is_empty() {
        return Ok(DeleteOptions::default());
    }
    DeleteOptions::read(&body::object(request, body)?)
}

/// Either the query or the body can ask for a dry run.
fn is_dry_run(options: &WriteOptions, body: &DeleteOptions) -> bool {
    let by_body = body.is_dry_run();
    if by_body && !options.is_dry_run() {
        span::set_dry_run();
    }
    by_body || options.is_dry_run()
}

/// Deletes pods together with their owner: without one, nothing would supervise them.
fn refuse_orphans(
    resource: &Resource,
    options: &WriteOptions,
    body: &DeleteOptions,
) -> Result<(), Failure> {
    let policy = body.propagation_policy.as_deref();
    let policy = policy.or(options.propagation_policy.as_deref());
    if policy == Some("Orphan") && resource.kind.owns_pods {
        return Err(Failure::BadRequest(
            "pods cannot outlive their owner; delete with --cascade=background".into(),
        ));
    }
    Ok(())
}
