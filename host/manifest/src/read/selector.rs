//! Label selectors.

use crate::codes;
use crate::decode::{Decoder, Fields, choice, labels, non_empty, strings};
use crate::model::{LabelRequirement, LabelSelector};
use crate::yaml::Node;

#[derive(Clone, Copy, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<LabelSelector> {
    read_as(d, node, |fields| fields.finish(&[]))
}

/// As [`read`], but an unknown field is an error: a selector without it selects more.
pub(super) fn strict(d: &mut Decoder, node: &Node) -> Option<LabelSelector> {
    read_as(d, node, |fields| fields.finish_strictly())
}

fn read_as(d: &mut Decoder, node: &Node, finish: fn(Fields<'_, '_>)) -> Option<LabelSelector> {
    let mut selector = Fields::of(d, node)?;
    let match_labels = selector.optional("matchLabels", labels).unwrap_or_default();
    let match_expressions =
        selector.list("matchExpressions", |d, node| requirement(d, node, finish));
    finish(selector);
    Some(LabelSelector {
        match_labels,
        match_expressions,
    })
}

fn requirement(
    d: &mut Decoder,
    node: &Node,
    finish: fn(Fields<'_, '_>),
) -> Option<LabelRequirement> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.required("key", non_empty);
    let operator = fields.required("operator", |d, node| {
        choice(
            d,
            node,
            "an operator",
            &[
                ("In", Operator::In),
                ("NotIn", Operator::NotIn),
                ("Exists", Operator::Exists),
                ("DoesNotExist", Operator::DoesNotExist),
            ],
        )
    });
    let values = fields.optional("values", strings).unwrap_or_default();
    let needs_values = matches!(operator, Some(Operator::In | Operator::NotIn));
    if needs_values && values.is_empty() {
        fields.missing("values");
    }
    if !needs_values && !values.is_empty() {
        let message = "`values` has no effect with this operator; leave it out".to_owned();
        fields.error_at("values", codes::EXCLUSIVE_FIELDS, message);
    }
    finish(fields);
    let key = key?;
    Some(match operator? {
        Operator::In => LabelRequirement::In(key, values),
        Operator::NotIn => LabelRequirement::NotIn(key, values),
        Operator::Exists => LabelRequirement::Exists(key),
        Operator::DoesNotExist => LabelRequirement::DoesNotExist(key),
    })
}
