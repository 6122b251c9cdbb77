//! Explains what the mesh does with a request, step by step, with the positions in the
//! manifests.
//!
//! The explanation uses the same code as real requests and changes nothing. `galleria
//! explain PATH` uses only the manifests; a running host uses the current snapshot, with
//! its pods, ejections and circuit breakers.

mod ask;
mod left_out;
mod page;
mod places;

use std::sync::Arc;

use galleria_manifest::model::Object;
use galleria_mesh as mesh;
use serde::{Deserialize, Serialize};

use self::ask::ParsedQuestion;
use self::places::Places;

pub(crate) use self::ask::WrongUsage;

/// The request to explain, as a user writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Question {
    pub url: String,
    pub method: String,
    /// `name: value`.
    pub headers: Vec<String>,
    /// `namespace/workload`; `None` for an external client.
    pub from: Option<String>,
}

/// The explanation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub page: String,
    pub json: serde_json::Value,
}

/// The configuration in which the request is explained.
pub(crate) struct Subject<'a> {
    pub objects: &'a [Arc<Object>],
    pub pods: &'a [mesh::Pod],
    pub snapshot: &'a mesh::Snapshot,
    /// The port on which each declared port is bound, if known.
    pub bound: &'a [(u16, u16)],
}

/// Explains the request.
///
/// # Errors
/// The question is invalid, or names an unknown workload.
pub(crate) fn explain(question: &Question, subject: &Subject<'_>) -> Result<Answer, WrongUsage> {
    let parsed = ParsedQuestion::read(question, subject)?;
    let explanation = parsed.explain(subject.snapshot);
    let places = Places::of(subject, &explanation);
    let page = page::render(&parsed, &explanation, &places);
    let json = places.into_json(&explanation)?;
    Ok(Answer { page, json })
}
