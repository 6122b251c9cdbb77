//! Reports policies that select nothing, and rules that can never match.

use galleria_manifest::model::{
    Attribute, AttributeMatch, AuthorizationAction, AuthorizationRule, PolicyScope, PolicyTarget,
    PolicyTargetKind,
};
use galleria_manifest::{Code, Diagnostic, Position, Severity, codes};

use super::{Authorization, Policy};
use crate::Workload;
use crate::compile::inventory::Source;

pub(super) fn find(
    authorization: &Authorization<'_>,
    workloads: &[&Workload],
    gateway: &Workload,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for policy in &authorization.policies {
        let mut report = Report {
            policy,
            diagnostics,
        };
        selects_nothing(authorization, policy, workloads, gateway, &mut report);
        for (number, rule) in policy.source.spec.rules.iter().enumerate() {
            never_matches(number, rule, &mut report);
        }
    }
    providers(authorization, workloads, gateway, diagnostics);
    overridden(authorization, workloads, diagnostics);
    for binding in &authorization.inventory.role_bindings {
        if authorization.legacy.role_of(binding).is_none() {
            let name = &binding.spec.role;
            diagnostics.push(Diagnostic {
                at: name.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("ServiceRoleBinding/{}", binding.name())),
                path: "spec.roleRef.name".into(),
                message: format!(
                    "there is no ServiceRole `{name}` in the namespace `{}`, so the binding \
                     permits nothing",
                    binding.namespace()
                ),
                code: codes::NOT_FOUND,
                unenforced: None,
            });
        }
    }
}

struct Report<'a, 'd> {
    policy: &'a Policy<'a>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Report<'_, '_> {
    fn warn(&mut self, at: &Position, path: String, code: Code, message: String) {
        self.diagnostics.push(Diagnostic {
            at: at.clone(),
            severity: Severity::Warning,
            object: Some(format!("AuthorizationPolicy/{}", self.policy.source.name())),
            path,
            message,
            code,
            unenforced: None,
        });
    }
}

/// Reports CUSTOM policies that cannot ask the service that they name.
fn providers(
    authorization: &Authorization<'_>,
    workloads: &[&Workload],
    gateway: &Workload,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for policy in &authorization.policies {
        let AuthorizationAction::Custom(name) = &policy.source.spec.action else {
            continue;
        };
        let problem = if policy.is_dry_run {
            Some("CUSTOM has no dry run: the policy has no effect".to_owned())
        } else if let Err(reason) = authorization.providers.get(name) {
            Some(format!("{reason}; requests that match a rule are denied"))
        } else {
            let mut workloads = workloads.iter().copied().chain([gateway]);
            workloads.find_map(|workload| different(authorization, policy, workload))
        };
        let mut report = Report {
            policy,
            diagnostics,
        };
        if let Some(message) = problem {
            let at = &policy.source.object.at;
            let path = "spec.provider.name".to_owned();
            report.warn(at, path, codes::EXTENSION_PROVIDER, message);
        }
    }
}

/// Whether other policies that select the workload name another provider.
fn different(
    authorization: &Authorization<'_>,
    policy: &Policy<'_>,
    workload: &Workload,
) -> Option<String> {
    if !authorization.selects(policy, workload) {
        return None;
    }
    let selecting = authorization.policies.iter();
    let selecting: Vec<_> = selecting
        .filter(|it| authorization.selects(it, workload))
        .collect();
    let names = super::providers(&selecting);
    (names.len() > 1).then(|| {
        format!(
            "the policies for `{}/{}` name several providers ({}), and only one can decide; \
             requests that match a rule are denied",
            workload.namespace,
            workload.name,
            names.join(", ")
        )
    })
}

fn selects_nothing(
    authorization: &Authorization<'_>,
    policy: &Policy<'_>,
    workloads: &[&Workload],
    gateway: &Workload,
    report: &mut Report<'_, '_>,
) {
    let object = policy.source.object;
    match &policy.source.spec.applies_to {
        // It is meant for what the namespace will have.
        PolicyScope::All => {}
        PolicyScope::Labels(_) => {
            let mut gateways = authorization.inventory.gateway_api_gateways.iter();
            let selects = |workload: &Workload| authorization.selects(policy, workload);
            let is_used = workloads.iter().any(|it| selects(it))
                || selects(gateway)
                || gateways.any(|it| authorization.targets(policy, (it.namespace(), it.name())));
            if !is_used {
                let message = format!(
                    "no workload of {} has these labels, so the policy has no effect",
                    match policy.source.namespace() {
                        root if root == authorization.root_namespace => "the mesh".to_owned(),
                        namespace => format!("the namespace `{namespace}`"),
                    }
                );
                let path = "spec.selector.matchLabels".to_owned();
                report.warn(&object.at, path, codes::NO_MATCHING_WORKLOADS, message);
            }
        }
        PolicyScope::Targets(targets) => {
            for (number, target) in targets.iter().enumerate() {
                if !exists(authorization, policy, target) {
                    let name = &target.name;
                    let message = format!(
                        "`{name}` does not exist in the namespace `{}`, so the policy does not \
                         apply to it",
                        policy.source.namespace()
                    );
                    let path = format!("spec.targetRefs[{number}].name");
                    report.warn(&name.at, path, codes::NO_MATCHING_WORKLOADS, message);
                }
            }
        }
    }
}

fn exists(authorization: &Authorization<'_>, policy: &Policy<'_>, target: &PolicyTarget) -> bool {
    fn has<T>(sources: &[Source<'_, T>], namespace: &str, name: &str) -> bool {
        let mut sources = sources.iter();
        sources.any(|it| it.namespace() == namespace && it.name() == name)
    }
    let (namespace, name) = (policy.source.namespace(), target.name.as_str());
    let inventory = authorization.inventory;
    match target.kind {
        PolicyTargetKind::Service => has(&inventory.services, namespace, name),
        PolicyTargetKind::Gateway => has(&inventory.gateway_api_gateways, namespace, name),
        PolicyTargetKind::GatewayClass => namespace == authorization.root_namespace,
    }
}

fn never_matches(number: usize, rule: &AuthorizationRule, report: &mut Report<'_, '_>) {
    let places = rule
        .from
        .iter()
        .map(|it| ("from", it))
        .chain(rule.to.iter().map(|it| ("to", it)))
        .chain([("when", &rule.when)]);
    let forbids = report.policy.source.spec.action != AuthorizationAction::Allow;
    for (place, conditions) in places {
        for condition in conditions {
            let Some(reason) = problem(condition, forbids) else {
                continue;
            };
            let path = format!("spec.rules[{number}].{place}");
            report.warn(&rule.at, path, codes::POLICY_MATCHES_NOTHING, reason);
        }
    }
}

/// Why no request meets `condition`, or why it does not mean what it says.
fn problem(condition: &AttributeMatch, forbids: bool) -> Option<String> {
    let AttributeMatch {
        attribute,
        values,
        not_values,
    } = condition;
    if let Attribute::DestinationIp | Attribute::ConnectionSni | Attribute::EnvoyFilter(_) =
        attribute
    {
        let effect = if forbids {
            "it counts as matching, so that nothing is open by mistake"
        } else {
            "the rule never matches"
        };
        return Some(format!(
            "this host does not know the attribute of this condition: {effect}"
        ));
    }
    let is_excluded = |value: &String| {
        let is_same = |not: &String| not == value || not == "*";
        not_values.iter().any(is_same)
    };
    if !values.is_empty() && values.iter().all(is_excluded) {
        return Some(format!(
            "can never match: every value is also excluded ({})",
            values.join(", ")
        ));
    }
    let useless = |reason: fn(&str) -> Option<&'static str>| {
        let reasons: Option<Vec<_>> = values.iter().map(|value| reason(value)).collect();
        let reason = *reasons?.first()?;
        Some(format!(
            "can never match `{}`: {reason}",
            values.join("`, `")
        ))
    };
    match attribute {
        Attribute::Path => useless(|path| match path {
            _ if path.contains('?') => Some("paths are compared without the query"),
            _ if !path.starts_with(['/', '*']) => Some("paths begin with `/`"),
            _ => None,
        }),
        Attribute::Method => useless(|method| {
            let is_lower = method.bytes().any(|byte| byte.is_ascii_lowercase());
            is_lower.then_some("methods are compared in upper case")
        }),
        Attribute::SourcePrincipal => useless(|principal| {
            principal
                .starts_with("spiffe://")
                .then_some("a principal is written without `spiffe://`")
        }),
        Attribute::Host => {
            useless(|host| (host.contains('/')).then_some("a host has no scheme and no path"))
        }
        _ => None,
    }
}

/// Reports workloads for which policies of today replace roles of Istio until 1.5.
fn overridden(
    authorization: &Authorization<'_>,
    workloads: &[&Workload],
    diagnostics: &mut Vec<Diagnostic>,
) {
    for policy in &authorization.policies {
        let replaced = workloads.iter().find(|workload| {
            authorization.selects(policy, workload) && authorization.legacy.is_on_for(workload)
        });
        if let Some(workload) = replaced {
            let mut report = Report {
                policy,
                diagnostics,
            };
            let message = format!(
                "replaces the ServiceRoles for `{}/{}`, which apply only where no \
                 AuthorizationPolicy does",
                workload.namespace, workload.name
            );
            let at = &policy.source.object.at;
            report.warn(at, String::new(), codes::DEPRECATED, message);
        }
    }
}
