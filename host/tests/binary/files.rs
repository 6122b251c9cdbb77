//! The environment and files of a pod, and how both follow changes of ConfigMaps and
//! Secrets.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Galleria, Host, Service, eventually, manifests};

/// A host that runs the guest `files` under `/app`.
struct App {
    host: Host,
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl App {
    /// `pod` is inserted into the container and the pod's spec, `objects` are added to
    /// the manifest.
    fn start(pod: &str, objects: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir_all(folder.path().join("yaml")).expect("a folder");
        std::fs::write(folder.path().join("yaml/app.yaml"), yaml(pod)).expect("a file");
        write(&folder, objects);
        let host = Galleria::run(folder.path().join("yaml"))
            .data(&data)
            .argument("--restart-backoff-initial=100ms")
            .start();
        Self { host, folder, data }
    }

    fn change(&self, objects: &str) {
        write(&self.folder, objects);
    }

    fn ask(&self, query: &str) -> Value {
        self.host.get(&format!("/app/{query}")).json()
    }

    fn read(&self, path: &str) -> Value {
        self.ask(&format!("read?path={path}"))
    }
}

fn yaml(pod: &str) -> String {
    let service = Service::new("app", "files").annotation("galleria.dev/isolation", "instance");
    manifests(&[service]).replace("          env: []\n", pod)
}

fn write(folder: &tempfile::TempDir, objects: &str) {
    let new = folder.path().join("yaml/objects.new");
    std::fs::write(&new, objects).expect("a file");
    std::fs::rename(new, folder.path().join("yaml/objects.yaml")).expect("renamed");
}

fn text(text: &str) -> Value {
    json!({ "text": text })
}

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: test}
data: {colour: red, size: small}
";

#[test]
fn files_come_from_config_maps_secrets_and_the_pod_itself() {
    let pod = "          command: [serve]
          args: ['--colour=$(COLOUR)', '$$(COLOUR)', '$(NONE)']
          workingDir: /work/
          env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]
          volumeMounts:
            - {name: settings, mountPath: /settings}
            - {name: all, mountPath: /all}
            - {name: settings, mountPath: /single/app.conf, subPath: size}
            - {name: scratch, mountPath: /scratch, subPathExpr: by-$(COLOUR)}
      volumes:
        - {name: settings, configMap: {name: settings}}
        - {name: scratch, emptyDir: {}}
        - name: all
          projected:
            sources:
              - configMap: {name: settings, items: [{key: size, path: shop/size}]}
              - secret: {name: password}
              - secret: {name: absent, optional: true}
              - downwardAPI:
                  items:
                    - {path: labels, fieldRef: {fieldPath: metadata.labels}}
                    - {path: memory, resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}
";
    let secret = "---
apiVersion: v1
kind: Secret
metadata: {name: password, namespace: test}
stringData: {password: hunter2}
";
    let app = App::start(pod, &format!("{SETTINGS}{secret}"));
    assert_eq!(app.read("/settings/colour"), text("red"));
    assert_eq!(app.read("/all/shop/size"), text("small"));
    assert_eq!(app.read("/all/password"), text("hunter2"));
    let labels = app.read("/all/labels")["text"].to_string();
    for label in ["app", "pod-template-hash", "version"] {
        assert!(labels.contains(&format!("{label}=")), "{labels}");
    }
    assert_eq!(app.read("/all/memory"), text("64"));
    assert_eq!(app.read("/single/app.conf"), text("small"));
    assert_eq!(app.ask("list?path=/single"), json!({"names": ["app.conf"]}));
    assert_eq!(app.ask("write?path=/scratch/note&text=kept"), json!({}));
    assert_eq!(app.read("/scratch/note"), text("kept"));
    assert_eq!(
        app.ask("arguments")["arguments"],
        json!(["main", "serve", "--colour=red", "$(COLOUR)", "$(NONE)"])
    );

    for path in [
        "/settings/colour",
        "/settings/new",
        "/all/password",
        "/single/app.conf",
    ] {
        let refused = app.host.get(&format!("/app/write?path={path}&text=mine"));
        assert_eq!(refused.status, 500, "{path}: {}", refused.body);
    }
    assert_eq!(app.read("/settings/colour"), text("red"));
    for path in ["/etc/passwd", "/settings/../../../../etc/passwd", "/"] {
        let answer = app.host.get(&format!("/app/read?path={path}"));
        assert_eq!(answer.status, 500, "{path}: {}", answer.body);
    }
}

#[test]
fn changed_values_reach_files_and_new_instances_without_a_restart() {
    let pod = "          env: [{name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}]
          args: ['$(COLOUR)']
          volumeMounts:
            - {name: settings, mountPath: /settings}
            - {name: settings, mountPath: /single/colour, subPath: colour}
      volumes: [{name: settings, configMap: {name: settings}}]
";
    let app = App::start(pod, SETTINGS);
    let pods = || {
        let page = app.host.status_page(&["-o", "json"]).stdout;
        let page: Value = serde_json::from_str(&page).expect("JSON");
        let pods = page["workloads"][0]["pods"]
            .as_array()
            .expect("pods")
            .clone();
        pods.iter()
            .map(|pod| pod["name"].clone())
            .collect::<Vec<_>>()
    };
    let before = pods();
    app.change(
        &SETTINGS
            .replace("red", "green")
            .replace(", size: small", ""),
    );
    let changed = Instant::now();
    eventually("the file changes", || {
        let read = app.host.get("/app/read?path=/settings/colour");
        // The file is never missing or incomplete.
        assert_eq!(read.status, 200, "{}", read.body);
        assert!(
            ["red", "green"].iter().any(|it| read.json() == text(it)),
            "{}",
            read.body
        );
        (read.json() == text("green")).then_some(())
    });
    eventually("new instances have the value", || {
        (app.ask("arguments")["arguments"][1] == "green").then_some(())
    });
    let took = changed.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    assert_eq!(app.host.get("/app/read?path=/settings/size").status, 500);
    assert_eq!(
        app.read("/single/colour"),
        text("red"),
        "a subPath mount is not updated"
    );
    assert_eq!(pods(), before, "the pod stayed");

    app.change(&SETTINGS.replace("colour", "color"));
    eventually("the missing key is rejected", || {
        app.host
            .stderr()
            .contains("has no key `colour`")
            .then_some(())
    });
    assert_eq!(app.read("/settings/colour"), text("green"));
}

#[test]
fn manifests_in_a_mounted_folder_are_reloaded_when_the_mount_is_updated() {
    let folder = tempfile::tempdir().expect("a folder");
    let pod = "          volumeMounts: [{name: settings, mountPath: /settings}]
      volumes: [{name: settings, configMap: {name: settings}}]
";
    // As the kubelet mounts a ConfigMap whose keys are manifests.
    let fill = |generation: &str, settings: &str| {
        let data = folder.path().join(generation);
        std::fs::create_dir(&data).expect("a folder");
        std::fs::write(data.join("app.yaml"), yaml(pod)).expect("a file");
        std::fs::write(data.join("objects.yaml"), settings).expect("a file");
        let next = folder.path().join("..next");
        std::os::unix::fs::symlink(generation, &next).expect("a link");
        std::fs::rename(next, folder.path().join("..data")).expect("swapped");
    };
    fill("..1", SETTINGS);
    for name in ["app.yaml", "objects.yaml"] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(format!("..data/{name}"), link).expect("a link");
    }
    let host = Galleria::run(folder.path()).start();
    let read = || host.get("/app/read?path=/settings/colour").json();
    assert_eq!(read(), text("red"));
    fill("..2", &SETTINGS.replace("red", "green"));
    eventually("the new manifests are in effect", || {
        (read() == text("green")).then_some(())
    });
}

const PRESET: &str = "
apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata: {name: allow-database, namespace: test}
spec:
  selector: {matchLabels: {app: app}}
  env: [{name: DB_PORT, value: \"6379\"}]
  volumes: [{name: cache, emptyDir: {}}]
  volumeMounts: [{name: cache, mountPath: /cache}]
";

#[test]
fn pod_preset_applies_to_the_pods_that_it_selects() {
    let pod = "          args: ['$(DB_PORT)']\n          env: []\n";
    let app = App::start(pod, PRESET);
    let argument = || app.ask("arguments")["arguments"][1].clone();
    assert_eq!(argument(), "6379");
    assert_eq!(app.ask("write?path=/cache/note&text=kept"), json!({}));
    app.change(&PRESET.replace("6379", "6380"));
    eventually("the changed preset is applied", || {
        (argument() == "6380").then_some(())
    });

    let excluded = "podpreset.admission.kubernetes.io/exclude: \"true\", galleria.dev/isolation";
    let file = app.folder.path().join("yaml/app.yaml");
    std::fs::write(&file, yaml(pod).replace("galleria.dev/isolation", excluded)).expect("a file");
    eventually("the pod is excluded", || {
        (argument() == "$(DB_PORT)").then_some(())
    });
}

#[test]
fn pod_that_conflicts_with_a_preset_is_left_unchanged() {
    let pod = "          args: ['$(DB_PORT)']\n          env: [{name: DB_PORT, value: mine}]\n";
    let app = App::start(pod, PRESET);
    assert_eq!(app.ask("arguments")["arguments"][1], "mine");
    assert_eq!(app.host.get("/app/list?path=/cache").status, 500);
    let said = "PodPreset `allow-database` sets another variable `DB_PORT` than the pod";
    assert!(app.host.stderr().contains(said), "{}", app.host.stderr());
}

#[test]
fn immutable_config_map_cannot_be_changed() {
    let pod = "          volumeMounts: [{name: settings, mountPath: /settings}]
      volumes: [{name: settings, configMap: {name: settings}}]
";
    let immutable = format!("{SETTINGS}immutable: true\n");
    let app = App::start(pod, &immutable);
    app.change(&immutable.replace("red", "green"));
    eventually("the change is refused", || {
        let refused = "the data of an immutable object cannot change";
        app.host.stderr().contains(refused).then_some(())
    });
    assert_eq!(app.read("/settings/colour"), text("red"));
    app.change(&immutable.replace("name: settings", "name: others"));
    eventually("the missing object is refused", || {
        app.host
            .stderr()
            .contains("no ConfigMap test/settings")
            .then_some(())
    });
    assert_eq!(app.read("/settings/colour"), text("red"));
}

#[test]
fn pod_that_exceeds_its_empty_dir_is_evicted_and_restarted() {
    let pod = "          volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes: [{name: scratch, emptyDir: {sizeLimit: 2Mi}}]
";
    let app = App::start(pod, "");
    assert_eq!(app.ask("fill?path=/scratch/small&mib=1"), json!({}));
    let full = json!({"error": "input/output error"});
    assert_eq!(app.ask("fill?path=/scratch/large&mib=4"), full);
    eventually("the pod is evicted", || {
        app.host
            .stderr()
            .contains("exceeds its sizeLimit of 2097152 bytes")
            .then_some(())
    });
    eventually("the volume is empty", || {
        let list = app.host.try_get("/app/list?path=/scratch", &[]).ok()?;
        (list.status == 200 && list.json() == json!({"names": []})).then_some(())
    });
    let pods = app.data.join("pods");
    app.host.terminate();
    eventually("the files of the pod are removed", || {
        std::fs::read_dir(&pods)
            .is_ok_and(|mut left| left.next().is_none())
            .then_some(())
    });
}

#[test]
fn pod_that_exceeds_its_ephemeral_storage_is_evicted_with_the_reason() {
    let pod = "          volumeMounts: [{name: one, mountPath: /one}, {name: two, mountPath: /two}]
      volumes: [{name: one, emptyDir: {}}, {name: two, emptyDir: {}}]
";
    let folder = tempfile::tempdir().expect("a folder");
    let limit = "{limits: {memory: 64Mi, ephemeral-storage: 4Mi}}";
    let yaml = yaml(pod).replace("{limits: {memory: 64Mi}}", limit);
    assert!(yaml.contains(limit), "{yaml}");
    std::fs::write(folder.path().join("app.yaml"), yaml).expect("a file");
    let host = Galleria::run(folder.path())
        .argument("--restart-backoff-initial=100ms")
        .start();
    for (path, status) in [("/one/first", 200), ("/two/second", 500)] {
        let filled = host.get(&format!("/app/fill?path={path}&mib=3"));
        assert_eq!(filled.status, status, "{}", filled.body);
    }
    let ended = eventually("the pod is evicted", || {
        let pods = host.objects("Pod");
        let last = &pods[0]["status"]["containerStatuses"][0]["lastState"]["terminated"];
        last.is_object().then(|| last.clone())
    });
    assert_eq!(ended["reason"], "Evicted");
    let message = ended["message"].as_str().expect("a message");
    assert!(message.contains("4194304"), "{message}");
}

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: test}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

#[test]
fn links_cannot_leave_a_volume() {
    let pod = "          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
";
    let app = App::start(pod, CLAIM);
    std::fs::write(app.data.join("secret"), "outside").expect("a file");
    // Guests may be unable to create such links; whoever creates one, it is not followed.
    let link = app.data.join("volumes/test/data/up");
    std::os::unix::fs::symlink("../../..", &link).expect("a link");
    assert_eq!(app.host.get("/app/read?path=/data/up/secret").status, 500);
    std::fs::write(
        app.folder.path().join("yaml/app.yaml"),
        yaml(&pod.replace("/data}]", "/data, subPath: up}]")),
    )
    .expect("a file");
    eventually("the mount through the link is refused", || {
        let refused = app.host.stderr();
        refused
            .contains("the path must be a folder without symbolic links")
            .then_some(())
    });
    assert_eq!(
        app.host.get("/app/list?path=/data").status,
        200,
        "the old pod still serves"
    );
}

#[test]
fn host_path_outside_the_data_folder_is_rejected_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let pod = "          volumeMounts: [{name: etc, mountPath: /etc}]
      volumes: [{name: etc, hostPath: {path: /etc}}]
";
    let file = folder.path().join("app.yaml");
    std::fs::write(&file, yaml(pod)).expect("a file");
    let ended = Galleria::run(&file).fail();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let said = "hostPath `/etc` is outside of";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("use a persistentVolumeClaim, or move the data there")
    );
}
