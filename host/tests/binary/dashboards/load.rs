//! Two busy hosts: the shop with its customers, and a host in which every failure occurs
//! that a panel shows.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Collector, Galleria, Host, Service, manifests, shop_components};

const FIREFOX: (&str, &str) = ("user-agent", "Firefox/140.0");
const BETA: (&str, &str) = ("end-user", "metamagic");

/// The review service fails occasionally, and the nightly job runs during the test.
const UNLUCKY: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: unlucky, namespace: shoppingportal}
spec:
  hosts: [productreviewservice]
  http:
    - name: unlucky
      fault: {abort: {httpStatus: 503, percentage: {value: 30}}}
      route: [{destination: {host: productreviewservice}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: ratings, namespace: shoppingportal}
spec:
  template:
    metadata: {labels: {name: ratings}}
    spec:
      restartPolicy: Never
      containers:
        - name: ratings
          image: galleria/ratings:v1
          envFrom: [{secretRef: {name: shop-databases}}]
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: reviews-data}}]
";

/// Rules that precede those of the services.
const RULES: &str = "    - name: faulty
      match: [{uri: {prefix: /faulty/}}]
      rewrite: {uri: /}
      fault: {delay: {fixedDelay: 5ms, percentage: {value: 50}}, abort: {httpStatus: 503, percentage: {value: 50}}}
      route: [{destination: {host: calm}}]
    - name: tried-again
      match: [{uri: {prefix: /tried-again/}}]
      rewrite: {uri: /}
      retries: {attempts: 2, retryOn: '503'}
      route: [{destination: {host: failing}}]
    - name: mirrored
      match: [{uri: {prefix: /mirrored/}}]
      rewrite: {uri: /}
      mirror: {host: failing}
      route: [{destination: {host: calm}}]
";

/// `narrow` accepts one request at a time; `outlier` ejects an endpoint after two
/// failures.
const POLICIES: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: narrow, namespace: test}
spec:
  host: narrow
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outlier, namespace: test}
spec:
  host: outlier
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}
";

const JOBS: [(&str, &str); 2] = [("works", "0"), ("fails", "1")];

/// See the module's documentation.
pub struct Shop {
    pub host: Host,
    /// Receives its traces.
    pub collector: Collector,
    _folder: tempfile::TempDir,
}

/// See the module's documentation.
pub struct Trouble {
    pub host: Host,
    file: PathBuf,
    manifest: String,
    _folder: tempfile::TempDir,
}

impl Shop {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
        for file in std::fs::read_dir(shop).expect("the shop") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("a copy");
        }
        std::fs::write(folder.path().join("99-unlucky.yaml"), UNLUCKY).expect("a file");
        let collector = Collector::grpc();
        let host = Galleria::run(folder.path())
            .components(shop_components())
            .exporting_to(&collector);
        Self {
            host: host.start(),
            collector,
            _folder: folder,
        }
    }

    /// Customers who browse, search, rate and add products, until `done`.
    pub fn visit(&self, done: &AtomicBool) {
        let host = &self.host;
        let product =
            json!({"name": "Lamp", "category": "1", "description": "A lamp", "price": 19.99});
        let review = json!({"author": "Kim", "desc": "Bright enough", "rating": 9});
        let form = [
            ("author", "Kim"),
            ("rating", "9"),
            ("desc", "Bright enough"),
        ];
        for round in 0_u64.. {
            for path in ["/ui", "/ui/product/1", "/ui?search=lamp", "/ui?sort=price"] {
                host.get(path);
                host.get_with(path, &[FIREFOX]);
            }
            host.get("/productms/product/catalogue/2");
            host.get_with("/productms/product/catalogue?search=lamp", &[BETA]);
            host.post_form("/ui/product/1/review", &form);
            // Keeps the size of the pages bounded.
            if round.is_multiple_of(10) {
                host.post("/productms/product/", &product);
                host.post("/productms/product/", &json!({"name": "Half a"}));
                host.post("/productreviewms/productreview/2", &review);
                host.post("/productreviewms/productreview/2", &json!({"rating": 99}));
            }
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

impl Trouble {
    pub fn start() -> Self {
        let kept = |service: Service| service.annotation("galleria.dev/isolation", "instance");
        let ready = "{httpGet: {path: /ok, port: 8080}, periodSeconds: 1}";
        let services = [
            Service::new("calm", "hello").probe("readinessProbe", ready),
            Service::new("failing", "status"),
            kept(Service::new("narrow", "slow")),
            kept(Service::new("queued", "slow")).annotation("galleria.dev/max-instances", "1"),
            Service::new("outlier", "hello"),
            Service::version("outlier", "v2", "status"),
            Service::new("trapping", "trap"),
            Service::new("greedy", "allocate").memory("32Mi"),
            kept(Service::new("hungry", "spin")).cpu("50m"),
            Service::new("both", "version").env("FAIL_EVERY", "3"),
            Service::version("both", "v2", "version").env("FAIL_EVERY", "3"),
        ];
        let jobs = JOBS.map(|(name, code)| {
            format!(
                "---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: test}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: main, image: job-exit, args: ['{code}'], resources: {{limits: {{memory: 64Mi}}}}}}]
"
            )
        });
        let manifest = manifests(&services).replacen("  http:\n", &format!("  http:\n{RULES}"), 1)
            + POLICIES
            + &jobs.concat();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("test.yaml");
        std::fs::write(&file, &manifest).expect("a file");
        Self {
            host: Galleria::run(folder.path()).start(),
            file,
            manifest,
            _folder: folder,
        }
    }

    /// Sends the requests that fail and changes the configuration, until `done`.
    pub fn make(&self, done: &AtomicBool) {
        let broken = [("traceparent", "00-broken")];
        for round in 0_u64.. {
            for path in [
                "/faulty/",
                "/tried-again/?code=503",
                "/mirrored/?code=500",
                "/outlier/?code=500",
                "/trapping/",
                "/greedy/allocate",
                "/hungry/spin?ms=20",
                "/both/",
                "/nowhere",
            ] {
                self.host.get(path);
            }
            self.host.get_with("/calm/", &broken);
            // Alternates between a rejected and an accepted change.
            if round.is_multiple_of(5) {
                let more = match round.is_multiple_of(10) {
                    true => "spec: [\n".to_owned(),
                    false => format!(
                        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: round-{round}, namespace: test}}\n"
                    ),
                };
                let new = self.file.with_extension("new");
                std::fs::write(&new, format!("{}---\n{more}", self.manifest)).expect("a file");
                std::fs::rename(&new, &self.file).expect("renamed");
            }
            if done.load(Ordering::Relaxed) {
                break;
            }
        }
    }

    /// One of several clients that request the same at once, until `done`.
    pub fn crowd(&self, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            self.host.get("/narrow/?ms=20");
            self.host.get("/queued/?ms=20");
        }
    }
}
