//! How pods of Jobs end, and the effect on the Job.

use std::collections::BTreeSet;

use super::{CLAIM, Job, MOUNT, VOLUME, ended, host_for, job, messages, printed, report};
use crate::support::{Galleria, Service, eventually, manifests};

/// The reason and exit code of the last pod.
fn last(report: &serde_json::Value) -> (i64, String) {
    let pods = report["pods"].as_array().expect("pods");
    let pod = pods.last().expect("a pod");
    let code = pod["exit_code"].as_i64().expect("a code");
    (code, pod["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn exit_code_is_reported_and_the_backoff_limit_ends_the_job() {
    let fails = Job {
        spec: "backoffLimit: 2,",
        ..Job::new("fails", "job-exit", &["3"])
    };
    let (_folder, host) = host_for(&fails.yaml());
    let failed = ended(&host, "fails", "Failed");
    assert_eq!(last(&failed), (3, "Error".into()));
    assert_eq!(failed["failed"], 3, "one run and two retries");
    eventually("three lines, each of a different pod", || {
        let lines = printed(&host, "fails").into_iter();
        let pods: BTreeSet<_> = lines.map(|(pod, _)| pod).collect();
        (pods.len() == 3).then_some(())
    });
    let problems = report(&host)["problems"].to_string();
    assert!(
        problems.contains("job test/fails failed: BackoffLimitExceeded")
            && problems.contains("exit code 3"),
        "{problems}"
    );
    let labels = &["job_name=\"fails\"", "result=\"failed\""];
    assert_eq!(host.metric("galleria_job_pods_ended_total", labels), 3.0);
    assert_eq!(host.metric("galleria_jobs_finished_total", labels), 1.0);
    let page = host.status_page(&[]);
    assert!(page.stdout.contains("3 Error"), "{}", page.stdout);
}

#[test]
fn trap_fails_only_its_pod_and_keeps_its_output() {
    let trap = Job {
        spec: "backoffLimit: 0,",
        ..Job::new("trap", "job-trap", &[])
    };
    let good = Job::new("good", "job-print", &[]);
    let (_folder, host) = host_for(&(trap.yaml() + &good.yaml()));
    assert_eq!(last(&ended(&host, "trap", "Failed")), (134, "Error".into()));
    ended(&host, "good", "Complete");
    eventually("the incomplete line is logged", || {
        (messages(&host, "trap").first()? == "about to trap").then_some(())
    });
}

#[test]
fn pod_over_its_memory_is_killed() {
    let greedy = Job {
        spec: "backoffLimit: 0,",
        ..Job::new("greedy", "job-allocate", &[])
    };
    let (_folder, host) = host_for(&greedy.yaml());
    let failed = ended(&host, "greedy", "Failed");
    assert_eq!(last(&failed), (137, "OOMKilled".into()));
}

#[test]
fn endless_loop_of_a_job_is_stopped_at_the_deadline_and_affects_no_neighbour() {
    let endless = Job {
        spec: "activeDeadlineSeconds: 2, parallelism: 2, completions: 2,",
        ..Job::new("endless", "job-loop", &[])
    };
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = manifests(&[Service::new("hello", "hello")]) + &endless.yaml();
    std::fs::write(folder.path().join("test.yaml"), yaml).expect("a file");
    // The host becomes ready although the Job never completes.
    let host = Galleria::run(folder.path()).start();
    eventually("both pods run", || {
        (host.metric("galleria_job_pods", &["job_name=\"endless\""]) == 2.0).then_some(())
    });
    assert_eq!(host.get("/hello/").status, 200);
    let failed = ended(&host, "endless", "Failed");
    assert_eq!(failed["active"], 0);
    let problems = report(&host)["problems"].to_string();
    assert!(problems.contains("DeadlineExceeded"), "{problems}");
    eventually("the pods are gone", || {
        (host.metric("galleria_job_pods", &["job_name=\"endless\""]) == 0.0).then_some(())
    });
}

#[test]
fn failed_pods_are_replaced_until_one_succeeds() {
    let flaky = Job {
        pod: VOLUME,
        container: MOUNT,
        ..Job::new("flaky", "job-flaky", &["/data/runs", "2"])
    };
    let (_folder, host) = host_for(&(flaky.yaml() + CLAIM));
    let report = ended(&host, "flaky", "Complete");
    assert_eq!(
        (&report["failed"], &report["completions"]),
        (&2.into(), &"1/1".into())
    );
    let lines = eventually("three lines", || {
        let lines = printed(&host, "flaky");
        (lines.len() == 3).then_some(lines)
    });
    let words: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(words, ["run 1", "run 2", "run 3"]);
    assert_ne!(lines[0].0, lines[1].0, "each run has its own pod");
}

#[test]
fn restart_on_failure_keeps_the_pod() {
    let flaky = Job {
        restart_policy: "OnFailure",
        pod: VOLUME,
        container: MOUNT,
        ..Job::new("flaky", "job-flaky", &["/data/runs", "2"])
    };
    let hopeless = Job {
        spec: "backoffLimit: 1,",
        restart_policy: "OnFailure",
        ..Job::new("hopeless", "job-exit", &["4"])
    };
    let (_folder, host) = host_for(&(flaky.yaml() + CLAIM + &hopeless.yaml()));
    let report = ended(&host, "flaky", "Complete");
    assert_eq!(report["failed"], 2);
    let lines = eventually("three lines", || {
        let lines = printed(&host, "flaky");
        (lines.len() == 3).then_some(lines)
    });
    assert!(lines.iter().all(|(pod, _)| *pod == lines[0].0), "{lines:?}");
    ended(&host, "hopeless", "Failed");
}

#[test]
fn suspended_job_waits_until_its_file_changes() {
    let suspended = Job {
        spec: "suspend: true,",
        ..Job::new("later", "job-print", &[])
    };
    let (folder, host) = host_for(&suspended.yaml());
    ended(&host, "later", "Suspended");
    assert_eq!(messages(&host, "later"), Vec::<String>::new());
    let file = folder.path().join("test.yaml");
    let yaml = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, yaml.replace("suspend: true", "suspend: false")).expect("a file");
    ended(&host, "later", "Complete");
}

#[test]
fn changed_template_replaces_the_job() {
    let (folder, host) = host_for(&Job::new("twice", "job-print", &["first"]).yaml());
    ended(&host, "twice", "Complete");
    let file = folder.path().join("test.yaml");
    let yaml = std::fs::read_to_string(&file).expect("the file");
    // Other changes of the file do not run the Job again.
    std::fs::write(&file, format!("{yaml}{CLAIM}")).expect("a file");
    eventually("the change is in effect", || {
        let accepted = host.metric("galleria_configuration_reloads_total", &["accepted"]);
        (accepted == 1.0).then_some(())
    });
    std::fs::write(&file, yaml.replace("first", "second")).expect("a file");
    eventually("the second has run", || {
        let lines = messages(&host, "twice");
        let args: Vec<_> = lines
            .iter()
            .filter(|line| line.starts_with("args"))
            .collect();
        (args == [r#"args: ["first"]"#, r#"args: ["second"]"#]).then_some(())
    });
    std::fs::write(&file, super::NAMESPACE).expect("a file");
    eventually("the Job is removed", || {
        job(&host, "twice").is_none().then_some(())
    });
}
