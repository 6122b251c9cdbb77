//! A decision with its reasons: every rule that is evaluated, and why it matches or not.

use serde::Serialize;

use super::super::{InboundPolicies, InboundRequest, external};
use super::caller::Facts;
use super::condition::Condition;
use super::rule::Rule;
use super::rule_set::RuleSet;
use super::{Actions, decide};
use crate::decide::explain::attribute_name;
use crate::{BlockStep, ConditionStep, Place, Reference};

/// What the policies of a workload make of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationStep {
    /// `namespace/name` of the workload; `gateway` for the gateway.
    pub workload: String,
    pub allowed: bool,
    /// The service that decides first, whose answer only a request shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// `response_code_details` of the denial.
    pub details: Option<String>,
    /// The rules in the order of their evaluation.
    pub rules: Vec<PolicyStep>,
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStep {
    /// `CUSTOM`, `AUDIT`, `DENY` or `ALLOW`.
    pub action: String,
    /// The policy does not decide.
    pub dry_run: bool,
    pub policy: Reference,
    pub name: String,
    pub at: Place,
    pub matched: bool,
    /// Sources, one of which must match.
    pub from: Vec<BlockStep>,
    /// Operations, one of which must match.
    pub to: Vec<BlockStep>,
    pub when: Vec<ConditionStep>,
}

impl AuthorizationStep {
    /// `None` if no authorization policy selects the workload.
    pub(crate) fn new(
        workload: String,
        policies: &InboundPolicies,
        request: &InboundRequest<'_>,
    ) -> Option<Self> {
        let authorization = &policies.authorization;
        if authorization.is_empty() {
            return None;
        }
        // An external service is asked before any token is verified.
        let without_token = InboundRequest {
            principal: None,
            ..*request
        };
        let external = external::decide(policies, &without_token);
        let asks = match &external {
            Ok(provider) => provider.map(|provider| provider.name.clone()),
            Err(_) => None,
        };
        let decision = external.and_then(|_| decide(policies, request));
        let facts = [Facts::new(&without_token), Facts::new(request)];
        let mut rules = Vec::new();
        explain(&authorization.enforced, false, &facts, &mut rules);
        explain(&authorization.dry_run, true, &facts, &mut rules);
        Some(Self {
            workload,
            allowed: decision.is_ok(),
            asks,
            details: decision.err().map(|reply| reply.details.into_owned()),
            rules,
        })
    }
}

/// `facts` are those without and with the token.
fn explain(
    actions: &Actions,
    dry_run: bool,
    [before, facts]: &[Facts<'_>; 2],
    into: &mut Vec<PolicyStep>,
) {
    let none = RuleSet::default();
    let sets = [
        ("CUSTOM", &actions.custom, before),
        ("AUDIT", &actions.audit, facts),
        ("DENY", &actions.deny, facts),
        ("ALLOW", actions.allow.as_ref().unwrap_or(&none), facts),
    ];
    for (action, rules, facts) in sets {
        for rule in rules.rules() {
            into.push(policy_step(action, dry_run, rule, facts));
        }
    }
}

fn policy_step(action: &str, dry_run: bool, rule: &Rule, facts: &Facts<'_>) -> PolicyStep {
    let blocks = |alternatives: &[Vec<Condition>]| {
        let blocks = alternatives.iter().map(|conditions| BlockStep {
            at: None,
            matched: conditions.iter().all(|it| it.holds(facts)),
            conditions: steps(conditions, facts),
        });
        blocks.collect()
    };
    PolicyStep {
        action: action.to_owned(),
        dry_run,
        policy: Reference::from(&*rule.policy),
        name: rule.name.clone(),
        at: Place::from(&rule.at),
        matched: rule.matches(facts),
        from: blocks(&rule.sources),
        to: blocks(&rule.operations),
        when: steps(&rule.when, facts),
    }
}

fn steps(conditions: &[Condition], facts: &Facts<'_>) -> Vec<ConditionStep> {
    let steps = conditions.iter().map(|condition| ConditionStep {
        field: attribute_name(&condition.source.attribute),
        expected: expected(condition),
        actual: condition.actual(facts).map(|it| it.into_owned()),
        matched: condition.holds(facts),
    });
    steps.collect()
}

/// `one of GET, POST and none of …`
fn expected(condition: &Condition) -> String {
    let list = |what: &str, values: &[String]| match values {
        [] => None,
        [value] if what.is_empty() => Some(value.clone()),
        [value] => Some(format!("not {value}")),
        values => {
            let what = if what.is_empty() { "one" } else { what };
            Some(format!("{what} of {}", values.join(", ")))
        }
    };
    let source = &condition.source;
    let parts = [list("", &source.values), list("none", &source.not_values)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let unknown = if condition.is_unknown() {
        " (this host does not know it)"
    } else {
        ""
    };
    format!("{}{unknown}", parts.join(" and "))
}
