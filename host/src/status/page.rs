//! The report as a page of text.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use super::report::{CronJobReport, JobReport, PodReport, Report, RuleReport, WorkloadReport};

/// The latest events that the page shows; the JSON has all of them.
const EVENTS_MAX: usize = 20;

/// The page that `galleria status` prints.
pub(crate) fn render(report: &Report) -> String {
    let mut page = String::new();
    let state = if report.ready { "ready" } else { "not ready" };
    // Writing to a string cannot fail.
    let _ = writeln!(page, "galleria {}: {state}", report.version);
    section(&mut page, "LISTENERS", &listeners(report));
    section(&mut page, "WORKLOADS", &workloads(&report.workloads));
    if !report.jobs.is_empty() {
        section(&mut page, "JOBS", &jobs(&report.jobs));
    }
    if !report.cron_jobs.is_empty() {
        section(&mut page, "CRON JOBS", &cron_jobs(&report.cron_jobs));
    }
    section(&mut page, "ROUTES", &routes(report));
    let problems: Vec<Vec<String>> = report
        .problems
        .iter()
        .map(|problem| vec![problem.clone()])
        .collect();
    if problems.is_empty() {
        let _ = writeln!(page, "\nPROBLEMS\n  none");
    } else {
        section(&mut page, "PROBLEMS", &problems);
    }
    if !report.drift.is_empty() {
        let drift: Vec<_> = report.drift.iter().map(|it| vec![it.clone()]).collect();
        section(&mut page, "DRIFT", &drift);
    }
    let events = events(&report.objects, Timestamp::now());
    if !events.is_empty() {
        section(&mut page, "EVENTS", &events);
    }
    page
}

fn listeners(report: &Report) -> Vec<Vec<String>> {
    let row = |listener: &super::report::ListenerReport| {
        let scheme = if listener.tls { "https" } else { "http" };
        vec![
            format!("{scheme}://{}", listener.address),
            format!("port {}", listener.port),
            format!("gateway {}", listener.gateway),
        ]
    };
    report.listeners.iter().map(row).collect()
}

fn workloads(workloads: &[WorkloadReport]) -> Vec<Vec<String>> {
    let heading = [
        "NAMESPACE",
        "POD",
        "IMAGE",
        "READY",
        "STATUS",
        "RESTARTS",
        "LAST END",
        "INSTANCES",
        "MEMORY",
        "AGE",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for workload in workloads {
        rows.extend(workload.pods.iter().map(|pod| pod_row(workload, pod)));
    }
    rows
}

fn pod_row(workload: &WorkloadReport, pod: &PodReport) -> Vec<String> {
    vec![
        workload.namespace.clone(),
        pod.name.clone(),
        workload.image.clone(),
        format!("{}/1", u8::from(pod.ready)),
        pod.phase.clone(),
        pod.restarts.to_string(),
        pod.last_termination.clone().unwrap_or_else(|| "-".into()),
        format!("{} idle, {} busy", pod.instances_idle, pod.instances_busy),
        format!(
            "{}/{}Mi",
            pod.memory_bytes >> 20,
            pod.memory_limit_bytes >> 20
        ),
        age(pod.age_seconds),
    ]
}

fn jobs(jobs: &[JobReport]) -> Vec<Vec<String>> {
    let heading = [
        "NAMESPACE",
        "JOB",
        "IMAGE",
        "COMPLETIONS",
        "STATUS",
        "ACTIVE",
        "FAILED",
        "LAST EXIT",
        "AGE",
    ];
    let row = |job: &JobReport| {
        let last = job.pods.last();
        vec![
            job.namespace.clone(),
            job.name.clone(),
            job.image.clone(),
            job.completions.clone(),
            job.phase.clone(),
            job.active.to_string(),
            job.failed.to_string(),
            last.map_or_else(
                || "-".into(),
                |pod| format!("{} {}", pod.exit_code, pod.reason),
            ),
            age(job.age_seconds),
        ]
    };
    let heading = std::iter::once(heading.map(String::from).to_vec());
    heading.chain(jobs.iter().map(row)).collect()
}

fn cron_jobs(cron_jobs: &[CronJobReport]) -> Vec<Vec<String>> {
    let heading = [
        "NAMESPACE",
        "CRON JOB",
        "SCHEDULE",
        "TIME ZONE",
        "SUSPEND",
        "ACTIVE",
        "LAST SCHEDULE",
        "NEXT",
    ];
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".into());
    let row = |cron_job: &CronJobReport| {
        let zone = cron_job.time_zone.as_deref().unwrap_or("UTC");
        vec![
            cron_job.namespace.clone(),
            cron_job.name.clone(),
            cron_job.schedule.clone(),
            zone.to_owned(),
            cron_job.suspended.to_string(),
            cron_job.active.to_string(),
            time(&cron_job.last_schedule),
            time(&cron_job.next),
        ]
    };
    let heading = std::iter::once(heading.map(String::from).to_vec());
    heading.chain(cron_jobs.iter().map(row)).collect()
}

fn routes(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for route in &report.routes {
        rows.push(vec![format!(
            "{}  hosts {}  gateways {}",
            route.object,
            route.hosts.join(","),
            route.gateways.join(",")
        )]);
        rows.extend(route.rules.iter().map(rule_row));
    }
    rows
}

fn rule_row(rule: &RuleReport) -> Vec<String> {
    let destinations: Vec<String> = rule
        .destinations
        .iter()
        .map(|destination| {
            let subset = destination
                .subset
                .as_ref()
                .map(|subset| format!(" subset {subset}"));
            let (host, weight) = (&destination.host, destination.weight);
            format!("{host}{} {weight}%", subset.unwrap_or_default())
        })
        .collect();
    let target = if destinations.is_empty() {
        rule.action.clone()
    } else {
        destinations.join(", ")
    };
    vec![format!("  {}", rule.condition), format!("-> {target}")]
}

/// As in `kubectl get events`, with the latest event at the end.
fn events(objects: &[Value], now: Timestamp) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut events: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "Event")
        .collect();
    events.sort_by_key(|event| text(&event["lastTimestamp"]));
    let skipped = events.len().saturating_sub(EVENTS_MAX);
    let rows = events.into_iter().skip(skipped).map(|event| {
        let last: Option<Timestamp> = text(&event["lastTimestamp"]).parse().ok();
        let ago = last.map_or(0, |last| now.duration_since(last).as_secs().max(0));
        let involved = &event["involvedObject"];
        vec![
            age(ago.unsigned_abs()),
            text(&event["type"]),
            text(&event["reason"]),
            format!(
                "{}/{}",
                text(&involved["kind"]).to_lowercase(),
                text(&involved["name"])
            ),
            format!("x{}", event["count"]),
            // The message of a trap starts with the backtrace and ends with the cause.
            text(&event["message"])
                .lines()
                .next_back()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        ]
    });
    rows.collect()
}

/// As kubectl formats ages.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Rows in aligned columns under a heading.
fn section(page: &mut String, heading: &str, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter(|row| row.len() > 1)
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let _ = writeln!(page, "\n{heading}");
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| {
                if row.len() > 1 {
                    format!("{cell:width$}")
                } else {
                    cell.clone()
                }
            })
            .collect();
        let _ = writeln!(page, "  {}", cells.join("  ").trim_end());
    }
}
