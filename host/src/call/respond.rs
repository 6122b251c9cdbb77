//! The mesh's own replies as responses. Only `LocalReply` of `galleria-mesh` decides
//! which status belongs to which failure.

use galleria_mesh::LocalReply;

use crate::{Response, body};

/// `reply` as a response of this host.
pub(crate) fn respond(reply: LocalReply) -> Response {
    reply.into_response().map(body::full)
}
