//! The desired state: the objects of the files, overlaid with the objects from the API.
//!
//! A file owns its objects. A change of such an object by the API (drift) holds until
//! the file itself changes the object.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use galleria_manifest::{Diagnostic, Severity};
use serde_json::Value;

use super::source::Layer;
use crate::store::{Source, place};

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct DesiredState {
    files: Vec<Arc<Object>>,
    written: BTreeMap<ObjectKey, ApiOverride>,
}

/// The last change of one object by the API.
#[derive(Debug, Clone)]
pub(super) struct ApiOverride {
    /// `None`: the object is deleted.
    pub object: Option<Arc<Object>>,
    /// The object of the file at that time.
    pub over: Option<Value>,
}

/// The desired objects that can be in force.
#[derive(Debug, Default)]
pub(super) struct Admissible {
    /// With the defaults of LimitRanges.
    pub in_force: Vec<Arc<Object>>,
    /// The objects that wait, each with the reasons.
    pub waiting: Vec<(Arc<Object>, Vec<Diagnostic>)>,
    /// Warnings about the objects in force.
    pub warnings: Vec<Diagnostic>,
}

impl ApiOverride {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_object = match (&self.object, &other.object) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.raw == other.raw,
            (None, None) => true,
            _ => false,
        };
        same_object && self.over == other.over
    }
}

impl DesiredState {
    /// Whether both declare the same objects. Positions in files do not count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_file = |(one, other): (&Arc<Object>, &Arc<Object>)| one.raw == other.raw;
        let same_override =
            |(one, other): ((&ObjectKey, &ApiOverride), (&ObjectKey, &ApiOverride))| {
                one.0 == other.0 && one.1.is_same(other.1)
            };
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(same_file)
            && self.written.len() == other.written.len()
            && self.written.iter().zip(&other.written).all(same_override)
    }

    /// This state with one layer replaced. An override ends when the base declares
    /// something else than at the time of the override.
    pub(super) fn with_layer(self, layer: Layer) -> Self {
        let (files, mut written) = match layer {
            Layer::Base(objects) => (objects, self.written),
            Layer::Overrides(overrides) => (self.files, overrides),
        };
        let raw: BTreeMap<_, _> = files.iter().map(|it| (it.key(), &it.raw)).collect();
        written.retain(|key, it| it.over.as_ref() == raw.get(key).copied());
        Self { files, written }
    }

    /// This state with one object changed by the API; `None` deletes it.
    pub(super) fn with(&self, key: &ObjectKey, object: Option<Arc<Object>>) -> Self {
        let mut desired = self.clone();
        let file = self.files.iter().find(|it| it.key() == *key);
        let over = file.map(|it| it.raw.clone());
        let is_as_in_file = match (&object, &over) {
            (Some(object), Some(over)) => object.raw == *over,
            (None, None) => true,
            _ => false,
        };
        match is_as_in_file {
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

    /// Every object with its owner.
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

    /// The file of an object, even if the API has changed the object.
    pub(super) fn file_of(&self, key: &ObjectKey) -> Option<&Path> {
        let object = self.files.iter().find(|it| it.key() == *key)?;
        Some(&object.at.file)
    }

    /// Decides which objects can be in force. An object from the API that cannot, because it
    /// refers to a missing object, waits, unless it is `in_force` already. If `strict`, no
    /// object can be in force with a dangling reference. `gateway_namespace` is that of
    /// [`check_references`](galleria_manifest::check_references).
    ///
    /// # Errors
    /// The errors of objects that cannot wait.
    pub(super) fn settle(
        &self,
        in_force: &HashSet<ObjectKey>,
        strict: bool,
        gateway_namespace: Option<&str>,
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
            let mut found = galleria_manifest::check_references(&objects, gateway_namespace);
            found.extend(galleria_manifest::admit(&mut objects));
            if strict {
                galleria_manifest::refuse_dangling(&mut found);
            }
            let is_error = |it: &Diagnostic| it.severity == Severity::Error;
            let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(is_error);
            if errors.is_empty() {
                admissible.in_force = objects;
                admissible.warnings = warnings;
                return Ok(admissible);
            }
            let mut waiting = BTreeMap::<&ObjectKey, Vec<Diagnostic>>::new();
            for error in &errors {
                let Some(key) = error.at.file.to_str().and_then(|it| may_wait.get(it)) else {
                    return Err(errors);
                };
                waiting.entry(key).or_default().push(error.clone());
            }
            admissible.in_force.retain(|object| {
                let problems = waiting.remove(&object.key());
                let is_admitted = problems.is_none();
                let waits = problems.map(|problems| (object.clone(), problems));
                admissible.waiting.extend(waits);
                is_admitted
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use galleria_manifest::AllowUnenforced;
    use serde_json::json;

    use super::*;
    use crate::store::read_object;

    fn with_files(desired: &DesiredState, files: Vec<Arc<Object>>) -> DesiredState {
        desired.clone().with_layer(Layer::Base(files))
    }

    fn file(yaml: &str) -> Vec<Arc<Object>> {
        galleria_manifest::read_str("test.yaml".as_ref(), yaml).objects
    }

    const A1: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '1'}\n";
    const A2: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '2'}\n";
    const A3: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: '3'}\n";

    fn values(desired: &DesiredState) -> Vec<(Source, &str)> {
        desired
            .objects()
            .map(|(source, object)| (source, object.raw["data"]["k"].as_str().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn change_by_the_api_holds_until_the_file_changes() {
        let desired = with_files(&DesiredState::default(), file(A1));
        let key = file(A1)[0].key();
        let changed = desired.with(&key, Some(file(A2)[0].clone()));
        assert_eq!(values(&changed), [(Source::Drift, "2")]);
        assert_eq!(changed.drifted().count(), 1);
        let read_again = with_files(&changed, file(&format!("# moved\n{A1}")));
        assert_eq!(values(&read_again), [(Source::Drift, "2")]);
        let file_changed = with_files(&changed, file(A3));
        assert_eq!(values(&file_changed), [(Source::Files, "3")]);
        let back = changed.with(&key, Some(file(A1)[0].clone()));
        assert_eq!(
            (values(&back), back.drifted().count()),
            (vec![(Source::Files, "1")], 0)
        );
    }

    #[test]
    fn deletion_by_the_api_holds_as_long_and_a_file_may_take_over() {
        let key = file(A1)[0].key();
        let deleted = with_files(&DesiredState::default(), file(A1)).with(&key, None);
        assert_eq!(values(&deleted), []);
        assert_eq!(
            values(&with_files(&deleted, file(A2))),
            [(Source::Files, "2")]
        );
        let created = DesiredState::default().with(&key, Some(file(A1)[0].clone()));
        assert_eq!(values(&created), [(Source::Api, "1")]);
        assert_eq!(
            values(&with_files(&created, file(A2))),
            [(Source::Files, "2")]
        );
        assert!(created.with(&key, None).written().is_empty());
    }

    #[test]
    fn overrides_are_compared_by_their_content() {
        let key = file(A1)[0].key();
        let with = |yaml: &str| DesiredState::default().with(&key, Some(file(yaml)[0].clone()));
        assert!(with(A1).is_same(&with(&format!("# moved\n{A1}"))));
        assert!(!with(A1).is_same(&with(A2)));
        let deleted = with_files(&DesiredState::default(), file(A1)).with(&key, None);
        let changed =
            with_files(&DesiredState::default(), file(A1)).with(&key, Some(file(A2)[0].clone()));
        assert!(!changed.is_same(&deleted));
    }

    #[test]
    fn overrides_that_the_base_has_outlived_are_dropped_when_they_are_read() {
        let key = file(A1)[0].key();
        let overridden = with_files(&DesiredState::default(), file(A1)).with(&key, None);
        let read = Layer::Overrides(overridden.written().clone());
        let same = with_files(&DesiredState::default(), file(A1)).with_layer(read.clone());
        assert!(same.is_same(&overridden));
        let changed = with_files(&DesiredState::default(), file(A2)).with_layer(read);
        assert_eq!(values(&changed), [(Source::Files, "2")]);
        assert!(!changed.is_same(&overridden));
    }

    #[test]
    fn object_with_a_missing_reference_waits_unless_it_is_in_force() {
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
        let object = |key: &ObjectKey, raw: &Value| {
            Some(
                read_object(key, raw, &AllowUnenforced::default())
                    .expect("valid")
                    .object,
            )
        };
        let waiting = DesiredState::default().with(&route_key, object(&route_key, &route));
        let admissible = waiting
            .settle(&HashSet::new(), true, None)
            .expect("it may wait");
        assert_eq!(
            (admissible.in_force.len(), admissible.waiting.len()),
            (0, 1)
        );
        let whole = waiting.with(&service_key, object(&service_key, &service));
        let admissible = whole.settle(&HashSet::new(), true, None).expect("whole");
        assert_eq!(
            (admissible.in_force.len(), admissible.waiting.len()),
            (2, 0)
        );
        let in_force = admissible.in_force.iter().map(|it| it.key()).collect();
        let errors = whole.with(&service_key, None).settle(&in_force, true, None);
        assert_eq!(errors.expect_err("in use").len(), 1);
    }

    #[test]
    fn object_with_a_dangling_reference_is_in_force_with_a_warning() {
        let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
                     metadata: {name: r}\n\
                     spec: {hosts: [r], http: [{route: [{destination: {host: s}}]}]}\n";
        let desired = with_files(&DesiredState::default(), file(route));
        let admissible = desired
            .settle(&HashSet::new(), false, None)
            .expect("admitted");
        assert_eq!(admissible.in_force.len(), 1);
        let dangling = admissible.warnings.iter().filter(|it| it.is_dangling());
        assert_eq!(dangling.count(), 1, "{:?}", admissible.warnings);
        let refused = desired.settle(&HashSet::new(), true, None);
        assert_eq!(refused.expect_err("a file must be whole").len(), 1);
    }
}
