//! Guests and other users that misuse files: planted code, full volumes, hoarded
//! descriptors. The host and the neighbours keep working.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Galleria, Host, Service, SetOnDrop, eventually, kubeconfig, kubectl, kubectl_with, manifests,
};

/// A host that runs the guest `files` under `/app`, next to a good guest.
struct App {
    host: Host,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl App {
    /// `pod` is inserted into the container and the pod's spec, `objects` are added to
    /// the manifest.
    fn start(pod: &str, objects: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let host = Galleria::run(yaml(folder.path(), pod, objects))
            .data(&data)
            .argument("--restart-backoff-initial=100ms")
            .start();
        Self {
            host,
            data,
            _folder: folder,
        }
    }

    /// Sends a request to the guest while its neighbour is called continuously.
    fn ask(&self, query: &str) -> Value {
        let mut answer = None;
        while_neighbour_is_served(&self.host, || {
            answer = Some(self.host.get(&format!("/app/{query}")).json());
        });
        answer.expect("an answer")
    }
}

fn yaml(folder: &Path, pod: &str, objects: &str) -> PathBuf {
    let app = Service::new("app", "files").annotation("galleria.dev/isolation", "instance");
    let good = Service::new("good", "hello").annotation("galleria.dev/isolation", "instance");
    let yaml = manifests(&[app, good]).replacen("          env: []\n", pod, 1);
    let path = folder.join("app.yaml");
    fs::write(&path, format!("{yaml}---\n{objects}")).expect("a file");
    path
}

/// Calls the neighbour while `misbehave` runs; every request is answered in time.
#[track_caller]
fn while_neighbour_is_served(host: &Host, misbehave: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let (asked, slowest) = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let (mut asked, mut slowest) = (0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) || asked < 10 {
                let began = Instant::now();
                let answer = host.get("/good/");
                assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
                slowest = slowest.max(began.elapsed());
                asked += 1;
            }
            (asked, slowest)
        });
        let ending = SetOnDrop(&done);
        misbehave();
        drop(ending);
        neighbour.join().expect("no failure")
    });
    assert!(asked >= 10);
    // A generous limit: other tests run at the same time on two cores.
    assert!(
        slowest < Duration::from_secs(5),
        "the slowest request to the neighbour took {slowest:?}"
    );
}

/// What the C library reports for a stream that found no space.
fn unwritten() -> Value {
    json!({"error": "input/output error"})
}

/// Bytes on disk below `folder`.
fn blocks(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let metadata = entry.expect("an entry").metadata().expect("metadata");
            metadata.blocks() * 512
        })
        .sum()
}

const CLAIM: &str = "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: test}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 8Mi}}}
";

const CLAIMED: &str = "          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
";

#[test]
fn claim_is_limited_to_its_request_and_removed_files_free_space() {
    let app = App::start(CLAIMED, CLAIM);
    let volume = app.data.join("volumes/test/data");
    let full = json!({"error": "no storage space"});
    assert_eq!(app.ask("fill?path=/data/a&mib=6"), json!({}));
    assert_eq!(app.ask("fill?path=/data/b&mib=100"), unwritten());
    assert!(blocks(&volume) <= 8 << 20, "{}", blocks(&volume));
    assert_eq!(app.ask("extend?path=/data/c&mib=1048576"), full, "a hole");
    assert_eq!(app.ask("fill?path=/data/a&mib=6"), json!({}), "over itself");
    for path in ["a", "b", "c"] {
        assert_eq!(app.ask(&format!("remove?path=/data/{path}")), json!({}));
    }
    for _ in 0..3 {
        assert_eq!(app.ask("fill?path=/data/d&mib=7"), json!({}));
        assert_eq!(app.ask("remove?path=/data/d"), json!({}));
    }
    let scattered = app.ask("scatter?path=/data&count=100000");
    let errors = ["no storage space", "input/output error"];
    let error = scattered["error"].as_str().expect("an error");
    assert!(errors.contains(&error), "{scattered}");
    let files = scattered["done"].as_u64().expect("a count");
    assert!((1024..2048).contains(&files), "{scattered}");
}

#[test]
fn removed_file_counts_until_its_descriptors_are_closed() {
    let app = App::start(CLAIMED, CLAIM);
    assert_eq!(app.ask("fill?path=/data/a&mib=6"), json!({}));
    assert_eq!(app.ask("hoard?path=/data/a&count=1")["done"], 1);
    assert_eq!(app.ask("remove?path=/data/a"), json!({}));
    assert_eq!(app.ask("fill?path=/data/b&mib=6"), unwritten());
}

#[test]
fn files_cannot_be_moved_or_linked_between_volumes() {
    let pod = "          volumeMounts: [{name: data, mountPath: /data}, {name: scratch, mountPath: /scratch}]
      volumes:
        - {name: data, persistentVolumeClaim: {claimName: data}}
        - {name: scratch, emptyDir: {}}
";
    let app = App::start(pod, CLAIM);
    assert_eq!(app.ask("write?path=/scratch/a&text=x"), json!({}));
    let moved = app.ask("move?path=/scratch/a&text=/data/a");
    assert_eq!(moved, json!({"error": "cross-device link or rename"}));
    assert_eq!(app.ask("move?path=/scratch/a&text=/scratch/b"), json!({}));
}

#[test]
fn hoarded_descriptors_are_limited_and_released_with_the_instance() {
    let app = App::start(CLAIMED, CLAIM);
    assert_eq!(app.ask("write?path=/data/a&text=x"), json!({}));
    let open = || {
        let descriptors = format!("/proc/{}/fd", app.host.id());
        fs::read_dir(descriptors).expect("descriptors").count()
    };
    let before = open();
    let hoarded = app.ask("hoard?path=/data/a&count=20000");
    assert_eq!(hoarded["error"], "out of memory", "{hoarded}");
    assert!(hoarded["done"].as_u64().expect("a count") <= 256);
    for _ in 0..40 {
        app.host.get("/app/hoard?path=/data/a&count=20000");
    }
    assert!(open() < before + 1200, "{} before, now {}", before, open());
    // A new pod starts with none of them.
    app.host.get("/app/read?path=/data/a");
}

#[test]
fn guests_of_wasi_0_3_have_the_same_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = Service::new("app", "files-p3");
    let yaml = manifests(&[app]).replacen("          env: []\n", CLAIMED, 1);
    let file = folder.path().join("app.yaml");
    fs::write(&file, format!("{yaml}---\n{CLAIM}")).expect("a file");
    let host = Galleria::run(&file).start();
    let ask = |query: &str| {
        let answer = host.get(&format!("/app/{query}"));
        (answer.status, answer.body)
    };
    let full = |(status, body): (u16, String)| status == 500 && body.contains("InsufficientSpace");
    assert_eq!(ask("fill?path=a&mib=6"), (200, "filled".into()));
    assert!(full(ask("fill?path=b&mib=100")));
    assert!(full(ask("append?path=a")));
    assert!(full(ask("extend?path=c&mib=1048576")));
    assert_eq!(ask("list"), (200, "a b c".into()));
    let (status, hoarded) = ask("hoard?path=a&count=2000");
    assert_eq!(status, 200, "{hoarded}");
    let (count, error) = hoarded.split_once(' ').expect("a count and an error");
    assert!(count.parse::<u64>().expect("a number") <= 256, "{hoarded}");
    assert!(error.contains("InsufficientMemory"), "{hoarded}");
    let threads = || {
        let tasks = format!("/proc/{}/task", host.id());
        fs::read_dir(tasks).expect("threads").count()
    };
    let before = threads();
    let (status, begun) = ask("begin?count=2000");
    assert_eq!(status, 200, "{begun}");
    assert!(begun.contains("InsufficientMemory"), "{begun}");
    assert!(threads() < before + 64, "{before}, now {}", threads());
}

#[test]
fn host_path_is_restricted_to_the_folder_of_its_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let volumes = data.join("volumes");
    fs::create_dir_all(volumes.join("other/data")).expect("a folder");
    fs::write(volumes.join("other/data/secret"), "theirs").expect("a file");
    let pod = |path: &str| {
        format!(
            "          volumeMounts: [{{name: data, mountPath: /data}}]
      volumes: [{{name: data, hostPath: {{path: {path}, type: DirectoryOrCreate}}}}]
"
        )
    };
    for path in [
        "other/data",
        "other",
        "",
        "test",
        "test/.databases",
        "testing/data",
    ] {
        let path = volumes.join(path);
        let file = yaml(folder.path(), &pod(path.to_str().expect("text")), CLAIM);
        let ended = Galleria::run(file).data(&data).fail();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let said = "the folder of namespace `test`, and pods can access no other folder";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let own = volumes.join("test/mine/deep");
    let file = yaml(folder.path(), &pod(own.to_str().expect("text")), CLAIM);
    let host = Galleria::run(file).data(&data).start();
    let written = host.get("/app/write?path=/data/note&text=mine");
    assert_eq!(written.status, 200, "{}", written.body);
    assert_eq!(
        fs::read_to_string(own.join("note")).expect("a file"),
        "mine"
    );
    let theirs = fs::read_to_string(volumes.join("other/data/secret"));
    assert_eq!(theirs.expect("a file"), "theirs");
}

/// Starts a host with its own cache, and returns what it logged.
fn start_with(cache: &Path, folder: &Path, service: &str) -> String {
    let service = Service::new("app", if service == "hello" { "hello" } else { "echo" });
    let file = folder.join("app.yaml");
    fs::write(&file, manifests(&[service])).expect("a file");
    let host = Galleria::run(file)
        .without_shared_cache()
        .argument("--cache")
        .argument(cache.to_str().expect("text"))
        .start();
    assert_eq!(host.get("/app/").status, 200);
    host.stderr()
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).expect("the cache");
    let mut entries: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "cwasm"))
        .collect();
    entries.sort();
    entries
}

const UNUSABLE: &str = "cannot use cached code";

#[test]
fn planted_native_code_is_not_loaded_but_compiled_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    start_with(&cache, folder.path(), "hello");
    let [hello] = entries(&cache).try_into().expect("one entry");
    let key = fs::metadata(cache.join("key")).expect("the key");
    assert_eq!(key.mode() & 0o777, 0o600);
    assert!(!start_with(&cache, folder.path(), "hello").contains(UNUSABLE));

    // Code of another component, under the name of this one.
    start_with(&cache, folder.path(), "echo");
    let all = entries(&cache);
    let echo = all.iter().find(|path| **path != hello).expect("another");
    fs::copy(echo, &hello).expect("renamed");
    let said = start_with(&cache, folder.path(), "hello");
    let name = hello.file_name().expect("a name").to_str().expect("text");
    assert!(said.contains(UNUSABLE) && said.contains(name), "{said}");

    // A symbolic link to valid code.
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&hello, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &hello).expect("a link");
    let said = start_with(&cache, folder.path(), "hello");
    assert!(said.contains("it is a symbolic link"), "{said}");
    fs::hard_link(&hello, folder.path().join("second")).expect("a second name");
    let said = start_with(&cache, folder.path(), "hello");
    assert!(said.contains("it has more than one name"), "{said}");
    assert!(!start_with(&cache, folder.path(), "hello").contains(UNUSABLE));

    // Code whose key other users could read.
    fs::set_permissions(cache.join("key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let said = start_with(&cache, folder.path(), "hello");
    assert!(said.contains("creating a new key"), "{said}");
    assert!(said.contains(UNUSABLE), "{said}");
}

#[test]
fn folders_that_others_can_write_are_repaired_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("a folder");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("a mode");
    let said = start_with(&cache, folder.path(), "hello");
    assert!(said.contains("its mode is now 700"), "{said}");
    assert_eq!(
        fs::metadata(&cache).expect("the cache").mode() & 0o777,
        0o700
    );

    let above = folder.path().join("above");
    fs::create_dir(&above).expect("a folder");
    fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).expect("a mode");
    let file = yaml(folder.path(), CLAIMED, CLAIM);
    let ended = Galleria::run(&file).data(above.join("data")).fail();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for said in ["cannot use the data folder", "mode 777", "chmod go-w"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn empty_dir_is_limited_before_the_pod_is_evicted() {
    let pod = "          volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes: [{name: scratch, emptyDir: {sizeLimit: 8Mi}}]
";
    let app = App::start(pod, CLAIM);
    let full = app.host.get("/app/fill?path=/scratch/a&mib=200");
    assert_eq!(full.status, 500, "{}", full.body);
    assert_eq!(full.json(), unwritten());
    eventually("the pod is evicted", || {
        let said = app.host.stderr();
        said.contains("exceeds its sizeLimit of 8388608 bytes")
            .then_some(())
    });
    assert_eq!(app.host.get("/good/").status, 200);
}

/// A small file system that tests fill.
struct Disk(PathBuf);

impl Disk {
    const BYTES: u64 = 64 << 20;

    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).expect("a folder");
        let me = fs::metadata(&at).expect("the folder");
        let options = format!("size={},mode=700,uid={}", Self::BYTES, me.uid());
        let mount = |program: &[&str]| {
            Command::new(program[0])
                .args(&program[1..])
                .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
                .arg(&at)
                .status()
                .is_ok_and(|status| status.success())
        };
        assert!(
            mount(&["mount"]) || mount(&["sudo", "-n", "mount"]),
            "a file system of its own is needed: run as root with CAP_SYS_ADMIN (`docker run --cap-add SYS_ADMIN`)"
        );
        Self(at)
    }

    /// Fills the file system except for `left` bytes, as another program would.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("filling");
        let mut file = fs::File::create(&path).expect("a file");
        let piece = vec![1; 4096];
        for _ in 0..free(&self.0).saturating_sub(left) / 4096 {
            if file.write_all(&piece).is_err() {
                break;
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for program in [&["umount", "-l"][..], &["sudo", "-n", "umount", "-l"]] {
            let ended = Command::new(program[0])
                .args(&program[1..])
                .arg(&self.0)
                .status();
            if ended.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// Free bytes, as reported by `df`.
fn free(folder: &Path) -> u64 {
    let output = Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(folder)
        .output()
        .expect("df");
    let text = String::from_utf8(output.stdout).expect("text");
    let free = text.lines().nth(1).expect("a line");
    free.trim().parse().expect("a number")
}

#[test]
fn a_full_disk_refuses_writes_and_everything_goes_on_when_there_is_space_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::mount(folder.path().join("disk"));
    let claim = CLAIM.replace("8Mi", "1Gi");
    let file = yaml(folder.path(), CLAIMED, &claim);
    let data = disk.0.join("data");

    let filling = disk.fill(1 << 20);
    let ended = Galleria::run(&file).data(&data).fail();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let path = data.display().to_string();
    for said in ["bytes free", &path, "needs 8388608 to start", "--data"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    fs::remove_file(filling).expect("removed");

    let host = Galleria::run(&file).data(&data).start();
    let config = kubeconfig(&host, &[]);
    let create = |name: &str| {
        let text = "x".repeat(100_000);
        let object = folder.path().join("object.yaml");
        let yaml = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: test}}\ndata: {{text: {text}}}\n"
        );
        fs::write(&object, yaml).expect("a file");
        let object = object.to_str().expect("text");
        kubectl_with(&host, &config, &["create", "-f", object])
    };
    let ask = |query: &str| host.get(&format!("/app/{query}")).json();
    while_neighbour_is_served(&host, || {
        assert_eq!(ask("fill?path=/data/all&mib=100"), unwritten());
        assert!(free(&disk.0) > Disk::BYTES / 40, "the floor");
        // A guest that fills its volume takes nothing from the host.
        let made = create("first");
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    });
    let filling = disk.fill(0);
    while_neighbour_is_served(&host, || {
        let refused = create("second");
        assert_eq!(refused.code, Some(1), "{}", refused.stdout);
        assert!(refused.stderr.contains("full"), "{}", refused.stderr);
    });
    fs::remove_file(filling).expect("removed");
    while_neighbour_is_served(&host, || {
        let made = create("third");
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        assert_eq!(ask("remove?path=/data/all"), json!({}));
        assert_eq!(ask("fill?path=/data/again&mib=10"), json!({}));
    });
    drop(host);
    let host = Galleria::run(&file).data(&data).start();
    let kept = kubectl(&host, &["get", "configmaps", "-n", "test", "-o", "name"]);
    for (name, is_kept) in [("first", true), ("second", false), ("third", true)] {
        let name = format!("configmap/{name}");
        assert_eq!(kept.lines().any(|it| it == name), is_kept, "{kept}");
    }
    let again = host.get("/app/list?path=/data").json();
    assert_eq!(again, json!({"names": ["again"]}));
}

#[test]
fn pods_of_one_name_in_two_namespaces_share_no_volume() {
    let pod = |namespace: &str| {
        format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: same, namespace: {namespace}, labels: {{app: app}}}}
spec:
  containers:
    - name: main
      image: files
      ports: [{{containerPort: 8080}}]
      volumeMounts: [{{name: scratch, mountPath: /scratch}}]
  volumes: [{{name: scratch, emptyDir: {{}}}}]
"
        )
    };
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let file = folder.path().join("app.yaml");
    let app = manifests(&[Service::new("app", "files").replicas(0)]);
    let other = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n";
    let yaml = [app, pod("test"), other.to_owned(), pod("other")].concat();
    fs::write(&file, yaml).expect("a file");
    let host = Galleria::run(&file).data(&data).start();
    let theirs = data.join("pods/other_same/volumes/scratch");
    eventually("the other pod's volume", || theirs.is_dir().then_some(()));
    fs::write(theirs.join("secret"), "theirs").expect("a file");
    let mine = eventually("the pod answers", || {
        let list = host.get("/app/list?path=/scratch");
        (list.status == 200).then(|| list.json())
    });
    assert_eq!(mine, json!({"names": []}));
    let written = host.get("/app/write?path=/scratch/mine&text=x");
    assert_eq!(written.status, 200, "{}", written.body);
    assert!(!theirs.join("mine").exists());
}
