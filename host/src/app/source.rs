//! Sources of desired objects.
//!
//! The control loop knows sources by [`ObjectSource`] only: it reads each of them at
//! start, and again when the source reports a change. What the objects of several
//! sources mean together is decided in `desired.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use futures::stream::{self, BoxStream, StreamExt};
use galleria_manifest::model::{Object, ObjectKey};
use galleria_manifest::{Diagnostic, Severity};

use super::desired::ApiOverride;
use crate::files::{self, Files};

/// Where desired objects come from.
pub(super) trait ObjectSource: Send + Sync {
    /// What messages call the objects of this source, in the plural.
    fn name(&self) -> &'static str;

    /// Reads everything that the source declares. Blocks the thread.
    ///
    /// # Errors
    /// The source cannot be read at all. Invalid objects are diagnostics instead.
    fn read(&self) -> anyhow::Result<Contents>;

    /// Starts watching. The stream yields whenever another read may return something
    /// else.
    ///
    /// # Errors
    /// The source cannot be watched.
    fn watch(&self) -> anyhow::Result<BoxStream<'static, ()>>;
}

/// The result of reading a source.
#[derive(Debug)]
pub(super) struct Contents {
    pub layer: Layer,
    /// An error among them rejects the whole read.
    pub diagnostics: Vec<Diagnostic>,
}

impl Contents {
    pub(super) fn has_errors(&self) -> bool {
        let is_error = |it: &Diagnostic| it.severity == Severity::Error;
        self.diagnostics.iter().any(is_error)
    }
}

/// What a source declares. A source replaces its layer of the desired state as a whole.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    /// The objects that other sources may override.
    Base(Vec<Arc<Object>>),
    /// Objects, and changes and deletions of objects of the base.
    Overrides(BTreeMap<ObjectKey, ApiOverride>),
}

impl ObjectSource for Files {
    fn name(&self) -> &'static str {
        "manifests"
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let files::FileContents {
            objects,
            diagnostics,
        } = Files::read(self);
        Ok(Contents {
            layer: Layer::Base(objects),
            diagnostics,
        })
    }

    fn watch(&self) -> anyhow::Result<BoxStream<'static, ()>> {
        let changes = Files::watch(self).context("cannot watch the manifests for changes")?;
        let changes = stream::unfold(changes, |changes| async move {
            changes.next().await;
            Some(((), changes))
        });
        Ok(changes.boxed())
    }
}
