//! Whose business a document is, and what to say of a kind that is nearly one.

use super::kinds::{CLUSTER_SCOPED, ENFORCED, Kind, NOT_ENFORCED, canonical_group, restricts};
use crate::codes;
use crate::decode::{Decoder, nearest};
use crate::yaml::Node;

/// What the reader makes of an apiVersion and kind.
pub(super) enum Known {
    Enforced(&'static Kind),
    NotEnforced {
        namespaced: bool,
    },
    /// Reported already.
    Refused,
}

impl Known {
    pub(super) fn namespaced(&self) -> bool {
        match self {
            Self::Enforced(kind) => kind.namespaced,
            Self::NotEnforced { namespaced } => *namespaced,
            Self::Refused => true,
        }
    }
}

/// Finds the kind, or says what is wrong with it.
pub(super) fn known(d: &mut Decoder, node: &Node, api_version: &str, kind: &str) -> Known {
    let group = canonical_group(api_version, kind);
    if let Some(known) = ENFORCED
        .iter()
        .find(|known| known.group == group && known.kind == kind)
    {
        if known.api_versions.contains(&api_version) {
            return Known::Enforced(known);
        }
        return refuse_version(d, node, api_version, known);
    }
    let in_cluster = NOT_ENFORCED
        .iter()
        .any(|(left, kinds)| *left == group && kinds.contains(&kind));
    if !in_cluster && let Some(refused) = misspelled(d, node, api_version, group, kind) {
        return refused;
    }
    if restricts(group, kind) {
        let message = format!(
            "{kind} is not enforced by the host: everything it forbids is allowed; restrict \
             access outside the host"
        );
        d.warning(node.mark, codes::RESTRICTION_NOT_ENFORCED, message);
    } else {
        let message = format!("{kind} is left to the cluster; the host does not act on it");
        d.note(node.mark, codes::KIND_NOT_ENFORCED, message);
    }
    Known::NotEnforced {
        namespaced: !CLUSTER_SCOPED.contains(&kind),
    }
}

fn refuse_version(d: &mut Decoder, node: &Node, api_version: &str, known: &Kind) -> Known {
    let shown = d.show(api_version);
    let supported = known.api_versions.join(", ");
    let message = format!(
        "{} has no apiVersion {shown}; supported: {supported}",
        known.kind
    );
    report_at(d, node, "apiVersion", codes::API_VERSION, message)
}

/// A kind of a known group that does not exist there, or a group that is
/// nearly a known one: an error, where a slip explains it.
fn misspelled(
    d: &mut Decoder,
    node: &Node,
    api_version: &str,
    group: &str,
    kind: &str,
) -> Option<Known> {
    let same_kind = ENFORCED
        .iter()
        .filter(|known| known.kind == kind)
        .min_by_key(|known| strsim::osa_distance(group, known.group));
    let known_group = NOT_ENFORCED.iter().any(|(known, _)| *known == group);
    if known_group {
        if let Some(known) = same_kind {
            return Some(refuse_version(d, node, api_version, known));
        }
        let enforced = ENFORCED.iter().map(|known| known.kind);
        let left = NOT_ENFORCED
            .iter()
            .flat_map(|(_, kinds)| kinds.iter().copied());
        let near = nearest(kind, enforced.chain(left))?;
        let shown = d.show(kind);
        let message = format!("there is no kind {shown}; did you mean `{near}`?");
        return Some(report_at(d, node, "kind", codes::KIND, message));
    }
    let known = same_kind?;
    let version = api_version
        .split_once('/')
        .map_or("", |(_, version)| version);
    let distance = strsim::osa_distance(group, known.group);
    if known.group.is_empty() || distance > 3 {
        return None;
    }
    let shown = d.show(api_version);
    let message = format!(
        "there is no apiVersion {shown}; did you mean `{}/{version}`?",
        known.group
    );
    Some(report_at(
        d,
        node,
        "apiVersion",
        codes::API_VERSION,
        message,
    ))
}

fn report_at(
    d: &mut Decoder,
    node: &Node,
    field: &'static str,
    code: crate::Code,
    message: String,
) -> Known {
    let mark = node.get(field).map_or(node.mark, |value| value.mark);
    d.under(field, |d| d.error(mark, code, message));
    Known::Refused
}
