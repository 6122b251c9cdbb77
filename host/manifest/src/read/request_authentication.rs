//! Istio's RequestAuthentication.

use super::authorization::scope;
use super::jwt_rule;
use crate::decode::{Decoder, Fields};
use crate::model::{RequestAuthentication, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let authentication = fields.required("spec", spec);
    fields.finish(&[]);
    authentication.map(Resource::RequestAuthentication)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<RequestAuthentication> {
    let mut spec = Fields::of(d, node)?;
    let scope = scope::read(&mut spec);
    let jwt_rules = spec.list("jwtRules", jwt_rule::read);
    spec.finish_strictly();
    Some(RequestAuthentication {
        scope: scope?,
        jwt_rules,
    })
}
