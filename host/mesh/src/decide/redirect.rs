//! Redirects: the location that the client is sent to.

use std::borrow::Cow;

use galleria_manifest::model::{self, RedirectPort};
use http::{HeaderValue, StatusCode};

use super::condition::UriMatch;
use super::request::split_port;
use super::rewrite::replace_prefix;
use crate::RequestHead;

/// `http[].redirect`.
#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    spec: model::Redirect,
    pub(crate) status: StatusCode,
}

impl Redirect {
    pub(crate) fn new(spec: &model::Redirect) -> Self {
        let status = StatusCode::from_u16(spec.code).unwrap_or(StatusCode::MOVED_PERMANENTLY);
        Self {
            spec: spec.clone(),
            status,
        }
    }

    /// The location as Envoy builds it: parts that the redirect does not set come from the
    /// request. The query stays unless the new path has its own.
    pub(crate) fn location(
        &self,
        request: &RequestHead<'_>,
        listener_port: u16,
        matched: Option<&UriMatch>,
    ) -> Option<HeaderValue> {
        let scheme = self.spec.scheme.as_deref().unwrap_or(request.scheme);
        let authority = self.spec.authority.as_deref().unwrap_or(request.authority);
        let (host, port) = split_port(authority);
        let fixed = match self.spec.port {
            Some(RedirectPort::Number(number)) => Some(number),
            Some(RedirectPort::FromRequestPort) => Some(listener_port),
            Some(RedirectPort::FromProtocolDefault) | None => None,
        };
        // Istio leaves the port of the scheme to the client.
        let port = match fixed.filter(|port| *port != default_port(scheme)) {
            Some(number) => Some(number),
            None => {
                let changes =
                    self.spec.authority.is_none() && !scheme.eq_ignore_ascii_case(request.scheme);
                port.filter(|port| !(changes && *port == default_port(request.scheme)))
            }
        };
        let path = match &self.spec.prefix {
            Some(prefix) => Cow::Owned(replace_prefix(prefix, request.path, matched)),
            None => Cow::Borrowed(self.spec.uri.as_deref().unwrap_or(request.path)),
        };
        let mut location = format!("{scheme}://{host}");
        if let Some(port) = port {
            location.push_str(&format!(":{port}"));
        }
        location.push_str(&path);
        if let Some(query) = request.query
            && !path.contains('?')
        {
            location.push('?');
            location.push_str(query);
        }
        HeaderValue::from_str(&location).ok()
    }
}

/// `tls.httpsRedirect`: the same address with HTTPS, on the default port or on the port
/// that clients use.
pub(crate) fn to_https(request: &RequestHead<'_>, https_port: Option<u16>) -> Option<HeaderValue> {
    let mut location = format!("https://{}", request.host());
    if let Some(port) = https_port {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(request.path);
    if let Some(query) = request.query {
        location.push('?');
        location.push_str(query);
    }
    HeaderValue::from_str(&location).ok()
}

fn default_port(scheme: &str) -> u16 {
    if scheme.eq_ignore_ascii_case("https") {
        443
    } else {
        80
    }
}
