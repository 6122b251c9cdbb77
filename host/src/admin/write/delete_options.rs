//! The options of a delete: its body, or the query.

use axum::extract::Query;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dependents::Propagation;
use crate::admin::body;
use crate::admin::failure::{Cause, Failure};

/// The values of `propagationPolicy`.
const POLICIES: &[&str] = &["Foreground", "Background", "Orphan"];

const KIND: &str = "DeleteOptions";

/// See the module's documentation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::admin) struct DeleteOptions {
    kind: Option<String>,
    dry_run: Vec<String>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Preconditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// The query's part of the options.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
}

impl DeleteOptions {
    /// # Errors
    /// They do not parse, contradict each other, or have a value that is not supported.
    pub(super) fn of(request: &Parts, body: &[u8]) -> Result<Self, Failure> {
        let query = Query::<Parameters>::try_from_uri(&request.uri);
        let Query(query) = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let mut options = match body.is_empty() {
            true => Self::default(),
            false => Self::parse(&body::object(request, body)?)?,
        };
        options.propagation_policy = options.propagation_policy.or(query.propagation_policy);
        options.orphan_dependents = options.orphan_dependents.or(query.orphan_dependents);
        options.check()?;
        Ok(options)
    }

    /// The options within another object, which may be absent.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(in crate::admin) fn read(value: &Value) -> Result<Self, Failure> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let options = Self::parse(value)?;
        options.check()?;
        Ok(options)
    }

    fn parse(value: &Value) -> Result<Self, Failure> {
        Self::deserialize(value).map_err(|error| {
            Failure::BadRequest(format!("the body is not valid DeleteOptions: {error}"))
        })
    }

    fn check(&self) -> Result<(), Failure> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| *kind != KIND) {
            return Err(Failure::BadRequest(format!(
                "the body of a delete is {KIND}, not {kind}"
            )));
        }
        let refused = |cause| Err(Failure::options(KIND, vec![cause]));
        if let Some(other) = self.dry_run.iter().find(|it| *it != "All") {
            return refused(Cause::unsupported("dryRun", other, &["All"]));
        }
        let policy = self.propagation_policy.as_deref();
        if let Some(policy) = policy
            && self.orphan_dependents.is_some()
        {
            let message = format!(
                "Invalid value: {policy:?}: orphanDependents and propagationPolicy cannot both be set"
            );
            return refused(Cause::invalid("propagationPolicy", message));
        }
        match policy.filter(|it| !POLICIES.contains(it)) {
            Some(other) => refused(Cause::unsupported("propagationPolicy", other, POLICIES)),
            None => Ok(()),
        }
    }

    pub(in crate::admin) fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }

    /// Whether the client asks for the objects that the deleted object owns to stay.
    pub(super) fn orphans(&self) -> bool {
        self.propagation() == Propagation::Orphan
    }

    pub(super) fn propagation(&self) -> Propagation {
        match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (Some("Orphan"), _) | (_, Some(true)) => Propagation::Orphan,
            (Some("Foreground"), _) => Propagation::Foreground,
            _ => Propagation::Background,
        }
    }

    /// In the form of an object's metadata.
    pub(in crate::admin) fn preconditions(&self) -> Value {
        let Preconditions {
            uid,
            resource_version,
        } = &self.preconditions;
        json!({"uid": uid, "resourceVersion": resource_version})
    }
}
