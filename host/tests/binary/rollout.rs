//! Rollouts of Deployments: the effect on callers, and the reported status.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

struct Shop {
    host: Host,
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
    /// `metadata.generation` of the Deployment: starts at 1 and increases by one with
    /// each change.
    generation: AtomicU64,
}

impl Shop {
    fn start(app: Service) -> Self {
        Self::start_beside(app, "")
    }

    /// Starts with the objects of `yaml`, which do not change.
    fn start_beside(app: Service, yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.yaml");
        std::fs::write(folder.path().join("beside.yaml"), yaml).expect("a file");
        std::fs::write(&file, manifests(&[app])).expect("a file");
        let host = Galleria::run(folder.path())
            .argument("--restart-backoff-initial=100ms")
            .start();
        Self {
            host,
            _folder: folder,
            file,
            generation: AtomicU64::new(1),
        }
    }

    fn write(&self, app: Service) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, manifests(&[app])).expect("a file");
        std::fs::rename(&new, &self.file).expect("renamed");
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The status, as soon as it reflects the last change of the manifest.
    fn status(&self) -> Value {
        let generation = self.generation.load(Ordering::Relaxed);
        eventually("the status reflects the change", || {
            let status = self.host.object("Deployment", "app")["status"].clone();
            (status["observedGeneration"] == generation).then_some(status)
        })
    }

    /// Waits until `replicas` pods are available and all of them have the newest
    /// revision.
    fn rolled_out(&self, replicas: u64) {
        eventually("the rollout is complete", || {
            let status = self.status();
            let numbers = ["replicas", "updatedReplicas", "availableReplicas"];
            let all = numbers.iter().all(|name| status[name] == replicas);
            (all && condition(&status, "Progressing")["reason"] == "NewReplicaSetAvailable")
                .then_some(())
        });
    }

    fn pod_names(&self) -> Vec<String> {
        let pods = self.host.objects("Pod");
        let name = |pod: &Value| pod["metadata"]["name"].as_str().expect("it").to_owned();
        pods.iter().map(name).collect()
    }

    fn version(&self) -> String {
        let answer = self.host.get("/app/").json();
        answer["VERSION"].as_str().expect("a version").to_owned()
    }
}

fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|it| it["type"] == name);
    found.expect("the condition")
}

fn app(version: &str, replicas: u32) -> Service {
    Service::new("app", "env")
        .annotation("galleria.dev/isolation", "instance")
        .env("VERSION", version)
        .replicas(replicas)
}

/// Runs `story` while clients send requests continuously; returns the failures.
fn under_load(shop: &Shop, story: impl FnOnce()) -> Vec<String> {
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let answer = shop.host.get("/app/");
                    if answer.status != 200 {
                        let text = format!("{} {}", answer.status, answer.body);
                        failed.lock().expect("unpoisoned").push(text);
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let ending = SetOnDrop(&done);
        eventually("some load", || {
            (asked.load(Ordering::Relaxed) > 100).then_some(())
        });
        story();
        drop(ending);
    });
    failed.into_inner().expect("unpoisoned")
}

#[test]
fn rollout_scaling_and_a_failed_rollout_fail_no_request() {
    let shop = Shop::start(app("one", 3));
    let failed = under_load(&shop, || {
        shop.write(app("two", 3));
        shop.rolled_out(3);
        assert_eq!(shop.version(), "two");
        shop.write(app("two", 6));
        shop.rolled_out(6);
        shop.write(app("two", 2));
        shop.rolled_out(2);

        let broken = || Service::new("app", "crash-at-start").replicas(2);
        shop.write(broken().rollout("progressDeadlineSeconds: 1"));
        eventually("the rollout exceeds its deadline", || {
            let status = shop.status();
            let progressing = condition(&status, "Progressing");
            (progressing["reason"] == "ProgressDeadlineExceeded").then(|| {
                assert_eq!(progressing["status"], "False");
                assert_eq!(condition(&status, "Available")["status"], "True");
                assert_eq!(status["updatedReplicas"], 1, "{status}");
                assert_eq!(status["availableReplicas"], 2, "{status}");
            })
        });
        assert_eq!(shop.version(), "two", "the old pods keep serving");
        let log = shop.host.stderr();
        assert!(log.contains("ProgressDeadlineExceeded"), "{log}");

        shop.write(app("three", 2));
        shop.rolled_out(2);
        assert_eq!(shop.version(), "three");
    });
    assert_eq!(failed, [] as [String; 0]);
}

#[test]
fn recreate_never_runs_old_and_new_pods_together() {
    let rollout = "strategy: {type: Recreate}";
    let shop = Shop::start(app("one", 2).rollout(rollout));
    let before = shop.pod_names();
    let seen = Mutex::new(Vec::new());
    let failed = under_load(&shop, || {
        shop.write(app("two", 2).rollout(rollout));
        eventually("the new version is complete", || {
            let pods = shop.pod_names();
            let old = pods.iter().filter(|pod| before.contains(pod)).count();
            seen.lock()
                .expect("unpoisoned")
                .push((old, pods.len() - old));
            (old == 0 && pods.len() == 2).then_some(())
        });
        shop.rolled_out(2);
    });
    assert_eq!(shop.version(), "two");
    let seen = seen.into_inner().expect("unpoisoned");
    assert!(
        seen.iter().all(|(old, new)| *old == 0 || *new == 0),
        "{seen:?}"
    );
    // A gap without pods is expected; no other failure is.
    assert!(
        failed.iter().all(|text| text.starts_with("503")),
        "{failed:?}"
    );
}

#[test]
fn old_pods_stop_only_after_min_ready_seconds() {
    let shop = Shop::start(app("one", 1));
    let before = shop.pod_names();
    shop.write(app("two", 1).rollout("minReadySeconds: 2"));
    eventually("the new pod is ready", || {
        (shop.status()["readyReplicas"] == 2).then_some(())
    });
    let status = shop.status();
    assert_eq!(status["updatedReplicas"], 1, "{status}");
    assert!(
        shop.pod_names().contains(&before[0]),
        "the old pod keeps running"
    );
    shop.rolled_out(1);
    assert!(!shop.pod_names().contains(&before[0]));
}

#[test]
fn paused_rollout_waits_but_scales() {
    let shop = Shop::start(app("one", 1));
    shop.write(app("two", 2).rollout("paused: true"));
    eventually("it is scaled", || {
        (shop.status()["availableReplicas"] == 2).then_some(())
    });
    let status = shop.status();
    assert_eq!(
        condition(&status, "Progressing")["reason"],
        "DeploymentPaused"
    );
    assert_eq!(
        (&status["updatedReplicas"], shop.version()),
        (&0.into(), "one".into())
    );
    shop.write(app("two", 2));
    shop.rolled_out(2);
    assert_eq!(shop.version(), "two");
}

#[test]
fn revisions_are_kept_as_replica_sets_up_to_the_limit() {
    let limit = "revisionHistoryLimit: 1";
    let shop = Shop::start(app("one", 1).rollout(limit));
    for version in ["two", "three", "two"] {
        shop.write(app(version, 1).rollout(limit));
        eventually("the version answers", || {
            (shop.version() == version).then_some(())
        });
        shop.rolled_out(1);
    }
    let mut sets = shop.host.objects("ReplicaSet");
    let number =
        |set: &Value| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone();
    sets.sort_by_key(|set| number(set).to_string());
    let numbers: Vec<_> = sets.iter().map(number).collect();
    assert_eq!(numbers, ["3", "4"], "an undo creates a new revision");
    let version =
        |set: &Value| set["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"].clone();
    assert_eq!(
        (version(&sets[0]), version(&sets[1])),
        ("three".into(), "two".into())
    );
    let size = |set: &Value| {
        (
            set["spec"]["replicas"].clone(),
            set["status"]["readyReplicas"].clone(),
        )
    };
    assert_eq!(size(&sets[0]), (0.into(), 0.into()));
    assert_eq!(size(&sets[1]), (1.into(), 1.into()));
    let newest = &sets[1]["metadata"];
    assert_eq!(newest["ownerReferences"][0]["name"], "app");
    let pods = shop.host.objects("Pod");
    assert_eq!(
        pods[0]["metadata"]["ownerReferences"][0]["uid"],
        newest["uid"]
    );
    let hash = &pods[0]["metadata"]["labels"]["pod-template-hash"];
    assert_eq!(&newest["labels"]["pod-template-hash"], hash);
    assert_eq!(
        &sets[1]["spec"]["selector"]["matchLabels"]["pod-template-hash"],
        hash
    );
    assert_eq!(shop.status()["observedGeneration"], 4);
}

fn budget(bound: &str) -> String {
    format!(
        "apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: app, namespace: test}}
spec:
  {bound}
  selector: {{matchLabels: {{app: app}}}}
"
    )
}

#[test]
fn rollouts_and_scaling_down_respect_the_budget() {
    let swift = |version, replicas| {
        let rollout = "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 2}}";
        app(version, replicas).rollout(rollout)
    };
    let shop = Shop::start_beside(swift("one", 3), &budget("minAvailable: 3"));
    let budget = shop.host.object("PodDisruptionBudget", "app")["status"].clone();
    assert_eq!(
        (&budget["expectedPods"], &budget["currentHealthy"]),
        (&3.into(), &3.into())
    );
    assert_eq!(budget["disruptionsAllowed"], 0, "{budget}");
    shop.write(swift("two", 3));
    let least = AtomicUsize::new(usize::MAX);
    eventually("the rollout is complete", || {
        let status = shop.status();
        let ready = status["readyReplicas"].as_u64().expect("a number");
        least.fetch_min(ready as usize, Ordering::Relaxed);
        let condition = condition(&status, "Progressing");
        (condition["reason"] == "NewReplicaSetAvailable" && shop.version() == "two").then_some(())
    });
    assert_eq!(
        least.into_inner(),
        3,
        "the budget is stricter than maxUnavailable"
    );

    shop.write(swift("two", 1));
    let message = eventually("the budget is named", || {
        let events = shop.host.objects("Event");
        let found = events.iter().find(|event| {
            event["reason"] == "DisruptionNotAllowed" && event["involvedObject"]["name"] == "app"
        });
        let status = shop.status();
        (status["observedGeneration"] == 3).then_some(found?["message"].clone())
    });
    assert!(
        message
            .as_str()
            .expect("text")
            .contains("PodDisruptionBudget app"),
        "{message}"
    );
    assert_eq!(
        shop.status()["readyReplicas"],
        3,
        "the budget requires three pods"
    );
    std::fs::write(
        shop.file.with_file_name("beside.yaml"),
        self::budget("minAvailable: 1"),
    )
    .expect("a file");
    shop.rolled_out(1);
}

#[test]
fn rollout_blocked_by_a_budget_waits_and_reports_the_reason() {
    let rollout = "strategy: {type: Recreate}";
    let shop = Shop::start_beside(app("one", 2).rollout(rollout), &budget("maxUnavailable: 1"));
    shop.write(app("two", 2).rollout(rollout));
    let message = eventually("the budget is named", || {
        let status = shop.status();
        let message = condition(&status, "Progressing")["message"].clone();
        let message = message.as_str().expect("text").to_owned();
        message.contains("PodDisruptionBudget").then_some(message)
    });
    assert!(
        message.ends_with("It waits for the PodDisruptionBudget \"app\"."),
        "{message}"
    );
    assert_eq!(shop.status()["readyReplicas"], 2, "no pod is stopped");
    assert_eq!(shop.version(), "one");
    std::fs::write(shop.file.with_file_name("beside.yaml"), "").expect("a file");
    shop.rolled_out(2);
    assert_eq!(shop.version(), "two");
}
