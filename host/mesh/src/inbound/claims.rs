//! The verified token of a request.

use serde_json::{Map, Value};

/// What a verified JSON Web Token says ([`super::jwt`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPrincipal {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`, which can be one text or several
    pub audiences: Vec<String>,
    /// `azp`
    pub presenter: Option<String>,
    /// All claims, including those above. A claim that is a list separated by spaces, such
    /// as `scope`, is an array here.
    pub claims: Map<String, Value>,
}

impl RequestPrincipal {
    /// `request.auth.principal`: the issuer and the subject, separated by a slash.
    pub fn name(&self) -> String {
        format!("{}/{}", self.issuer, self.subject)
    }
}
