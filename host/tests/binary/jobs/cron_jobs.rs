//! CronJobs: Jobs that are created on a schedule.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Job, NAMESPACE, host_for, messages, report};
use crate::support::{Galleria, Host, eventually};

/// Writes the record of a host that was last up `seconds` ago.
pub(super) fn remember(data: &Path, namespace: &str, name: &str, seconds: u64) {
    let folder = data.join("cronjobs").join(namespace);
    std::fs::create_dir_all(&folder).expect("a folder");
    let then = jiff::Timestamp::try_from(SystemTime::now() - Duration::from_secs(seconds));
    let record = serde_json::json!({"doneUntil": then.expect("a time").to_string()});
    std::fs::write(folder.join(name).with_extension("json"), record.to_string()).expect("a record");
}

/// The Jobs that a CronJob created, in order: name and phase.
fn made(host: &Host, cron_job: &str) -> Vec<(String, String)> {
    let report = report(host);
    let jobs = report["jobs"].as_array().expect("a list");
    jobs.iter()
        .map(|job| {
            let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
            (text("name"), text("phase"))
        })
        .filter(|(name, _)| name.starts_with(&format!("{cron_job}-")))
        .collect()
}

#[test]
fn jobs_are_created_on_schedule_and_the_latest_are_kept() {
    let yaml =
        Job::new("tick", "job-print", &[]).cron_yaml("@every 1s", "successfulJobsHistoryLimit: 2");
    let (_folder, host) = host_for(&yaml);
    let runs = || {
        let lines = messages(&host, "tick");
        lines.iter().filter(|line| line.starts_with("args")).count()
    };
    eventually("four runs", || (runs() >= 4).then_some(()));
    eventually("two are kept", || {
        let jobs = made(&host, "tick");
        let complete = jobs.iter().filter(|(_, phase)| phase == "Complete").count();
        assert!(complete <= 3, "more than the history limit: {jobs:?}");
        (complete == 2).then_some(())
    });
    let report = report(&host);
    let cron_job = &report["cron_jobs"][0];
    assert_eq!(cron_job["name"], "tick");
    assert!(
        cron_job["last_schedule"].is_string() && cron_job["next"].is_string(),
        "{cron_job}"
    );
    let complete = host.metric(
        "galleria_jobs_finished_total",
        &["job_name=\"tick\"", "result=\"complete\""],
    );
    assert!(
        complete >= 3.0,
        "counted under the CronJob's name: {complete}"
    );
    assert!(host.status_page(&[]).stdout.contains("@every 1s"));
}

#[test]
fn start_missed_during_downtime_is_made_up_for_once() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = tempfile::tempdir().expect("a folder");
    let jobs = Job::new("missed", "job-print", &[]).cron_yaml("@every 1h", "suspend: false")
        + &Job::new("too-late", "job-print", &[])
            .cron_yaml("@every 1h", "startingDeadlineSeconds: 10")
        + &Job::new("many", "job-print", &[]).cron_yaml("*/1 * * * *", "suspend: false");
    std::fs::write(
        folder.path().join("test.yaml"),
        format!("{NAMESPACE}{jobs}"),
    )
    .expect("a file");
    for (name, hours) in [("missed", 5), ("too-late", 5), ("many", 48)] {
        remember(data.path(), "test", name, hours * 3600 - 60);
    }
    let host = Galleria::run(folder.path()).data(data.path()).start();
    let complete = |name: &str| {
        let jobs = made(&host, name);
        (jobs.len() == 1 && jobs[0].1 == "Complete").then_some(())
    };
    eventually("the missed one ran", || complete("missed"));
    eventually("one of the many ran", || complete("many"));
    assert!(
        host.stderr().contains("more than 100 starts were missed"),
        "{}",
        host.stderr()
    );
    eventually("the start that is too late is reported", || {
        host.stderr()
            .contains("missed a scheduled start")
            .then_some(())
    });
    assert_eq!(made(&host, "too-late"), []);
}

#[test]
fn concurrency_policy_is_respected() {
    let slow = |name| Job::new(name, "job-sleep", &["600000"]);
    let short = Job {
        pod: "terminationGracePeriodSeconds: 0,",
        ..slow("replace")
    };
    let yaml = slow("allow").cron_yaml("@every 1s", "concurrencyPolicy: Allow")
        + &slow("forbid").cron_yaml("@every 1s", "concurrencyPolicy: Forbid")
        + &short.cron_yaml("@every 1s", "concurrencyPolicy: Replace");
    let (_folder, host) = host_for(&yaml);
    eventually("three at once are allowed", || {
        (made(&host, "allow").len() >= 3).then_some(())
    });
    assert_eq!(made(&host, "forbid").len(), 1);
    let sleeps = || messages(&host, "replace").len();
    eventually("it was replaced twice", || (sleeps() >= 3).then_some(()));
    eventually("the replaced ones are gone", || {
        (made(&host, "replace").len() == 1).then_some(())
    });
}

#[test]
fn suspended_or_removed_cron_job_creates_no_jobs() {
    let yaml = Job::new("tick", "job-print", &[]).cron_yaml("@every 1s", "suspend: true");
    let (folder, host) = host_for(&yaml);
    let file = folder.path().join("test.yaml");
    let suspended = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(report(&host)["cron_jobs"][0]["suspended"], true);
    assert_eq!(made(&host, "tick"), []);
    std::fs::write(&file, suspended.replace("suspend: true", "suspend: false")).expect("a file");
    eventually("it creates Jobs", || made(&host, "tick").first().cloned());
    std::fs::write(&file, NAMESPACE).expect("a file");
    eventually("all is gone", || {
        let report = report(&host);
        (report["cron_jobs"] == serde_json::json!([]) && report["jobs"] == serde_json::json!([]))
            .then_some(())
    });
}

#[test]
fn shop_computes_its_ratings_for_a_missed_night() {
    const RATINGS: &str = "/productreviewms/productreview/ratings";
    let data = tempfile::tempdir().expect("a folder");
    let host = Galleria::shop().data(data.path()).start();
    let none = serde_json::json!({"computedAt": null, "ratings": []});
    assert_eq!(host.get(RATINGS).json(), none, "the job has not run yet");
    drop(host);

    remember(data.path(), "shoppingportal", "ratings", 2 * 24 * 3600);
    let host = Galleria::shop().data(data.path()).start();
    let ratings = eventually("the job has run", || {
        let ratings = host.get(RATINGS).json();
        ratings["computedAt"].is_string().then_some(ratings)
    });
    let first = serde_json::json!({"productId": 1, "count": 3, "average": 9.0});
    assert_eq!(ratings["ratings"][0], first, "{ratings}");
    eventually("its line", || {
        messages(&host, "ratings")
            .contains(&"ratings of 10 products computed".into())
            .then_some(())
    });
}
