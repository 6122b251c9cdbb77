//! From resources to a snapshot.

use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::Object;

use crate::{Options, Pod, Snapshot, State};

/// A snapshot, and what the mesh itself found odd.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Snapshot,
    /// Rules that can never match, hosts that two VirtualServices claim, and
    /// the like: what only shows across resources.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles `objects` (in order of age where they carry no timestamps) and
/// `pods` to a snapshot. `state` is the same for every compilation of a host.
pub fn compile(
    objects: &[Arc<Object>],
    pods: &[Pod],
    options: &Options,
    state: &Arc<State>,
) -> Compiled {
    let _ = (objects, pods, options, state);
    Compiled {
        snapshot: Snapshot {},
        diagnostics: Vec::new(),
    }
}
