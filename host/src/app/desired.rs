//! What there should be: the objects of the files and, over them, what came by
//! the API.
//!
//! A file owns its objects. What the API says of one of them (drift) holds until
//! the file says something else of it than it did then.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use galleria_manifest::{Diagnostic, Severity};
use serde_json::Value;

use crate::store::{Source, place};

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Desired {
    files: Vec<Arc<Object>>,
    written: BTreeMap<ObjectKey, ApiOverride>,
}

/// What the API said last of one object.
#[derive(Debug, Clone)]
pub(super) struct ApiOverride {
    /// `None`: that it is deleted.
    pub object: Option<Arc<Object>>,
    /// What the file said then.
    pub over: Option<Value>,
}

/// What of the desired objects can be in force.
#[derive(Debug, Default)]
pub(super) struct Admissible {
    /// With what LimitRanges fill in.
    pub in_force: Vec<Arc<Object>>,
    /// With what keeps each back.
    pub waiting: Vec<(Arc<Object>, Vec<Diagnostic>)>,
    /// What is odd about what is in force.
    pub warnings: Vec<Diagnostic>,
}

impl Desired {
    pub(super) fn new(written: BTreeMap<ObjectKey, ApiOverride>) -> Self {
        Self {
            files: Vec::new(),
            written,
        }
    }

    /// Whether the files said the same before.
    pub(super) fn has_files(&self, files: &[Arc<Object>]) -> bool {
        let same = |(known, read): (&Arc<Object>, &Arc<Object>)| known.raw == read.raw;
        self.files.len() == files.len() && self.files.iter().zip(files).all(same)
    }

    /// With other objects of the files: what they say anew stands, whatever the
    /// API said before.
    pub(super) fn with_files(&self, files: Vec<Arc<Object>>) -> Self {
        let raw: BTreeMap<_, _> = files.iter().map(|it| (it.key(), &it.raw)).collect();
        let unchanged =
            |key: &ObjectKey, it: &ApiOverride| it.over.as_ref() == raw.get(key).copied();
        let written = self.written.iter().filter(|(key, it)| unchanged(key, it));
        Self {
            written: written.map(|(key, it)| (key.clone(), it.clone())).collect(),
            files,
        }
    }

    /// With what the API says of one object.
    pub(super) fn with(&self, key: &ObjectKey, object: Option<Arc<Object>>) -> Self {
        let mut desired = self.clone();
        let file = self.files.iter().find(|it| it.key() == *key);
        let over = file.map(|it| it.raw.clone());
        let says_what_the_file_says = match (&object, &over) {
            (Some(object), Some(over)) => object.raw == *over,
            (None, None) => true,
            _ => false,
        };
        match says_what_the_file_says {
            true => desired.written.remove(key),
            false => desired
                .written
                .insert(key.clone(), ApiOverride { object, over }),
        };
        desired
    }

    pub(super) fn written(&self) -> &BTreeMap<ObjectKey, ApiOverride> {
        &self.written
    }

    /// Every object, and whose it is.
    pub(super) fn objects(&self) -> impl Iterator<Item = (Source, &Arc<Object>)> {
        let files = self.files.iter();
        let files = files.filter(|it| !self.written.contains_key(&it.key()));
        let written = self.written.values().filter_map(|it| {
            let source = match it.over {
                Some(_) => Source::Drift,
                None => Source::Api,
            };
            Some((source, it.object.as_ref()?))
        });
        files.map(|object| (Source::Files, object)).chain(written)
    }

    /// The objects of files that the API changed or deleted.
    pub(super) fn drifted(&self) -> impl Iterator<Item = (&ObjectKey, &ApiOverride)> {
        self.written.iter().filter(|(_, it)| it.over.is_some())
    }

    /// The file that has an object, whatever the API said of it.
    pub(super) fn file_of(&self, key: &ObjectKey) -> Option<&Path> {
        let object = self.files.iter().find(|it| it.key() == *key)?;
        Some(&object.at.file)
    }

    /// Keeps back what came by the API and refers to something that is not there,
    /// but nothing of what is `in_force` already: that is refused.
    ///
    /// # Errors
    /// What is wrong with the rest.
    pub(super) fn settle(
        &self,
        in_force: &HashSet<ObjectKey>,
    ) -> Result<Admissible, Vec<Diagnostic>> {
        let may_wait: BTreeMap<_, _> = self
            .written
            .iter()
            .filter(|(key, _)| !in_force.contains(key))
            .map(|(key, _)| (place(key), key))
            .collect();
        let mut admissible = Admissible {
            in_force: self.objects().map(|(_, object)| object.clone()).collect(),
            ..Admissible::default()
        };
        loop {
            let mut objects = admissible.in_force.clone();
            let mut found = galleria_manifest::check_references(&objects);
            found.extend(galleria_manifest::admit(&mut objects));
            let is_error = |it: &Diagnostic| it.severity == Severity::Error;
            let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(is_error);
            if errors.is_empty() {
                admissible.in_force = objects;
                admissible.warnings = warnings;
                return Ok(admissible);
            }
            let mut kept_back = BTreeMap::<&ObjectKey, Vec<Diagnostic>>::new();
            for error in &errors {
                let Some(key) = error.at.file.to_str().and_then(|it| may_wait.get(it)) else {
                    return Err(errors);
                };
                kept_back.entry(key).or_default().push(error.clone());
            }
            admissible.in_force.retain(|object| {
                let problems = kept_back.remove(&object.key());
                let stays = problems.is_none();
                let waits = problems.map(|problems| (object.clone(), problems));
                admissible.waiting.extend(waits);
                stays
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::read_object;

    fn file(yaml: &str) -> Vec<Arc<Object>> {
        galleria_manifest::read_str("test.yaml".as_ref(), yaml).objects
    }

    const A1: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}\n";
    const A2: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '2'}\n";
    const A3: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '3'}\n";

    fn values(desired: &Desired) -> Vec<(Source, &str)> {
        desired
            .objects()
            .map(|(source, object)| (source, object.raw["data"]["k"].as_str().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn a_change_by_the_api_holds_until_the_file_says_something_else() {
        let desired = Desired::default().with_files(file(A1));
        let key = file(A1)[0].key();
        let changed = desired.with(&key, Some(file(A2)[0].clone()));
        assert_eq!(values(&changed), [(Source::Drift, "2")]);
        assert_eq!(changed.drifted().count(), 1);
        let read_again = changed.with_files(file(&format!("# moved\n{A1}")));
        assert_eq!(values(&read_again), [(Source::Drift, "2")]);
        let file_changed = changed.with_files(file(A3));
        assert_eq!(values(&file_changed), [(Source::Files, "3")]);
        let back = changed.with(&key, Some(file(A1)[0].clone()));
        assert_eq!(
            (values(&back), back.drifted().count()),
            (vec![(Source::Files, "1")], 0)
        );
    }

    #[test]
    fn a_deletion_by_the_api_holds_as_long_and_a_file_may_take_over() {
        let key = file(A1)[0].key();
        let deleted = Desired::default().with_files(file(A1)).with(&key, None);
        assert_eq!(values(&deleted), []);
        assert_eq!(
            values(&deleted.with_files(file(A2))),
            [(Source::Files, "2")]
        );
        let created = Desired::default().with(&key, Some(file(A1)[0].clone()));
        assert_eq!(values(&created), [(Source::Api, "1")]);
        assert_eq!(
            values(&created.with_files(file(A2))),
            [(Source::Files, "2")]
        );
        assert!(created.with(&key, None).written().is_empty());
    }

    #[test]
    fn what_refers_to_nothing_waits_and_what_is_in_force_is_not_broken() {
        let route = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "r"},
            "spec": {"hosts": ["r"], "http": [{"route": [{"destination": {"host": "s"}}]}]},
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80}]},
        });
        let key = |kind: &str, group: &str, name: &str| ObjectKey {
            group: group.into(),
            kind: kind.into(),
            namespace: "default".into(),
            name: name.into(),
        };
        let route_key = key("VirtualService", "networking.istio.io", "r");
        let service_key = key("Service", "", "s");
        let object =
            |key: &ObjectKey, raw: &Value| Some(read_object(key, raw).expect("valid").object);
        let waiting = Desired::default().with(&route_key, object(&route_key, &route));
        let admissible = waiting.settle(&HashSet::new()).expect("it may wait");
        assert_eq!(
            (admissible.in_force.len(), admissible.waiting.len()),
            (0, 1)
        );
        let whole = waiting.with(&service_key, object(&service_key, &service));
        let admissible = whole.settle(&HashSet::new()).expect("whole");
        assert_eq!(
            (admissible.in_force.len(), admissible.waiting.len()),
            (2, 0)
        );
        let in_force = admissible.in_force.iter().map(|it| it.key()).collect();
        let errors = whole.with(&service_key, None).settle(&in_force);
        assert_eq!(errors.expect_err("in use").len(), 1);
    }
}
