//! HTTP requests to ports of this machine.

use std::net::SocketAddr;

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// A header's value, empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null if it is invalid.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends a GET request; `None` without a response.
pub fn get(address: SocketAddr, path: &str) -> Option<Answer> {
    answer(agent().get(format!("http://{address}{path}")).call())
}

/// Posts JSON; `None` without a response.
pub fn post(address: SocketAddr, path: &str, body: &str) -> Option<Answer> {
    let request = agent().post(format!("http://{address}{path}"));
    let request = request.header("content-type", "application/json");
    answer(request.send(body))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(super::PATIENCE))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
    let mut response = response.ok()?;
    Some(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().read_to_string().ok()?,
    })
}
