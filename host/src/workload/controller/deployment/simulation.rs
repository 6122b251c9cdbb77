//! Random histories of a Deployment in simulated time: whatever happens, the rollout stays
//! within its bounds, and in the end all pods are of the newest revision.

use galleria_manifest::model::{
    DisruptionBound, IntOrPercent, LabelSelector, Labels, PodDisruptionBudget,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::workload::controller::budget::{Budget, Disruptions};

const HISTORIES: u64 = 2_000;
const EVENTS: usize = 60;

/// Pods of a revision that ends with this never become ready.
const BROKEN: &str = "-broken";

struct World {
    rng: StdRng,
    rollout: Rollout,
    /// `maxUnavailable` of a budget over all pods.
    budget: Option<u32>,
    newest: String,
    replicas_before: Option<usize>,
    pods: Vec<PodView>,
    leaving: Vec<PodView>,
    next_target: usize,
    now: Instant,
    /// For assertion messages.
    history: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let method = match rng.random_range(0..5) {
            0 => Method::Recreate,
            _ => {
                let surge = rng.random_range(0..4);
                let unavailable = rng.random_range(usize::from(surge == 0)..4);
                Method::Rolling { surge, unavailable }
            }
        };
        let rollout = Rollout {
            replicas: rng.random_range(0..12),
            method,
            min_ready: Duration::from_secs(rng.random_range(0..20)),
            paused: false,
        };
        Self {
            rng,
            history: vec![format!("seed {seed}: {rollout:?}")],
            rollout,
            budget: None,
            newest: "0".into(),
            replicas_before: None,
            pods: Vec::new(),
            leaving: Vec::new(),
            next_target: 0,
            now: Instant::now(),
        }
    }

    fn happen(&mut self) {
        match self.rng.random_range(0..12) {
            0 => {
                let broken = if self.rng.random_bool(0.3) {
                    BROKEN
                } else {
                    ""
                };
                let number = self.rng.random_range(0..6);
                self.newest = format!("{number}{broken}");
            }
            1 => self.rollout.replicas = self.rng.random_range(0..12),
            2 => self.rollout.paused = self.rng.random_bool(0.3),
            3 => self.leaving.clear(),
            4 => {
                for pod in &mut self.pods {
                    if self.rng.random_bool(0.1) {
                        pod.ready_since = None;
                    }
                }
            }
            _ => self.time_passes(0.4),
        }
    }

    /// Some pods become ready, unless they are broken.
    fn time_passes(&mut self, share: f64) {
        self.now += Duration::from_secs(self.rng.random_range(0..15));
        for pod in &mut self.pods {
            let starts = pod.ready_since.is_none() && !pod.revision.ends_with(BROKEN);
            if starts && self.rng.random_bool(share) {
                pod.ready_since = Some(self.now);
            }
        }
    }

    fn available(&self) -> usize {
        let is_available = |pod: &&PodView| pod.is_available(self.rollout.min_ready, self.now);
        self.pods.iter().filter(is_available).count()
    }

    fn step(&mut self) {
        for decisions in 0.. {
            let history = || self.history.join("\n");
            assert!(
                decisions < 16,
                "no stable state after 16 decisions\n{}",
                history()
            );
            let observed = DeploymentState {
                newest: &self.newest,
                pods: &self.pods,
                old_leaving: self
                    .leaving
                    .iter()
                    .filter(|it| it.revision != self.newest)
                    .count(),
                replicas_before: self.replicas_before,
                now: self.now,
            };
            let actions = self.rollout.next(&observed);
            self.replicas_before = Some(self.rollout.replicas);
            let actions = self.allowed(actions);
            if actions.is_empty() {
                break;
            }
            self.history.push(format!(
                "{} of {} available, newest {}, {:?}: {actions:?}",
                self.available(),
                self.pods.len(),
                self.newest,
                self.rollout,
            ));
            self.act(actions);
        }
        let history = self.history.join("\n");
        // A budget can prevent stops above the maximum, but starts never exceed it.
        assert!(
            self.pods.len() <= self.rollout.most() || self.budget.is_some(),
            "too many pods\n{history}"
        );
    }

    /// The part of `actions` that the budget allows.
    fn allowed(&self, actions: Vec<Action>) -> Vec<Action> {
        let Some(unavailable) = self.budget else {
            return actions;
        };
        let selector = LabelSelector {
            match_labels: Labels::new(),
            match_expressions: Vec::new(),
        };
        let bound = DisruptionBound::MaxUnavailable(IntOrPercent::Int(unavailable));
        let spec = PodDisruptionBudget { selector, bound };
        let budget = Budget {
            namespace: "test",
            name: "budget",
            spec: &spec,
            expected: self.rollout.replicas,
            healthy: self.ready(),
        };
        let labels = Labels::new();
        let together = self.rollout.method == Method::Recreate;
        let ready = |target| {
            let pod = self.pods.iter().find(|pod| pod.target == target)?;
            pod.ready_since.map(|_| ("test", &labels))
        };
        let mut disruptions = Disruptions(vec![budget]);
        disruptions.allow(actions, together, ready).actions
    }

    fn ready(&self) -> usize {
        let ready = self.pods.iter().filter(|pod| pod.ready_since.is_some());
        ready.count()
    }

    fn act(&mut self, actions: Vec<Action>) {
        let before = self.available();
        let ready_before = self.ready();
        for action in actions {
            match action {
                Action::Start { revision, .. } => {
                    let target = self.next_target;
                    self.next_target += 1;
                    self.pods.push(PodView {
                        target,
                        revision,
                        ordinal: None,
                        ready_since: None,
                    });
                    let history = self.history.join("\n");
                    assert!(
                        self.pods.len() <= self.rollout.most(),
                        "too many pods\n{history}"
                    );
                }
                Action::Stop { target } => {
                    let found = self.pods.iter().position(|pod| pod.target == target);
                    let stopped = self.pods.remove(found.expect("a pod that is there"));
                    self.leaving.push(stopped);
                }
            }
        }
        if let Some(unavailable) = self.budget {
            let least = self.rollout.replicas.saturating_sub(unavailable as usize);
            let history = self.history.join("\n");
            assert!(
                self.ready() >= least.min(ready_before),
                "below the budget\n{history}"
            );
        }
        if self.rollout.method != Method::Recreate {
            let least = self.rollout.least_available().min(before);
            let history = self.history.join("\n");
            assert!(
                self.available() >= least,
                "too few are available\n{history}"
            );
        } else {
            let both = self.leaving.iter().chain(&self.pods);
            let revisions: std::collections::BTreeSet<_> = both.map(|pod| &pod.revision).collect();
            // Old and new pods may coexist only after a pause.
            let history = self.history.join("\n");
            let one =
                revisions.len() <= 1 || self.pods.iter().all(|pod| pod.revision != self.newest);
            assert!(
                one || history.contains("paused: true"),
                "old and new at once\n{history}"
            );
        }
    }

    /// Lets the rollout finish, with a revision that becomes ready, and checks the result.
    fn finish(&mut self) {
        self.rollout.paused = false;
        self.newest = "final".into();
        for _ in 0..200 {
            self.leaving.clear();
            self.time_passes(0.5);
            self.step();
        }
        let history = self.history.join("\n");
        assert_eq!(self.pods.len(), self.rollout.replicas, "{history}");
        assert_eq!(self.available(), self.rollout.replicas, "{history}");
        assert!(
            self.pods.iter().all(|pod| pod.revision == "final"),
            "{history}"
        );
    }
}

#[test]
fn every_history_stays_within_its_bounds_and_ends_with_new_pods() {
    for seed in 0..HISTORIES {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.happen();
            world.step();
        }
        world.finish();
    }
}

#[test]
fn broken_revision_never_replaces_the_old_one() {
    for seed in 0..HISTORIES {
        let mut world = World::new(seed);
        if world.rollout.method == Method::Recreate {
            continue;
        }
        for _ in 0..50 {
            world.time_passes(0.5);
            world.step();
        }
        let before = world.available();
        world.newest = format!("1{BROKEN}");
        for _ in 0..50 {
            world.time_passes(0.5);
            world.step();
        }
        let least = world.rollout.least_available();
        assert!(
            world.available() >= least && before >= least,
            "{}",
            world.history.join("\n")
        );
    }
}

#[test]
fn rollout_respects_a_budget_and_ends_if_the_budget_leaves_room() {
    for seed in 0..HISTORIES {
        let mut world = World::new(seed);
        world.budget = Some(world.rng.random_range(0..4));
        for _ in 0..EVENTS {
            world.happen();
            world.step();
        }
        let has_room = match world.rollout.method {
            Method::Rolling { surge, .. } => surge > 0 || world.budget > Some(0),
            Method::Recreate => false,
        };
        if has_room {
            world.finish();
        }
    }
}

#[test]
fn strategy_that_conflicts_with_a_budget_keeps_all_pods() {
    for method in [
        Method::Recreate,
        Method::Rolling {
            surge: 0,
            unavailable: 2,
        },
    ] {
        let mut world = World::new(0);
        world.rollout.method = method;
        world.rollout.replicas = 4;
        world.rollout.min_ready = Duration::ZERO;
        for _ in 0..50 {
            world.time_passes(0.5);
            world.step();
        }
        world.budget = Some(0);
        world.newest = "1".into();
        world.step();
        assert_eq!((world.pods.len(), world.ready()), (4, 4), "{method:?}");
        world.budget = Some(4);
        world.step();
        assert!(
            world.ready() < 4,
            "{method:?}: it continues when it is allowed to"
        );
    }
}
