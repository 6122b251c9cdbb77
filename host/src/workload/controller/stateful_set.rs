//! A StatefulSet: pods by ordinal, each with a unique name.
//!
//! `OrderedReady` starts pods in ascending and stops them in descending order, one at a
//! time, each when the previous ones are available. Updates go in descending order, one at
//! a time, with either policy. Pods below the partition are not updated.

use std::ops::Range;
use std::time::{Duration, Instant};

use galleria_manifest::model::{PodManagement, StatefulSet, StatefulSetUpdate};

use super::{Action, PodView};

/// The settings of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ordinals {
    pub wanted: Range<usize>,
    pub is_ordered: bool,
    /// Pods from this ordinal on are updated; None with `OnDelete`.
    pub partition: Option<usize>,
    pub min_ready: Duration,
}

/// The pods of a StatefulSet at one moment.
pub(crate) struct StatefulSetState<'a> {
    /// The revision of the current template.
    pub newest: &'a str,
    /// The last revision that all pods had.
    pub current: &'a str,
    pub pods: &'a [PodView],
    /// Ordinals of pods that are terminating.
    pub leaving: &'a [usize],
    pub now: Instant,
}

impl Ordinals {
    pub(crate) fn of(set: &StatefulSet) -> Self {
        let first = set.first_ordinal as usize;
        Self {
            wanted: first..first + set.replicas.value as usize,
            is_ordered: set.pod_management == PodManagement::OrderedReady,
            partition: match set.update {
                StatefulSetUpdate::OnDelete => None,
                StatefulSetUpdate::RollingUpdate { partition } => Some(partition as usize),
            },
            min_ready: set.min_ready,
        }
    }

    /// The next actions; none if the set is complete or must wait.
    pub(crate) fn next(&self, observed: &StatefulSetState<'_>) -> Vec<Action> {
        let stops = self.broken(observed);
        if !stops.is_empty() {
            return stops;
        }
        if self.is_ordered && !observed.leaving.is_empty() {
            return Vec::new();
        }
        let mut starts = Vec::new();
        for ordinal in self.wanted.clone() {
            match observed.pod(ordinal) {
                None if observed.leaving.contains(&ordinal) => {}
                None => starts.push(Action::Start {
                    revision: self.revision(ordinal, observed).to_owned(),
                    ordinal: Some(ordinal),
                }),
                Some(pod) if pod.is_available(self.min_ready, observed.now) => {}
                Some(_) if self.is_ordered => return Vec::new(),
                Some(_) => {}
            }
            if self.is_ordered && !starts.is_empty() {
                return starts;
            }
        }
        if !starts.is_empty() {
            return starts;
        }
        let surplus = self.surplus(observed);
        if !surplus.is_empty() {
            return surplus;
        }
        self.update(observed)
    }

    fn revision<'a>(&self, ordinal: usize, observed: &StatefulSetState<'a>) -> &'a str {
        match self.partition {
            Some(partition) if ordinal < partition => observed.current,
            _ => observed.newest,
        }
    }

    /// Stops outdated pods that are not ready at once: waiting for them to become ready
    /// could block the update that repairs them.
    fn broken(&self, observed: &StatefulSetState<'_>) -> Vec<Action> {
        let is_broken =
            |pod: &&PodView| self.is_outdated(pod, observed) && pod.ready_since.is_none();
        observed
            .pods
            .iter()
            .filter(is_broken)
            .map(Action::stop)
            .collect()
    }

    fn surplus(&self, observed: &StatefulSetState<'_>) -> Vec<Action> {
        let mut surplus: Vec<_> = observed
            .pods
            .iter()
            .filter(|pod| !pod.ordinal.is_some_and(|it| self.wanted.contains(&it)))
            .collect();
        surplus.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
        if self.is_ordered {
            surplus.truncate(1);
        }
        surplus.into_iter().map(Action::stop).collect()
    }

    /// Stops the outdated pod with the highest ordinal, once all pods are available.
    fn update(&self, observed: &StatefulSetState<'_>) -> Vec<Action> {
        let all = |pod: &PodView| pod.is_available(self.min_ready, observed.now);
        if !observed.leaving.is_empty() || !observed.pods.iter().all(all) {
            return Vec::new();
        }
        let outdated = observed
            .pods
            .iter()
            .filter(|pod| self.is_outdated(pod, observed));
        let highest = outdated.max_by_key(|pod| pod.ordinal);
        highest.map(Action::stop).into_iter().collect()
    }

    fn is_outdated(&self, pod: &PodView, observed: &StatefulSetState<'_>) -> bool {
        let partition = self.partition.unwrap_or(usize::MAX);
        pod.revision != observed.newest && pod.ordinal.is_some_and(|it| it >= partition)
    }
}

impl<'a> StatefulSetState<'a> {
    fn pod(&self, ordinal: usize) -> Option<&'a PodView> {
        self.pods.iter().find(|pod| pod.ordinal == Some(ordinal))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn ordinals(replicas: usize) -> Ordinals {
        Ordinals {
            wanted: 0..replicas,
            is_ordered: true,
            partition: Some(0),
            min_ready: Duration::ZERO,
        }
    }

    /// A set whose pods become ready and terminate when the test says so.
    struct World {
        ordinals: Ordinals,
        newest: &'static str,
        current: &'static str,
        pods: Vec<PodView>,
        leaving: Vec<usize>,
        next_target: usize,
        now: Instant,
    }

    impl World {
        fn new(ordinals: Ordinals) -> Self {
            Self {
                ordinals,
                newest: "a",
                current: "a",
                pods: Vec::new(),
                leaving: Vec::new(),
                next_target: 0,
                now: Instant::now(),
            }
        }

        /// Carries out all actions that are due; returns them as `+0a` and `-0`.
        fn step(&mut self) -> String {
            let mut done = Vec::new();
            loop {
                let observed = StatefulSetState {
                    newest: self.newest,
                    current: self.current,
                    pods: &self.pods,
                    leaving: &self.leaving,
                    now: self.now,
                };
                let actions = self.ordinals.next(&observed);
                if actions.is_empty() {
                    return done.join(" ");
                }
                for action in actions {
                    done.push(self.act(action));
                }
            }
        }

        fn act(&mut self, action: Action) -> String {
            match action {
                Action::Start { revision, ordinal } => {
                    let number = ordinal.expect("an ordinal");
                    let known = self.pods.iter().any(|pod| pod.ordinal == ordinal);
                    assert!(
                        !known && !self.leaving.contains(&number),
                        "two pods with the ordinal {number}"
                    );
                    self.next_target += 1;
                    let text = format!("+{number}{revision}");
                    self.pods.push(PodView {
                        target: self.next_target,
                        revision,
                        ordinal,
                        ready_since: None,
                    });
                    text
                }
                Action::Stop { target } => {
                    let at = self.pods.iter().position(|pod| pod.target == target);
                    let pod = self.pods.remove(at.expect("a pod that is there"));
                    let ordinal = pod.ordinal.expect("an ordinal");
                    self.leaving.push(ordinal);
                    format!("-{ordinal}")
                }
            }
        }

        /// All pods become ready, and terminating pods are gone.
        fn settle(&mut self) {
            self.leaving.clear();
            for pod in &mut self.pods {
                pod.ready_since = pod.ready_since.or(Some(self.now));
            }
        }

        /// Carries out actions until there are no more.
        fn run(&mut self) -> String {
            let mut all = Vec::new();
            loop {
                self.settle();
                let done = self.step();
                if done.is_empty() {
                    return all.join(" | ");
                }
                all.push(done);
            }
        }
    }

    #[test]
    fn pods_start_in_ascending_and_stop_in_descending_order_one_at_a_time() {
        let mut world = World::new(ordinals(3));
        assert_eq!(world.run(), "+0a | +1a | +2a");
        world.ordinals = ordinals(1);
        assert_eq!(world.run(), "-2 | -1");
    }

    #[test]
    fn parallel_pods_start_and_stop_together() {
        let parallel = |replicas| Ordinals {
            is_ordered: false,
            ..ordinals(replicas)
        };
        let mut world = World::new(parallel(3));
        assert_eq!(world.run(), "+0a +1a +2a");
        world.ordinals = parallel(1);
        assert_eq!(world.run(), "-2 -1");
    }

    #[test]
    fn update_goes_in_descending_order_to_the_partition() {
        let mut world = World::new(ordinals(3));
        world.run();
        world.newest = "b";
        world.ordinals.partition = Some(1);
        assert_eq!(world.run(), "-2 | +2b | -1 | +1b");
        world.ordinals.partition = None;
        world.newest = "c";
        assert_eq!(world.run(), "", "only deleted pods are updated");
        world.ordinals.partition = Some(0);
        assert_eq!(world.run(), "-2 | +2c | -1 | +1c | -0 | +0c");
    }

    #[test]
    fn broken_update_can_be_repaired() {
        let mut world = World::new(ordinals(2));
        world.run();
        world.newest = "b";
        assert_eq!(world.step(), "-1");
        world.leaving.clear();
        assert_eq!(world.step(), "+1b");
        assert_eq!(world.step(), "", "it does not become ready");
        world.newest = "a";
        assert_eq!(world.run(), "-1 | +1a");
    }

    #[test]
    fn names_are_unique_in_every_order_of_events() {
        for seed in 0..1_000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut world = World::new(ordinals(rng.random_range(0..5)));
            world.ordinals.is_ordered = rng.random_bool(0.5);
            for _ in 0..60 {
                match rng.random_range(0..6) {
                    0 => world.ordinals.wanted = 0..rng.random_range(0..5),
                    1 => world.newest = ["a", "b", "c"][rng.random_range(0..3)],
                    2 => world.leaving.retain(|_| rng.random_bool(0.5)),
                    _ => {
                        for pod in &mut world.pods {
                            pod.ready_since = rng.random_bool(0.6).then_some(world.now);
                        }
                    }
                }
                world.step();
            }
            world.run();
            let wanted = world.ordinals.wanted.len();
            assert_eq!(world.pods.len(), wanted, "seed {seed}");
            let new = world.pods.iter().all(|pod| pod.revision == world.newest);
            assert!(new, "seed {seed}");
        }
    }
}
