//! A map by host name: an exact name matches first, then the longest wildcard.

use std::borrow::Cow;
use std::collections::HashMap;

/// The maximum length of a DNS name.
const NAME_MAX: usize = 253;

/// `*.foo.com` matches every name that ends in `.foo.com`, `*a.com` every longer name that ends in
/// `a.com`, and `*` every name. All keys are lower case.
#[derive(Debug)]
pub(crate) struct HostTable<T> {
    exact: HashMap<String, T>,
    /// By the part after the star.
    wildcards: HashMap<String, T>,
    /// Whether a star stands for a part of a label, as in `*a.com`.
    has_partial_labels: bool,
}

/// Which kind of key matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostMatch<'a> {
    Exact,
    /// The part of the name that the star matched.
    Wildcard(&'a str),
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            has_partial_labels: false,
        }
    }
}

impl<T> HostTable<T> {
    pub(crate) fn entry(&mut self, host: &str) -> std::collections::hash_map::Entry<'_, String, T> {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some(suffix) => {
                self.has_partial_labels |= !suffix.is_empty() && !suffix.starts_with('.');
                self.wildcards.entry(suffix.to_owned())
            }
            None => self.exact.entry(host),
        }
    }

    /// The first match, from the most to the least specific, for which `accept` returns a
    /// value. `host` is in lower case.
    pub(crate) fn find<'a, 'b, R>(
        &'a self,
        host: &'b str,
        mut accept: impl FnMut(&'a T, HostMatch<'b>) -> Option<R>,
    ) -> Option<R> {
        if let Some(hit) = self.exact.get(host)
            && let Some(result) = accept(hit, HostMatch::Exact)
        {
            return Some(result);
        }
        if self.wildcards.is_empty() {
            return None;
        }
        // No DNS name is longer (RFC 1035), and a longer text of dots would cost one lookup per
        // dot.
        let short_enough = host.len() <= NAME_MAX;
        let ends = (1..host.len())
            .filter(|at| short_enough && (self.has_partial_labels || host.as_bytes()[*at] == b'.'));
        ends.chain([host.len()]).find_map(|at| {
            let (star, suffix) = host.split_at_checked(at)?;
            accept(self.wildcards.get(suffix)?, HostMatch::Wildcard(star))
        })
    }

    pub(crate) fn get(&self, host: &str) -> Option<&T> {
        self.find(host, |hit, _| Some(hit))
    }
}

/// A host in lower case, without the trailing dot of an absolute name.
pub(crate) fn canonical(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host.to_ascii_lowercase().into();
    }
    host.into()
}

/// Whether `pattern` matches every name that `name` matches; `name` can be a wildcard too.
/// Both are in lower case.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), name.strip_prefix('*')) {
        (None, _) => pattern == name,
        (Some(suffix), Some(name_suffix)) => name_suffix.ends_with(suffix),
        (Some(suffix), None) => name.len() > suffix.len() && name.ends_with(suffix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_wins_then_the_longest_wildcard() {
        let mut table = HostTable::default();
        for host in ["*", "*.com", "*.foo.com", "a.foo.com"] {
            table.entry(host).or_insert(host);
        }
        for (host, expected) in [
            ("a.foo.com", "a.foo.com"),
            ("b.foo.com", "*.foo.com"),
            ("a.b.foo.com", "*.foo.com"),
            ("foo.com", "*.com"),
            ("foo", "*"),
        ] {
            assert_eq!(table.get(host), Some(&expected), "{host}");
        }
    }

    #[test]
    fn a_star_can_stand_for_a_part_of_a_label() {
        let mut table = HostTable::default();
        for host in ["*x.com", "*-x.com", "*.com"] {
            table.entry(host).or_insert(host);
        }
        for (host, expected) in [
            ("ax.com", Some("*x.com")),
            ("a-x.com", Some("*-x.com")),
            ("a.b-x.com", Some("*-x.com")),
            ("x.com", Some("*.com")),
            ("a.com", Some("*.com")),
            ("x.org", None),
        ] {
            assert_eq!(table.get(host).copied(), expected, "{host}");
        }
        assert!(covers("*x.com", "ax.com"));
        assert!(!covers("*x.com", "x.com"));
    }

    #[test]
    fn a_wildcard_does_not_match_its_own_domain() {
        assert!(covers("*.foo.com", "a.foo.com"));
        assert!(!covers("*.foo.com", ".foo.com"));
        assert!(!covers("*.foo.com", "foo.com"));
        assert!(covers("*", "foo.com"));
        assert!(covers("*.com", "*.foo.com"));
        assert!(!covers("*.foo.com", "*.com"));
    }
}
