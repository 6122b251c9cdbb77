//! Which namespaces see an object: `exportTo`, and its annotation on a Service.

use crate::WithPosition;
use crate::model::Object;

/// The annotation of a Service with what `exportTo` is to other kinds.
const ANNOTATION: &str = "networking.istio.io/exportTo";

/// The namespaces that see an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Visibility<'a> {
    All,
    /// If empty, no namespace sees it.
    Namespaces(Vec<&'a str>),
}

impl<'a> Visibility<'a> {
    pub(super) fn of_export_to(entries: &'a [WithPosition<String>], object: &'a Object) -> Self {
        Self::of(entries.iter().map(|entry| entry.as_str()), object)
    }

    pub(super) fn of_service(object: &'a Object) -> Self {
        let text = object.metadata.annotations.get(ANNOTATION);
        let entries = text.map_or("", |text| text.value.as_str()).split(',');
        Self::of(entries.map(str::trim).filter(|it| !it.is_empty()), object)
    }

    fn of(entries: impl Iterator<Item = &'a str>, object: &'a Object) -> Self {
        let mut namespaces = Vec::new();
        let mut is_set = false;
        for entry in entries {
            is_set = true;
            match entry {
                "*" => return Self::All,
                "." => namespaces.push(object.metadata.namespace.as_str()),
                "~" => {}
                name => namespaces.push(name),
            }
        }
        match is_set {
            true => Self::Namespaces(namespaces),
            false => Self::All,
        }
    }

    pub(super) fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.contains(&namespace),
        }
    }

    /// Whether a namespace sees both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespaces(one), Self::Namespaces(_)) => {
                one.iter().any(|name| other.reaches(name))
            }
            (Self::All, Self::All) => true,
            (Self::All, Self::Namespaces(names)) | (Self::Namespaces(names), Self::All) => {
                !names.is_empty()
            }
        }
    }
}
