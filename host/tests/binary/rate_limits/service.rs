//! A service of rate limits. Its messages are written independently of the host's, with the
//! numbers of `envoy/service/ratelimit/v3`.

use std::sync::{Arc, Mutex};

use crate::support::{GrpcServer, Method};

/// Allows two requests for each descriptor, and fails for the user `broken`.
pub struct LimitService {
    pub server: GrpcServer,
    asked: Asked,
}

/// The domain, and the entries of the descriptors as `key=value`.
type Asked = Arc<Mutex<Vec<(String, Vec<String>)>>>;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Question {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    #[prost(int32, tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "3")]
    response_headers: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    request_headers: Vec<Pair>,
    #[prost(bytes = "vec", tag = "5")]
    raw_body: Vec<u8>,
}

#[derive(Clone)]
struct ShouldRateLimit(Asked);

impl Method for ShouldRateLimit {
    const SERVICE: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
    type Question = Question;
    type Answer = Answer;

    async fn answer(&self, question: Question) -> Result<Answer, tonic::Status> {
        let entries = question.descriptors.iter().flat_map(|it| &it.entries);
        let entries = entries.map(|entry| format!("{}={}", entry.key, entry.value));
        let asked = (question.domain, entries.collect::<Vec<_>>());
        if asked.1.contains(&"user=broken".to_owned()) {
            return Err(tonic::Status::internal("broken"));
        }
        let mut all = self.0.lock().expect("unpoisoned");
        let before = all.iter().filter(|it| **it == asked).count();
        all.push(asked);
        let pair = |key: &str| Pair {
            key: key.to_owned(),
            value: before.to_string(),
        };
        Ok(Answer {
            overall_code: if before < 2 { 1 } else { 2 },
            response_headers: vec![pair("x-before")],
            request_headers: vec![pair("x-counted")],
            raw_body: b"slow down".to_vec(),
        })
    }
}

impl LimitService {
    pub fn start() -> Self {
        let asked = Asked::default();
        Self {
            server: GrpcServer::start(ShouldRateLimit(asked.clone())),
            asked,
        }
    }

    pub fn asked(&self) -> Vec<(String, Vec<String>)> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}
