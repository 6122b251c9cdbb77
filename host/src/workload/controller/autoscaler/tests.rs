use galleria_manifest::model::Resource;

use super::*;

fn spec(behavior: &str) -> HorizontalPodAutoscaler {
    let yaml = format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: a}}\nspec:\n  \
         scaleTargetRef: {{kind: Deployment, name: a}}\n  minReplicas: 2\n  maxReplicas: 20\n{behavior}"
    );
    let read = galleria_manifest::read_str("test.yaml".as_ref(), &yaml);
    match &read.objects.first().expect("read").resource {
        Resource::HorizontalPodAutoscaler(spec) => spec.clone(),
        other => panic!("{other:?}"),
    }
}

fn at(ratio: f64, pods: u32) -> [Option<MetricReading>; 1] {
    let missing = 0;
    [Some(MetricReading {
        ratio,
        pods,
        missing,
    })]
}

/// The replicas after each of `(seconds, ratio)`, starting with `current`.
fn run(spec: &HorizontalPodAutoscaler, mut current: u32, story: &[(u64, f64)]) -> Vec<u32> {
    let start = Instant::now();
    let mut autoscaler = Autoscaler::default();
    let step = |(seconds, ratio): &(u64, f64)| {
        let now = start + Duration::from_secs(*seconds);
        current = autoscaler
            .decide(spec, current, &at(*ratio, current), now)
            .replicas;
        current
    };
    story.iter().map(step).collect()
}

#[test]
fn usage_above_target_scales_up_beyond_a_tolerance_of_a_tenth() {
    let spec = spec("");
    assert_eq!(run(&spec, 4, &[(0, 1.09), (15, 0.9), (30, 1.5)]), [4, 4, 6]);
}

#[test]
fn growth_is_limited_by_the_larger_policy_and_by_the_maximum() {
    let spec = spec("");
    let story = [(0, 9.0), (15, 9.0), (30, 9.0), (45, 9.0)];
    assert_eq!(run(&spec, 2, &story), [6, 12, 20, 20]);
}

#[test]
fn recommendations_of_the_last_five_minutes_prevent_a_decrease() {
    let spec = spec("");
    let story = [(0, 1.0), (15, 0.2), (300, 0.2), (315, 0.2), (330, 0.2)];
    assert_eq!(run(&spec, 10, &story), [10, 10, 2, 2, 2]);
    let story = [(0, 0.9), (15, 0.6), (200, 0.3), (301, 0.3), (316, 0.3)];
    assert_eq!(
        run(&spec, 10, &story),
        [10, 10, 10, 6, 3],
        "the highest of each window"
    );
}

#[test]
fn behavior_limits_the_changes() {
    let slow = spec(
        "  behavior:\n    scaleUp: {stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 60}]}\n    \
         scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 30}, {type: Percent, value: 50, periodSeconds: 30}]}\n",
    );
    let story = [(0, 1.0), (15, 3.0), (60, 3.0), (75, 3.0), (120, 3.0)];
    assert_eq!(run(&slow, 4, &story), [4, 4, 5, 5, 6]);
    let story = [(0, 0.1), (15, 0.1), (30, 0.1)];
    assert_eq!(run(&slow, 9, &story), [8, 8, 7]);
    let never = spec("  behavior: {scaleDown: {selectPolicy: Disabled}}\n");
    assert_eq!(run(&never, 9, &[(0, 0.1), (1_000, 0.1)]), [9, 9]);
}

#[test]
fn bounds_apply_at_once_and_zero_replicas_stay_zero() {
    let spec = spec("");
    assert_eq!(run(&spec, 1, &[(0, 1.0)]), [2]);
    assert_eq!(run(&spec, 50, &[(0, 9.0)]), [20]);
    assert_eq!(run(&spec, 0, &[(0, 9.0)]), [0]);
}

#[test]
fn pods_without_a_measurement_dampen_a_change() {
    let wanted_of = |ratio, pods, missing| {
        let measured = MetricReading {
            ratio,
            pods,
            missing,
        };
        wanted(pods + missing, &[Some(measured)])
    };
    assert_eq!(wanted_of(2.0, 4, 0), Some(8));
    assert_eq!(wanted_of(2.0, 2, 2), Some(4), "new pods count as idle");
    assert_eq!(wanted_of(0.5, 2, 2), Some(3));
    assert_eq!(wanted(4, &[None]), None);
    let low = MetricReading {
        ratio: 0.2,
        pods: 4,
        missing: 0,
    };
    assert_eq!(
        wanted(4, &[Some(low), None]),
        None,
        "no decrease while a metric is unknown"
    );
    let high = MetricReading { ratio: 2.0, ..low };
    assert_eq!(wanted(4, &[Some(high), None]), Some(8));
}
