//! The mesh's own replies as responses. Which status belongs to which failure
//! is decided in `galleria-mesh`'s `LocalReply` and nowhere else.

use galleria_mesh::LocalReply;
use http_body_util::{BodyExt, Full};

use crate::Response;

/// `reply` as a response of this host.
pub(crate) fn local(reply: LocalReply) -> Response {
    reply.into_response().map(|body| {
        Full::new(body)
            .map_err(|never: std::convert::Infallible| match never {})
            .boxed_unsync()
    })
}
