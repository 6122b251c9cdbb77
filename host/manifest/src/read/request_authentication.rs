//! Istio's RequestAuthentication.

use super::authorization::scope;
use super::jwt_rule;
use crate::decode::{Decoder, Fields};
use crate::model::{PolicyScope, RequestAuthentication, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let has_spec = fields.has("spec");
    let authentication = fields.optional("spec", spec);
    fields.finish(&[]);
    let nothing = (!has_spec).then(|| RequestAuthentication {
        scope: PolicyScope::All,
        jwt_rules: Vec::new(),
    });
    let authentication = authentication.or(nothing);
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
