//! Columns of Jobs and CronJobs.

use jiff::Timestamp;

use super::workload::{CONTAINERS, IMAGES, SELECTOR};
use super::{AGE, Cell, Column, NAME, column, duration, number, wide};

pub(super) const JOB: &[Column] = &[
    NAME,
    column("Status", |it| state(it).into()),
    column("Completions", |it| {
        let wanted = it.at("/spec/completions").as_u64().unwrap_or(1);
        format!("{}/{wanted}", it.count("/status/succeeded")).into()
    }),
    column("Duration", |it| length(it).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const CRON_JOB: &[Column] = &[
    NAME,
    column("Schedule", |it| it.text("/spec/schedule").into()),
    column("Timezone", |it| it.text_or_none("/spec/timeZone")),
    Column {
        data_type: "boolean",
        ..column("Suspend", |it| {
            let suspended = it.at("/spec/suspend") == true;
            let text = if suspended { "True" } else { "False" };
            text.into()
        })
    },
    number("Active", |it| it.len("/status/active").into()),
    column("Last Schedule", |it| match it.text(LAST_SCHEDULE) {
        "" => "<none>".into(),
        _ => it.since(LAST_SCHEDULE).into(),
    }),
    AGE,
    wide("Containers", |it| it.joined(JOB_CONTAINERS, "name")),
    wide("Images", |it| it.joined(JOB_CONTAINERS, "image")),
    wide("Selector", |it| {
        it.selector("/spec/jobTemplate/spec/selector/matchLabels")
    }),
];

const LAST_SCHEDULE: &str = "/status/lastScheduleTime";
const JOB_CONTAINERS: &str = "/spec/jobTemplate/spec/template/spec/containers";

fn state(it: Cell<'_>) -> &'static str {
    let holds = |name: &str| {
        it.list("/status/conditions")
            .any(|condition| condition["type"] == name && condition["status"] == "True")
    };
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if holds("Suspended") => "Suspended",
        () => "Running",
    }
}

fn length(it: Cell<'_>) -> String {
    let time = |pointer| it.text(pointer).parse::<Timestamp>().ok();
    let Some(started) = time("/status/startTime") else {
        return String::new();
    };
    let ended = time("/status/completionTime").unwrap_or(it.now);
    duration(ended.as_second() - started.as_second())
}
