//! The part of the page about authorization: which policies allow or deny the request, and
//! why the others do not match.

use galleria_mesh::{AuthorizationStep, BlockStep, ConditionStep, PolicyStep};

use super::{Page, reference};

impl Page {
    pub(super) fn authorization(&mut self, depth: usize, step: &AuthorizationStep) {
        let workload = &step.workload;
        let verdict = match (&step.details, &step.asks) {
            (None, None) => "allowed".to_owned(),
            (None, Some(provider)) => format!("allowed if the provider `{provider}` allows it"),
            (Some(details), _) => format!("DENIED with 403, {details}"),
        };
        self.line(
            depth,
            &format!("authorization of {workload}: {verdict}"),
            None,
        );
        if step.rules.is_empty() {
            self.line(
                depth + 1,
                "its policies have no rules, so they allow nothing",
                None,
            );
        }
        for rule in &step.rules {
            self.policy_rule(depth + 1, rule);
        }
    }

    fn policy_rule(&mut self, depth: usize, rule: &PolicyStep) {
        let PolicyStep {
            action,
            policy,
            name,
            ..
        } = rule;
        let number = name
            .rsplit_once("-rule[")
            .and_then(|(_, it)| it.split_once(']'));
        let number = number.map_or(name.as_str(), |(number, _)| number);
        let dry_run = if rule.dry_run { " (dry run)" } else { "" };
        let verdict = if rule.matched {
            "MATCHES"
        } else {
            "does not match"
        };
        let text = format!(
            "{action}{dry_run} {}, rule {number}: {verdict}",
            reference(policy)
        );
        self.line(depth, &text, Some(&rule.at));
        self.alternatives(depth + 1, "from", &rule.from);
        self.alternatives(depth + 1, "to", &rule.to);
        self.conditions(depth + 1, &rule.when);
    }

    fn alternatives(&mut self, depth: usize, name: &str, blocks: &[BlockStep]) {
        let several = blocks.len() > 1;
        for block in blocks {
            if several {
                let verdict = if block.matched {
                    "fits"
                } else {
                    "does not fit"
                };
                self.line(depth, &format!("either {name}: {verdict}"), None);
            }
            self.conditions(depth + usize::from(several), &block.conditions);
        }
    }

    pub(super) fn conditions(&mut self, depth: usize, conditions: &[ConditionStep]) {
        for condition in conditions {
            let sign = if condition.matched { "yes" } else { "no " };
            let actual = match &condition.actual {
                Some(actual) => format!("is `{actual}`"),
                None => "is absent".to_owned(),
            };
            let text = format!(
                "{sign} {} must match {}, {actual}",
                condition.field, condition.expected
            );
            self.line(depth, &text, None);
        }
    }
}
