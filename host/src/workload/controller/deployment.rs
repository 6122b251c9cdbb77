//! The rollout of a Deployment: which revision grows and which shrinks. There are never
//! more pods than `replicas` + `maxSurge`, and the rollout never reduces the available
//! pods below `replicas` − `maxUnavailable`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use galleria_manifest::model::{Deployment, Strategy};

use super::{Action, PodView, cheapest_first, rounded_down, rounded_up};

/// The settings of a Deployment's rollouts, in pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub replicas: usize,
    pub method: Method,
    pub min_ready: Duration,
    pub paused: bool,
}

/// `spec.strategy`, with its percentages resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Recreate,
    Rolling { surge: usize, unavailable: usize },
}

/// The pods of a Deployment at one moment.
pub(crate) struct DeploymentState<'a> {
    /// The revision of the current template.
    pub newest: &'a str,
    pub pods: &'a [PodView],
    /// Pods of other revisions that are terminating.
    pub old_leaving: usize,
    /// `replicas` at the previous decision; None for a new Deployment.
    pub replicas_before: Option<usize>,
    pub now: Instant,
}

impl Rollout {
    pub(crate) fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.replicas.value as usize;
        let method = match deployment.strategy {
            Strategy::Recreate => Method::Recreate,
            Strategy::RollingUpdate {
                max_surge,
                max_unavailable,
            } => {
                let surge = rounded_up(max_surge, replicas);
                let unavailable = rounded_down(max_unavailable, replicas).min(replicas);
                // For few replicas, both percentages can be rounded to zero.
                let unavailable = if surge == 0 {
                    unavailable.max(1)
                } else {
                    unavailable
                };
                Method::Rolling { surge, unavailable }
            }
        };
        Self {
            replicas,
            method,
            min_ready: deployment.min_ready,
            paused: deployment.paused,
        }
    }

    /// The maximum number of pods.
    pub(crate) fn most(&self) -> usize {
        match self.method {
            Method::Rolling { surge, .. } if self.replicas > 0 => self.replicas + surge,
            _ => self.replicas,
        }
    }

    /// The number of pods that must be available for minimum availability.
    pub(crate) fn least_available(&self) -> usize {
        match self.method {
            Method::Rolling { unavailable, .. } => self.replicas.saturating_sub(unavailable),
            Method::Recreate => self.replicas,
        }
    }

    /// The next actions; none if the rollout is complete or must wait.
    pub(crate) fn next(&self, observed: &DeploymentState<'_>) -> Vec<Action> {
        let newest = observed.pods_of(true).count();
        let total = observed.pods.len();
        let most = if self.paused && observed.is_of_one_revision() {
            self.replicas
        } else {
            self.most()
        };
        if total > most {
            return self.stop_surplus(observed, total - most);
        }
        let grown = observed
            .replicas_before
            .is_some_and(|before| self.replicas > before);
        if grown && (self.paused || newest > 0) && newest < total {
            let grown = grow_in_proportion(observed, most - total);
            if !grown.is_empty() {
                return grown;
            }
        }
        match self.method {
            _ if newest == total => self.scale(observed, newest),
            _ if self.paused => Vec::new(),
            Method::Recreate => stop(observed.pods_of(false)),
            Method::Rolling { .. } => self.roll(observed, newest),
        }
    }

    /// Scales when all pods are of the newest revision.
    fn scale(&self, observed: &DeploymentState<'_>, newest: usize) -> Vec<Action> {
        let waits = self.method == Method::Recreate && observed.old_leaving > 0;
        let not_begun = self.paused && observed.replicas_before.is_none();
        if newest > self.replicas {
            return self.stop_newest(observed, newest - self.replicas);
        }
        if waits || not_begun {
            return Vec::new();
        }
        start(observed.newest, self.replicas - newest)
    }

    fn roll(&self, observed: &DeploymentState<'_>, newest: usize) -> Vec<Action> {
        if newest > self.replicas {
            return self.stop_newest(observed, newest - self.replicas);
        }
        let room = self.most() - observed.pods.len();
        let missing = (self.replicas - newest).min(room);
        if missing > 0 {
            return start(observed.newest, missing);
        }
        self.shrink_old(observed, newest)
    }

    fn stop_newest(&self, observed: &DeploymentState<'_>, count: usize) -> Vec<Action> {
        let mut pods: Vec<_> = observed.pods_of(true).collect();
        cheapest_first(&mut pods, self.min_ready, observed.now);
        stop(pods.into_iter().take(count))
    }

    /// Stops old pods: first those that are not available, then the others as new pods
    /// become available.
    fn shrink_old(&self, observed: &DeploymentState<'_>, newest: usize) -> Vec<Action> {
        let is_available = |pod: &&PodView| pod.is_available(self.min_ready, observed.now);
        let available = observed.pods.iter().filter(is_available).count();
        let newest_available = observed.pods_of(true).filter(is_available).count();
        let least = self.least_available();
        // New pods that do not become available block the rollout: the old pods that are
        // not available may recover sooner.
        let may_stop = observed
            .pods
            .len()
            .saturating_sub(least + (newest - newest_available));
        let mut broken: Vec<_> = observed
            .pods_of(false)
            .filter(|pod| !is_available(pod))
            .collect();
        cheapest_first(&mut broken, self.min_ready, observed.now);
        broken.truncate(may_stop);
        if !broken.is_empty() {
            return stop(broken.into_iter());
        }
        let mut serving: Vec<_> = observed.pods_of(false).filter(is_available).collect();
        // Oldest pods first.
        serving.sort_by_key(|pod| pod.target);
        serving.truncate(available.saturating_sub(least).min(may_stop));
        stop(serving.into_iter())
    }

    /// Stops pods above the maximum: first those that are not available, of them those of
    /// old revisions first.
    fn stop_surplus(&self, observed: &DeploymentState<'_>, surplus: usize) -> Vec<Action> {
        let mut pods: Vec<_> = observed.pods.iter().collect();
        pods.sort_by_key(|pod| {
            let is_available = pod.is_available(self.min_ready, observed.now);
            let is_newest = pod.revision == observed.newest;
            (is_available, is_newest, std::cmp::Reverse(pod.target))
        });
        stop(pods.into_iter().take(surplus))
    }
}

/// Scales up during a rollout, or while it is paused: every revision grows by its share of
/// `room`, so that capacity does not depend on the newest revision alone, which may be
/// broken.
fn grow_in_proportion(observed: &DeploymentState<'_>, room: usize) -> Vec<Action> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in observed.pods {
        *sizes.entry(&pod.revision).or_default() += 1;
    }
    let total = observed.pods.len();
    let largest = sizes.iter().max_by_key(|(_, size)| **size);
    let largest = largest.map_or(observed.newest, |(revision, _)| *revision);
    let mut actions = Vec::new();
    for (revision, size) in sizes {
        actions.extend(start(revision, room * size / total));
    }
    let rest = room - actions.len();
    actions.extend(start(largest, rest));
    actions
}

impl<'a> DeploymentState<'a> {
    fn pods_of(&self, newest: bool) -> impl Iterator<Item = &'a PodView> {
        let revision = self.newest;
        self.pods
            .iter()
            .filter(move |pod| (pod.revision == revision) == newest)
    }

    fn is_of_one_revision(&self) -> bool {
        let first = self.pods.first().map(|pod| &pod.revision);
        self.pods.iter().all(|pod| Some(&pod.revision) == first)
    }
}

fn start(revision: &str, count: usize) -> Vec<Action> {
    vec![Action::start(revision); count]
}

fn stop<'a>(pods: impl Iterator<Item = &'a PodView>) -> Vec<Action> {
    pods.map(Action::stop).collect()
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests;
