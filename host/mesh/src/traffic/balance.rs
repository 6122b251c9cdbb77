//! Which endpoint an attempt is sent to: `trafficPolicy.loadBalancer`.
//!
//! Every policy picks only endpoints that are ready and not ejected, and picks an endpoint
//! that the request has already tried only if no other is left. A pick allocates nothing,
//! and with equal weights it examines only a few endpoints.

mod consistent;
mod hash;
mod warmup;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use galleria_manifest::model::{HashKey, LoadBalancer, LoadBalancerPolicy};
use rand::Rng;

use super::cluster::Endpoint;
use super::state::{ClientState, EndpointState};
use crate::EndpointId;
pub(crate) use consistent::HashTable;
pub(crate) use hash::hash_bytes;

/// The number of random draws before all endpoints are examined.
const DRAWS: usize = 4;

/// `loadBalancer`, prepared for picks.
#[derive(Debug)]
pub(crate) struct Balancer {
    policy: Policy,
    warmup: Option<Duration>,
    /// Weights differ, so each draw has to examine all endpoints.
    weighted: bool,
}

#[derive(Debug)]
enum Policy {
    RoundRobin,
    LeastRequest,
    Random,
    Consistent { key: HashKey, table: HashTable },
}

/// The endpoints as one caller sees them at one point in time.
pub(crate) struct Candidates<'a> {
    pub(crate) endpoints: &'a [Arc<Endpoint>],
    pub(crate) client: &'a ClientState,
    pub(crate) states: &'a [Arc<EndpointState>],
    pub(crate) now: u64,
    /// `outlierDetection.minHealthPercent`.
    pub(crate) min_health_percent: u32,
    pub(crate) tried: &'a [EndpointId],
    pub(crate) hash: Option<u64>,
}

impl Balancer {
    /// The default is LEAST_REQUEST. PASSTHROUGH keeps the address that the client has
    /// resolved; for a service, that is any of its endpoints.
    pub(crate) fn new(load_balancer: Option<&LoadBalancer>, endpoints: &[Arc<Endpoint>]) -> Self {
        let first = endpoints.first().map_or(1, |endpoint| endpoint.weight);
        let policy = match load_balancer.map(|balancer| &balancer.policy) {
            None | Some(LoadBalancerPolicy::LeastRequest) => Policy::LeastRequest,
            Some(LoadBalancerPolicy::RoundRobin) => Policy::RoundRobin,
            Some(LoadBalancerPolicy::Random | LoadBalancerPolicy::Passthrough) => Policy::Random,
            Some(LoadBalancerPolicy::ConsistentHash {
                key,
                minimum_ring_size,
                maglev,
            }) => {
                let table = HashTable::new(*maglev, *minimum_ring_size);
                Policy::Consistent {
                    key: key.clone(),
                    table,
                }
            }
        };
        Self {
            policy,
            warmup: load_balancer
                .and_then(|balancer| balancer.warmup)
                .filter(|time| !time.is_zero()),
            weighted: endpoints.iter().any(|endpoint| endpoint.weight != first),
        }
    }

    /// Which part of a request is hashed.
    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        match &self.policy {
            Policy::Consistent { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Istio's name of the policy.
    pub(crate) fn name(&self) -> &'static str {
        match &self.policy {
            Policy::RoundRobin => "ROUND_ROBIN",
            Policy::LeastRequest => "LEAST_REQUEST",
            Policy::Random => "RANDOM",
            Policy::Consistent { table, .. } => table.name(),
        }
    }

    /// The index of the endpoint; `None` if no endpoint is eligible.
    pub(crate) fn choose(&self, candidates: &Candidates<'_>, rng: &mut impl Rng) -> Option<usize> {
        if self.warmup.is_some() {
            candidates.note_readiness();
        }
        let panic = candidates.is_panicking();
        let untried = Draw {
            candidates,
            balancer: self,
            panic,
            skip_tried: true,
        };
        if let Some(choice) = untried.choose(rng) {
            return Some(choice);
        }
        if candidates.tried.is_empty() {
            return None;
        }
        Draw {
            skip_tried: false,
            ..untried
        }
        .choose(rng)
    }
}

impl Candidates<'_> {
    /// Below `minHealthPercent`, ejections are ignored: Envoy's panic threshold.
    pub(crate) fn is_panicking(&self) -> bool {
        if self.min_health_percent == 0 {
            return false;
        }
        let ready = self
            .endpoints
            .iter()
            .zip(self.states)
            .filter(|(endpoint, _)| endpoint.is_ready());
        let (total, healthy) = ready.fold((0_u64, 0_u64), |(total, healthy), (_, state)| {
            (total + 1, healthy + u64::from(!state.is_ejected(self.now)))
        });
        healthy * 100 < total * u64::from(self.min_health_percent)
    }

    /// Whether the endpoint is ready, and not ejected unless ejections are ignored.
    pub(crate) fn is_eligible(&self, index: usize, panic: bool) -> bool {
        match (self.endpoints.get(index), self.states.get(index)) {
            (Some(endpoint), Some(state)) => {
                endpoint.is_ready() && (panic || !state.is_ejected(self.now))
            }
            _ => false,
        }
    }

    fn is_tried(&self, index: usize) -> bool {
        let endpoint = self.endpoints.get(index);
        endpoint.is_some_and(|endpoint| self.tried.contains(&endpoint.id))
    }
}

/// One choice among the eligible endpoints.
struct Draw<'a> {
    candidates: &'a Candidates<'a>,
    balancer: &'a Balancer,
    panic: bool,
    skip_tried: bool,
}

impl Draw<'_> {
    fn choose(&self, rng: &mut impl Rng) -> Option<usize> {
        match (&self.balancer.policy, self.candidates.hash) {
            (Policy::Consistent { table, .. }, Some(hash)) => {
                // Without this, the whole table is searched if no endpoint is eligible.
                self.eligible().next()?;
                table.choose(self.candidates.endpoints, hash, |index| {
                    self.is_eligible(index)
                })
            }
            (Policy::RoundRobin, _) if self.is_weighted() => self.weighted_turn(),
            (Policy::RoundRobin, _) => self.turn(),
            (Policy::LeastRequest, _) => self.least_of_two(rng),
            (Policy::Random | Policy::Consistent { .. }, _) => self.random(rng),
        }
    }

    fn is_weighted(&self) -> bool {
        self.balancer.weighted || self.balancer.warmup.is_some()
    }

    fn is_eligible(&self, index: usize) -> bool {
        self.candidates.is_eligible(index, self.panic)
            && !(self.skip_tried && self.candidates.is_tried(index))
    }

    fn eligible(&self) -> impl Iterator<Item = usize> {
        (0..self.candidates.endpoints.len()).filter(|index| self.is_eligible(*index))
    }

    fn turn(&self) -> Option<usize> {
        let count = self.eligible().count();
        let turn = self.candidates.client.turn.fetch_add(1, Relaxed);
        self.eligible().nth(turn.checked_rem(count)?)
    }

    /// Smooth weighted round robin: each endpoint gains its weight as credit; the one with
    /// the most credit is picked, and pays the total.
    fn weighted_turn(&self) -> Option<usize> {
        let _deciding = self.candidates.client.deciding.lock();
        let mut total = 0;
        let mut richest: Option<(usize, i64)> = None;
        for index in self.eligible() {
            let Some(state) = self.candidates.states.get(index) else {
                continue;
            };
            let weight = self.weight(index);
            total += weight;
            let credit = state.credit.fetch_add(weight, Relaxed) + weight;
            if richest.is_none_or(|(_, most)| credit > most) {
                richest = Some((index, credit));
            }
        }
        let (index, _) = richest?;
        self.candidates
            .states
            .get(index)?
            .credit
            .fetch_sub(total, Relaxed);
        Some(index)
    }

    /// The less busy of two random endpoints (power of two choices), by active requests
    /// relative to weight.
    fn least_of_two(&self, rng: &mut impl Rng) -> Option<usize> {
        let (first, second) = (self.random(rng)?, self.random(rng)?);
        let load = |index: usize| {
            let active = self
                .candidates
                .states
                .get(index)
                .map_or(0, |state| state.active.load(Relaxed));
            (i64::from(active) + 1, self.weight(index))
        };
        let ((first_load, first_weight), (second_load, second_weight)) =
            (load(first), load(second));
        let second_is_freer = second_load * first_weight < first_load * second_weight;
        Some(if second_is_freer { second } else { first })
    }

    fn random(&self, rng: &mut impl Rng) -> Option<usize> {
        if self.is_weighted() {
            return self.weighted_random(rng);
        }
        let length = self.candidates.endpoints.len();
        if length == 0 {
            return None;
        }
        for _ in 0..DRAWS {
            let index = rng.random_range(0..length);
            if self.is_eligible(index) {
                return Some(index);
            }
        }
        let count = self.eligible().count();
        if count == 0 {
            return None;
        }
        // Readiness can change in between; then any endpoint that is left is picked.
        let choice = rng.random_range(0..count);
        self.eligible()
            .nth(choice)
            .or_else(|| self.eligible().next())
    }

    fn weighted_random(&self, rng: &mut impl Rng) -> Option<usize> {
        let total: i64 = self.eligible().map(|index| self.weight(index)).sum();
        if total <= 0 {
            return None;
        }
        let mut left = rng.random_range(0..total);
        let mut last = None;
        for index in self.eligible() {
            last = Some(index);
            left -= self.weight(index);
            if left < 0 {
                break;
            }
        }
        last
    }

    /// The weight in thousandths, so that warm-up can reduce it; at least 1.
    fn weight(&self, index: usize) -> i64 {
        let Some(endpoint) = self.candidates.endpoints.get(index) else {
            return 1;
        };
        let full = i64::from(endpoint.weight) * 1000;
        match (self.balancer.warmup, self.candidates.states.get(index)) {
            (Some(warmup), Some(state)) => {
                warmup::scale(full, state, self.candidates.now, warmup).max(1)
            }
            _ => full.max(1),
        }
    }
}
