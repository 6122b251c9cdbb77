//! `exportTo`: the namespaces to which an object of Istio's is visible.

use crate::WithPosition;
use crate::codes;
use crate::decode::{Decoder, Fields, is_dns_label, items, located_string};
use crate::yaml::Node;

/// The field of a VirtualService or a DestinationRule.
pub(super) fn of_configuration(fields: &mut Fields<'_, '_>) -> Vec<WithPosition<String>> {
    fields
        .optional("exportTo", |d, node| list(d, node, false))
        .unwrap_or_default()
}

/// The field of a ServiceEntry. `~`, which makes it visible to no namespace, is allowed.
pub(super) fn of_service_entry(fields: &mut Fields<'_, '_>) -> Vec<WithPosition<String>> {
    fields
        .optional("exportTo", |d, node| list(d, node, true))
        .unwrap_or_default()
}

fn list(d: &mut Decoder, node: &Node, may_be_nobody: bool) -> Option<Vec<WithPosition<String>>> {
    let namespaces = items(d, node, |d, node| namespace(d, node, may_be_nobody))?;
    for (index, namespace) in namespaces.iter().enumerate() {
        if namespaces[..index].contains(namespace) {
            let shown = d.show(namespace);
            d.at_index(index, |d| {
                let message = format!("{shown} is listed twice; remove one");
                d.error((&namespace.at).into(), codes::INVALID_VALUE, message);
            });
        }
    }
    for (alone, meaning) in [("*", "every namespace"), ("~", "none")] {
        if namespaces.len() > 1
            && let Some(at) = namespaces.iter().position(|it| it.as_str() == alone)
        {
            let mark = (&namespaces[at].at).into();
            let message = format!("`{alone}` means {meaning}; remove it or the other entries");
            d.at_index(at, |d| d.error(mark, codes::EXCLUSIVE_FIELDS, message));
        }
    }
    Some(namespaces)
}

/// `.`, `*`, `~` or the name of a namespace. With `~`, no namespace sees the object. Istio allows
/// that only for a ServiceEntry; for other kinds it is a warning.
fn namespace(d: &mut Decoder, node: &Node, may_be_nobody: bool) -> Option<WithPosition<String>> {
    let namespace = located_string(d, node)?;
    if namespace.as_str() == "~" && !may_be_nobody {
        let message = "a cluster refuses `~`, for nobody, on other kinds than ServiceEntry; here \
                       the object has no effect";
        d.warning(node.mark, codes::INVALID_VALUE, message);
    }
    let name = namespace.to_ascii_lowercase();
    if matches!(name.as_str(), "." | "*" | "~") || is_dns_label(&name) {
        return Some(namespace);
    }
    let shown = d.show(&namespace);
    let message = format!("{shown} is not a namespace; `.` means this one, `*` all");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}
