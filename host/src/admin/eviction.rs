//! The subresource `eviction`: deletes a pod if the PodDisruptionBudgets allow it.

use axum::body::Body;
use http::request::Parts;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::answer::{json, with_status};
use super::body;
use super::failure::Failure;
use super::path::Resource;
use super::write::{DeleteOptions, WriteOptions, check_preconditions, key};
use crate::store::Source;
use crate::writes::Command;

/// The name of the subresource.
pub(super) const EVICTION: &str = "eviction";

impl Api {
    /// Evicts a pod. Its owner replaces it; a Pod without one is deleted.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn evict(
        &self,
        request: &Parts,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        body: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let eviction = body::object(request, body)?;
        let delete = delete_options(&eviction, name)?;
        let dry_run = options.is_dry_run() || delete.is_dry_run();
        let pod = key(resource, name);
        let stored = self.stored(resource, &pod)?;
        let shown = resource.shown(&stored);
        check_preconditions(resource, &shown, &delete.preconditions())?;
        let is_owned = stored.source == Source::Host;
        let command = Command::EvictWithinBudgets {
            pod,
            dry_run: dry_run || !is_owned,
        };
        let failed = |error| Failure::of(error, resource.kind, name);
        self.writer.send(command).await.map_err(failed)?;
        if !is_owned {
            self.delete_bare(&stored, dry_run).await.map_err(failed)?;
        }
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Ok(with_status(json(&status), StatusCode::CREATED))
    }
}

/// The `deleteOptions` of an Eviction of the pod `name`.
fn delete_options(eviction: &Value, name: &str) -> Result<DeleteOptions, Failure> {
    let kind = eviction["kind"].as_str().unwrap_or_default();
    if kind != "Eviction" {
        let message = format!("the body is of kind `{kind}`; expected an Eviction of `policy/v1`");
        return Err(Failure::BadRequest(message));
    }
    let named = eviction["metadata"]["name"].as_str();
    if named.is_some_and(|named| !named.is_empty() && named != name) {
        let message = "name in URL does not match name in Eviction object".to_owned();
        return Err(Failure::BadRequest(message));
    }
    DeleteOptions::read(&eviction["deleteOptions"])
}
