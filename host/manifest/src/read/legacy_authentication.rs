//! Policy and MeshPolicy of Istio 1.2.

use super::http_match::string_match;
use super::jwt_rule;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, dns_label, non_empty, port_reference, string,
};
use crate::model::{
    JwtHeader, JwtRule, LegacyAuthentication, LegacyOrigin, LegacyTarget, MutualTlsMode, PathMatch,
    Resource, TriggerRule,
};
use crate::yaml::Node;

/// The name of a policy for a whole namespace or mesh.
const DEFAULT: &str = "default";

pub(crate) fn read(fields: Fields<'_, '_>) -> Option<Resource> {
    any(fields, |spec| {
        if spec.d.object_name() != Some(DEFAULT) && !spec.has("targets") {
            let message = "a policy for the whole namespace must be called `default`; name it so, \
                           or list the Services in `targets`";
            let mark = spec.mark;
            spec.d.error(mark, codes::NAME, message);
        }
        if spec.d.object_name() == Some(DEFAULT) && spec.has("targets") {
            let message = "the policy `default` is for the whole namespace; give it another name \
                           or leave out `targets`"
                .to_owned();
            spec.error_at("targets", codes::EXCLUSIVE_FIELDS, message);
        }
    })
}

pub(crate) fn read_mesh(fields: Fields<'_, '_>) -> Option<Resource> {
    any(fields, |spec| {
        if spec.d.object_name() != Some(DEFAULT) {
            let message = "the policy of the mesh must be called `default`";
            let mark = spec.mark;
            spec.d.error(mark, codes::NAME, message);
        }
        if spec.has("targets") {
            let message = "the policy of the mesh has no targets; use a Policy".to_owned();
            spec.error_at("targets", codes::EXCLUSIVE_FIELDS, message);
        }
    })
}

fn any(mut fields: Fields<'_, '_>, check: impl FnOnce(&mut Fields<'_, '_>)) -> Option<Resource> {
    let successor = "PeerAuthentication and RequestAuthentication of security.istio.io/v1";
    let message = format!("removed from Istio 1.6 but still supported; use {successor}");
    let mark = fields.mark;
    fields.d.note(mark, codes::DEPRECATED, message);
    let authentication = fields.required("spec", |d, node| spec(d, node, check));
    fields.finish(&[]);
    authentication.map(Resource::LegacyAuthentication)
}

fn spec(
    d: &mut Decoder,
    node: &Node,
    check: impl FnOnce(&mut Fields<'_, '_>),
) -> Option<LegacyAuthentication> {
    let mut spec = Fields::of(d, node)?;
    check(&mut spec);
    let targets = spec.list("targets", target);
    let peers = spec.list("peers", peer);
    let is_optional = spec.optional("peerIsOptional", boolean).unwrap_or(false);
    let origins = spec.list("origins", origin);
    let origin_is_optional = spec.optional("originIsOptional", boolean).unwrap_or(false);
    let binding = spec.optional("principalBinding", |d, node| {
        let bindings = [("USE_PEER", false), ("USE_ORIGIN", true)];
        choice(d, node, "a binding of the principal", &bindings)
    });
    spec.finish_strictly();
    let peer_mode = peers.into_iter().next();
    Some(LegacyAuthentication {
        targets,
        peer_mode: peer_mode.map(|mode| match is_optional {
            true => MutualTlsMode::Permissive,
            false => mode,
        }),
        origins,
        origin_is_optional,
        binds_to_origin: binding.unwrap_or(false),
    })
}

fn target(d: &mut Decoder, node: &Node) -> Option<LegacyTarget> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", |d, node| {
        dns_label(d, node).map(|name| d.locate(name, node))
    });
    let ports = fields.list("ports", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let number = fields.optional("number", port_reference);
        let name = fields.optional("name", port_reference);
        fields.finish_strictly();
        number.or(name)
    });
    fields.finish_strictly();
    Some(LegacyTarget { name: name?, ports })
}

/// `mtls`, which can be empty or null, with its mode.
fn peer(d: &mut Decoder, node: &Node) -> Option<MutualTlsMode> {
    let mut fields = Fields::of(d, node)?;
    let is_null = fields.get("mtls").is_some_and(Node::is_null);
    let mode = fields.optional("mtls", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let modes = [
            ("STRICT", MutualTlsMode::Strict),
            ("PERMISSIVE", MutualTlsMode::Permissive),
        ];
        let mode = fields.optional("mode", |d, node| {
            choice(d, node, "a mode of mutual TLS", &modes)
        });
        let failed = fields.has("mode") && mode.is_none();
        fields.finish_strictly();
        (!failed).then_some(mode.unwrap_or(MutualTlsMode::Strict))
    });
    let mode = mode.or(is_null.then_some(MutualTlsMode::Strict));
    if !is_null && !fields.has("mtls") {
        let mark = fields.mark;
        let message = "a peer proves who it is with `mtls`; write `- mtls: {}`";
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    fields.finish_strictly();
    mode
}

fn origin(d: &mut Decoder, node: &Node) -> Option<LegacyOrigin> {
    let mut fields = Fields::of(d, node)?;
    let origin = fields.required("jwt", jwt);
    fields.finish_strictly();
    origin
}

fn jwt(d: &mut Decoder, node: &Node) -> Option<LegacyOrigin> {
    let mut fields = Fields::of(d, node)?;
    let issuer = fields.required("issuer", non_empty);
    let audiences = fields.list("audiences", non_empty);
    let keys = jwt_rule::keys(&mut fields);
    let headers = fields.list("jwtHeaders", jwt_rule::plain_header);
    let from_params = fields.list("jwtParams", non_empty);
    let triggers = fields.list("triggerRules", trigger);
    fields.finish_strictly();
    let from_headers = headers.into_iter().map(|name| JwtHeader {
        // As its Envoy did: the header of the standard has a scheme.
        prefix: match name.as_str() {
            "authorization" => "Bearer ".to_owned(),
            _ => String::new(),
        },
        name,
    });
    Some(LegacyOrigin {
        rule: JwtRule {
            at: d.position(node.mark),
            issuer: issuer?,
            audiences,
            keys: keys?,
            from_headers: from_headers.collect(),
            from_params,
            from_cookies: Vec::new(),
            output_payload_to_header: None,
            output_claim_to_headers: Vec::new(),
            forward_original_token: true,
            space_delimited_claims: Vec::new(),
            timeout: None,
        },
        triggers,
    })
}

fn trigger(d: &mut Decoder, node: &Node) -> Option<TriggerRule> {
    let mut fields = Fields::of(d, node)?;
    let excluded = fields.list("excludedPaths", path);
    let included = fields.list("includedPaths", path);
    fields.finish_strictly();
    Some(TriggerRule { excluded, included })
}

/// `exact`, `prefix`, `suffix` or `regex`.
fn path(d: &mut Decoder, node: &Node) -> Option<PathMatch> {
    if node.get("suffix").is_none() {
        return string_match(d, node).map(PathMatch::Match);
    }
    let mut fields = Fields::of(d, node)?;
    let suffix = fields.required("suffix", string);
    fields.finish_strictly();
    suffix.map(PathMatch::Suffix)
}
