//! One rule of a VirtualService's `tcp` list. The host does not act on it, but a wrong one is
//! refused, as in a cluster, and its destinations are looked for.

use super::destination;
use super::http_route::check_weights;
use super::tls_route::connection_match;
use crate::decode::{Decoder, Fields, string};
use crate::model::TcpRoute;
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<TcpRoute> {
    let mut fields = Fields::of(d, node)?;
    fields.list("match", |d, node| {
        let mut fields = Fields::of(d, node)?;
        connection_match(&mut fields);
        fields.optional("sourceSubnet", string);
        fields.finish(&[]);
        Some(())
    });
    if !fields.has("route") {
        fields.missing("route");
    }
    let route = fields.list("route", destination::connection_route);
    check_weights(&mut fields, node, &route);
    fields.finish(&[]);
    Some(TcpRoute { route })
}
