//! The messages of `envoy.service.auth.v3`: the fields that the host sets, and those that it
//! acts on. They are written by hand, since crates with all of Envoy's messages take longer to
//! compile than the rest of the host's dependencies on gRPC together.

mod messages;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use galleria_mesh::LocalReply;
use galleria_mesh::inbound::external::http::PARTIAL_BODY;
use galleria_mesh::inbound::external::{
    CheckBody, HeaderChange, HeaderMutation, Mutations, Verdict,
};
use galleria_mesh::inbound::{InboundRequest, Peer, WorkloadIdentity};
use http::{HeaderName, StatusCode, header};

use self::messages::{
    Address, AttributeContext, DeniedResponse, HeaderValueOption, HttpAnswer, HttpAttributes,
    OkResponse, RequestAttributes, SocketAddress, Timestamp,
};
pub(super) use self::messages::{CheckRequest, CheckResponse};

/// The question about a request; `id` is its `x-request-id`.
pub(super) fn question(
    request: &InboundRequest<'_>,
    id: &str,
    body: Option<&CheckBody>,
    packs_as_bytes: bool,
) -> CheckRequest {
    let http = http_attributes(request, id, body, packs_as_bytes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let time = Timestamp {
        seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
        nanos: i32::try_from(now.subsec_nanos()).unwrap_or_default(),
    };
    let caller = match request.peer {
        Peer::Client { ip, .. } | Peer::Forwarded(ip) => Some(*ip),
        _ => request.head.source_ip,
    };
    let trust_domain = &*request.destination.trust_domain;
    let destination = Peer::Named(WorkloadIdentity::from(request.destination));
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(caller, 0, (request.peer, trust_domain))),
            destination: Some(peer(None, request.port, (&destination, trust_domain))),
            request: Some(RequestAttributes {
                time: Some(time),
                http: Some(http),
            }),
        }),
    }
}

/// An address without an IP address is one in this process.
fn peer(address: Option<IpAddr>, port: u16, (peer, trust_domain): (&Peer, &str)) -> messages::Peer {
    let address = address.map_or_else(|| "0.0.0.0".to_owned(), |it| it.to_canonical().to_string());
    messages::Peer {
        address: Some(Address {
            socket_address: Some(SocketAddress {
                address,
                port_value: port.into(),
            }),
        }),
        principal: peer
            .spiffe_id(trust_domain)
            .map(|id| id.to_string())
            .unwrap_or_default(),
    }
}

fn http_attributes(
    request: &InboundRequest<'_>,
    id: &str,
    body: Option<&CheckBody>,
    packs_as_bytes: bool,
) -> HttpAttributes {
    let head = &request.head;
    let path = match head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.to_owned(),
    };
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in head.headers {
        if *name == PARTIAL_BODY || *name == header::HOST {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = headers.entry(name.as_str().to_owned());
        joined
            .and_modify(|before| {
                before.push(',');
                before.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    for (name, value) in [
        (":authority", head.authority),
        (":method", head.method.as_str()),
        (":path", path.as_str()),
        (":scheme", head.scheme),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    let mut attributes = HttpAttributes {
        id: id.to_owned(),
        method: head.method.to_string(),
        path,
        host: head.authority.to_owned(),
        scheme: head.scheme.to_owned(),
        size: size(head.headers).unwrap_or(-1),
        protocol: "HTTP/1.1".to_owned(),
        ..HttpAttributes::default()
    };
    if let Some(body) = body {
        let is_partial = body.is_partial.to_string();
        headers.insert(PARTIAL_BODY.as_str().to_owned(), is_partial);
        match packs_as_bytes {
            true => attributes.raw_body = body.bytes.to_vec(),
            false => attributes.body = String::from_utf8_lossy(&body.bytes).into_owned(),
        }
    }
    HttpAttributes {
        headers,
        ..attributes
    }
}

fn size(headers: &http::HeaderMap) -> Option<i64> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}

/// What the answer means. An answer with a header that cannot be sent is not valid.
pub(super) fn verdict(answer: CheckResponse) -> Verdict {
    let code = answer.status.unwrap_or_default().code;
    let verdict = match (code, answer.http_response) {
        (0, Some(HttpAnswer::Ok(ok))) => allowed(ok),
        (0, _) => Some(Verdict::Allowed(Mutations::default())),
        (_, Some(HttpAnswer::Denied(denied))) => denied_by(denied),
        (_, _) => denied_by(DeniedResponse::default()),
    };
    verdict.unwrap_or(Verdict::Failed)
}

fn allowed(ok: OkResponse) -> Option<Verdict> {
    let removed = ok.headers_to_remove.iter();
    // Pseudo headers are no names.
    let removed = removed.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let query = ok.query_parameters_to_set.into_iter();
    Some(Verdict::Allowed(Mutations {
        request: mutations(&ok.headers)?,
        removed: removed.collect(),
        query_set: query.map(|it| (it.key, it.value)).collect(),
        query_removed: ok.query_parameters_to_remove,
        response: mutations(&ok.response_headers_to_add)?,
    }))
}

fn denied_by(denied: DeniedResponse) -> Option<Verdict> {
    let code = denied.status.map_or(0, |status| status.code);
    let status = match code {
        0 => StatusCode::FORBIDDEN,
        code => StatusCode::from_u16(u16::try_from(code).ok()?).ok()?,
    };
    let headers = mutations(&denied.headers)?.into_iter();
    let headers = headers
        .filter(HeaderMutation::is_allowed)
        .map(|it| (it.name, it.value));
    let reply = LocalReply::ext_authz_denied(status, denied.body, headers.collect());
    Some(Verdict::Denied(reply))
}

fn mutations(options: &[HeaderValueOption]) -> Option<Vec<HeaderMutation>> {
    let mutations = options.iter().map(mutation);
    mutations.collect()
}

fn mutation(option: &HeaderValueOption) -> Option<HeaderMutation> {
    let (name, value) = option.header.as_ref()?.read()?;
    let change = match (option.append.as_ref(), option.append_action) {
        (Some(append), _) if append.value => HeaderChange::AppendIfPresent,
        (Some(_), _) => HeaderChange::Set,
        (None, 1) => HeaderChange::AddIfAbsent,
        (None, 3) => HeaderChange::SetIfPresent,
        (None, _) => HeaderChange::Set,
    };
    Some(HeaderMutation {
        name,
        value,
        change,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::messages::{BoolValue, HttpStatus, QueryParameter, Status};
    use super::*;
    use crate::call::provider_call::HeaderMessage;

    fn option(name: &str, value: &str, append: Option<bool>, action: i32) -> HeaderValueOption {
        HeaderValueOption {
            header: Some(HeaderMessage {
                key: name.to_owned(),
                value: value.to_owned(),
                raw_value: Vec::new(),
            }),
            append: append.map(|value| BoolValue { value }),
            append_action: action,
        }
    }

    fn answer(code: i32, http_response: Option<HttpAnswer>) -> CheckResponse {
        CheckResponse {
            status: Some(Status { code }),
            http_response,
        }
    }

    #[test]
    fn only_the_status_ok_allows() {
        let ok = || Some(HttpAnswer::Ok(OkResponse::default()));
        let denied = |code| {
            Some(HttpAnswer::Denied(DeniedResponse {
                status: Some(HttpStatus { code }),
                ..DeniedResponse::default()
            }))
        };
        for (answer, expected) in [
            (answer(0, None), "allowed"),
            (answer(0, ok()), "allowed"),
            (CheckResponse::default(), "allowed"),
            (answer(7, None), "403"),
            (answer(16, ok()), "403"),
            (answer(7, denied(401)), "401"),
            (answer(7, denied(0)), "403"),
            (answer(7, denied(302)), "302"),
            (answer(7, denied(1)), "failed"),
            (answer(7, denied(-1)), "failed"),
        ] {
            let found = match verdict(answer.clone()) {
                Verdict::Allowed(_) => "allowed".to_owned(),
                Verdict::Denied(reply) => reply.status.as_u16().to_string(),
                Verdict::Failed => "failed".to_owned(),
            };
            assert_eq!(found, expected, "{answer:?}");
        }
    }

    #[test]
    fn headers_are_changed_as_the_options_say() {
        use HeaderChange::{AddIfAbsent, AppendIfPresent, Set, SetIfPresent};
        for (append, action, expected) in [
            (None, 0, Set),
            (Some(false), 0, Set),
            (Some(true), 0, AppendIfPresent),
            (None, 1, AddIfAbsent),
            (None, 2, Set),
            (None, 3, SetIfPresent),
        ] {
            let ok = OkResponse {
                headers: vec![option("X-User", "me", append, action)],
                ..OkResponse::default()
            };
            let verdict = verdict(answer(0, Some(HttpAnswer::Ok(ok))));
            let Verdict::Allowed(mutations) = verdict else {
                unreachable!("{verdict:?}");
            };
            let expected = HeaderMutation {
                name: HeaderName::from_static("x-user"),
                value: HeaderValue::from_static("me"),
                change: expected,
            };
            assert_eq!(mutations.request, [expected]);
        }
    }

    #[test]
    fn answer_with_an_invalid_header_is_a_failure() {
        for (name, value) in [(":path", "/"), ("a b", "c"), ("a", "b\r\nc: d")] {
            let ok = OkResponse {
                headers: vec![option(name, value, None, 0)],
                ..OkResponse::default()
            };
            let answer = answer(0, Some(HttpAnswer::Ok(ok)));
            assert_eq!(verdict(answer), Verdict::Failed, "{name}");
        }
    }

    #[test]
    fn names_and_parameters_are_taken() {
        let ok = OkResponse {
            headers_to_remove: vec![":path".into(), "X-Old".into()],
            query_parameters_to_set: vec![QueryParameter {
                key: "a".into(),
                value: "b".into(),
            }],
            query_parameters_to_remove: vec!["c".into()],
            response_headers_to_add: vec![option("x-seen", "1", None, 0)],
            ..OkResponse::default()
        };
        let Verdict::Allowed(mutations) = verdict(answer(0, Some(HttpAnswer::Ok(ok)))) else {
            unreachable!("the status is OK");
        };
        assert_eq!(mutations.removed, [HeaderName::from_static("x-old")]);
        assert_eq!(mutations.query_set, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(mutations.query_removed, ["c"]);
        assert_eq!(mutations.response.len(), 1);
    }

    #[test]
    fn question_has_the_attributes_of_the_request() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "shop.example"),
            ("x-list", "a"),
            ("x-list", "b"),
            ("content-length", "5"),
            ("x-envoy-auth-partial-body", "forged"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let workload = galleria_mesh::Workload::new("shop", "app", "account", Default::default());
        let client = "198.51.100.7".parse().expect("an address");
        let request = InboundRequest {
            destination: &workload,
            port: 8080,
            peer: &Peer::Client {
                listener_port: 80,
                ip: client,
            },
            head: galleria_mesh::RequestHead {
                method: &Method::PUT,
                scheme: "https",
                authority: "shop.example",
                path: "/a",
                query: Some("b=c"),
                headers: &headers,
                source_ip: Some(client),
            },
            principal: None,
        };
        let question = |packs_as_bytes| {
            let body = CheckBody {
                bytes: "hello".into(),
                is_partial: true,
            };
            let question = question(&request, "id", Some(&body), packs_as_bytes);
            question.attributes.expect("attributes")
        };
        let attributes = question(false);
        let source = attributes.source.expect("a source");
        let account = "istio-ingressgateway-service-account";
        let gateway = format!("spiffe://cluster.local/ns/istio-system/sa/{account}");
        assert_eq!(source.principal, gateway);
        let address = source.address.and_then(|it| it.socket_address);
        assert_eq!(address.expect("an address").address, "198.51.100.7");
        let destination = attributes.destination.expect("a destination");
        assert_eq!(
            destination.principal,
            "spiffe://cluster.local/ns/shop/sa/account"
        );
        let http = attributes
            .request
            .and_then(|it| it.http)
            .expect("a request");
        assert_eq!((http.id.as_str(), http.method.as_str()), ("id", "PUT"));
        assert_eq!(
            (http.path.as_str(), http.host.as_str()),
            ("/a?b=c", "shop.example")
        );
        assert_eq!((http.scheme.as_str(), http.size), ("https", 5));
        assert_eq!((http.body.as_str(), http.raw_body.len()), ("hello", 0));
        assert_eq!(http.headers["x-list"], "a,b");
        assert_eq!(http.headers[":path"], "/a?b=c");
        assert_eq!(http.headers["x-envoy-auth-partial-body"], "true");
        assert!(!http.headers.contains_key("host"));
        let http = question(true).request.and_then(|it| it.http);
        assert_eq!(http.expect("a request").raw_body, b"hello");
    }
}
