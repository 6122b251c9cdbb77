//! A ReplicaSet keeps a number of pods, of any revision. A Pod without a controller is
//! replaced when it changes.

use std::time::{Duration, Instant};

use super::{Action, PodView, cheapest_first};

/// Keeps `replicas` pods of any revision; new pods are of the `newest`.
pub(crate) fn replica_set(
    replicas: usize,
    min_ready: Duration,
    newest: &str,
    pods: &[PodView],
    now: Instant,
) -> Vec<Action> {
    let mut cheapest: Vec<_> = pods.iter().collect();
    cheapest_first(&mut cheapest, min_ready, now);
    let surplus = pods.len().saturating_sub(replicas);
    let missing = replicas.saturating_sub(pods.len());
    let stops = cheapest.iter().take(surplus).map(|pod| Action::stop(pod));
    let starts = (0..missing).map(|_| Action::start(newest));
    stops.chain(starts).collect()
}

/// Keeps the one pod. Its name is unique, so a changed pod starts when the previous one is
/// gone.
pub(crate) fn pod(newest: &str, pods: &[PodView], leaving: usize) -> Vec<Action> {
    match pods.first() {
        Some(pod) if pod.revision != newest => vec![Action::stop(pod)],
        None if leaving == 0 => vec![Action::start(newest)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(target: usize, revision: &str, ready_since: Option<Instant>) -> PodView {
        PodView {
            target,
            revision: revision.into(),
            ordinal: None,
            ready_since,
        }
    }

    #[test]
    fn replica_set_scales_and_never_replaces_pods() {
        let now = Instant::now();
        let pods = [
            view(1, "a", Some(now)),
            view(2, "a", None),
            view(3, "a", Some(now)),
        ];
        let next = |replicas| replica_set(replicas, Duration::ZERO, "b", &pods, now);
        assert_eq!(next(3), [], "older pods stay as they are");
        assert_eq!(next(4), [Action::start("b")]);
        assert_eq!(
            next(1),
            [Action::Stop { target: 2 }, Action::Stop { target: 3 }]
        );
    }

    #[test]
    fn changed_pod_starts_when_the_previous_one_is_gone() {
        let before = [view(1, "a", None)];
        assert_eq!(pod("a", &before, 0), []);
        assert_eq!(pod("b", &before, 0), [Action::Stop { target: 1 }]);
        assert_eq!(pod("b", &[], 1), []);
        assert_eq!(pod("b", &[], 0), [Action::start("b")]);
    }
}
