//! Applies the weights of canaries in the same way as a write of the API.

use std::sync::Arc;
use std::time::Instant;

use galleria_manifest::model::ObjectKey;
use serde_json::Value;
use tracing::Instrument;

use super::control::{Control, Reporting, end_write, own_write};
use crate::canary::{Order, OrderPlan, Split, plan};
use crate::store::{EventType, InvolvedObject, read_object};
use crate::writes::{Edit, WriteError};

/// The reason of the event when a weight is set manually.
const WEIGHT_SET: &str = "WeightSet";

impl Control {
    /// Checks every canary that is due, and moves it forward or back.
    pub(super) async fn advance_canaries(&mut self) {
        let live = self.data_plane.mesh.current.load();
        let Reporting {
            store, recorder, ..
        } = &self.reporting;
        let (objects, snapshot) = (&self.in_force, &live.snapshot);
        let canaries = &mut self.controllers.canaries;
        let shifts = canaries.advance(objects, snapshot, recorder, store, Instant::now());
        for shift in shifts {
            match self.write_weight(&shift.split, shift.weight()).await {
                Ok(()) => {
                    let Reporting {
                        store, recorder, ..
                    } = &self.reporting;
                    let (objects, now) = (&self.in_force, Instant::now());
                    let canaries = &mut self.controllers.canaries;
                    canaries.shifted(&shift, objects, recorder, store, now);
                }
                // The canary is due again after its interval.
                Err(error) => {
                    let canary = shift.canary.to_string();
                    tracing::error!(canary, ?error, "cannot change the weight");
                }
            }
        }
    }

    /// Carries out an order of `galleria canary`.
    pub(super) async fn order(&mut self, order: &Order) -> Result<(), WriteError> {
        let planned = plan(order, &self.in_force);
        let planned = planned.map_err(|error| WriteError::Impossible(error.to_string()))?;
        match planned {
            OrderPlan::Weight {
                split,
                weight,
                canary,
            } => {
                self.write_weight(&split, weight).await?;
                let message = format!("canary weight {weight} set manually");
                let Reporting {
                    store, recorder, ..
                } = &self.reporting;
                if let Some(stored) = store.get(&split.service) {
                    let involved = Arc::new(InvolvedObject::of(&stored.object));
                    recorder.record(&involved, EventType::Normal, WEIGHT_SET, &message);
                }
                if let Some((key, phase)) = canary {
                    let canaries = &mut self.controllers.canaries;
                    canaries.settle(&key, phase, weight, &message, store, Instant::now());
                }
                Ok(())
            }
            OrderPlan::Analyse { key, object } => {
                if let Some(raw) = object {
                    self.write_object(&key, &raw).await?;
                }
                self.controllers.canaries.begin(&key, Instant::now());
                self.advance_canaries().await;
                Ok(())
            }
        }
    }

    async fn write_weight(&mut self, split: &Split, weight: u32) -> Result<(), WriteError> {
        let stored = self.reporting.store.get(&split.service);
        let stored = stored.ok_or(WriteError::Changed)?;
        let raw = split.with_weight(&stored.object.raw, weight);
        self.write_object(&split.service, &raw).await
    }

    async fn write_object(&mut self, key: &ObjectKey, raw: &Value) -> Result<(), WriteError> {
        let span = own_write("canary", std::slice::from_ref(key));
        let written = async {
            let read = read_object(key, raw, &self.allowed).map_err(WriteError::Invalid)?;
            let stored = self.reporting.store.get(key);
            let edit = Edit {
                key: key.clone(),
                from: stored.map(|stored| stored.object.clone()),
                to: Some(read.object),
            };
            self.edit(&[edit], false).await
        };
        let written = written.instrument(span.clone()).await;
        end_write(&span, &written);
        written
    }
}
