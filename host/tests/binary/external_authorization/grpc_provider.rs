//! A service of external authorization in gRPC. Its messages are written independently of
//! the host's, with the numbers of `envoy/service/auth/v3`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{GrpcServer, Method};

/// See the module's documentation.
pub struct GrpcProvider {
    pub address: SocketAddr,
    asked: Asked,
    _server: GrpcServer,
}

type Asked = Arc<Mutex<Vec<Question>>>;

/// What the provider was asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub method: String,
    pub path: String,
    pub host: String,
    pub headers: HashMap<String, String>,
    pub raw_body: Vec<u8>,
    pub source: String,
    pub destination: String,
    pub client: String,
}

macro_rules! message {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct $name { $($(#[$attribute])* $field: $type,)* }
    };
}

message!(CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
});
message!(Attributes {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
});
message!(Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
    #[prost(string, tag = "4")]
    principal: String,
});
message!(Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddressMessage>,
});
message!(SocketAddressMessage {
    #[prost(string, tag = "2")]
    address: String,
});
message!(Request {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
});
message!(HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(bytes = "vec", tag = "12")]
    raw_body: Vec<u8>,
});
message!(CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
});
message!(Code {
    #[prost(int32, tag = "1")]
    code: i32,
});
message!(Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
});
message!(Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    response_headers: Vec<HeaderOption>,
    #[prost(message, repeated, tag = "7")]
    query_set: Vec<Pair>,
    #[prost(string, repeated, tag = "8")]
    query_remove: Vec<String>,
});
message!(HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Pair>,
    #[prost(message, optional, tag = "2")]
    append: Option<Flag>,
});
message!(Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
});
message!(Flag {
    #[prost(bool, tag = "1")]
    value: bool,
});

fn pair(key: &str, value: &str) -> Pair {
    Pair {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn header(key: &str, value: &str, append: bool) -> HeaderOption {
    HeaderOption {
        header: Some(pair(key, value)),
        append: append.then_some(Flag { value: true }),
    }
}

impl GrpcProvider {
    pub fn start() -> Self {
        let asked = Asked::default();
        let server = GrpcServer::start(Check(asked.clone()));
        Self {
            address: server.address,
            asked,
            _server: server,
        }
    }

    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

#[derive(Clone)]
struct Check(Asked);

impl Method for Check {
    const SERVICE: &'static str = "envoy.service.auth.v3.Authorization";
    type Question = CheckRequest;
    type Answer = CheckResponse;

    async fn answer(&self, question: CheckRequest) -> Result<CheckResponse, tonic::Status> {
        let attributes = question.attributes.expect("attributes");
        let peer = |peer: Option<Peer>| peer.expect("a peer");
        let (source, destination) = (peer(attributes.source), peer(attributes.destination));
        let address = source.address.and_then(|it| it.socket_address);
        let http = attributes
            .request
            .and_then(|it| it.http)
            .expect("a request");
        let path = http.path.clone();
        let question = Question {
            method: http.method,
            path: http.path,
            host: http.host,
            headers: http.headers,
            raw_body: http.raw_body,
            source: source.principal,
            destination: destination.principal,
            client: address.expect("an address").address,
        };
        self.0.lock().expect("unpoisoned").push(question);
        if path.ends_with("slow") {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        answer(&path)
    }
}

fn answer(path: &str) -> Result<CheckResponse, tonic::Status> {
    let code = |code| Some(Code { code });
    Ok(match path.rsplit('/').next().unwrap_or_default() {
        "fails" => return Err(tonic::Status::internal("broken")),
        "plain" => CheckResponse {
            status: code(7),
            ..CheckResponse::default()
        },
        "denied" => CheckResponse {
            status: code(7),
            denied: Some(Denied {
                status: code(429),
                headers: vec![header("x-reason", "limit", false)],
                body: "no more".into(),
            }),
            ok: None,
        },
        _ => CheckResponse {
            status: code(0),
            denied: None,
            ok: Some(Allowed {
                headers: vec![header("x-user", "me", false), header("x-list", "b", true)],
                headers_to_remove: vec!["x-old".into()],
                response_headers: vec![header("x-checked", "yes", false)],
                query_set: vec![pair("set", "2")],
                query_remove: vec!["drop".into()],
            }),
        },
    })
}
