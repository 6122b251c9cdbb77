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

/// One pod per letter, the letter being its revision; ready if the letter is upper case.
fn pods(letters: &str, now: Instant) -> Vec<PodView> {
    let pod = |(target, letter): (usize, char)| PodView {
        target,
        revision: letter.to_lowercase().to_string(),
        ordinal: None,
        ready_since: letter.is_uppercase().then_some(now),
    };
    letters.chars().enumerate().map(pod).collect()
}

/// The actions of `rollout` for the pods `letters` when `newest` is the newest revision:
/// `+revision` for a start, `-target` for a stop.
fn next(rollout: &Rollout, newest: &str, letters: &str, before: usize) -> String {
    let now = Instant::now();
    let observed = DeploymentState {
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
fn rollout_starts_new_and_stops_old_pods_within_its_bounds() {
    let rollout = rollout(4, ROLLING);
    assert_eq!(next(&rollout, "b", "AAAA", 4), "+b");
    assert_eq!(next(&rollout, "b", "AAAAb", 4), "-0", "one may be missing");
    assert_eq!(next(&rollout, "b", "AAAb", 4), "+b");
    assert_eq!(next(&rollout, "b", "AAAbb", 4), "", "waits for the new pod");
    assert_eq!(next(&rollout, "b", "AAABb", 4), "-0");
    assert_eq!(next(&rollout, "b", "BBBB", 4), "");
}

#[test]
fn pods_that_are_not_available_are_stopped_first() {
    let rollout = rollout(4, ROLLING);
    assert_eq!(next(&rollout, "c", "AAAbc", 4), "-3");
    assert_eq!(
        next(&rollout, "a", "AAAbb", 4),
        "-4 -3",
        "back to the previous revision"
    );
}

#[test]
fn scaling_up_during_a_rollout_is_shared_among_revisions() {
    let rollout = rollout(8, ROLLING);
    assert_eq!(next(&rollout, "b", "AAAb", 4), "+a +a +a +b +a");
    assert_eq!(next(&rollout, "b", "AAAA", 4), "+b +b +b +b +b");
}

#[test]
fn recreate_waits_until_old_pods_are_gone() {
    let rollout = rollout(2, Method::Recreate);
    assert_eq!(next(&rollout, "b", "AA", 2), "-0 -1");
    let now = Instant::now();
    let mut observed = DeploymentState {
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
fn paused_rollout_only_scales() {
    let mut rollout = rollout(3, ROLLING);
    rollout.paused = true;
    assert_eq!(next(&rollout, "b", "AAA", 3), "");
    assert_eq!(next(&rollout, "b", "AA", 2), "+a");
    assert_eq!(next(&rollout, "b", "AAAA", 4), "-3");
}

#[test]
fn percentages_are_rounded_so_that_a_rollout_can_always_progress() {
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
