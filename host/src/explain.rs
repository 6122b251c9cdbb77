//! What the mesh does with a request, step by step, with the places in the
//! manifests that say so.
//!
//! It decides by the same code as requests do, and changes nothing. `galleria
//! explain PATH` asks it of manifests alone; a running host asks it of the snapshot
//! in force, with its pods, ejections and breakers.

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

/// A request that is asked about, as a person writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Question {
    pub url: String,
    pub method: String,
    /// `name: value`.
    pub headers: Vec<String>,
    /// `namespace/workload`; None is a client outside.
    pub from: Option<String>,
}

/// What is said of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub page: String,
    pub json: serde_json::Value,
}

/// What the question is about.
pub(crate) struct Subject<'a> {
    pub objects: &'a [Arc<Object>],
    pub pods: &'a [mesh::Pod],
    pub snapshot: &'a mesh::Snapshot,
    /// Where each declared port is bound, where that is known.
    pub bound: &'a [(u16, u16)],
}

/// Answers the question.
///
/// # Errors
/// The question is none, or names a workload that is not there.
pub(crate) fn explain(question: &Question, subject: &Subject<'_>) -> Result<Answer, WrongUsage> {
    let asked = ParsedQuestion::read(question, subject)?;
    let explanation = asked.explain(subject.snapshot);
    let places = Places::of(subject, &explanation);
    let page = page::render(&asked, &explanation, &places);
    let json = places.into_json(&explanation)?;
    Ok(Answer { page, json })
}
