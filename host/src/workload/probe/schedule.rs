//! When a probe runs, how long it may take, and how its results count against the
//! thresholds. Independent of what is probed.

use galleria_manifest::model::Probe;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

/// The schedule and the results of one probe.
pub(super) struct Schedule<'a> {
    pub(super) probe: &'a Probe,
    timer: Interval,
    /// Consecutive results.
    successes: u32,
    failures: u32,
}

/// The result of the probes so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad(String),
    /// Neither threshold is reached.
    Open,
}

impl<'a> Schedule<'a> {
    /// For a container that started at `started`. The first probe runs
    /// `initialDelaySeconds` later, or at once if they have passed already, for example
    /// during the startup probe.
    pub(super) fn new(probe: &'a Probe, started: Instant) -> Self {
        let first = (started + probe.initial_delay).max(Instant::now());
        let mut timer = interval_at(first, probe.period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            probe,
            timer,
            successes: 0,
            failures: 0,
        }
    }

    /// Waits for the time of the next probe, and runs it for at most `timeoutSeconds`.
    pub(super) async fn next(
        &mut self,
        ask: impl Future<Output = Result<(), String>>,
    ) -> Result<(), String> {
        self.timer.tick().await;
        let limit = self.probe.timeout;
        timeout(limit, ask)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    /// Counts a result against the thresholds.
    pub(super) fn count(&mut self, result: Result<(), String>) -> Verdict {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.probe.success_threshold {
                    Verdict::Good
                } else {
                    Verdict::Open
                }
            }
            Err(message) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.probe.failure_threshold {
                    Verdict::Bad(message)
                } else {
                    Verdict::Open
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use galleria_manifest::model::Resource;

    use super::*;

    /// The probe of a manifest.
    fn probe(fields: &str) -> Probe {
        let yaml = format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: a}}
spec:
  selector: {{matchLabels: {{app: a}}}}
  template:
    metadata: {{labels: {{app: a}}}}
    spec:
      containers:
        - {{name: a, image: 'a:v1', readinessProbe: {{tcpSocket: {{port: 80}}, {fields}}}}}
"
        );
        let loaded = galleria_manifest::read_str("test.yaml".as_ref(), &yaml);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let Resource::Deployment(deployment) = &loaded.objects[0].resource else {
            unreachable!("it is one");
        };
        let container = &deployment.template.spec.containers[0];
        container.readiness_probe.clone().expect("a probe")
    }

    /// The seconds after the start at which `count` probes ran.
    async fn asked_at(schedule: &mut Schedule<'_>, started: Instant, count: usize) -> Vec<u64> {
        let mut times = Vec::new();
        for _ in 0..count {
            let ask = async {
                times.push(started.elapsed().as_secs());
                Ok(())
            };
            schedule.next(ask).await.expect("an answer");
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn probes_start_after_the_delay_and_repeat_every_period() {
        let probe = probe("initialDelaySeconds: 15, periodSeconds: 5");
        let started = Instant::now();
        let mut schedule = Schedule::new(&probe, started);
        assert_eq!(asked_at(&mut schedule, started, 3).await, [15, 20, 25]);
    }

    #[tokio::test(start_paused = true)]
    async fn defaults_are_those_of_kubernetes() {
        let probe = probe("");
        let started = Instant::now();
        let mut schedule = Schedule::new(&probe, started);
        assert_eq!(asked_at(&mut schedule, started, 3).await, [0, 10, 20]);
        let late = schedule.next(std::future::pending()).await;
        assert_eq!(late, Err("no answer within 1s".into()));
        assert_eq!(started.elapsed().as_secs(), 31);
        let bad = || Err("503".to_owned());
        assert_eq!(schedule.count(Ok(())), Verdict::Good);
        assert_eq!(schedule.count(bad()), Verdict::Open);
        assert_eq!(schedule.count(bad()), Verdict::Open);
        assert_eq!(schedule.count(bad()), Verdict::Bad("503".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn initial_delay_counts_from_the_start_of_the_container() {
        let probe = probe("initialDelaySeconds: 15");
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(40)).await;
        let mut schedule = Schedule::new(&probe, started);
        assert_eq!(asked_at(&mut schedule, started, 2).await, [40, 50]);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_probes_are_skipped_and_do_not_pile_up() {
        let probe = probe("periodSeconds: 2, timeoutSeconds: 5");
        let started = Instant::now();
        let mut schedule = Schedule::new(&probe, started);
        let late = schedule.next(std::future::pending()).await;
        assert_eq!(late, Err("no answer within 5s".into()));
        assert_eq!(asked_at(&mut schedule, started, 2).await, [5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn thresholds_count_consecutive_results() {
        let probe = probe("successThreshold: 2, failureThreshold: 2");
        let mut schedule = Schedule::new(&probe, Instant::now());
        let bad = || Err("503".to_owned());
        assert_eq!(schedule.count(Ok(())), Verdict::Open);
        assert_eq!(schedule.count(bad()), Verdict::Open);
        assert_eq!(schedule.count(Ok(())), Verdict::Open);
        assert_eq!(schedule.count(Ok(())), Verdict::Good);
        assert_eq!(schedule.count(bad()), Verdict::Open);
        assert_eq!(schedule.count(bad()), Verdict::Bad("503".into()));
    }
}
