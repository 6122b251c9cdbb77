//! `exportTo`: which namespaces see a resource.

use galleria_manifest::WithPosition;

/// The namespaces that see a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExportTo {
    /// `*`, or not set.
    All,
    /// `.` and named namespaces; empty for `~`.
    Namespaces(Vec<String>),
}

/// The namespace for which a part of the snapshot is compiled. Most namespaces see the
/// same; only those that do not are compiled separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum View<'a> {
    Namespace(&'a str),
    /// Every namespace without a view of its own.
    Others,
}

impl ExportTo {
    pub(crate) fn new(entries: &[WithPosition<String>], namespace: &str) -> Self {
        Self::from_names(entries.iter().map(|entry| entry.as_str()), namespace)
    }

    /// Reads the annotation `networking.istio.io/exportTo` of a Service.
    pub(crate) fn from_annotation(text: &str, namespace: &str) -> Self {
        Self::from_names(
            text.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty()),
            namespace,
        )
    }

    fn from_names<'a>(names: impl Iterator<Item = &'a str>, namespace: &str) -> Self {
        let mut seen = Vec::new();
        let mut any = false;
        for name in names {
            any = true;
            match name {
                "*" => return Self::All,
                "." => seen.push(namespace.to_owned()),
                "~" => {}
                name => seen.push(name.to_owned()),
            }
        }
        if any {
            Self::Namespaces(seen)
        } else {
            Self::All
        }
    }

    pub(crate) fn reaches(&self, view: View<'_>) -> bool {
        match (self, view) {
            (Self::All, _) => true,
            (Self::Namespaces(names), View::Namespace(namespace)) => {
                names.iter().any(|name| name == namespace)
            }
            (Self::Namespaces(_), View::Others) => false,
        }
    }

    /// Whether the namespace sees the resource, and no other does.
    pub(crate) fn is_only(&self, namespace: &str) -> bool {
        let Self::Namespaces(names) = self else {
            return false;
        };
        !names.is_empty() && names.iter().all(|name| name == namespace)
    }

    /// What is left without the namespaces of `part`, if these are all in it: `Some(None)` means
    /// nothing.
    pub(crate) fn without(&self, part: &Self) -> Option<Option<Self>> {
        match (self, part) {
            (Self::All, Self::All) => Some(None),
            (Self::Namespaces(names), Self::Namespaces(part)) => {
                let is_in = !part.is_empty() && part.iter().all(|name| names.contains(name));
                let rest = names.iter().filter(|name| !part.contains(name));
                let rest: Vec<String> = rest.cloned().collect();
                is_in.then(|| (!rest.is_empty()).then_some(Self::Namespaces(rest)))
            }
            (Self::All, Self::Namespaces(_)) | (Self::Namespaces(_), Self::All) => None,
        }
    }

    /// The rank of a VirtualService of `namespace` for a view: those that are only for the
    /// own namespace come first in Istio, then those for named namespaces, then public ones.
    pub(crate) fn rank(&self, namespace: &str, view: View<'_>) -> u8 {
        match (self, view) {
            (Self::All, _) => 2,
            (Self::Namespaces(_), View::Namespace(own)) if own == namespace => 0,
            (Self::Namespaces(_), _) => 1,
        }
    }

    /// The namespaces that see the resource when others do not.
    pub(crate) fn special(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Namespaces(names) => names,
        }
    }
}
