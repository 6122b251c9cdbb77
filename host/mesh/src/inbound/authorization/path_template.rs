//! Path templates: `{*}` is one segment of a path, `{**}` any number of them.

use regex::Regex;

const ONE: &str = "{*}";
const ANY: &str = "{**}";

/// The characters of a segment, as in Envoy.
const SEGMENT: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=]+";
const REST: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=/]*";

pub(super) fn is_template(path: &str) -> bool {
    path.contains(ONE) || path.contains(ANY)
}

/// `None` if it does not compile, which the manifest reader prevents.
pub(super) fn compile(template: &str) -> Option<Regex> {
    let segments = template.split('/').map(|segment| match segment {
        ONE => SEGMENT.to_owned(),
        ANY => REST.to_owned(),
        literal => regex::escape(literal),
    });
    let segments: Vec<_> = segments.collect();
    Regex::new(&format!("^{}$", segments.join("/"))).ok()
}
