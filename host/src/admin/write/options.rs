//! The query parameters of a write.

use axum::extract::Query;
use http::Method;
use http::request::Parts;
use serde::Deserialize;

use crate::admin::failure::{Cause, Failure};
use crate::admin::{apply, body};

/// Characters of a manager's name, as in an API server: it is stored with the object.
const MANAGER_MAX: usize = 128;

/// The values of `fieldValidation`.
const VALIDATIONS: &[&str] = &["Ignore", "Warn", "Strict"];

/// See the module's documentation.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::admin) struct WriteOptions {
    pub dry_run: Option<String>,
    pub field_manager: Option<String>,
    pub field_validation: Option<String>,
    pub force: Option<bool>,
    /// Whether the body is a patch.
    #[serde(skip)]
    pub is_patch: bool,
}

impl WriteOptions {
    /// # Errors
    /// A parameter that does not parse, or has a value that is not supported.
    pub(super) fn of(request: &Parts) -> Result<Self, Failure> {
        let query = Query::<Self>::try_from_uri(&request.uri);
        let query = query.map_err(|error| Failure::BadRequest(error.body_text()))?;
        let mut options = query.0;
        options.is_patch = request.method == Method::PATCH;
        let kind = options_kind(&request.method);
        let refused = |cause| Err(Failure::options(kind, vec![cause]));
        let manager = options.field_manager.as_deref().unwrap_or_default();
        if manager.chars().count() > MANAGER_MAX {
            let message = format!("must have at most {MANAGER_MAX} characters");
            return refused(Cause::invalid("fieldManager", message));
        }
        if let Some(other) = options.dry_run.as_deref().filter(|it| *it != "All") {
            return refused(Cause::unsupported("dryRun", other, &["All"]));
        }
        let validation = options.field_validation.as_deref().unwrap_or_default();
        if !validation.is_empty() && !VALIDATIONS.contains(&validation) {
            return refused(Cause::unsupported(
                "fieldValidation",
                validation,
                VALIDATIONS,
            ));
        }
        let media_type = body::media_type(&request.headers);
        if options.force.is_some()
            && request.method == Method::PATCH
            && media_type != apply::MEDIA_TYPE
        {
            let message = "may only be set for a server-side apply";
            return refused(Cause::forbidden("force", message));
        }
        if media_type == apply::MEDIA_TYPE && options.is_patch && manager.is_empty() {
            let message = "Required value: is required for apply patch";
            return refused(Cause::required("fieldManager", message));
        }
        Ok(options)
    }

    /// Whether the client wants wrong fields to be refused.
    pub(super) fn is_strict(&self) -> bool {
        self.field_validation.as_deref() == Some("Strict")
    }

    /// Warnings about fields that a JSON body names twice.
    ///
    /// # Errors
    /// There are some, and the client wants strict validation.
    pub(super) fn check_fields(
        &self,
        request: &Parts,
        body: &[u8],
    ) -> Result<Vec<String>, Failure> {
        let ignores = self.field_validation.as_deref() == Some("Ignore");
        if ignores || body::media_type(&request.headers) != "application/json" {
            return Ok(Vec::new());
        }
        let named = body::duplicates(body);
        let named: Vec<_> = named
            .into_iter()
            .map(|path| format!("duplicate field {path:?}"))
            .collect();
        match self.is_strict() && !named.is_empty() {
            true => Err(Failure::BadRequest(format!(
                "strict decoding error: {}",
                named.join(", ")
            ))),
            false => Ok(named),
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

/// What an API server calls the parameters of a write.
fn options_kind(method: &Method) -> &'static str {
    match *method {
        Method::POST => "CreateOptions",
        Method::PATCH => "PatchOptions",
        Method::DELETE => "DeleteOptions",
        _ => "UpdateOptions",
    }
}
