//! The query parameters of a write.

use axum::extract::Query;
use http::request::Parts;
use serde::Deserialize;

use crate::admin::failure::Failure;

/// Characters of a manager's name, as in an API server: it is stored with the object.
const MANAGER_MAX: usize = 128;

/// See the module's documentation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::admin) struct WriteOptions {
    pub dry_run: Option<String>,
    pub field_manager: Option<String>,
    pub field_validation: Option<String>,
    pub force: Option<bool>,
    pub propagation_policy: Option<String>,
}

impl WriteOptions {
    /// # Errors
    /// A parameter that does not parse, or has a value that is not supported.
    pub(super) fn of(request: &Parts) -> Result<Self, Failure> {
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

    pub(in crate::admin) fn is_dry_run(&self) -> bool {
        self.dry_run.is_some()
    }

    /// Who changes the object: `fieldManager`, or the name in `User-Agent`.
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
