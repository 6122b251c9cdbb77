//! Canary releases under load: a good version is promoted, a bad one is rolled back
//! early.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, kubectl, manifests};

/// The canary's Deployment is `app-v2`, which starts with a weight of 0.
const ROUTE: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: app, namespace: test}
spec:
  host: app
  subsets:
    - {name: stable, labels: {version: v1}}
    - {name: canary, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: app, namespace: test}
spec:
  hosts: [app.test.example]
  gateways: [gateway]
  http:
    - name: main # divided
      route:
        - destination: {host: app, subset: stable}
          weight: 100
        - destination: {host: app, subset: canary}
          weight: 0 # for now
";

struct Shop {
    host: Host,
    folder: tempfile::TempDir,
}

impl Shop {
    /// Starts a stable version and a canary, each with its environment.
    fn start(stable: &[(&str, &str)], canary: &[(&str, &str)], more: &str) -> Self {
        let with = |service: Service, version, environment: &[(&str, &str)]| {
            let service = service.env("VERSION", version);
            let pairs = environment.iter();
            pairs.fold(service, |service, (name, value)| service.env(name, value))
        };
        let services = [
            with(Service::new("app", "version"), "v1", stable),
            with(Service::version("app", "v2", "version"), "v2", canary),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let text = manifests(&services) + ROUTE + more;
        std::fs::write(folder.path().join("app.yaml"), text).expect("a file");
        let host = Galleria::run(folder.path()).start();
        Self { host, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("app.yaml")
    }

    /// Runs `galleria canary` with these arguments.
    #[track_caller]
    fn canary(&self, arguments: &[&str]) -> String {
        let output = self.host.galleria(&[&["canary"], arguments].concat());
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    }

    fn report(&self) -> Value {
        let report = self.canary(&["status", "app", "--output=json"]);
        serde_json::from_str(&report).expect("JSON")
    }

    /// Calls the service from several clients while `work` runs; returns the number of
    /// responses by version.
    fn under_load<T>(&self, work: impl FnOnce() -> T) -> (T, HashMap<String, u64>) {
        let done = AtomicBool::new(false);
        let answers = Mutex::new(HashMap::new());
        let result = std::thread::scope(|scope| {
            let ending = SetOnDrop(&done);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let answer = self.host.get_with("/", &[("host", "app.test.example")]);
                        let mut answers = answers.lock().expect("the lock");
                        *answers.entry(answer.body).or_insert(0) += 1;
                    }
                });
            }
            let result = work();
            drop(ending);
            result
        });
        (result, answers.into_inner().expect("the lock"))
    }

    /// Waits for an event with this message.
    #[track_caller]
    fn happened(&self, message: &str) {
        eventually(message, || {
            let said = self.report()["events"].to_string();
            said.contains(message).then_some(())
        });
    }

    fn answers(&self, requests: u32) -> HashMap<String, u64> {
        let mut answers = HashMap::new();
        for _ in 0..requests {
            let answer = self.host.get_with("/", &[("host", "app.test.example")]);
            *answers.entry(answer.body).or_insert(0) += 1;
        }
        answers
    }

    /// Waits until the run is over; returns its phase.
    fn ended(&self) -> String {
        eventually("the run is over", || {
            let phase = self.report()["canary"]["phase"].clone();
            (phase != "Progressing" && phase != "Initialized")
                .then(|| phase.as_str().expect("a text").to_owned())
        })
    }
}

const FAST: [&str; 4] = ["start", "app", "--auto", "--interval=250ms"];

/// The canary's share of the responses.
fn share(answers: &HashMap<String, u64>) -> f64 {
    let all: u64 = answers.values().sum();
    let canary = answers.get("v2").copied().unwrap_or(0);
    eprintln!("answers: {answers:?}");
    canary as f64 / all as f64
}

#[test]
fn good_canary_is_promoted_step_by_step() {
    let shop = Shop::start(&[], &[], "");
    let (phase, _) = shop.under_load(|| {
        shop.canary(&[&FAST[..], &["--step-weight=25", "--max-weight=50"]].concat());
        shop.ended()
    });
    assert_eq!(phase, "Succeeded");
    let report = shop.report();
    assert_eq!(report["rules"][0]["weights"], serde_json::json!([0, 100]));
    shop.happened("Promotion completed! app.test");
    shop.happened("Advance app.test canary weight 50");
    assert!(share(&shop.answers(100)) > 0.999);
}

#[test]
fn canary_with_five_percent_errors_is_rolled_back_at_the_first_step() {
    let shop = Shop::start(&[], &[("FAIL_EVERY", "20")], "");
    let (phase, answers) = shop.under_load(|| {
        shop.canary(&[&FAST[..], &["--threshold=2"]].concat());
        shop.ended()
    });
    assert_eq!(phase, "Failed");
    assert!(share(&answers) < 0.15, "{answers:?}");
    let report = shop.report();
    assert_eq!(report["rules"][0]["weights"], serde_json::json!([100, 0]));
    shop.happened("Rolling back app.test failed checks threshold reached 2");
    shop.happened("Halt app.test advancement success rate");
}

#[test]
fn canary_that_is_three_times_as_slow_is_rolled_back() {
    let shop = Shop::start(&[("SLOW_MS", "4")], &[("SLOW_MS", "12")], "");
    let (phase, answers) = shop.under_load(|| {
        shop.canary(&FAST);
        shop.ended()
    });
    assert_eq!(phase, "Failed");
    assert!(share(&answers) < 0.15, "{answers:?}");
    let said = shop.canary(&["status", "app"]);
    assert!(said.contains("of requests took more than"), "{said}");
}

#[test]
fn weights_can_be_set_manually_and_written_to_the_file() {
    let shop = Shop::start(&[], &[], "");
    let before = std::fs::read_to_string(shop.file()).expect("the file");

    let said = shop.canary(&["set", "test/app", "30"]);
    assert!(
        said.contains("rule 0 main: 30 % to app/canary, 70 % to app/stable"),
        "{said}"
    );
    shop.happened("canary weight 30 set manually");
    let drift = || shop.host.status_page(&[]).stdout.contains("DRIFT");
    assert!(drift(), "a difference from the file is shown as drift");
    assert_eq!(
        std::fs::read_to_string(shop.file()).expect("the file"),
        before
    );
    // 1,000 times 30 %: four standard deviations are 58.
    assert!((0.24..0.36).contains(&share(&shop.answers(1_000))));

    shop.canary(&["set", "app", "35", "--write"]);
    let expected = before.replace("weight: 100", "weight: 65");
    let expected = expected.replace("weight: 0 # for now", "weight: 35 # for now");
    assert_eq!(
        std::fs::read_to_string(shop.file()).expect("the file"),
        expected
    );
    eventually("the file matches the running weights", || {
        (!drift()).then_some(())
    });

    assert!(
        shop.canary(&["promote", "app"])
            .contains("100 % to app/canary")
    );
    assert!(
        shop.canary(&["abort", "app"])
            .contains("main: 0 % to app/canary")
    );
    let refused = |service| {
        let output = shop.host.galleria(&["canary", "set", service, "10"]);
        assert_eq!(output.code, Some(1));
        output.stderr
    };
    assert!(refused("ap").contains("there is no VirtualService ap"));
    assert!(refused("routes").contains("no rule of VirtualService test/routes splits"));
}

#[test]
fn canary_object_starts_a_run_for_a_new_revision() {
    let canary = "---
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: new-app, namespace: test}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: app-v2}
  service: {name: app, port: 80}
  analysis: {interval: 250ms, threshold: 2, maxWeight: 40, stepWeight: 20}
";
    let shop = Shop::start(&[], &[], canary);
    let table = kubectl(&shop.host, &["get", "canaries", "-n", "test"]);
    assert!(table.contains("Initialized"), "{table}");
    assert_eq!(shop.report()["rules"][0]["weight"], 0);

    let (phase, _) = shop.under_load(|| {
        let set = [
            "set",
            "env",
            "deployment/app-v2",
            "-n",
            "test",
            "VERSION=v2",
        ];
        kubectl(&shop.host, &[&set[..], &["COLOUR=green"]].concat());
        shop.happened("Advance new-app.test canary weight 20");
        shop.ended()
    });
    assert_eq!(phase, "Succeeded");
    let table = kubectl(&shop.host, &["get", "canaries", "-n", "test"]);
    assert!(table.contains("Succeeded   100"), "{table}");
}
