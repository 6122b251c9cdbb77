//! The environment and interfaces of a Job's component.

use super::{CLAIM, Job, VOLUME, ended, host_for, messages, printed};
use crate::support::{Galleria, Service, eventually, manifests, test_components};

#[test]
fn component_gets_arguments_environment_and_configuration() {
    let job = Job {
        container: "command: [perl, -wle, 'print bpi(2000)'],
          env: [{name: PLACE, value: Nürnberg}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
                {name: OWNER, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['job-name']\"}}}],",
        ..Job::new("print", "job-print", &["last"])
    };
    let (_folder, host) = host_for(&job.yaml());
    let report = ended(&host, "print", "Complete");
    assert_eq!(report["completions"], "1/1");
    assert_eq!(report["pods"][0]["exit_code"], 0);
    let lines = eventually("the last line", || {
        let lines = printed(&host, "print");
        lines
            .iter()
            .any(|(_, line)| line == "config PLACE=Nürnberg")
            .then_some(lines)
    });
    let pod = report["pods"][0]["name"].as_str().expect("a name");
    assert!(pod.starts_with("print-"), "{pod}");
    assert!(lines.iter().all(|(of, _)| of == pod), "{lines:?}");
    for expected in [
        r#"args: ["perl", "-wle", "print bpi(2000)", "last"]"#,
        "PLACE=Nürnberg",
        "OWNER=print",
        &format!("POD={pod}"),
    ] {
        assert!(
            lines.iter().any(|(_, line)| line == expected),
            "no {expected} in {lines:?}"
        );
    }
    let labels = &["namespace=\"test\"", "job_name=\"print\""];
    assert_eq!(host.metric("galleria_job_pods", labels), 0.0);
    let succeeded = [labels[0], labels[1], "result=\"succeeded\""];
    assert_eq!(
        host.metric("galleria_job_pods_ended_total", &succeeded),
        1.0
    );
    let complete = [labels[0], labels[1], "result=\"complete\""];
    assert_eq!(host.metric("galleria_jobs_finished_total", &complete), 1.0);
    assert!(host.stderr().contains("job complete"), "{}", host.stderr());
}

#[test]
fn each_index_gets_a_pod_with_its_index() {
    let job = Job {
        spec: "completions: 3, parallelism: 2, completionMode: Indexed,",
        container: "env: [{name: ANNOTATION, valueFrom: {fieldRef:
            {fieldPath: \"metadata.annotations['batch.kubernetes.io/job-completion-index']\"}}}],",
        ..Job::new("indexed", "job-print", &[])
    };
    let (_folder, host) = host_for(&job.yaml());
    let report = ended(&host, "indexed", "Complete");
    assert_eq!(report["completions"], "3/3");
    let lines = eventually("all lines", || {
        let lines = printed(&host, "indexed");
        let ends = |(_, line): &&(String, String)| line.starts_with("config JOB_COMPLETION_INDEX");
        (lines.iter().filter(ends).count() == 3).then_some(lines)
    });
    for index in 0..3 {
        for variable in ["JOB_COMPLETION_INDEX", "ANNOTATION"] {
            let expected = format!("{variable}={index}");
            let (pod, _) = lines
                .iter()
                .find(|(_, line)| *line == expected)
                .unwrap_or_else(|| panic!("no {expected} in {lines:?}"));
            assert!(pod.starts_with(&format!("indexed-{index}-")), "{pod}");
        }
    }
}

#[test]
fn work_queue_completes_with_its_first_success() {
    let job = Job {
        spec: "parallelism: 2,",
        ..Job::new("queue", "job-print", &[])
    };
    let (_folder, host) = host_for(&job.yaml());
    let report = ended(&host, "queue", "Complete");
    assert_eq!(report["completions"], "2", "both pods succeeded");
}

#[test]
fn component_calls_only_services_of_the_mesh() {
    let jobs = [
        Job::new("inside", "job-call", &["http://hello.test/"]),
        Job {
            spec: "backoffLimit: 0,",
            ..Job::new("outside", "job-call", &["http://example.com/"])
        },
    ];
    let services = manifests(&[Service::new("hello", "hello")]);
    let yaml: String = jobs.iter().map(Job::yaml).collect();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), services + &yaml).expect("a file");
    let host = Galleria::run(folder.path())
        .argument("--restart-backoff-initial=50ms")
        .start();
    ended(&host, "inside", "Complete");
    ended(&host, "outside", "Failed");
    eventually("the refused call is logged", || {
        messages(&host, "outside")
            .contains(&"status 502".into())
            .then_some(())
    });
    let call = host.call("the call of the job", |call| {
        call["source_workload"] == "test/inside" && call["response_code"] == 200
    });
    assert_eq!(call["destination_workload"], "test/hello", "{call}");
    let labels = &[
        "reporter=\"destination\"",
        "source_workload=\"inside\"",
        "response_code=\"200\"",
    ];
    assert_eq!(host.metric("istio_requests_total", labels), 1.0);
}

#[test]
fn component_reads_the_databases_of_its_volumes() {
    // Without a root of its own, there are only the volumes.
    let container = "securityContext: {readOnlyRootFilesystem: true}, \
                     volumeMounts: [{name: data, mountPath: /data}],";
    let sql = |name, url| Job {
        spec: "backoffLimit: 0,",
        pod: VOLUME,
        container,
        ..Job::new(name, "job-sql", &[url, "select 6 * 7"])
    };
    let (inside, outside) = (
        sql("inside", "sqlite:/data/shop.db"),
        sql("outside", "sqlite:/elsewhere/shop.db"),
    );
    let (_folder, host) = host_for(&format!("{CLAIM}{}{}", inside.yaml(), outside.yaml()));
    ended(&host, "inside", "Complete");
    eventually("the answer", || {
        (messages(&host, "inside") == ["Some(Value::Integer(42))"]).then_some(())
    });
    ended(&host, "outside", "Failed");
    eventually("the refusal", || {
        messages(&host, "outside")
            .iter()
            .any(|line| line.contains("AccessDenied"))
            .then_some(())
    });
}

#[test]
fn component_of_wasi_0_3_runs_to_completion() {
    let good = Job::new("good", "job-p3", &[]);
    let bad = Job {
        spec: "backoffLimit: 0,",
        ..Job::new("bad", "job-p3", &["fail"])
    };
    let (_folder, host) = host_for(&(good.yaml() + &bad.yaml()));
    ended(&host, "good", "Complete");
    let failed = ended(&host, "bad", "Failed");
    assert_eq!(failed["pods"][0]["exit_code"], 1);
    eventually("its line", || {
        (messages(&host, "good") == ["hello from 0.3"]).then_some(())
    });
}

#[test]
fn component_without_run_is_rejected_with_its_position() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, Job::new("bad", "hello-js", &[]).yaml()).expect("a file");
    assert!(test_components().join("hello-js.wasm").is_file());
    let output = Galleria::run(&file).fail();
    assert_eq!(output.code, Some(1));
    for text in ["test.yaml:7:", "Job/bad", "wasi:cli/run@0.2"] {
        assert!(output.stderr.contains(text), "no {text}: {}", output.stderr);
    }
}

#[test]
fn jobs_of_the_deck_run_unchanged() {
    let components = tempfile::tempdir().expect("a folder");
    for image in ["perl", "busybox"] {
        let guest = test_components().join("job-print.wasm");
        let place = components.path().join(image).with_extension("wasm");
        std::fs::copy(guest, place).expect("a component");
    }
    let deck = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["job-pi.yaml", "cronjob-hello.yaml"] {
        std::fs::copy(deck.join(file), folder.path().join(file)).expect("a manifest");
    }
    // The host was last up two minutes ago, so the CronJob has a missed start.
    let data = tempfile::tempdir().expect("a folder");
    super::cron_jobs::remember(data.path(), "default", "hello", 120);
    let host = Galleria::run(folder.path())
        .components(components.path())
        .data(data.path())
        .start();
    ended(&host, "pi", "Complete");
    let expected = r#"args: ["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"]"#;
    eventually("pi's arguments", || {
        messages(&host, "pi")
            .contains(&expected.into())
            .then_some(())
    });
    let expected = r#"args: ["/bin/sh", "-c", "date; echo Hello from the Kubernetes cluster"]"#;
    eventually("hello's arguments", || {
        messages(&host, "hello")
            .contains(&expected.into())
            .then_some(())
    });
}
