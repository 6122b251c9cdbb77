//! What `galleria check` says: the readers of `galleria-manifest`, and its checks of references.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use galleria_manifest::{Diagnostic, Severity, check_references, codes, read_str};
use galleria_mesh::{Options, State, compile};
use serde_json::Value;

use super::case::{Case, identity};

/// The codes that Istio's analyzers have too, except those of one object's validation.
const NOT_COMPARED: [&str; 3] = [codes::DEPRECATED, codes::SCHEMA, codes::SCHEMA_WARNING];

pub(super) struct Verdicts {
    /// For each object the errors of its validation; empty if it is accepted.
    pub(super) refused: Vec<String>,
    /// By kind and name.
    codes: BTreeMap<String, BTreeSet<String>>,
}

/// Whether both sides have such a code.
pub(crate) fn is_compared(code: &str) -> bool {
    code.starts_with("IST")
        && !NOT_COMPARED.contains(&code)
        && codes::ALL.iter().any(|(known, _)| *known == code)
}

pub(super) fn answer(case: &Case) -> Verdicts {
    let loaded = read_str(Path::new("case.yaml"), &case.manifest());
    let mut refused = vec![String::new(); case.objects.len()];
    for diagnostic in &loaded.diagnostics {
        // The host does not enforce it, but the object is what its kind says.
        let is_invalid = diagnostic.severity == Severity::Error && diagnostic.unenforced.is_none();
        // Each document has two lines.
        let at = (diagnostic.at.line as usize / 2).saturating_sub(1);
        if is_invalid && let Some(refused) = refused.get_mut(at) {
            *refused = format!("{refused}\n{diagnostic}").trim().to_owned();
        }
    }
    let mut codes = BTreeMap::<String, BTreeSet<String>>::new();
    let references = check_references(&loaded.objects, Some("istio-system"));
    let state = State::new(Instant::now());
    let compiled = compile(&loaded.objects, &[], &Options::default(), &state);
    let found = loaded.diagnostics.iter().chain(&references);
    for Diagnostic { object, code, .. } in found.chain(&compiled.diagnostics) {
        if let Some(object) = object
            && is_compared(code)
        {
            let codes = codes.entry(object.clone()).or_default();
            codes.insert((*code).to_owned());
        }
    }
    Verdicts { refused, codes }
}

impl Verdicts {
    pub(super) fn codes_of(&self, object: &Value) -> BTreeSet<String> {
        let [kind, _, name] = identity(object);
        let codes = self.codes.get(&format!("{kind}/{name}"));
        codes.cloned().unwrap_or_default()
    }
}
