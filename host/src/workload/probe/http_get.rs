//! `httpGet` probes: a GET request to the guest. Success is a status from 200 to 399.

use galleria_manifest::model::HttpGet;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};

use super::{ANSWER_MAX, USER_AGENT, context};
use crate::workload::pod::Pod;
use crate::{Request, body};

/// The number of redirects that are followed, as in the kubelet.
const REDIRECTS_MAX: usize = 10;

/// Sends the request, and follows redirects within the guest. A redirect to another host
/// counts as success with a warning, as in the kubelet; returns the warning.
///
/// # Errors
/// The status or failure that the request ended with.
pub(in crate::workload) async fn http_get(
    pod: &Pod,
    get: &HttpGet,
) -> Result<Option<String>, String> {
    let headers = headers(get, &pod.address)?;
    let mut path = get.path.clone();
    for _ in 0..=REDIRECTS_MAX {
        let response = pod
            .serve_probe(request(&path, headers.clone())?, context())
            .await
            .map_err(|failure| failure.to_string())?;
        let (head, body) = response.into_parts();
        // Read to the end: an instance whose response is dropped cannot be reused.
        let _ = Limited::new(body, ANSWER_MAX).collect().await;
        let next = redirects(head.status)
            .then(|| local_target(&head.headers, &headers, &path))
            .flatten();
        match next {
            Some(next) => path = next,
            None if head.status.is_success() => return Ok(None),
            None if head.status.is_redirection() => {
                let status = head.status;
                let warning = format!("Probe terminated redirects, {path} answered {status}");
                return Ok(Some(warning));
            }
            None => return Err(format!("{path} answered {}", head.status)),
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}

/// The headers of the manifest, and those of the kubelet that it does not override.
fn headers(get: &HttpGet, address: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &get.headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    let host = HeaderValue::try_from(address).map_err(|error| error.to_string())?;
    for (name, default) in [
        (header::HOST, host),
        (header::USER_AGENT, USER_AGENT),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
    ] {
        headers.entry(name).or_insert(default);
    }
    Ok(headers)
}

fn request(path: &str, headers: HeaderMap) -> Result<Request, String> {
    let mut request = http::Request::get(path)
        .body(body::empty())
        .map_err(|error| format!("cannot build the probe request: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The path of the `location` header, if it is on the same host.
fn local_target(answer: &HeaderMap, request: &HeaderMap, path: &str) -> Option<String> {
    let location = answer.get(header::LOCATION)?.to_str().ok()?;
    let uri: Uri = match location.strip_prefix("//") {
        Some(rest) => format!("http://{rest}").parse().ok()?,
        None if location.contains("://") => location.parse().ok()?,
        None if location.starts_with('/') => return Some(location.to_owned()),
        None => {
            let folder = path.split('?').next()?.rsplit_once('/')?.0;
            return Some(format!("{folder}/{location}"));
        }
    };
    let own: Uri = request.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    (uri.host() == own.host()).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(location: &str) -> Option<String> {
        let header = |name, value: &str| {
            let value = HeaderValue::try_from(value).expect("a value");
            HeaderMap::from_iter([(name, value)])
        };
        let request = header(header::HOST, "10.64.0.1");
        local_target(
            &header(header::LOCATION, location),
            &request,
            "/live/check?a=b",
        )
    }

    #[test]
    fn redirects_are_followed_within_the_guest() {
        assert_eq!(target("/ok?x=1").as_deref(), Some("/ok?x=1"));
        assert_eq!(target("other").as_deref(), Some("/live/other"));
        assert_eq!(target("http://10.64.0.1/ok").as_deref(), Some("/ok"));
        assert_eq!(target("https://10.64.0.1:8443/ok").as_deref(), Some("/ok"));
        assert_eq!(target("http://login.example/"), None);
        assert_eq!(target("//login.example/"), None);
    }

    #[test]
    fn headers_of_the_manifest_override_defaults_and_repeat() {
        let get = |headers: &[(&str, &str)]| HttpGet {
            path: "/".into(),
            port: galleria_manifest::model::PortReference::Number(80),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let plain = headers(&get(&[]), "10.64.0.1").expect("headers");
        assert_eq!(plain[header::HOST], "10.64.0.1");
        assert_eq!(plain[header::USER_AGENT], USER_AGENT);
        let own = [("Host", "shop.example"), ("X-A", "1"), ("X-A", "2")];
        let own = headers(&get(&own), "10.64.0.1").expect("headers");
        assert_eq!(own[header::HOST], "shop.example");
        assert_eq!(own.get_all("x-a").iter().count(), 2);
    }
}
