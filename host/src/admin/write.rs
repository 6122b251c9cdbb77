//! Create, update, patch and delete.
//!
//! What a client sends is checked as `galleria check` would, and handed to the
//! control loop, which takes it whole or refuses it. What a client leaves as it
//! was shown stays as it was written: defaults do not become part of an object.

mod delete;
mod form;

use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use galleria_manifest::Severity;
use galleria_manifest::model::ObjectKey;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::Api;
use super::failure::Failure;
use super::kind::{Kind, SCALE};
use super::object::shown;
use super::object::versions::kept;
use super::path::Resource;
use super::{apply, body, bounds, patch};
use crate::store::{
    Command, Edit, ReadObject, Source, Stored, Write, WriteError, fresh_uid, read_object,
};
use form::{as_written, identify, keep_unsaid, remove, strip, timeless};

/// How often a patch is made again after somebody else changed the object.
const ATTEMPTS: usize = 5;

/// Characters of a manager's name, as with an API server: it is kept with the object.
const MANAGER_MAX: usize = 128;

/// The parameters of a write.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WriteOptions {
    pub dry_run: Option<String>,
    pub field_manager: Option<String>,
    pub field_validation: Option<String>,
    pub force: Option<bool>,
    pub propagation_policy: Option<String>,
}

/// An object after a write, and what the client is told beside it.
pub(super) struct WriteResult {
    pub object: Value,
    pub warnings: Vec<String>,
    pub is_new: bool,
}

impl WriteOptions {
    fn of(request: &Parts) -> Result<Self, Failure> {
        let query = Query::<Self>::try_from_uri(&request.uri);
        let options = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let manager = options.field_manager.as_deref().unwrap_or_default();
        if manager.chars().count() > MANAGER_MAX {
            return Err(Failure::BadRequest(format!(
                "fieldManager must have at most {MANAGER_MAX} characters"
            )));
        }
        match options.dry_run.as_deref() {
            None | Some("All") => Ok(options.0),
            Some(other) => Err(Failure::BadRequest(format!(
                "dryRun must be `All` or absent, not `{other}`"
            ))),
        }
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    /// Who changes the object: as told, or as the client calls itself.
    pub(super) fn manager(&self, request: &Parts) -> String {
        let agent = request.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|value| value.to_str().ok());
        let agent = agent.and_then(|agent| agent.split('/').next());
        let named = self.field_manager.as_deref().or(agent);
        named
            .unwrap_or("unknown")
            .chars()
            .take(MANAGER_MAX)
            .collect()
    }
}

impl Api {
    /// # Errors
    /// See [`Failure`]; nothing is changed then.
    pub(super) async fn write(
        &self,
        request: &Parts,
        body: Bytes,
        resource: &Resource,
    ) -> Result<Response<Body>, Failure> {
        let options = WriteOptions::of(request)?;
        let subresource = resource.subresource.as_deref();
        let name = resource.name.as_deref();
        match (&request.method, name, subresource) {
            (&Method::POST, None, None) => {
                let object = body::object(request, &body)?;
                let nothing = Value::Null;
                let object = self.noted(request, &options, resource, &nothing, object)?;
                answer(self.create(&options, resource, object).await?)
            }
            (&Method::PUT, Some(name), None) => {
                let wanted = body::object(request, &body)?;
                let change = |_: &Stored, shown: &Value| {
                    self.noted(request, &options, resource, shown, wanted.clone())
                };
                answer(self.change(&options, resource, name, change).await?)
            }
            (&Method::PATCH, Some(name), None) => {
                let media_type = body::media_type(&request.headers);
                if media_type == apply::MEDIA_TYPE {
                    let wanted = body::yaml(&body)?;
                    return answer(self.apply(&options, resource, name, wanted).await?);
                }
                let change = |_: &Stored, shown: &Value| {
                    let wanted = patch::patched(media_type, &body, resource.kind, shown)?;
                    self.noted(request, &options, resource, shown, wanted)
                };
                answer(self.change(&options, resource, name, change).await?)
            }
            (&Method::PUT | &Method::PATCH, Some(name), Some(SCALE))
                if resource.is_subresource(SCALE) =>
            {
                answer(self.scale(request, &options, resource, name, &body).await?)
            }
            (&Method::DELETE, Some(name), None) => {
                self.delete(request, &options, resource, name, &body).await
            }
            (&Method::DELETE, None, None) => {
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
        strip(&mut object);
        let metadata = &mut object["metadata"];
        metadata["uid"] = fresh_uid().into();
        metadata["creationTimestamp"] = format!("{:.0}", Timestamp::now()).into();
        let key = key(resource, metadata["name"].as_str().unwrap_or_default());
        self.check_namespace(resource)?;
        if self.store.get(&key).is_some() {
            return Err(Failure::exists(resource.kind, &key.name));
        }
        let object = kept(object, resource.kind, &resource.version, None);
        bounds::check_stored(&object)?;
        let read = read(resource, &key, options, &object)?;
        let edit = Edit {
            key: key.clone(),
            from: None,
            to: Some(read.object.clone()),
        };
        let taken = self.submit(vec![edit], options.is_dry_run()).await;
        taken.map_err(|unwritten| match unwritten {
            WriteError::Changed => Failure::exists(resource.kind, &key.name),
            unwritten => Failure::of(unwritten, resource.kind, &key.name),
        })?;
        Ok(self.written(resource, &key, &read, true))
    }

    /// `wanted`, and that this client wants it.
    pub(super) fn noted(
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

    /// Changes an object to what `change` makes of it, as stored and as shown.
    pub(super) async fn change(
        &self,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        change: impl Fn(&Stored, &Value) -> Result<Value, Failure>,
    ) -> Result<WriteResult, Failure> {
        let key = key(resource, name);
        for _ in 0..ATTEMPTS {
            let stored = self.stored(resource, &key)?;
            owned_by_a_client(resource, &stored)?;
            let shown = shown(&stored, resource.kind, &resource.version);
            let mut wanted = change(&stored, &shown)?;
            identify(resource, &mut wanted)?;
            check_preconditions(resource, &shown, &wanted["metadata"])?;
            let written = as_written(&stored, resource);
            let mut object = keep_unsaid(wanted, &shown, &written);
            strip(&mut object);
            for field in ["uid", "creationTimestamp"] {
                match written["metadata"].get(field) {
                    Some(value) => object["metadata"][field] = value.clone(),
                    None => remove(&mut object["metadata"], field),
                }
            }
            let object = kept(
                object,
                resource.kind,
                &resource.version,
                Some(&stored.object.raw),
            );
            bounds::check_stored(&object)?;
            let read = read(resource, &key, options, &object)?;
            if timeless(&object) == timeless(&stored.object.raw) {
                return Ok(WriteResult {
                    object: shown,
                    warnings: Vec::new(),
                    is_new: false,
                });
            }
            let edit = Edit {
                key: key.clone(),
                from: Some(stored.object.clone()),
                to: Some(read.object.clone()),
            };
            match self.submit(vec![edit], options.is_dry_run()).await {
                Ok(()) => return Ok(self.written(resource, &key, &read, false)),
                Err(WriteError::Changed) => {}
                Err(unwritten) => return Err(Failure::of(unwritten, resource.kind, &key.name)),
            }
        }
        Err(Failure::conflict(resource.kind, name))
    }

    pub(super) fn stored(
        &self,
        resource: &Resource,
        key: &ObjectKey,
    ) -> Result<std::sync::Arc<Stored>, Failure> {
        self.store.get(key).ok_or_else(|| Failure::NotFound {
            kind: resource.kind,
            name: key.name.clone(),
        })
    }

    fn check_namespace(&self, resource: &Resource) -> Result<(), Failure> {
        let Some(namespace) = resource.namespace.as_deref() else {
            return Ok(());
        };
        let (all, _) = self.store.list();
        let is_there = |stored: &Stored| {
            let object = &stored.object;
            object.metadata.namespace == namespace
                || object.kind == "Namespace" && object.metadata.name.value == namespace
        };
        if namespace == "default" || all.iter().any(|stored| is_there(stored)) {
            return Ok(());
        }
        match Kind::at("", "v1", "namespaces") {
            Some(kind) => Err(Failure::NotFound {
                kind,
                name: namespace.to_owned(),
            }),
            None => Ok(()),
        }
    }

    async fn submit(&self, edits: Vec<Edit>, dry_run: bool) -> Result<(), WriteError> {
        self.ask(Command::Edits { edits, dry_run }).await
    }

    async fn ask(&self, asked: Command) -> Result<(), WriteError> {
        let stopping = |_| WriteError::NotKept("the host is stopping".into());
        let (answer, answered) = oneshot::channel();
        let write = Write { asked, answer };
        self.writer.send(write).await.map_err(|_| stopping(()))?;
        answered.await.map_err(|_| stopping(()))?
    }

    /// What a client is shown of an object that was written, or would have been.
    fn written(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        read: &ReadObject,
        is_new: bool,
    ) -> WriteResult {
        let now = self.store.get(key);
        let taken = now.as_ref().filter(|it| it.object.raw == read.object.raw);
        let stored = match taken {
            Some(stored) => Stored::clone(stored),
            None => Stored::unwritten(read.object.clone(), now.as_deref()),
        };
        let warnings = read.warnings.iter();
        let warnings = warnings.filter(|it| it.severity == Severity::Warning);
        WriteResult {
            object: shown(&stored, resource.kind, &resource.version),
            warnings: warnings
                .map(|it| format!("{}: {}", it.path, it.message))
                .collect(),
            is_new,
        }
    }
}

/// The answer to a write.
///
/// # Errors
/// None.
pub(super) fn answer(written: WriteResult) -> Result<Response<Body>, Failure> {
    let mut response = super::answer::json_response(&written.object)?;
    if written.is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    for warning in written.warnings {
        let plain = warning
            .replace(['\\', '"'], "'")
            .replace(|c: char| !c.is_ascii_graphic() && c != ' ', "?");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{plain}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    Ok(response)
}

pub(super) fn key(resource: &Resource, name: &str) -> ObjectKey {
    ObjectKey {
        group: resource.kind.group.to_owned(),
        kind: resource.kind.kind.to_owned(),
        namespace: resource.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    }
}

fn read(
    resource: &Resource,
    key: &ObjectKey,
    options: &WriteOptions,
    object: &Value,
) -> Result<ReadObject, Failure> {
    let read = read_object(key, object)
        .map_err(|problems| Failure::invalid(resource.kind, &key.name, &problems))?;
    let unknown: Vec<_> = read
        .warnings
        .iter()
        .filter(|it| it.code == galleria_manifest::codes::UNKNOWN_FIELD)
        .map(|it| format!("unknown field \"{}\"", it.path))
        .collect();
    if options.field_validation.as_deref() == Some("Strict") && !unknown.is_empty() {
        return Err(Failure::BadRequest(format!(
            "strict decoding error: {}",
            unknown.join(", ")
        )));
    }
    Ok(read)
}

pub(super) fn check_preconditions(
    resource: &Resource,
    shown: &Value,
    said: &Value,
) -> Result<(), Failure> {
    let metadata = &shown["metadata"];
    let differs = |field: &str| {
        let said = said[field].as_str().filter(|said| !said.is_empty());
        said.is_some_and(|said| metadata[field].as_str() != Some(said))
    };
    match differs("uid") || differs("resourceVersion") {
        true => Err(Failure::conflict(
            resource.kind,
            metadata["name"].as_str().unwrap_or_default(),
        )),
        false => Ok(()),
    }
}

fn owned_by_a_client(resource: &Resource, stored: &Stored) -> Result<(), Failure> {
    match stored.source {
        Source::Files | Source::Api | Source::Drift => Ok(()),
        Source::Host if resource.kind.is_provided => Ok(()),
        Source::Host => Err(Failure::Forbidden(format!(
            "{} \"{}\" is managed by the host; change its owner instead",
            resource.kind.resource(),
            stored.object.metadata.name.value
        ))),
    }
}
