//! Calls by the rule that matched them.
//!
//! Rule names come from the manifests, methods from a fixed set, and a guest's status has
//! three digits. Beyond [`SERIES_MAX`], new series are counted under the rule `other`.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_mesh::RouteId;
use http::Method;
use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};

use super::Present;
use super::register::Register;
use crate::telemetry::names;

/// A thousand rules, each with a few methods and a handful of codes.
const SERIES_MAX: usize = 10_000;

/// A method that HTTP defines, or `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MethodClass(&'static str);

pub(crate) struct Routes {
    requests: IntCounterVec,
    known: RwLock<RuleIndex>,
}

#[derive(Default)]
struct RuleIndex {
    /// By identity, which is stable because the value keeps the rule alive.
    resolved: HashMap<(usize, MethodClass, u16), (Arc<RouteId>, IntCounter)>,
    series: HashMap<RouteId, Vec<(MethodClass, u16)>>,
    count: usize,
}

impl MethodClass {
    pub(crate) fn of(method: &Method) -> Self {
        const KNOWN: [&str; 9] = [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
        ];
        let known = KNOWN.iter().find(|known| **known == method.as_str());
        Self(known.copied().unwrap_or("other"))
    }
}

impl Routes {
    pub(super) fn new(register: &mut Register) -> Self {
        Self {
            requests: register.counters(&names::ROUTE_REQUESTS),
            known: RwLock::default(),
        }
    }

    pub(crate) fn record(&self, route: &Arc<RouteId>, method: MethodClass, code: u16) {
        let key = (Arc::as_ptr(route) as usize, method, code);
        let known = self.known.read();
        if let Some((_, counter)) = known.resolved.get(&key) {
            return counter.inc();
        }
        drop(known);
        let mut known = self.known.write();
        let counter = self.resolve(&mut known, route, method, code);
        counter.inc();
        if known.resolved.len() < 2 * SERIES_MAX {
            known.resolved.insert(key, (route.clone(), counter));
        }
    }

    fn resolve(
        &self,
        known: &mut RuleIndex,
        route: &Arc<RouteId>,
        method: MethodClass,
        code: u16,
    ) -> IntCounter {
        let is_known = |it: &Vec<_>| it.contains(&(method, code));
        if known.series.get(&**route).is_some_and(is_known) {
            return self.counter(route, method, code);
        }
        if known.count >= SERIES_MAX {
            let other = RouteId {
                object: "other".into(),
                rule: "other".into(),
            };
            return self.counter(&other, method, code);
        }
        known.count += 1;
        let series = known.series.entry(RouteId::clone(route)).or_default();
        series.push((method, code));
        self.counter(route, method, code)
    }

    fn counter(&self, route: &RouteId, method: MethodClass, code: u16) -> IntCounter {
        let code = code.to_string();
        self.requests
            .with_label_values(&labels(route, method, &code))
    }

    pub(super) fn follow(&self, present: &Present<'_>) {
        let mut known = self.known.write();
        known.resolved.clear();
        known.series.retain(|route, series| {
            let kept = present.has_route(route);
            for (method, code) in series.iter().filter(|_| !kept) {
                let code = code.to_string();
                let labels = labels(route, *method, &code);
                // It does not matter if the series is absent.
                let _ = self.requests.remove_label_values(&labels);
            }
            kept
        });
        known.count = known.series.values().map(Vec::len).sum();
    }
}

fn labels<'a>(route: &'a RouteId, method: MethodClass, code: &'a str) -> [&'a str; 4] {
    [&route.object, &route.rule, method.0, code]
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector;

    use super::*;

    fn route(rule: &str) -> Arc<RouteId> {
        Arc::new(RouteId {
            object: "shop/routes".into(),
            rule: rule.into(),
        })
    }

    fn series(routes: &Routes) -> usize {
        let families = routes.requests.collect();
        families.iter().map(|it| it.get_metric().len()).sum()
    }

    #[test]
    fn rule_is_identified_by_its_names() {
        let routes = Routes::new(&mut Register::default());
        for _ in 0..2 {
            routes.record(&route("ui"), MethodClass::of(&Method::GET), 200);
        }
        let labels = ["shop/routes", "ui", "GET", "200"];
        assert_eq!(routes.requests.with_label_values(&labels).get(), 2);
    }

    #[test]
    fn unknown_methods_count_together() {
        let routes = Routes::new(&mut Register::default());
        for number in 0..100 {
            let method = Method::from_bytes(format!("M{number}").as_bytes());
            let method = MethodClass::of(&method.expect("a method"));
            routes.record(&route("0"), method, 200);
        }
        assert_eq!(series(&routes), 1);
    }

    #[test]
    fn rules_beyond_the_limit_count_together() {
        let routes = Routes::new(&mut Register::default());
        for number in 0..SERIES_MAX + 50 {
            let id = route(&number.to_string());
            routes.record(&id, MethodClass::of(&Method::GET), 200);
        }
        assert_eq!(series(&routes), SERIES_MAX + 1);
    }
}
