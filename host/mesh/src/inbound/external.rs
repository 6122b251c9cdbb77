//! External authorization: a service decides about the requests that CUSTOM policies match.
//!
//! [`decide`] says whether a service must be asked, and which. The host sends the question
//! and reads the answer as a [`Verdict`]; [`http`] has the questions and answers of services
//! that are called by plain HTTP. Statuses, headers and their order are those of Envoy's
//! filter `ext_authz` with Istio's configuration.

mod header_patterns;
pub mod http;
mod mutation;

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;
use galleria_manifest::model::CheckedBody;

pub use self::header_patterns::HeaderPatterns;
pub use self::http::HttpCheck;
pub use self::mutation::{HeaderChange, HeaderMutation, Mutations};
use super::authorization::AuthorizationPolicies;
use super::authorization::caller::Facts;
use super::{InboundPolicies, InboundRequest};
use crate::LocalReply;

/// What Istio adds to the name of a rule whose provider cannot be used.
const BAD_PROVIDER: &str = "-deny-due-to-bad-CUSTOM-action";

/// A service that decides about requests: an entry of `extensionProviders`.
#[derive(Debug)]
pub struct ExtAuthzProvider {
    pub name: String,
    /// Its full name and its port.
    pub authority: String,
    pub timeout: Duration,
    pub fail_open: bool,
    /// Whether the gateway chooses the route by the headers that the service sets.
    pub clear_route_cache: bool,
    pub status_on_error: StatusCode,
    /// What it gets of a request's body; `None` if it gets nothing.
    pub body: Option<CheckedBody>,
    pub protocol: CheckProtocol,
}

/// How a provider is called.
#[derive(Debug)]
pub enum CheckProtocol {
    Http(HttpCheck),
    /// `envoy.service.auth.v3.Authorization`
    Grpc,
}

/// What a provider answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed, with these changes.
    Allowed(Mutations),
    Denied(LocalReply),
    /// The service has failed, or its answer is not valid.
    Failed,
}

/// The beginning of a request's body, for a provider.
#[derive(Debug, Clone, Default)]
pub struct CheckBody {
    pub bytes: Bytes,
    /// Whether the request has more.
    pub is_partial: bool,
}

/// Finds the service that has to decide about the request, before its token is verified;
/// `None` if no CUSTOM policy matches.
///
/// # Errors
/// The reply for a request that a policy matches whose service cannot be asked: it is not
/// declared, or the policies of the workload have different ones.
pub fn decide<'p>(
    policies: &'p InboundPolicies,
    request: &InboundRequest<'_>,
) -> Result<Option<&'p Arc<ExtAuthzProvider>>, LocalReply> {
    let AuthorizationPolicies {
        enforced, provider, ..
    } = &*policies.authorization;
    if enforced.custom.is_empty() {
        return Ok(None);
    }
    match (enforced.custom.first_match(&Facts::new(request)), provider) {
        (None, _) => Ok(None),
        (Some(_), Some(provider)) => Ok(Some(provider)),
        (Some(rule), None) => {
            let rule = format!("{}{BAD_PROVIDER}", rule.name);
            Err(LocalReply::access_denied(&rule))
        }
    }
}

impl ExtAuthzProvider {
    /// What happens to a request about which the service gives no decision.
    ///
    /// # Errors
    /// The reply, unless such requests are allowed.
    pub fn without_verdict(&self) -> Result<Mutations, LocalReply> {
        match self.fail_open {
            true => Ok(Mutations::default()),
            false => Err(LocalReply::ext_authz_error(self.status_on_error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(fail_open: bool) -> ExtAuthzProvider {
        ExtAuthzProvider {
            name: "opa".into(),
            authority: "opa.shop.svc.cluster.local:9191".into(),
            timeout: Duration::from_secs(600),
            fail_open,
            clear_route_cache: false,
            status_on_error: StatusCode::BAD_GATEWAY,
            body: None,
            protocol: CheckProtocol::Grpc,
        }
    }

    #[test]
    fn provider_that_fails_denies_or_allows() {
        assert_eq!(provider(true).without_verdict(), Ok(Mutations::default()));
        let reply = provider(false).without_verdict().expect_err("a reply");
        assert_eq!(reply.status, 502);
        assert_eq!(reply.flags.to_string(), "UAEX");
        assert_eq!(reply.details, "ext_authz_error");
        assert!(reply.body.is_empty());
    }
}
