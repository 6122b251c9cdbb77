//! `http[].corsPolicy`: the mesh answers preflight requests itself, and adds the CORS
//! headers to the responses of other requests.

use galleria_manifest::model::{CorsPolicy, StringMatch};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Method, StatusCode};

use crate::{LocalReply, RequestHead, ResponseFlags};

#[derive(Debug, Clone)]
pub(crate) struct Cors {
    origins: Vec<StringMatch>,
    /// The headers of the response to a preflight request, and of other responses.
    preflight: Vec<(HeaderName, HeaderValue)>,
    actual: Vec<(HeaderName, HeaderValue)>,
}

impl Cors {
    pub(crate) fn new(policy: &CorsPolicy) -> Self {
        let list = |name: HeaderName, items: &[String]| {
            let value = HeaderValue::from_str(&items.join(",")).ok()?;
            (!items.is_empty()).then_some((name, value))
        };
        let credentials = policy.allow_credentials.then(|| {
            (
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            )
        });
        let age = policy
            .max_age
            .map(|age| (ACCESS_CONTROL_MAX_AGE, HeaderValue::from(age.as_secs())));
        let preflight = [
            credentials.clone(),
            list(ACCESS_CONTROL_ALLOW_METHODS, &policy.allow_methods),
            list(ACCESS_CONTROL_ALLOW_HEADERS, &policy.allow_headers),
            list(ACCESS_CONTROL_EXPOSE_HEADERS, &policy.expose_headers),
            age,
        ];
        let actual = [
            credentials,
            list(ACCESS_CONTROL_EXPOSE_HEADERS, &policy.expose_headers),
        ];
        Self {
            origins: policy.allow_origins.clone(),
            preflight: preflight.into_iter().flatten().collect(),
            actual: actual.into_iter().flatten().collect(),
        }
    }

    /// The response to a preflight request from an allowed origin. The browser compares the
    /// requested method with the allowed ones. A request from another origin is forwarded.
    pub(crate) fn preflight(&self, request: &RequestHead<'_>) -> Option<LocalReply> {
        let asks = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        if request.method != Method::OPTIONS || asks.is_none_or(HeaderValue::is_empty) {
            return None;
        }
        let origin = self.allowed(request.headers.get(ORIGIN))?;
        let mut reply = LocalReply::new(StatusCode::OK, ResponseFlags::NONE, "", "cors_response");
        reply
            .headers
            .push((ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
        reply.headers.extend(self.preflight.iter().cloned());
        Some(reply)
    }

    pub(crate) fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(origin) = self.allowed(origin) else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        for (name, value) in &self.actual {
            headers.insert(name, value.clone());
        }
    }

    /// The exact origin `*` allows every origin.
    fn allowed<'a>(&self, origin: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
        let origin = origin.filter(|origin| !origin.is_empty())?;
        let text = origin.to_str().ok()?;
        let any = |allowed: &StringMatch| matches!(allowed, StringMatch::Exact(all) if all == "*");
        self.origins
            .iter()
            .any(|allowed| any(allowed) || allowed.matches(text))
            .then_some(origin)
    }
}
