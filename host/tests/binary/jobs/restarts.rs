//! Jobs across a restart of the host.

use std::path::Path;

use super::{CLAIM, Job, MOUNT, NAMESPACE, VOLUME, ended, messages};
use crate::support::{Galleria, Host, eventually};

fn start(folder: &Path, data: &Path) -> Host {
    Galleria::run(folder)
        .argument("--restart-backoff-initial=50ms")
        .data(data)
        .start()
}

fn folders(yaml: &str) -> (tempfile::TempDir, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(file, format!("{NAMESPACE}{yaml}")).expect("a file");
    (folder, tempfile::tempdir().expect("a folder"))
}

#[test]
fn finished_job_does_not_run_again_after_a_restart() {
    let yaml = Job::new("once", "job-print", &["first"]).yaml();
    let (folder, data) = folders(&yaml);
    let mut first = start(folder.path(), data.path());
    ended(&first, "once", "Complete");
    first.terminate();
    assert_eq!(first.wait().code(), Some(0));

    let mut second = start(folder.path(), data.path());
    ended(&second, "once", "Complete");
    second.terminate();
    assert_eq!(second.wait().code(), Some(0));
    assert_eq!(messages(&second, "once"), Vec::<String>::new());

    let file = folder.path().join("test.yaml");
    std::fs::write(
        file,
        format!("{NAMESPACE}{}", yaml.replace("first", "other")),
    )
    .expect("a file");
    let third = start(folder.path(), data.path());
    eventually("the changed template runs", || {
        messages(&third, "once")
            .contains(&r#"args: ["other"]"#.into())
            .then_some(())
    });
}

#[test]
fn interrupted_job_continues_after_a_restart() {
    // Index 0 fails once; the back-off after it is longer than this host runs.
    let job = Job {
        spec: "completions: 2, completionMode: Indexed,",
        pod: VOLUME,
        container: MOUNT,
        ..Job::new("goes-on", "job-flaky", &["/data/runs", "1"])
    };
    let (folder, data) = folders(&(job.yaml() + CLAIM));
    let mut first = Galleria::run(folder.path())
        .argument("--restart-backoff-initial=1h")
        .data(data.path())
        .start();
    eventually("the first failure", || {
        (super::job(&first, "goes-on")?["failed"] == 1).then_some(())
    });
    first.kill();
    let second = start(folder.path(), data.path());
    let report = ended(&second, "goes-on", "Complete");
    assert_eq!(report["completions"], "2/2");
    assert_eq!(
        report["failed"], 1,
        "the failure before the restart is counted"
    );
}

#[test]
fn pods_may_finish_within_their_grace_period() {
    let slow = Job::new("slow", "job-sleep", &["1500"]);
    let endless = Job {
        pod: "terminationGracePeriodSeconds: 2,",
        ..Job::new("endless", "job-loop", &[])
    };
    let (folder, data) = folders(&(slow.yaml() + &endless.yaml()));
    let mut host = start(folder.path(), data.path());
    eventually("both run", || {
        let slow = messages(&host, "slow").contains(&"sleeping".into());
        (slow && messages(&host, "endless") == ["looping"]).then_some(())
    });
    host.terminate();
    assert_eq!(host.wait().code(), Some(0));
    eventually("its last line", || {
        (messages(&host, "slow") == ["sleeping", "awake"]).then_some(())
    });
    assert!(
        host.stderr().contains("killed after its grace period"),
        "{}",
        host.stderr()
    );
    // Finished indexes stay finished; the others start again.
    let again = start(folder.path(), data.path());
    ended(&again, "slow", "Complete");
    eventually("the endless one runs", || {
        (messages(&again, "endless") == ["looping"]).then_some(())
    });
    assert_eq!(messages(&again, "slow"), Vec::<String>::new());
}
