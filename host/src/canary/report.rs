//! The report of `galleria canary status`.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use galleria_manifest::model::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::order::{Route, resolve};
use super::{CanaryError, Share};
use crate::store::StoredObject;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CanaryReport {
    /// `namespace/name` of the VirtualService.
    pub virtual_service: String,
    /// The absolute path of its file; does not exist if the object is from the API.
    pub file: PathBuf,
    pub rules: Vec<RuleReport>,
    /// The `status` of the Canary object, if there is one.
    pub canary: Option<Value>,
    /// Oldest first.
    pub events: Vec<EventReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleReport {
    /// Its index in `spec.http`.
    pub index: usize,
    pub name: Option<String>,
    /// The canary's share, in percent.
    pub weight: u32,
    pub canary: Vec<String>,
    pub stable: Vec<String>,
    /// The active weights of all destinations of the rule.
    pub weights: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EventReport {
    /// RFC 3339.
    pub time: String,
    pub count: u64,
    pub message: String,
}

/// Reports on the rules of `route`.
///
/// # Errors
/// The rules do not exist.
pub(crate) fn report(
    route: &Route,
    stored: &[Arc<StoredObject>],
    file_of_drifted: impl Fn(&ObjectKey) -> Option<PathBuf>,
) -> Result<CanaryReport, CanaryError> {
    let objects: Vec<_> = stored.iter().map(|it| it.object.clone()).collect();
    let (split, canary) = resolve(route, &objects)?;
    let find = |key| stored.iter().find(|it| it.object.key() == key);
    let file = file_of_drifted(&split.service).or_else(|| {
        let stored = find(split.service.clone())?;
        Some(stored.object.at.file.to_path_buf())
    });
    let names = |shares: &mut dyn Iterator<Item = &Share>| shares.map(Share::to_string).collect();
    let rules = split.rules.iter().map(|rule| RuleReport {
        index: rule.index,
        name: rule.name.clone(),
        weight: rule.weight(),
        canary: names(&mut rule.shares(true)),
        stable: names(&mut rule.shares(false)),
        weights: rule.destinations.iter().map(|it| it.weight).collect(),
    });
    let about = |event: &Value| {
        let of = &event["involvedObject"];
        let is = |kind: &str, name: &str| of["kind"] == kind && of["name"] == name;
        of["namespace"] == *split.service.namespace
            && (is("VirtualService", &split.service.name)
                || canary.is_some_and(|it| is("Canary", &it.metadata.name.value)))
    };
    let events = objects
        .iter()
        .filter(|it| it.kind == "Event" && about(&it.raw));
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let mut events: Vec<_> = events
        .map(|it| EventReport {
            time: text(&it.raw, "lastTimestamp"),
            count: it.raw["count"].as_u64().unwrap_or(1),
            message: text(&it.raw, "message"),
        })
        .collect();
    events.sort_by(|one, other| one.time.cmp(&other.time));
    Ok(CanaryReport {
        virtual_service: format!("{}/{}", split.service.namespace, split.service.name),
        file: file
            .and_then(|it| std::path::absolute(it).ok())
            .unwrap_or_default(),
        rules: rules.collect(),
        canary: canary
            .and_then(|it| find(it.key()))
            .map(|it| it.status.clone()),
        events,
    })
}

impl CanaryReport {
    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("VirtualService {}\n", self.virtual_service);
        for rule in &self.rules {
            let name = rule
                .name
                .as_ref()
                .map_or_else(String::new, |name| format!(" {name}"));
            let (canary, stable) = (rule.canary.join(", "), rule.stable.join(", "));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  rule {}{name}: {} % to {canary}, {} % to {stable}",
                rule.index,
                rule.weight,
                100 - rule.weight.min(100)
            );
        }
        if let Some(canary) = &self.canary {
            let message = canary["conditions"][0]["message"]
                .as_str()
                .unwrap_or_default();
            let phase = canary["phase"].as_str().unwrap_or("not begun");
            let failed = canary["failedChecks"].as_u64().unwrap_or(0);
            let _ = writeln!(text, "{phase}, {failed} failed checks: {message}");
            for version in ["canary", "stable"] {
                let seen = &canary["observed"][version];
                let count = |field: &str| seen[field].as_u64().unwrap_or(0);
                let millis = |field: &str| seen[field].as_f64().unwrap_or(0.0);
                let _ = writeln!(
                    text,
                    "  {version}: {} requests, {} failed, median {:.1} ms, p99 {:.1} ms",
                    count("requests"),
                    count("failures"),
                    millis("medianMilliseconds"),
                    millis("p99Milliseconds"),
                );
            }
        }
        for event in &self.events {
            let _ = match event.count {
                1 => writeln!(text, "{}  {}", event.time, event.message),
                count => writeln!(text, "{}  {} ({count} times)", event.time, event.message),
            };
        }
        text
    }
}
