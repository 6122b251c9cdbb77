//! Reports rules that can never match, because an earlier rule matches all of their
//! requests.
//!
//! It compares the rules of a VirtualService with those of its delegates; the manifest
//! reader has compared the rules within one resource. A rule is unreachable if each of its
//! blocks is covered by one earlier block.

use std::collections::HashMap;

use galleria_manifest::{Diagnostic, Severity};

use super::delegate::{BoundRoute, BoundVirtualService};
use super::rules::blocks;
use crate::decide::condition::{Condition, UriMatch};
use crate::decide::rule::Block;

/// The maximum number of earlier blocks that a block is compared with. It limits the time
/// that a manifest can take.
const COMPARED_MAX: usize = 256;

pub(crate) fn find(bound: &BoundVirtualService<'_>, diagnostics: &mut Vec<Diagnostic>) {
    // A rule that is hidden at one gateway can be reachable at another.
    let gateways: Vec<&str> = bound.gateways.iter().map(String::as_str).collect();
    let mut shadows: HashMap<usize, usize> = HashMap::new();
    let mut reachable = vec![false; bound.routes.len()];
    for gateway in gateways {
        let mut earlier = EarlierBlocks::default();
        for (number, route) in bound.routes.iter().enumerate() {
            let own = blocks(&route.route.matches, &route.object.namespace, gateway, None);
            if own.is_empty() && !route.route.matches.is_empty() {
                continue;
            }
            match earlier.covering(&own) {
                Some(by) => {
                    shadows.insert(number, by);
                }
                None => {
                    if let Some(reachable) = reachable.get_mut(number) {
                        *reachable = true;
                    }
                }
            }
            earlier.add(number, own);
        }
    }
    let mut hidden: Vec<(usize, usize)> = shadows.into_iter().collect();
    hidden.sort_unstable();
    for (number, by) in hidden {
        if reachable.get(number).copied().unwrap_or(false) {
            continue;
        }
        if let (Some(route), Some(by)) = (bound.routes.get(number), bound.routes.get(by))
            && route.object != by.object
        {
            diagnostics.push(diagnostic(route, by));
        }
    }
}

fn diagnostic(route: &BoundRoute<'_>, by: &BoundRoute<'_>) -> Diagnostic {
    Diagnostic {
        at: route.route.at.clone(),
        severity: Severity::Warning,
        object: Some(format!("VirtualService/{}", route.object.name)),
        path: format!("spec.http[{}]", route.index),
        message: format!(
            "can never match: the rule at {} matches every request that it would; \
             put the narrower rule first",
            by.route.at
        ),
        code: "IST0130",
        unenforced: None,
    }
}

/// The earlier blocks, by the path that they match.
#[derive(Default)]
struct EarlierBlocks {
    anywhere: Vec<(usize, Block)>,
    by_path: HashMap<String, Vec<(usize, Block)>>,
}

impl EarlierBlocks {
    /// The rule that covers the last of `blocks`, if all are covered.
    fn covering(&self, blocks: &[Block]) -> Option<usize> {
        if blocks.is_empty() {
            return self.covering_block(&Block {
                at: None,
                conditions: Vec::new(),
            });
        }
        blocks
            .iter()
            .map(|block| self.covering_block(block))
            .try_fold(0, |_, by| by)
    }

    fn covering_block(&self, block: &Block) -> Option<usize> {
        let path = path_of(block).unwrap_or_default();
        let ends = path.char_indices().map(|(at, _)| at).chain([path.len()]);
        let on_branch = ends
            .filter_map(|end| self.by_path.get(path.get(..end)?))
            .flatten();
        self.anywhere
            .iter()
            .chain(on_branch)
            .take(COMPARED_MAX)
            .find(|(_, earlier)| covers(earlier, block))
            .map(|(number, _)| *number)
    }

    fn add(&mut self, number: usize, blocks: Vec<Block>) {
        if blocks.is_empty() {
            self.anywhere.push((
                number,
                Block {
                    at: None,
                    conditions: Vec::new(),
                },
            ));
        }
        for block in blocks {
            match path_of(&block).map(str::to_owned) {
                Some(path) => self.by_path.entry(path).or_default().push((number, block)),
                None => self.anywhere.push((number, block)),
            }
        }
    }
}

/// `None` if the block does not match one path or prefix.
fn path_of(block: &Block) -> Option<&str> {
    match block.uri()? {
        UriMatch::Exact(path)
        | UriMatch::Prefix(path)
        | UriMatch::ExactIgnoringCase(path)
        | UriMatch::PrefixIgnoringCase(path)
        | UriMatch::Element(path) => Some(path),
        UriMatch::Regex { .. } => None,
    }
}

fn covers(earlier: &Block, later: &Block) -> bool {
    earlier.conditions.iter().all(|condition| {
        condition.is_vacuous()
            || later
                .conditions
                .iter()
                .any(|it: &Condition| condition.is_implied_by(it))
    })
}
