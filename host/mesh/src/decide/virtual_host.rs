//! The rules of a host in the order in which they are tested, and their index.

use std::sync::Arc;

use super::condition::{Condition, MatchContext, UriMatch};
use super::index::Index;
use super::rule::{Block, Rule};

/// A host with its rules.
#[derive(Debug)]
pub(crate) struct VirtualHost {
    /// The host as declared: a name, or a wildcard.
    pub(crate) domain: String,
    pub(crate) table: Arc<RouteTable>,
    /// `httpsRedirect` of the server: no rule applies.
    pub(crate) https_redirect: bool,
    /// The ports of a host in the mesh; `None` at the edge.
    pub(crate) ports: Option<Vec<u16>>,
    /// A Service or a ServiceEntry declares the host, not only a VirtualService.
    pub(crate) is_declared: bool,
    /// In the mesh, what counts instead of `table` where its VirtualService has no rule for the
    /// port and the caller, as if it did not exist: in order, those of further
    /// VirtualServices for the host, and the routes of the service.
    pub(crate) others: Vec<Arc<RouteTable>>,
    /// The same host by another VirtualService, which counts where this one does not have the
    /// port, or has no rule for it. Only a host that no service declares has a next one.
    pub(crate) next: Option<Arc<VirtualHost>>,
    /// Only Ingresses declare the host: a star matches one label.
    pub(crate) one_label: bool,
}

/// Rules with their index. Hosts with the same rules share one table.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    pub(crate) rules: Vec<Arc<Rule>>,
    /// All blocks in order: the index of the rule, and of the block within the rule.
    blocks: Vec<(u32, u32)>,
    index: Index,
}

/// The rule that matched a request, and its first block that matches.
#[derive(Debug, Clone)]
pub(crate) struct RouteMatch<'a> {
    pub(crate) number: usize,
    pub(crate) rule: &'a Arc<Rule>,
    /// `None` if the rule has no blocks.
    pub(crate) block: Option<usize>,
}

impl VirtualHost {
    /// Every host, with one rule.
    pub(crate) fn with_rule(rule: Rule) -> Self {
        Self {
            domain: "*".into(),
            table: Arc::new(RouteTable::new(vec![Arc::new(rule)])),
            https_redirect: false,
            ports: None,
            is_declared: true,
            others: Vec::new(),
            next: None,
            one_label: false,
        }
    }

    /// Whether a rule is for the port and the caller, whatever else it asks for.
    pub(crate) fn applies(&self, context: &MatchContext<'_>) -> bool {
        self.table.applies(context) || self.others.iter().any(|table| table.applies(context))
    }

    /// The table that counts, and its first rule with a block that matches.
    pub(crate) fn find(
        &self,
        context: &MatchContext<'_>,
    ) -> (&Arc<RouteTable>, Option<RouteMatch<'_>>) {
        let (mut table, mut matched) = (&self.table, self.table.find(context));
        for other in &self.others {
            if matched.is_some() || table.applies(context) {
                break;
            }
            (table, matched) = (other, other.find(context));
        }
        (table, matched)
    }
}

impl<'a> RouteMatch<'a> {
    /// The condition on the path, if the matching block has one.
    pub(crate) fn uri(&self) -> Option<&'a UriMatch> {
        let block = self.rule.blocks.get(self.block?)?;
        block
            .conditions
            .iter()
            .find_map(|condition| match condition {
                Condition::Uri(uri) => Some(uri),
                _ => None,
            })
    }
}

impl RouteTable {
    pub(crate) fn new(rules: Vec<Arc<Rule>>) -> Self {
        let blocks = numbered(&rules);
        Self::of(rules, blocks)
    }

    /// The rules of several resources: blocks that match everything come last, as in Istio.
    pub(crate) fn merged(rules: Vec<Arc<Rule>>) -> Self {
        let mut blocks = numbered(&rules);
        blocks.sort_by_key(|(rule, block)| {
            block_of(&rules, *rule, *block).is_none_or(Block::goes_last)
        });
        Self::of(rules, blocks)
    }

    fn of(rules: Vec<Arc<Rule>>, blocks: Vec<(u32, u32)>) -> Self {
        let conditions = blocks.iter().map(|(rule, block)| {
            block_of(&rules, *rule, *block).map_or(&[][..], |block| block.conditions.as_slice())
        });
        let index = Index::new(conditions);
        Self {
            blocks,
            index,
            rules,
        }
    }

    /// The first rule with a block that matches.
    pub(crate) fn find(&self, context: &MatchContext<'_>) -> Option<RouteMatch<'_>> {
        let number = self
            .index
            .first(context.request.path, context.request.headers, |number| {
                self.holds(number as usize, context)
            })?;
        let (rule, block) = *self.blocks.get(number as usize)?;
        let found = self.rules.get(rule as usize)?;
        let block = (!found.blocks.is_empty()).then_some(block as usize);
        Some(RouteMatch {
            number: rule as usize,
            rule: found,
            block,
        })
    }

    /// Whether a rule is for the port and the caller, whatever else it asks for.
    pub(crate) fn applies(&self, context: &MatchContext<'_>) -> bool {
        self.rules.iter().any(|rule| {
            let applies = |block: &Block| block.applies(context);
            rule.blocks.is_empty() || rule.blocks.iter().any(applies)
        })
    }

    /// Whether a rule is for every port and every caller.
    pub(crate) fn always_applies(&self) -> bool {
        self.rules.iter().any(|rule| {
            let any = |block: &Block| !block.conditions.iter().any(Condition::is_known_before);
            rule.blocks.is_empty() || rule.blocks.iter().any(any)
        })
    }

    fn holds(&self, number: usize, context: &MatchContext<'_>) -> bool {
        let Some((rule, block)) = self.blocks.get(number) else {
            return false;
        };
        block_of(&self.rules, *rule, *block).is_none_or(|block| block.holds(context))
    }
}

fn numbered(rules: &[Arc<Rule>]) -> Vec<(u32, u32)> {
    let mut blocks = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let count = rule.blocks.len().max(1);
        blocks.extend((0..count).map(|block| (number as u32, block as u32)));
    }
    blocks
}

/// `None` if the rule has no blocks, and so matches every request.
fn block_of(rules: &[Arc<Rule>], rule: u32, block: u32) -> Option<&Block> {
    rules.get(rule as usize)?.blocks.get(block as usize)
}
