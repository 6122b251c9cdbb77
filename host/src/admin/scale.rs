//! The subresource `scale`: the number of replicas of an object.

use axum::body::Body;
use http::request::Parts;
use http::{Method, Response};
use serde_json::{Value, json};

use super::Api;
use super::answer::json;
use super::body;
use super::failure::{Cause, Failure};
use super::patch;
use super::path::Resource;
use super::write::{WriteOptions, WriteResult, check_seen, key};

impl Api {
    /// # Errors
    /// The object does not exist.
    pub(super) fn read_scale(
        &self,
        resource: &Resource,
        name: &str,
    ) -> Result<Response<Body>, Failure> {
        let stored = self.stored(resource, &key(resource, name))?;
        Ok(json(&scale_of(&resource.shown(&stored))))
    }

    /// # Errors
    /// See [`Failure`].
    pub(super) async fn scale(
        &self,
        request: &Parts,
        options: &WriteOptions,
        resource: &Resource,
        name: &str,
        body: &[u8],
    ) -> Result<WriteResult, Failure> {
        let media_type = body::media_type(&request.headers);
        let change = |shown: &Value| {
            let scale = scale_of(shown);
            let wanted = match request.method == Method::PATCH {
                true => patch::patched(media_type, body, resource.kind, &scale)?,
                false => body::object(request, body)?,
            };
            check_seen(resource, shown, &wanted["metadata"])?;
            let is_patch = request.method == Method::PATCH;
            let replicas = replicas(name, &wanted, is_patch)?;
            let mut object = shown.clone();
            object["spec"]["replicas"] = replicas.into();
            Ok(object)
        };
        let mut written = self
            .change(options, resource, name, |_, shown| {
                self.with_manager(request, options, resource, shown, change(shown)?)
            })
            .await?;
        written.object = scale_of(&written.object);
        Ok(written)
    }
}

/// The wanted number.
///
/// # Errors
/// It is not a number or is negative, or the name is that of another object.
fn replicas(name: &str, scale: &Value, is_patch: bool) -> Result<i32, Failure> {
    if let Some(other) = scale["metadata"]["name"].as_str().filter(|it| *it != name) {
        return Err(Failure::BadRequest(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        )));
    }
    let replicas = &scale["spec"]["replicas"];
    if replicas.is_null() {
        return Ok(0);
    }
    let number = replicas.as_i64().and_then(|it| i32::try_from(it).ok());
    let number = number.ok_or_else(|| {
        let message = "spec.replicas must be a number from 0 to 2147483647".to_owned();
        match is_patch {
            true => Failure::patch(message),
            false => Failure::BadRequest(message),
        }
    })?;
    match number < 0 {
        true => {
            let message = format!("Invalid value: {number}: must be greater than or equal to 0");
            Err(Failure::InvalidBody {
                group: "autoscaling",
                kind: "Scale",
                name: name.to_owned(),
                causes: vec![Cause::invalid("spec.replicas", message)],
            })
        }
        false => Ok(number),
    }
}

fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {},
        "status": {
            "replicas": object["status"]["replicas"].as_u64().unwrap_or_default(),
            "selector": selector(&object["spec"]["selector"]["matchLabels"]),
        },
    });
    // As in an API server, none is absent.
    let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
    if replicas > 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        scale["metadata"][field] = metadata[field].clone();
    }
    scale
}

fn selector(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}
