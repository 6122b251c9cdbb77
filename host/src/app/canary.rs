//! Puts the weights of canaries in force, as the API would write them.

use std::time::Instant;

use galleria_manifest::model::ObjectKey;
use serde_json::Value;
use std::sync::Arc;

use super::control::Control;
use crate::canary::{Order, Planned, Split, plan};
use crate::store::{EventType, Involved, read_object};
use crate::writes::{Edit, WriteError};

/// The reason of the event when a weight is set by hand.
const WEIGHT_SET: &str = "WeightSet";

impl Control {
    /// Looks at every canary that is due, and moves it on or back.
    pub(super) async fn advance_canaries(&mut self) {
        let live = self.mesh.current.load();
        let (store, recorder) = (&self.store, &self.recorder);
        let objects = &self.in_force;
        let now = Instant::now();
        let shifts = self
            .canaries
            .advance(objects, &live.snapshot, recorder, store, now);
        for shift in shifts {
            match self.write_weight(&shift.split, shift.weight()).await {
                Ok(()) => {
                    let (store, recorder) = (&self.store, &self.recorder);
                    let now = Instant::now();
                    self.canaries
                        .shifted(&shift, &self.in_force, recorder, store, now);
                }
                // It is due again after its interval.
                Err(error) => {
                    let canary = shift.canary.to_string();
                    tracing::error!(canary, ?error, "cannot change the weight");
                }
            }
        }
    }

    /// Does what `galleria canary` asks for.
    pub(super) async fn order(&mut self, order: &Order) -> Result<(), WriteError> {
        let planned = plan(order, &self.in_force);
        let planned = planned.map_err(|error| WriteError::Impossible(error.to_string()))?;
        match planned {
            Planned::Weight {
                split,
                weight,
                canary,
            } => {
                self.write_weight(&split, weight).await?;
                let message = format!("canary weight {weight} set manually");
                if let Some(stored) = self.store.get(&split.service) {
                    let involved = Arc::new(Involved::of(&stored.object));
                    self.recorder
                        .record(&involved, EventType::Normal, WEIGHT_SET, &message);
                }
                if let Some((key, phase)) = canary {
                    let (store, now) = (&self.store, Instant::now());
                    self.canaries
                        .settle(&key, phase, weight, &message, store, now);
                }
                Ok(())
            }
            Planned::Analyse { key, object } => {
                if let Some(raw) = object {
                    self.write_object(&key, &raw).await?;
                }
                self.canaries.begin(&key, Instant::now());
                self.advance_canaries().await;
                Ok(())
            }
        }
    }

    async fn write_weight(&mut self, split: &Split, weight: u32) -> Result<(), WriteError> {
        let stored = self.store.get(&split.service).ok_or(WriteError::Changed)?;
        let raw = split.with_weight(&stored.object.raw, weight);
        self.write_object(&split.service, &raw).await
    }

    async fn write_object(&mut self, key: &ObjectKey, raw: &Value) -> Result<(), WriteError> {
        let read = read_object(key, raw).map_err(WriteError::Invalid)?;
        let edit = Edit {
            key: key.clone(),
            from: self.store.get(key).map(|stored| stored.object.clone()),
            to: Some(read.object),
        };
        self.edit(&[edit], false).await
    }
}
