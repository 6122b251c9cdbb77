//! The inbound listeners of a Sidecar. The host does not act on them, but wrong ones are refused,
//! as in a cluster.

use std::collections::HashSet;

use super::{capture_mode, listener_port};
use crate::codes;
use crate::decode::{Decoder, Fields, bind_address, string};
use crate::model::{Protocol, ServerTls, TlsMode};
use crate::read::{connection_pool, server_tls};
use crate::yaml::{Node, Value};

/// One entry of `ingress`; `ports` has those of earlier entries.
pub(super) fn read(d: &mut Decoder, node: &Node, ports: &mut HashSet<u16>) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    let port = fields.required("port", listener_port);
    fields.optional("bind", bind_address);
    fields.optional("captureMode", capture_mode);
    fields.optional("defaultEndpoint", endpoint);
    fields.optional("connectionPool", connection_pool::read);
    let tls = fields.optional("tls", server_tls::read);
    if let Some(tls) = tls {
        check_tls(&mut fields, port.as_ref().and_then(|it| it.1), &tls, node);
    }
    if let Some((number, _)) = port
        && !ports.insert(number)
    {
        let message = "an earlier listener has this port; each has its own".to_owned();
        fields.error_at("port", codes::INVALID_VALUE, message);
    }
    fields.finish_strictly();
    Some(())
}

/// Where the connections go: `127.0.0.1:8080`, `:8080`, `unix:///path`.
fn endpoint(d: &mut Decoder, node: &Node) -> Option<()> {
    const ADDRESSES: [&str; 5] = ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"];
    let text = string(d, node)?;
    let is_valid = match text.strip_prefix("unix://") {
        Some(path) => !path.is_empty(),
        None => text.rsplit_once(':').is_some_and(|(address, port)| {
            ADDRESSES.contains(&address) && port.parse::<u16>().is_ok_and(|it| it > 0)
        }),
    };
    if !is_valid && !text.is_empty() {
        let shown = d.show(&text);
        let message = format!("{shown} is not an endpoint of the pod; write `127.0.0.1:8080`");
        d.error(node.mark, codes::INVALID_VALUE, message);
    }
    Some(())
}

/// Whether a value is there, and not an empty text or list.
fn is_set(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(scalar) => !scalar.text.is_empty() && !node.is_null(),
        Value::Sequence(items) => !items.is_empty(),
        Value::Mapping(_) => true,
    }
}

fn check_tls(
    fields: &mut Fields<'_, '_>,
    protocol: Option<Protocol>,
    tls: &ServerTls,
    node: &Node,
) {
    let mut refuse = |message: String| fields.error_at("tls", codes::INVALID_VALUE, message);
    if !matches!(protocol, Some(Protocol::Https | Protocol::Tls)) {
        refuse("needs a port with the protocol HTTPS or TLS".to_owned());
    }
    if matches!(tls.mode, TlsMode::IstioMutual | TlsMode::AutoPassthrough) {
        refuse(format!("a Sidecar has no mode {}", tls.mode.name()));
    }
    let elsewhere = [
        "subjectAltNames",
        "credentialName",
        "credentialNames",
        "tlsCertificates",
    ];
    for name in elsewhere {
        let value = node.get("tls").and_then(|tls| tls.get(name));
        if value.is_some_and(is_set) {
            refuse(format!("a Sidecar does not have `{name}`; use files"));
        }
    }
    if tls.https_redirect {
        refuse("a Sidecar does not have `httpsRedirect`".to_owned());
    }
}
