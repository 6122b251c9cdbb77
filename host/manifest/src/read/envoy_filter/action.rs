//! Actions of `rate_limits`, which make a descriptor of a request.

use crate::codes;
use crate::decode::{Decoder, Fields, boolean, full_match, header_name, non_empty, string};
use crate::model::{HeaderMatcher, HeaderTextMatch, RateLimitAction};
use crate::yaml::Node;

/// One of `rate_limits`.
pub(super) fn rate_limit(d: &mut Decoder, node: &Node) -> Option<Vec<RateLimitAction>> {
    let mut fields = Fields::of(d, node)?;
    let actions = fields.required_list("actions", action);
    fields.finish(&["disable_key", "hits_addend", "limit", "stage"]);
    actions
}

fn action(d: &mut Decoder, node: &Node) -> Option<RateLimitAction> {
    let mut fields = Fields::of(d, node)?;
    let request_headers = fields.optional("request_headers", request_header);
    let remote_address = fields.optional("remote_address", |d, node| {
        Fields::of(d, node)?.finish(&[]);
        Some(RateLimitAction::RemoteAddress)
    });
    let generic_key = fields.optional("generic_key", generic_key);
    let header_value_match = fields.optional("header_value_match", header_value_match);
    let action = request_headers
        .or(remote_address)
        .or(generic_key)
        .or(header_value_match);
    if action.is_none() {
        let message = "is not an action that the host knows: request_headers, remote_address, \
                       generic_key or header_value_match; the limit would apply to other requests";
        let mark = fields.mark;
        fields.d.error(mark, codes::INVALID_VALUE, message);
    }
    fields.finish(&[]);
    action
}

fn request_header(d: &mut Decoder, node: &Node) -> Option<RateLimitAction> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("header_name", pseudo_header);
    let key = fields.required("descriptor_key", non_empty);
    let skip_if_absent = fields.optional("skip_if_absent", boolean);
    fields.finish(&[]);
    Some(RateLimitAction::RequestHeader {
        name: name?,
        key: key?,
        skip_if_absent: skip_if_absent.unwrap_or(false),
    })
}

fn pseudo_header(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    header_name(d, &name, node, true)
}

fn generic_key(d: &mut Decoder, node: &Node) -> Option<RateLimitAction> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.optional("descriptor_key", non_empty);
    let value = fields.required("descriptor_value", non_empty);
    fields.finish(&[]);
    Some(RateLimitAction::GenericKey {
        key: key.unwrap_or_else(|| "generic_key".to_owned()),
        value: value?,
    })
}

fn header_value_match(d: &mut Decoder, node: &Node) -> Option<RateLimitAction> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.optional("descriptor_key", non_empty);
    let value = fields.required("descriptor_value", non_empty);
    let expects_match = fields.optional("expect_match", boolean);
    let headers = fields.required_list("headers", header_matcher);
    fields.finish(&[]);
    Some(RateLimitAction::HeaderValueMatch {
        key: key.unwrap_or_else(|| "header_match".to_owned()),
        value: value?,
        expects_match: expects_match.unwrap_or(true),
        headers: headers?,
    })
}

fn header_matcher(d: &mut Decoder, node: &Node) -> Option<HeaderMatcher> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", pseudo_header);
    let is_inverted = fields.optional("invert_match", boolean);
    let present = fields.optional("present_match", boolean);
    let text = text_match(&mut fields, true);
    fields.finish(&["range_match", "treat_missing_header_as_empty"]);
    let is_absent = present == Some(false);
    Some(HeaderMatcher {
        name: name?,
        matches: text.unwrap_or(HeaderTextMatch::Present),
        is_inverted: is_inverted.unwrap_or(false) != is_absent,
    })
}

/// The deprecated fields of a header's matcher end with `_match`.
fn text_match(fields: &mut Fields<'_, '_>, is_header: bool) -> Option<HeaderTextMatch> {
    let names = match is_header {
        true => [
            "exact_match",
            "prefix_match",
            "suffix_match",
            "contains_match",
        ],
        false => ["exact", "prefix", "suffix", "contains"],
    };
    let [exact, prefix, suffix, contains] = names;
    let regex = match is_header {
        true => "safe_regex_match",
        false => "safe_regex",
    };
    let matches = fields.optional(exact, string).map(HeaderTextMatch::Exact);
    let matches = matches.or(fields.optional(prefix, string).map(HeaderTextMatch::Prefix));
    let matches = matches.or(fields.optional(suffix, string).map(HeaderTextMatch::Suffix));
    let matches = matches.or(fields
        .optional(contains, string)
        .map(HeaderTextMatch::Contains));
    let matches = matches.or(fields.optional(regex, safe_regex));
    match is_header {
        false => matches,
        true => matches.or(fields.optional("string_match", |d, node| {
            let mut fields = Fields::of(d, node)?;
            let matches = text_match(&mut fields, false);
            fields.finish(&["custom", "ignore_case"]);
            matches
        })),
    }
}

fn safe_regex(d: &mut Decoder, node: &Node) -> Option<HeaderTextMatch> {
    let mut fields = Fields::of(d, node)?;
    let regex = fields.required("regex", full_match);
    fields.ignore(&["google_re2"]);
    fields.finish(&[]);
    regex.map(|(_, regex)| HeaderTextMatch::Regex(regex))
}
