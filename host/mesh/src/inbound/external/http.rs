//! Providers that are called by plain HTTP: the request is asked about by a request like it,
//! and allowed by the status 200.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode};

use super::header_patterns::HeaderPatterns;
use super::mutation::{HeaderChange, HeaderMutation, Mutations, is_mutable};
use super::{CheckBody, Verdict};
use crate::{LocalReply, RequestHead};

/// Whether the provider gets the whole body of the request.
pub const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// With the names of headers that the provider removes from the request.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Added by the mesh to the provider's answer.
const UPSTREAM_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// `envoyExtAuthzHttp`
#[derive(Debug, Default)]
pub struct HttpCheck {
    pub(crate) path_prefix: String,
    pub(crate) request_headers: HeaderPatterns,
    pub(crate) additional_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) to_upstream_on_allow: HeaderPatterns,
    pub(crate) to_downstream_on_deny: HeaderPatterns,
    pub(crate) to_downstream_on_allow: HeaderPatterns,
}

impl HttpCheck {
    /// The question about a request, for the provider at `authority`. It has the request's
    /// method, path, query and `authorization`, the headers of the configuration, and, if
    /// `body` is set, the beginning of the body. The `host` that it shall have on the wire
    /// is the request's own: see [`RequestHead::authority`].
    ///
    /// # Errors
    /// The path is not valid together with the prefix.
    pub fn request(
        &self,
        head: &RequestHead<'_>,
        authority: &str,
        body: Option<&CheckBody>,
    ) -> Result<Request<Bytes>, http::Error> {
        let (prefix, path) = (&self.path_prefix, head.path);
        let query = head.query.map(|query| format!("?{query}"));
        let query = query.unwrap_or_default();
        let uri = format!("http://{authority}{prefix}{path}{query}");
        let bytes = body.map(|body| body.bytes.clone()).unwrap_or_default();
        let length = bytes.len();
        let mut request = Request::builder()
            .method(head.method)
            .uri(uri)
            .body(bytes)?;
        let headers = request.headers_mut();
        for (name, value) in head.headers {
            let is_sent = *name == header::AUTHORIZATION || self.request_headers.matches(name);
            if is_sent && is_mutable(name) && *name != PARTIAL_BODY && *name != header::EXPECT {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in &self.additional_headers {
            headers.insert(name, value.clone());
        }
        if let Some(body) = body {
            let is_partial = if body.is_partial { "true" } else { "false" };
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(is_partial));
        }
        headers.insert(header::CONTENT_LENGTH, length.into());
        Ok(request)
    }

    /// What the provider's answer means.
    pub fn verdict(&self, status: StatusCode, headers: &HeaderMap, body: Bytes) -> Verdict {
        match status {
            StatusCode::OK => Verdict::Allowed(self.mutations(headers)),
            _ if status.is_server_error() => Verdict::Failed,
            _ => {
                let kept = headers.iter().filter(|(name, _)| self.is_told(name));
                let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
                Verdict::Denied(LocalReply::ext_authz_denied(status, body, kept.collect()))
            }
        }
    }

    fn mutations(&self, headers: &HeaderMap) -> Mutations {
        let mut mutations = Mutations::default();
        for (name, value) in headers {
            if self.to_upstream_on_allow.matches(name) {
                let mutation = HeaderMutation::set(name.clone(), value.clone());
                mutations.request.push(mutation);
            }
            if self.to_downstream_on_allow.matches(name) {
                let change = match *name == header::SET_COOKIE {
                    true => HeaderChange::Add,
                    false => HeaderChange::Set,
                };
                mutations.response.push(HeaderMutation {
                    name: name.clone(),
                    value: value.clone(),
                    change,
                });
            }
        }
        let removed = headers.get_all(HEADERS_TO_REMOVE).iter();
        let removed = removed.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let removed = removed.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        mutations.removed = removed.collect();
        mutations
    }

    /// Whether the client of a denied request gets the header.
    fn is_told(&self, name: &HeaderName) -> bool {
        let always = [header::WWW_AUTHENTICATE, header::LOCATION];
        let patterns = &self.to_downstream_on_deny;
        let is_listed = patterns.is_empty() || patterns.matches(name) || always.contains(name);
        is_listed && is_mutable(name) && *name != UPSTREAM_TIME && *name != HEADERS_TO_REMOVE
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn list(names: &[&str]) -> HeaderPatterns {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        HeaderPatterns::new(&names)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn text(headers: &HeaderMap) -> String {
        let lines = headers.iter().map(|(name, value)| {
            let value = value.to_str().expect("text");
            format!("{name}={value}")
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines.join(" ")
    }

    /// The path and the headers of a question.
    fn question(check: &HttpCheck, body: Option<&CheckBody>) -> String {
        let headers = headers(&[
            ("host", "shop.example"),
            ("authorization", "Bearer t"),
            ("cookie", "a=b"),
            ("x-user", "1"),
            ("x-user-id", "2"),
            ("connection", "close"),
            ("content-length", "7"),
            ("x-envoy-auth-partial-body", "false"),
        ]);
        let head = RequestHead {
            method: &Method::POST,
            scheme: "http",
            authority: "shop.example",
            path: "/a/b",
            query: Some("c=d"),
            headers: &headers,
            source_ip: None,
        };
        let request = check.request(&head, "opa:80", body).expect("a request");
        assert_eq!(request.method(), Method::POST);
        format!("{} {}", request.uri(), text(request.headers()))
    }

    #[test]
    fn question_has_what_the_configuration_says() {
        let rows = [
            (
                HttpCheck::default(),
                "http://opa:80/a/b?c=d authorization=Bearer t content-length=0",
            ),
            (
                HttpCheck {
                    path_prefix: "/check".into(),
                    request_headers: list(&["x-user*", "connection", "*-body"]),
                    ..HttpCheck::default()
                },
                "http://opa:80/check/a/b?c=d authorization=Bearer t content-length=0 x-user-id=2 \
                 x-user=1",
            ),
            (
                HttpCheck {
                    request_headers: list(&["cookie", "x-user"]),
                    additional_headers: vec![
                        (
                            HeaderName::from_static("x-user"),
                            HeaderValue::from_static("own"),
                        ),
                        (
                            HeaderName::from_static("x-mesh"),
                            HeaderValue::from_static("m"),
                        ),
                    ],
                    ..HttpCheck::default()
                },
                "http://opa:80/a/b?c=d authorization=Bearer t content-length=0 cookie=a=b \
                 x-mesh=m x-user=own",
            ),
        ];
        for (check, expected) in rows {
            assert_eq!(question(&check, None), expected);
        }
    }

    #[test]
    fn question_has_the_beginning_of_the_body() {
        for is_partial in [true, false] {
            let body = CheckBody {
                bytes: Bytes::from_static(b"hello"),
                is_partial,
            };
            let expected = format!(
                "http://opa:80/a/b?c=d authorization=Bearer t content-length=5 \
                 x-envoy-auth-partial-body={is_partial}"
            );
            assert_eq!(question(&HttpCheck::default(), Some(&body)), expected);
        }
    }

    const ANSWER: [(&str, &str); 7] = [
        ("location", "/login"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-user", "me"),
        ("x-reason", "none"),
        ("content-length", "4"),
        ("x-envoy-upstream-service-time", "3"),
    ];

    #[test]
    fn statuses_are_verdicts() {
        let verdict = |status| {
            let status = StatusCode::from_u16(status).expect("a status");
            match HttpCheck::default().verdict(status, &HeaderMap::new(), Bytes::new()) {
                Verdict::Allowed(_) => "allowed".to_owned(),
                Verdict::Failed => "failed".to_owned(),
                Verdict::Denied(reply) => reply.status.as_u16().to_string(),
            }
        };
        for (status, expected) in [
            (200, "allowed"),
            (201, "201"),
            (204, "204"),
            (302, "302"),
            (401, "401"),
            (403, "403"),
            (404, "404"),
            (429, "429"),
            (500, "failed"),
            (503, "failed"),
        ] {
            assert_eq!(verdict(status), expected);
        }
    }

    #[test]
    fn client_of_a_denied_request_gets_headers_and_body() {
        for (deny, expected) in [
            (
                list(&[]),
                "location=/login set-cookie=a=1 set-cookie=b=2 x-reason=none x-user=me",
            ),
            (list(&["x-reason"]), "location=/login x-reason=none"),
            (
                list(&["*-cookie"]),
                "location=/login set-cookie=a=1 set-cookie=b=2",
            ),
        ] {
            let check = HttpCheck {
                to_downstream_on_deny: deny,
                ..HttpCheck::default()
            };
            let body = Bytes::from_static(b"stop");
            let verdict = check.verdict(StatusCode::FOUND, &headers(&ANSWER), body);
            let Verdict::Denied(reply) = verdict else {
                unreachable!("{verdict:?}");
            };
            assert_eq!(reply.body, "stop");
            assert_eq!(reply.flags.to_string(), "UAEX");
            assert_eq!(reply.details, "ext_authz_denied");
            let mut told: HeaderMap = HeaderMap::new();
            for (name, value) in reply.headers {
                told.append(name, value);
            }
            told.remove(header::CONTENT_TYPE);
            assert_eq!(text(&told), expected);
        }
    }

    #[test]
    fn allowed_request_and_its_response_get_headers() {
        let check = HttpCheck {
            to_upstream_on_allow: list(&["x-user"]),
            to_downstream_on_allow: list(&["set-cookie", "x-reason"]),
            ..HttpCheck::default()
        };
        let mut answer = headers(&ANSWER);
        let removed = HeaderValue::from_static("authorization, x-old,,");
        answer.insert(HEADERS_TO_REMOVE, removed);
        let verdict = check.verdict(StatusCode::OK, &answer, Bytes::new());
        let Verdict::Allowed(mutations) = verdict else {
            unreachable!("{verdict:?}");
        };
        let mut request = headers(&[("x-user", "forged"), ("authorization", "t"), ("x-old", "1")]);
        mutations.apply_headers(&mut request);
        assert_eq!(text(&request), "x-user=me");
        let mut response = headers(&[("set-cookie", "c=3"), ("x-reason", "own")]);
        mutations.apply_response(&mut response);
        let expected = "set-cookie=a=1 set-cookie=b=2 set-cookie=c=3 x-reason=none";
        assert_eq!(text(&response), expected);
    }

    #[test]
    fn nothing_is_changed_unless_the_configuration_says_so() {
        let verdict = HttpCheck::default().verdict(StatusCode::OK, &headers(&ANSWER), Bytes::new());
        assert_eq!(verdict, Verdict::Allowed(Mutations::default()));
    }
}
