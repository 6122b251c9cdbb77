//! The rules of one action, and which of them matches first.
//!
//! Rules are in the order of their names, as in Envoy: of several that match, the access
//! log shows the same. Most rules name paths or callers. They are found by these, so that
//! the cost of a request does not grow with their number.

use std::collections::HashMap;
use std::sync::Arc;

use super::caller::Facts;
use super::condition::{Condition, Key};
use super::rule::Rule;

/// Up to this number, testing every rule costs less than looking up which to test.
const TESTED_MAX: usize = 8;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    rules: Vec<Arc<Rule>>,
    by_path: Index,
    /// By the beginning of a path, up to a slash.
    by_prefix: Index,
    /// The length of the longest key in `by_prefix`: a long path costs no more lookups.
    prefix_length_max: usize,
    by_identity: Index,
    /// The rules that are in no index, in order.
    others: Vec<usize>,
}

/// The numbers of rules in order, by a value that they require.
type Index = HashMap<String, Vec<usize>>;

impl RuleSet {
    pub(crate) fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let mut set = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            match keys(rule).filter(|_| rules.len() > TESTED_MAX) {
                None => set.others.push(number),
                Some(keys) => keys.into_iter().for_each(|key| set.add(key, number)),
            }
        }
        Self { rules, ..set }
    }

    fn add(&mut self, key: Key<'_>, number: usize) {
        let (index, text) = match key {
            Key::Path(path) => (&mut self.by_path, path),
            Key::PathPrefix(prefix) => {
                self.prefix_length_max = self.prefix_length_max.max(prefix.len());
                (&mut self.by_prefix, prefix)
            }
            Key::Identity(id) => (&mut self.by_identity, id),
        };
        let numbers = index.entry(text.to_owned()).or_default();
        if numbers.last() != Some(&number) {
            numbers.push(number);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub(in crate::inbound) fn first_match(&self, facts: &Facts<'_>) -> Option<&Arc<Rule>> {
        if facts.connection.is_some() {
            // It has no path, and conditions on paths count against it.
            return self.rules.iter().find(|rule| rule.matches(facts));
        }
        let path = facts.request.head.path;
        let by_path = some(&self.by_path).and_then(|index| index.get(path));
        let by_prefix = some(&self.by_prefix).into_iter().flat_map(|index| {
            let slashes = path.match_indices('/').map(|(at, _)| at);
            let ends = slashes.take_while(|at| *at < self.prefix_length_max);
            ends.filter_map(|end| index.get(path.get(..=end)?))
        });
        let by_identity = some(&self.by_identity).and_then(|index| index.get(facts.spiffe_id()?));
        let first = by_path
            .into_iter()
            .chain(by_prefix)
            .chain(by_identity)
            .chain([&self.others])
            .filter_map(|numbers| self.first_of(numbers, facts))
            .min()?;
        self.rules.get(first)
    }

    fn first_of(&self, numbers: &[usize], facts: &Facts<'_>) -> Option<usize> {
        let matches = |number: &usize| {
            let rule = self.rules.get(*number);
            rule.is_some_and(|rule| rule.matches(facts))
        };
        numbers.iter().copied().find(|number| matches(number))
    }
}

/// `index`, unless it is empty.
fn some(index: &Index) -> Option<&Index> {
    (!index.is_empty()).then_some(index)
}

/// Keys of which every request that the rule matches has at least one.
fn keys(rule: &Rule) -> Option<Vec<Key<'_>>> {
    keys_of_all(&rule.operations)
        .or_else(|| keys_of_all(&rule.sources))
        .or_else(|| rule.when.iter().find_map(Condition::keys))
}

/// The keys of all alternatives, if each has some.
fn keys_of_all(alternatives: &[Vec<Condition>]) -> Option<Vec<Key<'_>>> {
    if alternatives.is_empty() {
        return None;
    }
    let keys = alternatives.iter();
    let keys = keys.map(|conditions| conditions.iter().find_map(Condition::keys));
    Some(keys.collect::<Option<Vec<_>>>()?.concat())
}
