//! The rules of a VirtualService that split requests between a canary and the stable
//! version, and their weights.

use galleria_manifest::model::{Destination, HttpRoute, Object, ObjectKey, Resource};
use galleria_mesh as mesh;
use serde_json::Value;

/// The rules that hold the weight of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    /// The VirtualService.
    pub service: ObjectKey,
    /// Not empty.
    pub rules: Vec<SplitRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitRule {
    /// Its index in `spec.http`.
    pub index: usize,
    pub name: Option<String>,
    /// The index of the canary's destination in `route`.
    canary: usize,
    pub destinations: Vec<Share>,
}

/// A destination of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// The fully qualified name of its service.
    pub host: String,
    pub subset: Option<String>,
    pub weight: u32,
}

/// Why there are no weights to shift.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SplitError {
    #[error("VirtualService {service} has no rule named `{name}`; it has {known}")]
    Rule {
        service: String,
        name: String,
        known: String,
    },
    #[error(
        "no rule of VirtualService {service} splits requests between the canary ({canary}) and \
         another version; its destinations are {known}. Give a rule both destinations with a \
         `weight` each, or say which one is the canary"
    )]
    Undivided {
        service: String,
        canary: String,
        known: String,
    },
}

impl Split {
    /// The rules of `object` (or only the one named `rule`) that have exactly one
    /// destination which satisfies `is_canary`, and others. Errors name it `canary`.
    ///
    /// # Errors
    /// There is no such rule.
    pub(crate) fn of(
        object: &Object,
        rule: Option<&str>,
        canary: &str,
        is_canary: impl Fn(&Destination) -> bool,
    ) -> Result<Self, SplitError> {
        let http: &[HttpRoute] = match &object.resource {
            Resource::VirtualService(service) => &service.http,
            _ => &[],
        };
        let namespace = &object.metadata.namespace;
        let service = format!("{namespace}/{}", object.metadata.name);
        let named = |it: &HttpRoute| rule.is_none() || it.name.as_deref() == rule;
        let mut found = http
            .iter()
            .enumerate()
            .filter(|(_, it)| named(it))
            .peekable();
        if let (None, Some(name)) = (found.peek(), rule) {
            let known = http.iter().filter_map(|it| it.name.clone());
            return Err(SplitError::Rule {
                service,
                name: name.to_owned(),
                known: listed(known.collect()),
            });
        }
        let rules: Vec<SplitRule> = found
            .filter_map(|(index, it)| SplitRule::of(index, it, namespace, &is_canary))
            .collect();
        if rules.is_empty() {
            let known = http.iter().flat_map(|it| &it.route);
            let known = known.map(|it| Share::of(&it.destination, 0, namespace).to_string());
            return Err(SplitError::Undivided {
                service,
                canary: canary.to_owned(),
                known: listed(known.collect()),
            });
        }
        Ok(Self {
            service: object.key(),
            rules,
        })
    }

    /// The weight of the canary in the first rule, in percent.
    pub(crate) fn weight(&self) -> u32 {
        self.rules.first().map_or(0, SplitRule::weight)
    }

    /// The destinations of the canary, or all others.
    pub(crate) fn shares(&self, of_canary: bool) -> impl Iterator<Item = &Share> {
        self.rules
            .iter()
            .flat_map(move |rule| rule.shares(of_canary))
    }

    /// The canary's destinations in `service`.
    pub(crate) fn canaries<'a>(
        &self,
        service: &'a Object,
    ) -> impl Iterator<Item = &'a Destination> {
        let http: &[HttpRoute] = match &service.resource {
            Resource::VirtualService(service) => &service.http,
            _ => &[],
        };
        self.rules.iter().filter_map(|rule| {
            let route = http.get(rule.index)?.route.get(rule.canary)?;
            Some(&route.destination)
        })
    }

    /// The VirtualService's JSON with a weight of `percent` for the canary in each rule.
    /// The other destinations keep their proportions.
    pub(crate) fn with_weight(&self, raw: &Value, percent: u32) -> Value {
        let mut raw = raw.clone();
        for rule in &self.rules {
            let weights = rule.weights(percent.min(100));
            for (destination, weight) in weights.into_iter().enumerate() {
                let route = format!("/spec/http/{}/route/{destination}", rule.index);
                if let Some(Value::Object(route)) = raw.pointer_mut(&route) {
                    route.insert("weight".to_owned(), weight.into());
                }
            }
        }
        raw
    }
}

impl SplitRule {
    fn of(
        index: usize,
        rule: &HttpRoute,
        namespace: &str,
        is_canary: impl Fn(&Destination) -> bool,
    ) -> Option<Self> {
        let mut canaries = rule.route.iter().enumerate();
        let (canary, _) = canaries.find(|(_, it)| is_canary(&it.destination))?;
        let is_single = !canaries.any(|(_, it)| is_canary(&it.destination));
        let destinations = rule.route.iter().map(|it| {
            let weight = it.weight.as_ref().map_or(0, |weight| weight.value);
            Share::of(&it.destination, weight, namespace)
        });
        (rule.route.len() > 1 && is_single).then(|| Self {
            index,
            name: rule.name.clone(),
            canary,
            destinations: destinations.collect(),
        })
    }

    /// The weight of the canary, in percent.
    pub(crate) fn weight(&self) -> u32 {
        let all: u64 = self
            .destinations
            .iter()
            .map(|it| u64::from(it.weight))
            .sum();
        let own: u64 = self.shares(true).map(|it| u64::from(it.weight)).sum();
        u32::try_from((100 * own + all / 2).checked_div(all).unwrap_or(0)).unwrap_or(0)
    }

    pub(crate) fn shares(&self, of_canary: bool) -> impl Iterator<Item = &Share> {
        let canary = self.canary;
        let all = self.destinations.iter().enumerate();
        all.filter(move |(at, _)| (*at == canary) == of_canary)
            .map(|(_, share)| share)
    }

    /// The weights of all destinations if the canary has `percent`.
    fn weights(&self, percent: u32) -> Vec<u32> {
        let rest = u64::from(100 - percent);
        let others: u64 = self.shares(false).map(|it| u64::from(it.weight)).sum();
        let mut left = rest;
        let mut weights: Vec<u32> = Vec::new();
        for (at, share) in self.destinations.iter().enumerate() {
            let weight = match at == self.canary {
                true => percent,
                false => {
                    let part = rest * u64::from(share.weight);
                    let part = part.checked_div(others).unwrap_or(0).min(left);
                    left -= part;
                    u32::try_from(part).unwrap_or(0)
                }
            };
            weights.push(weight);
        }
        // The remainder of rounding, or everything if no other destination has a weight.
        let first = (0..weights.len()).find(|at| *at != self.canary);
        if let Some(weight) = first.and_then(|at| weights.get_mut(at)) {
            *weight += u32::try_from(left).unwrap_or(0);
        }
        weights
    }
}

impl Share {
    fn of(destination: &Destination, weight: u32, namespace: &str) -> Self {
        let host = destination.host.value.to_ascii_lowercase();
        let domain = mesh::Options::default().cluster_domain;
        Self {
            host: match host.contains('.') {
                true => host,
                false => format!("{host}.{namespace}.svc.{domain}"),
            },
            subset: destination.subset.as_ref().map(|it| it.value.clone()),
            weight,
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let service = self.host.split('.').next().unwrap_or_default();
        match &self.subset {
            Some(subset) => write!(f, "{service}/{subset}"),
            None => f.write_str(service),
        }
    }
}

fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: shop, namespace: test}\nspec:\n  hosts: [shop]\n  http:\n  \
        - name: search\n    match: [{uri: {prefix: /search}}]\n    \
          route: [{destination: {host: shop, subset: v1}}]\n  \
        - route:\n    \
          - {destination: {host: shop, subset: v1}, weight: 60}\n    \
          - {destination: {host: shop, subset: v0}, weight: 30}\n    \
          - {destination: {host: shop, subset: v2}, weight: 10}\n";

    fn split(rule: Option<&str>, canary: &str) -> Result<(Split, Value), SplitError> {
        let read = galleria_manifest::read_str("test.yaml".as_ref(), ROUTE);
        let object = &read.objects[0];
        let is_canary = |it: &Destination| it.subset.as_ref().is_some_and(|it| it.value == canary);
        Split::of(object, rule, canary, is_canary).map(|split| (split, object.raw.clone()))
    }

    #[test]
    fn canary_gets_its_weight_and_the_others_keep_their_proportions() {
        let (split, raw) = split(None, "v2").expect("a split");
        assert_eq!((split.weight(), split.rules.len()), (10, 1));
        let weights = |percent| {
            let raw = split.with_weight(&raw, percent);
            [0, 1, 2].map(|at| raw["spec"]["http"][1]["route"][at]["weight"].clone())
        };
        assert_eq!(weights(25), [json!(50), json!(25), json!(25)]);
        assert_eq!(weights(0), [json!(67), json!(33), json!(0)]);
        assert_eq!(weights(100), [json!(0), json!(0), json!(100)]);
    }

    #[test]
    fn missing_split_is_an_error_that_lists_the_existing_destinations() {
        let text = |rule, canary| split(rule, canary).expect_err("nothing").to_string();
        assert!(text(Some("find"), "v2").contains("it has search"));
        let undivided = text(Some("search"), "v2");
        assert!(
            undivided.contains("shop/v0, shop/v1, shop/v2"),
            "{undivided}"
        );
        assert!(text(None, "v3").contains("(v3)"));
    }
}
