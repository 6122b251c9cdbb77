//! `get` and `list`.
//!
//! The next page of a list begins after the last key of the previous one. All pages have
//! the resource version of the first: a watch from there reports all changes that were
//! made while the pages were read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use galleria_manifest::model::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Api;
use super::failure::{Cause, Failure};
use super::flag::Flag;
use super::form::Form;
use super::kind::api_version;
use super::object::shown;
use super::path::Resource;
use super::selector::Selector;
use crate::store::StoredObject;

/// The parameters of a list or a watch. Unknown ones are ignored, as in an API server.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    pub label_selector: String,
    pub field_selector: String,
    /// Everything, if it is not positive.
    pub limit: Option<i64>,
    #[serde(rename = "continue")]
    pub continuation: String,
    pub resource_version: String,
    pub resource_version_match: String,
    /// Of a table.
    pub include_object: String,
    pub watch: Flag,
    pub allow_watch_bookmarks: Flag,
    pub send_initial_events: Flag,
    pub timeout_seconds: Option<u64>,
}

impl Options {
    /// Checks how the version must match, which contradicts other parameters.
    ///
    /// # Errors
    /// It does.
    pub(super) fn check_match(&self) -> Result<(), Failure> {
        let matched = self.resource_version_match.as_str();
        let supported: &[&str] = match self.watch.is_set() {
            true => &[NOT_OLDER],
            false => &["Exact", NOT_OLDER],
        };
        let mut causes = Vec::new();
        let mut forbidden = |field: &str, why: &str| {
            causes.push(Cause::forbidden(field, format!("Forbidden: {why}")));
        };
        let (initial, any) = (self.send_initial_events.is_given(), !matched.is_empty());
        if self.watch.is_set() {
            if initial && matched != NOT_OLDER {
                let why = "sendInitialEvents requires resourceVersionMatch=NotOlderThan";
                forbidden(MATCH, why);
            }
            if any && !initial {
                let why = "resourceVersionMatch of a watch requires sendInitialEvents";
                forbidden(MATCH, why);
            }
        } else {
            if any && self.resource_version.is_empty() {
                let why = "resourceVersionMatch requires resourceVersion";
                forbidden(MATCH, why);
            }
            if initial {
                forbidden("sendInitialEvents", "sendInitialEvents is only for a watch");
            }
            if matched == "Exact" && self.resource_version == "0" {
                forbidden(MATCH, "the resourceVersion \"0\" cannot match exactly");
            }
        }
        if any && !self.continuation.is_empty() {
            let why = "resourceVersionMatch is not for the rest of a list";
            forbidden(MATCH, why);
        }
        if any && !supported.contains(&matched) {
            causes.push(Cause::unsupported(MATCH, matched, supported));
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Failure::options("ListOptions", causes)),
        }
    }

    /// Checks the version that a client wants to see at least, or exactly.
    ///
    /// # Errors
    /// It does not parse or is not reached yet.
    pub(super) fn check_version(&self, newest: u64) -> Result<(), Failure> {
        let version = &self.resource_version;
        if version.is_empty() {
            return Ok(());
        }
        let bad = || Failure::BadRequest(format!("invalid resourceVersion `{version}`"));
        let requested: u64 = version.parse().map_err(|_| bad())?;
        match requested > newest {
            true => Err(Failure::FutureVersion { requested, newest }),
            false => Ok(()),
        }
    }
}

const MATCH: &str = "resourceVersionMatch";
const NOT_OLDER: &str = "NotOlderThan";

/// Where the next page of a list begins.
#[derive(Serialize, Deserialize)]
struct Continuation {
    /// The resource version of the first page.
    version: u64,
    namespace: String,
    name: String,
}

impl Resource {
    /// Whether `key` has the kind and namespace of the path, with any name.
    pub(super) fn covers(&self, key: &ObjectKey) -> bool {
        let within = self.namespace.as_ref();
        key.kind == self.kind.kind
            && key.group == self.kind.group
            && within.is_none_or(|namespace| *namespace == key.namespace)
    }

    pub(super) fn shown(&self, stored: &StoredObject) -> Value {
        shown(stored, self.kind, &self.version)
    }

    pub(super) fn selector(&self, options: &Options) -> Result<Selector, Failure> {
        Selector::new(self.kind, &options.label_selector, &options.field_selector)
    }
}

impl Api {
    /// One object.
    ///
    /// # Errors
    /// It does not exist.
    pub(super) fn get(
        &self,
        resource: &Resource,
        name: &str,
        options: &Options,
        form: &Form,
    ) -> Result<Value, Failure> {
        let key = ObjectKey {
            group: resource.kind.group.to_owned(),
            kind: resource.kind.kind.to_owned(),
            namespace: resource.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        };
        options.check_version(self.store.list().1)?;
        let stored = self.store.get(&key).ok_or_else(|| Failure::NotFound {
            kind: resource.kind,
            name: name.to_owned(),
        })?;
        Ok(form.one(resource.kind, resource.shown(&stored)))
    }

    /// All requested objects, or a page of them.
    ///
    /// # Errors
    /// A selector or continuation that does not parse.
    pub(super) fn list(
        &self,
        resource: &Resource,
        options: &Options,
        form: &Form,
    ) -> Result<Value, Failure> {
        options.check_match()?;
        let selector = resource.selector(options)?;
        let after = Continuation::read(&options.continuation)?;
        let (stored, version) = self.store.list();
        options.check_version(version)?;
        let is_next = |key: &ObjectKey| {
            let after = after.as_ref();
            after.is_none_or(|after| (&key.namespace, &key.name) > (&after.namespace, &after.name))
        };
        let mut objects = stored
            .iter()
            .map(|stored| (stored.object.key(), stored))
            .filter(|(key, _)| resource.covers(key) && is_next(key))
            .map(|(key, stored)| (key, resource.shown(stored)))
            .filter(|(_, object)| selector.matches(object));
        let version = after.as_ref().map_or(version, |after| after.version);
        let limit = options.limit.filter(|limit| *limit > 0);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let page: Vec<_> = objects.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if let Some((last, _)) = page.last() {
            let left = objects.count();
            if left > 0 {
                metadata["continue"] = Continuation::after(last, version).into();
                metadata["remainingItemCount"] = left.into();
            }
        }
        let page: Vec<_> = page.into_iter().map(|(_, object)| object).collect();
        let api_version = api_version(resource.kind.group, &resource.version);
        Ok(form.list(resource.kind, &api_version, &page, &metadata))
    }
}

impl Continuation {
    fn after(key: &ObjectKey, version: u64) -> String {
        let ObjectKey {
            namespace, name, ..
        } = key;
        let token = json!({"version": version, "namespace": namespace, "name": name});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn read(token: &str) -> Result<Option<Self>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let decoded = URL_SAFE_NO_PAD.decode(token).ok();
        let read = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let message = "continue key is not valid; restart the list";
        read.map(Some)
            .ok_or_else(|| Failure::BadRequest(message.into()))
    }
}
