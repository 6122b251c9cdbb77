//! Random objects: those of the other subjects, or of `objects.yaml`, with a few changes.

use std::collections::HashSet;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::case::{Case, documents, identity};
use super::mutate::Mutator;
use crate::choice::Choose;
use crate::issuer::Issuer;
use crate::{routing, security};

/// Objects with nearly all fields.
pub(super) const OBJECTS: &str = include_str!("objects.yaml");
/// The pods of every case, and the Service of its gateway.
pub(super) const PODS: &str = include_str!("pods.yaml");
/// What they refer to.
pub(super) const CLUSTER: &str = include_str!("cluster.yaml");

pub(super) struct Generator<'a> {
    rng: StdRng,
    issuer: &'a Issuer,
}

impl<'a> Generator<'a> {
    pub(super) fn new(rng: StdRng, issuer: &'a Issuer) -> Self {
        Self { rng, issuer }
    }

    /// The case with this number.
    pub(super) fn case(mut self, number: usize) -> Case {
        let mut objects = self.objects();
        let changes = match self.rng.random_range(0..20) {
            // Objects without a change are compared too.
            0 => 0,
            1..15 => 1,
            15..19 => 2,
            _ => 3,
        };
        let mut mutator = Mutator::new(&mut self.rng);
        let changes = (0..changes).filter_map(|_| mutator.change(&mut objects));
        let changes = changes.collect();
        // Objects of one name would replace each other.
        let mut known = HashSet::new();
        for (at, object) in objects.iter_mut().enumerate() {
            let [kind, _, name] = identity(object).map(str::to_owned);
            if is_of_istio(object) && !known.insert((kind, name.clone())) {
                object["metadata"]["name"] = format!("{name}-{at}").into();
            }
        }
        Case {
            number,
            objects,
            changes,
        }
    }

    fn objects(&mut self) -> Vec<Value> {
        let mut objects = match self.rng.random_range(0..10) {
            0..3 => routing::objects(self.rng.random()),
            3..5 => security::objects(self.rng.random(), self.issuer),
            _ => self.known(),
        };
        objects.extend(documents(PODS));
        objects
    }

    fn known(&mut self) -> Vec<Value> {
        let mut objects = documents(CLUSTER);
        let known = documents(OBJECTS);
        for _ in 0..self.rng.random_range(1..=4) {
            objects.push(self.rng.one(&known));
        }
        objects
    }
}

/// Whether Istio validates the object.
pub(super) fn is_of_istio(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.contains("istio.io/")
}
