//! Finds the first match block that matches, without testing all of them.
//!
//! A radix tree holds the blocks with an exact path or a prefix, so that only the blocks on
//! a path's branch are candidates. A regular expression is stored under its literal prefix.
//! If a node has many blocks that require one value of a header, they are found by that
//! value.
//!
//! The index only proposes candidates: the caller still tests every condition, so a wrong
//! candidate costs time but never changes the result.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::HeaderName;

use galleria_manifest::model::StringMatch;

use super::condition::{Condition, HeaderKey, UriMatch};

/// The number of blocks of a node up to which they are not grouped by header.
const BUCKET_MAX: usize = 8;

/// Finds match blocks by number. The lowest number that matches wins.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_path: Tree,
    by_lower_case_path: Tree,
    elsewhere: Bucket,
}

#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    label: Box<[u8]>,
    /// By first byte, sorted.
    children: Vec<(u8, usize)>,
    /// Blocks whose prefix ends here.
    prefixes: Bucket,
    /// Blocks whose exact path ends here.
    exact: Bucket,
}

/// Blocks in ascending order.
#[derive(Debug, Default)]
struct Bucket {
    plain: Vec<u32>,
    by_header: Vec<(HeaderName, HashMap<String, Vec<u32>>)>,
}

impl Index {
    pub(crate) fn new<'a>(blocks: impl Iterator<Item = &'a [Condition]>) -> Self {
        let blocks: Vec<&[Condition]> = blocks.collect();
        let mut index = Self::default();
        for (number, conditions) in blocks.iter().enumerate() {
            index.insert(number as u32, conditions);
        }
        index.elsewhere.split_by_header(&blocks);
        for tree in [&mut index.by_path, &mut index.by_lower_case_path] {
            for node in &mut tree.nodes {
                node.prefixes.split_by_header(&blocks);
                node.exact.split_by_header(&blocks);
            }
        }
        index
    }

    fn insert(&mut self, number: u32, conditions: &[Condition]) {
        let uri = conditions.iter().find_map(|condition| match condition {
            Condition::Uri(uri) => Some(uri),
            _ => None,
        });
        let bucket = match uri {
            Some(UriMatch::Exact(path)) => &mut self.by_path.node(path).exact,
            Some(UriMatch::Prefix(prefix) | UriMatch::Element(prefix)) => {
                &mut self.by_path.node(prefix).prefixes
            }
            Some(UriMatch::ExactIgnoringCase(path)) => {
                &mut self.by_lower_case_path.node(path).exact
            }
            Some(UriMatch::PrefixIgnoringCase(prefix)) => {
                &mut self.by_lower_case_path.node(prefix).prefixes
            }
            Some(UriMatch::Regex { pattern, .. }) => {
                &mut self.by_path.node(literal_prefix(pattern)).prefixes
            }
            None => &mut self.elsewhere,
        };
        bucket.plain.push(number);
    }

    /// The lowest block for which `holds` returns true.
    pub(crate) fn first(
        &self,
        path: &str,
        headers: &HeaderMap,
        mut holds: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut best = None;
        let mut consider = |bucket: &Bucket| bucket.improve(&mut best, headers, &mut holds);
        consider(&self.elsewhere);
        self.by_path
            .walk(path.as_bytes(), |byte| *byte, &mut consider);
        self.by_lower_case_path.walk(
            path.as_bytes(),
            |byte| byte.to_ascii_lowercase(),
            &mut consider,
        );
        best
    }
}

impl Tree {
    /// The node of `key`, which is created if it is missing.
    fn node(&mut self, key: &str) -> &mut Node {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let (mut at, mut rest) = (0, key.as_bytes());
        while let Some(first) = rest.first() {
            let slot = self.nodes[at]
                .children
                .binary_search_by_key(first, |(byte, _)| *byte);
            let Ok(slot) = slot else {
                let leaf = self.nodes.len();
                self.nodes.push(Node {
                    label: rest.into(),
                    ..Node::default()
                });
                let slot = slot.unwrap_or_else(|slot| slot);
                self.nodes[at].children.insert(slot, (*first, leaf));
                at = leaf;
                break;
            };
            let child = self.nodes[at].children[slot].1;
            let label = &self.nodes[child].label;
            let shared = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
            if shared < label.len() {
                self.split(child, shared);
            }
            at = child;
            rest = &rest[shared..];
        }
        &mut self.nodes[at]
    }

    /// Splits a node's label in two; the node keeps the first part.
    fn split(&mut self, at: usize, length: usize) {
        let below = self.nodes.len();
        let (head, tail) = self.nodes[at].label.split_at(length);
        let (head, tail): (Box<[u8]>, Box<[u8]>) = (head.into(), tail.into());
        let children = vec![(tail[0], below)];
        let upper = Node {
            label: head,
            children,
            ..Node::default()
        };
        let lower = std::mem::replace(&mut self.nodes[at], upper);
        self.nodes.push(Node {
            label: tail,
            ..lower
        });
    }

    /// Calls `consider` with every bucket on the branch of `path`.
    fn walk(&self, path: &[u8], fold: fn(&u8) -> u8, consider: &mut impl FnMut(&Bucket)) {
        let Some(mut node) = self.nodes.first() else {
            return;
        };
        let mut rest = path;
        loop {
            consider(&node.prefixes);
            let Some(first) = rest.first() else {
                consider(&node.exact);
                return;
            };
            let slot = node
                .children
                .binary_search_by_key(&fold(first), |(byte, _)| *byte);
            let child = slot.ok().and_then(|slot| node.children.get(slot));
            let Some(child) = child.and_then(|(_, child)| self.nodes.get(*child)) else {
                return;
            };
            let Some((head, tail)) = rest.split_at_checked(child.label.len()) else {
                return;
            };
            if !head.iter().map(fold).eq(child.label.iter().copied()) {
                return;
            }
            (node, rest) = (child, tail);
        }
    }
}

impl Bucket {
    /// Lowers `best` to the first block in this bucket that matches.
    fn improve(
        &self,
        best: &mut Option<u32>,
        headers: &HeaderMap,
        holds: &mut impl FnMut(u32) -> bool,
    ) {
        let mut search = |blocks: &[u32]| {
            let below = |number: &u32| best.is_none_or(|best| *number < best);
            let found = blocks
                .iter()
                .copied()
                .take_while(below)
                .find(|number| holds(*number));
            *best = found.or(*best);
        };
        search(&self.plain);
        for (name, by_value) in &self.by_header {
            let value = super::condition::joined(headers, name);
            if let Some(blocks) = value.and_then(|value| by_value.get(value.as_ref())) {
                search(blocks);
            }
        }
    }

    fn split_by_header(&mut self, blocks: &[&[Condition]]) {
        if self.plain.len() <= BUCKET_MAX {
            return;
        }
        let mut groups: Vec<(HeaderName, HashMap<String, Vec<u32>>)> = Vec::new();
        self.plain.retain(|number| {
            let conditions = blocks.get(*number as usize).copied().unwrap_or_default();
            let Some((name, value)) = exact_header(conditions) else {
                return true;
            };
            let group = match groups.iter_mut().find(|(known, _)| known == name) {
                Some((_, group)) => group,
                None => {
                    groups.push((name.clone(), HashMap::new()));
                    match groups.last_mut() {
                        Some((_, group)) => group,
                        None => return true,
                    }
                }
            };
            group.entry(value.to_owned()).or_default().push(*number);
            false
        });
        self.by_header = groups;
    }
}

fn exact_header(conditions: &[Condition]) -> Option<(&HeaderName, &str)> {
    conditions.iter().find_map(|condition| match condition {
        Condition::Header(HeaderKey::Name(name), StringMatch::Exact(value)) => {
            Some((name, value.as_str()))
        }
        _ => None,
    })
}

/// A literal prefix of every text that matches `pattern`; empty if in doubt.
fn literal_prefix(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    if pattern.contains('|') {
        return "";
    }
    let end = pattern
        .find(|c: char| ".+*?()[]{}^$\\".contains(c))
        .unwrap_or(pattern.len());
    let (literal, rest) = pattern.split_at(end);
    // The repetition applies to the last character.
    if rest.starts_with(['*', '?', '{', '+']) {
        let last = literal.char_indices().next_back().map_or(0, |(at, _)| at);
        return &literal[..last];
    }
    literal
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn prefix(text: &str) -> Vec<Condition> {
        vec![Condition::Uri(UriMatch::Prefix(text.into()))]
    }

    fn exact(text: &str) -> Vec<Condition> {
        vec![Condition::Uri(UriMatch::Exact(text.into()))]
    }

    fn proposals(blocks: &[Vec<Condition>], path: &str) -> Vec<u32> {
        let index = Index::new(blocks.iter().map(Vec::as_slice));
        let mut seen = Vec::new();
        index.first(path, &HeaderMap::new(), |number| {
            seen.push(number);
            false
        });
        seen.sort_unstable();
        seen
    }

    #[test]
    fn only_the_blocks_on_the_branch_of_a_path_are_candidates() {
        let blocks = [
            prefix("/ui"),
            exact("/ui"),
            prefix("/u"),
            prefix("/product"),
            exact("/ui/a"),
            vec![],
        ];
        assert_eq!(proposals(&blocks, "/ui"), [0, 1, 2, 5]);
        assert_eq!(proposals(&blocks, "/ui/a"), [0, 2, 4, 5]);
        assert_eq!(proposals(&blocks, "/product/1"), [3, 5]);
        assert_eq!(proposals(&blocks, "/"), [5]);
    }

    #[test]
    fn the_lowest_block_that_matches_wins() {
        let blocks = [prefix("/a/b"), vec![], prefix("/a")];
        let index = Index::new(blocks.iter().map(Vec::as_slice));
        let first = |path| index.first(path, &HeaderMap::new(), |_| true);
        assert_eq!(first("/a/b/c"), Some(0));
        assert_eq!(first("/a"), Some(1));
    }

    #[test]
    fn many_blocks_of_one_node_are_found_by_header() {
        let user = |name: &str| {
            let key = HeaderKey::new("end-user").expect("a valid name");
            let mut block = prefix("/");
            block.push(Condition::Header(key, StringMatch::Exact(name.into())));
            block
        };
        let blocks: Vec<_> = (0..1000)
            .map(|number| user(&format!("user-{number}")))
            .collect();
        let index = Index::new(blocks.iter().map(Vec::as_slice));
        let mut headers = HeaderMap::new();
        headers.insert("end-user", "user-77".parse().expect("a valid value"));
        let mut calls = 0;
        let found = index.first("/x", &headers, |_| {
            calls += 1;
            true
        });
        assert_eq!((found, calls), (Some(77), 1));
    }

    #[test]
    fn a_regex_is_stored_under_its_literal_prefix() {
        for (pattern, expected) in [
            ("/api/v[0-9]+/.*", "/api/v"),
            ("/apis?/x", "/api"),
            ("/a+", "/"),
            ("/a|/b", ""),
            ("(?i)/a", ""),
            (".*", ""),
            ("^/a$", "/a"),
            ("/a{2}", "/"),
            ("/plain", "/plain"),
        ] {
            assert!(Regex::new(pattern).is_ok());
            assert_eq!(literal_prefix(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn case_is_ignored_only_for_blocks_that_ignore_it() {
        let blocks = [
            vec![Condition::Uri(UriMatch::PrefixIgnoringCase("/ui".into()))],
            prefix("/UI"),
        ];
        assert_eq!(proposals(&blocks, "/Ui/x"), [0]);
        assert_eq!(proposals(&blocks, "/UI/x"), [0, 1]);
    }
}
