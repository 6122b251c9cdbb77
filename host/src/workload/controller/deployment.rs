//! A Deployment's rollout: which revision grows and which shrinks, so that never
//! more pods are there than `replicas` + `maxSurge`, and never fewer are
//! available, by our own doing, than `replicas` − `maxUnavailable`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use galleria_manifest::model::{Deployment, Strategy};

use super::{Action, PodView, cheapest_first, rounded_down, rounded_up};

/// What a Deployment says about its rollouts, in pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rollout {
    pub replicas: usize,
    pub method: Method,
    pub min_ready: Duration,
    pub paused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Recreate,
    Rolling { surge: usize, unavailable: usize },
}

/// The pods of a Deployment at one moment.
pub(crate) struct Observed<'a> {
    /// The revision of the template of today.
    pub newest: &'a str,
    pub pods: &'a [PodView],
    /// Pods of other revisions that have not finished leaving.
    pub old_leaving: usize,
    /// `replicas` when this was asked before; none for a new Deployment.
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
                // Percentages of few replicas may both come to nothing.
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

    /// Pods that there may be at once.
    pub(crate) fn most(&self) -> usize {
        match self.method {
            Method::Rolling { surge, .. } if self.replicas > 0 => self.replicas + surge,
            _ => self.replicas,
        }
    }

    /// Pods that have to be available for the Deployment to be.
    pub(crate) fn least_available(&self) -> usize {
        match self.method {
            Method::Rolling { unavailable, .. } => self.replicas.saturating_sub(unavailable),
            Method::Recreate => self.replicas,
        }
    }

    /// What to do next; nothing when it is done or has to wait.
    pub(crate) fn next(&self, observed: &Observed<'_>) -> Vec<Action> {
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

    /// All pods are of the newest revision: there are as many as wanted.
    fn scale(&self, observed: &Observed<'_>, newest: usize) -> Vec<Action> {
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

    fn roll(&self, observed: &Observed<'_>, newest: usize) -> Vec<Action> {
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

    fn stop_newest(&self, observed: &Observed<'_>, count: usize) -> Vec<Action> {
        let mut pods: Vec<_> = observed.pods_of(true).collect();
        cheapest_first(&mut pods, self.min_ready, observed.now);
        stop(pods.into_iter().take(count))
    }

    /// Stops old pods: those that serve nobody first, the others as newer ones
    /// become available.
    fn shrink_old(&self, observed: &Observed<'_>, newest: usize) -> Vec<Action> {
        let is_available = |pod: &&PodView| pod.is_available(self.min_ready, observed.now);
        let available = observed.pods.iter().filter(is_available).count();
        let newest_available = observed.pods_of(true).filter(is_available).count();
        let least = self.least_available();
        // New pods that do not become available hold back the rest of the
        // rollout: what is old and broken may be all that can be mended.
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
        // The oldest revision leaves first.
        serving.sort_by_key(|pod| pod.target);
        serving.truncate(available.saturating_sub(least).min(may_stop));
        stop(serving.into_iter())
    }

    /// More than there may be: what is not available goes first, of old
    /// revisions before the newest.
    fn stop_surplus(&self, observed: &Observed<'_>, surplus: usize) -> Vec<Action> {
        let mut pods: Vec<_> = observed.pods.iter().collect();
        pods.sort_by_key(|pod| {
            let is_available = pod.is_available(self.min_ready, observed.now);
            let is_newest = pod.revision == observed.newest;
            (is_available, is_newest, std::cmp::Reverse(pod.target))
        });
        stop(pods.into_iter().take(surplus))
    }
}

/// More replicas while several revisions are there, or none may be rolled out:
/// each grows by its share of `room`, so that it is not only the newest that
/// grows, which may be broken.
fn grow_in_proportion(observed: &Observed<'_>, room: usize) -> Vec<Action> {
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

impl<'a> Observed<'a> {
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
mod tests {
    use super::*;

    const ROLLING: Method = Method::Rolling {
        surge: 1,
        unavailable: 1,
    };

    fn rollout(replicas: usize, method: Method) -> Rollout {
        Rollout {
            replicas,
            method,
            min_ready: Duration::ZERO,
            paused: false,
        }
    }

    /// Pods by revision, ready where the letter is a capital.
    fn pods(letters: &str, now: Instant) -> Vec<PodView> {
        let pod = |(target, letter): (usize, char)| PodView {
            target,
            revision: letter.to_lowercase().to_string(),
            ordinal: None,
            ready_since: letter.is_uppercase().then_some(now),
        };
        letters.chars().enumerate().map(pod).collect()
    }

    /// What `rollout` does with `letters` when `newest` is wanted: starts as
    /// `+revision`, stops as `-target`.
    fn next(rollout: &Rollout, newest: &str, letters: &str, before: usize) -> String {
        let now = Instant::now();
        let observed = Observed {
            newest,
            pods: &pods(letters, now),
            old_leaving: 0,
            replicas_before: Some(before),
            now,
        };
        let actions = rollout.next(&observed);
        let shown = actions.iter().map(|action| match action {
            Action::Start { revision, .. } => format!("+{revision}"),
            Action::Stop { target } => format!("-{target}"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_rollout_grows_the_new_and_shrinks_the_old_within_its_bounds() {
        let rollout = rollout(4, ROLLING);
        assert_eq!(next(&rollout, "b", "AAAA", 4), "+b");
        assert_eq!(next(&rollout, "b", "AAAAb", 4), "-0", "one may be missing");
        assert_eq!(next(&rollout, "b", "AAAb", 4), "+b");
        assert_eq!(next(&rollout, "b", "AAAbb", 4), "", "waits for the new");
        assert_eq!(next(&rollout, "b", "AAABb", 4), "-0");
        assert_eq!(next(&rollout, "b", "BBBB", 4), "");
    }

    #[test]
    fn what_is_broken_goes_first() {
        let rollout = rollout(4, ROLLING);
        assert_eq!(next(&rollout, "c", "AAAbc", 4), "-3");
        assert_eq!(next(&rollout, "a", "AAAbb", 4), "-4 -3", "back to what was");
    }

    #[test]
    fn a_new_size_is_shared_among_the_revisions_of_a_rollout() {
        let rollout = rollout(8, ROLLING);
        assert_eq!(next(&rollout, "b", "AAAb", 4), "+a +a +a +b +a");
        assert_eq!(next(&rollout, "b", "AAAA", 4), "+b +b +b +b +b");
    }

    #[test]
    fn recreate_waits_until_the_old_are_gone() {
        let rollout = rollout(2, Method::Recreate);
        assert_eq!(next(&rollout, "b", "AA", 2), "-0 -1");
        let now = Instant::now();
        let mut observed = Observed {
            newest: "b",
            pods: &[],
            old_leaving: 1,
            replicas_before: Some(2),
            now,
        };
        assert_eq!(rollout.next(&observed), []);
        observed.old_leaving = 0;
        assert_eq!(rollout.next(&observed).len(), 2);
    }

    #[test]
    fn a_paused_rollout_scales_and_does_nothing_else() {
        let mut rollout = rollout(3, ROLLING);
        rollout.paused = true;
        assert_eq!(next(&rollout, "b", "AAA", 3), "");
        assert_eq!(next(&rollout, "b", "AA", 2), "+a");
        assert_eq!(next(&rollout, "b", "AAAA", 4), "-3");
    }

    #[test]
    fn percentages_round_so_that_a_rollout_can_always_go_on() {
        let of = |replicas: u32, strategy: &str| {
            let yaml = format!(
                "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec:\n  \
                 replicas: {replicas}\n  selector: {{matchLabels: {{a: b}}}}\n  strategy: \
                 {strategy}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec: \
                 {{containers: [{{name: a, image: a}}]}}\n"
            );
            let read = galleria_manifest::read_str("test.yaml".as_ref(), &yaml);
            match &read.objects[0].resource {
                galleria_manifest::model::Resource::Deployment(deployment) => {
                    Rollout::of(deployment).method
                }
                other => panic!("{other:?}"),
            }
        };
        let rolling = |surge, unavailable| Method::Rolling { surge, unavailable };
        assert_eq!(of(1, "{}"), rolling(1, 0));
        assert_eq!(of(10, "{}"), rolling(3, 2));
        let none = "{rollingUpdate: {maxSurge: 0, maxUnavailable: 25%}}";
        assert_eq!(of(2, none), rolling(0, 1));
        assert_eq!(of(2, "{type: Recreate}"), Method::Recreate);
    }
}
