//! Reviews by which a client learns who it is and what it may do.

use http::request::Parts;
use serde_json::{Value, json};

use super::access::Access;
use super::body;
use super::failure::{Cause, Failure};

/// The reviews, by group and plural name.
const REVIEWS: [(&str, &str); 3] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
];

/// The review at `group/v1/plural`, if there is one.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static str> {
    let is_it = |it: &&(&str, &'static str)| version == "v1" && **it == (group, plural);
    REVIEWS.iter().find(is_it).map(|(_, plural)| *plural)
}

/// Whether a review is in `group`.
pub(super) fn has_group(group: &str) -> bool {
    REVIEWS.iter().any(|(of, _)| *of == group)
}

/// # Errors
/// The body is not a review.
pub(super) fn answer(
    review: &str,
    access: Access,
    request: &Parts,
    body: &[u8],
) -> Result<Value, Failure> {
    let mut review_object = body::object(request, body)?;
    if !review_object.is_object() {
        return Err(Failure::BadRequest("the body is not an object".into()));
    }
    review_object["status"] = match review {
        "selfsubjectaccessreviews" => {
            check_attributes(&review_object["spec"])?;
            allowed(access, &review_object["spec"])
        }
        "selfsubjectrulesreviews" => rules(access),
        _ => json!({"userInfo": {
            "username": access.user(),
            "groups": ["system:authenticated"],
        }}),
    };
    Ok(review_object)
}

/// # Errors
/// The review is not about exactly one of a resource and a path.
fn check_attributes(spec: &Value) -> Result<(), Failure> {
    let has = |field: &str| spec.get(field).is_some_and(Value::is_object);
    if has("resourceAttributes") != has("nonResourceAttributes") {
        return Ok(());
    }
    let message = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    Err(Failure::InvalidBody {
        group: "authorization.k8s.io",
        kind: "",
        name: String::new(),
        causes: vec![Cause::invalid("spec", message)],
    })
}

fn allowed(access: Access, spec: &Value) -> Value {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let (verb, resource) = match spec.get("resourceAttributes") {
        Some(attributes) => (text(&attributes["verb"]), text(&attributes["resource"])),
        None => (text(&spec["nonResourceAttributes"]["verb"]), String::new()),
    };
    let reads = matches!(verb.as_str(), "get" | "list" | "watch" | "head");
    match access.allows(reads, &resource) {
        true => json!({"allowed": true}),
        false => json!({
            "allowed": false,
            "reason": "the read-only token allows reading everything but Secrets",
        }),
    }
}

fn rules(access: Access) -> Value {
    let verbs = match access {
        Access::Full => json!(["*"]),
        Access::ReadOnly => json!(["get", "list", "watch"]),
    };
    json!({
        "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        // These rules have no way to exclude Secrets.
        "incomplete": access == Access::ReadOnly,
    })
}
