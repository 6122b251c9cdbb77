//! Which kind a document is of, and what to report where it is almost one.

use crate::codes;
use crate::decode::{Decoder, nearest};
use crate::kind::{self, Handling, Kind, Reader};
use crate::yaml::Node;

/// What the reader makes of an apiVersion and kind.
pub(super) enum Known {
    Enforced(&'static Kind, Reader),
    NotEnforced {
        namespaced: bool,
    },
    /// Already reported.
    Refused,
}

impl Known {
    pub(super) fn namespaced(&self) -> bool {
        match self {
            Self::Enforced(kind, _) => kind.namespaced,
            Self::NotEnforced { namespaced } => *namespaced,
            Self::Refused => true,
        }
    }
}

/// Finds the kind, or reports what is wrong with it.
pub(super) fn known(d: &mut Decoder, node: &Node, api_version: &str, kind: &str) -> Known {
    let group = kind::canonical_group(api_version, kind);
    let row = kind::find(group, kind);
    if let Some(row) = row
        && let Handling::Enforced(read) = row.handling
    {
        if row.api_versions().any(|known| known == api_version) {
            return Known::Enforced(row, read);
        }
        return refuse_version(d, node, api_version, row);
    }
    if row.is_none()
        && let Some(refused) = misspelled(d, node, api_version, group, kind)
    {
        return refused;
    }
    if let Some(restriction) = row.and_then(Kind::restriction) {
        let cure = match kind {
            "ClusterImagePolicy" => "name its file in --verify-images",
            _ => "restrict access outside the host",
        };
        let what =
            format!("{kind} is not enforced by the host: everything it forbids is allowed; {cure}");
        d.unenforced(node.mark, restriction, &what);
    } else {
        let message = match row.is_some_and(Kind::is_only_stored) {
            true => format!("{kind} is stored and shown; the host does not act on it"),
            false => format!("{kind} is left to the cluster; the host does not act on it"),
        };
        d.note(node.mark, codes::KIND_NOT_ENFORCED, message);
    }
    Known::NotEnforced {
        namespaced: kind::is_namespaced(group, kind),
    }
}

fn refuse_version(d: &mut Decoder, node: &Node, api_version: &str, known: &Kind) -> Known {
    let shown = d.show(api_version);
    let supported: Vec<_> = known.api_versions().collect();
    let supported = supported.join(", ");
    let message = format!(
        "{} has no apiVersion {shown}; supported: {supported}",
        known.kind
    );
    report_at(d, node, "apiVersion", codes::API_VERSION, message)
}

/// An error for a kind that its group does not have, or for a group that is almost the
/// one of this kind: only where a slip explains it.
fn misspelled(
    d: &mut Decoder,
    node: &Node,
    api_version: &str,
    group: &str,
    kind: &str,
) -> Option<Known> {
    let enforced = kind::all().iter().filter(|row| row.is_enforced());
    let same_kind = enforced
        .filter(|row| row.kind == kind)
        .min_by_key(|row| strsim::osa_distance(group, row.group));
    if kind::is_complete(group) {
        if let Some(known) = same_kind {
            return Some(refuse_version(d, node, api_version, known));
        }
        let meant = kind::all()
            .iter()
            .filter(|row| row.is_enforced() || kind::is_complete(row.group));
        let near = nearest(kind, meant.map(|row| row.kind))?;
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
