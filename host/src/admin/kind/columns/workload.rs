//! Columns of pods, of kinds that create them, and of the node.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, column, duration, number, wide};

pub(super) const POD: &[Column] = &[
    NAME,
    column("Ready", |it| {
        let ready = it.list(STATUSES).filter(|status| status["ready"] == true);
        let all = it.len("/spec/containers");
        format!("{}/{all}", ready.count()).into()
    }),
    column("Status", |it| pod_status(it).into()),
    column("Restarts", |it| restarts(it).into()),
    AGE,
    wide("IP", |it| it.text_or_none("/status/podIP")),
    wide("Node", |it| it.text_or_none("/spec/nodeName")),
    wide("Nominated Node", |it| {
        it.text_or_none("/status/nominatedNodeName")
    }),
    wide("Readiness Gates", |_| "<none>".into()),
];

pub(super) const NODE: &[Column] = &[
    NAME,
    column("Status", |it| {
        let ready = match it.condition("Ready") {
            "True" => "Ready",
            _ => "NotReady",
        };
        match it.at("/spec/unschedulable").as_bool() {
            Some(true) => format!("{ready},SchedulingDisabled").into(),
            _ => ready.into(),
        }
    }),
    column("Roles", |_| "<none>".into()),
    AGE,
    column("Version", |it| {
        it.text("/status/nodeInfo/kubeletVersion").into()
    }),
    wide("Internal-IP", |it| {
        it.text_or_none("/status/addresses/0/address")
    }),
    wide("External-IP", |_| "<none>".into()),
    wide("OS-Image", |it| unknown(it, "/status/nodeInfo/osImage")),
    wide("Kernel-Version", |it| {
        unknown(it, "/status/nodeInfo/kernelVersion")
    }),
    wide("Container-Runtime", |it| {
        it.text_or_none("/status/nodeInfo/containerRuntimeVersion")
    }),
];

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    column("Ready", |it| of_replicas(it).into()),
    column("Up-to-date", |it| {
        it.count("/status/updatedReplicas").into()
    }),
    column("Available", |it| {
        it.count("/status/availableReplicas").into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    number("Desired", |it| wanted(it).into()),
    number("Current", |it| it.count("/status/replicas").into()),
    number("Ready", |it| it.count("/status/readyReplicas").into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const DAEMON_SET: &[Column] = &[
    NAME,
    number("Desired", |it| {
        it.count("/status/desiredNumberScheduled").into()
    }),
    number("Current", |it| {
        it.count("/status/currentNumberScheduled").into()
    }),
    number("Ready", |it| it.count("/status/numberReady").into()),
    number("Up-to-date", |it| {
        it.count("/status/updatedNumberScheduled").into()
    }),
    number("Available", |it| it.count("/status/numberAvailable").into()),
    column("Node Selector", |it| {
        it.selector("/spec/template/spec/nodeSelector")
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(super) const STATEFUL_SET: &[Column] = &[
    NAME,
    column("Ready", |it| of_replicas(it).into()),
    AGE,
    CONTAINERS,
    IMAGES,
];

pub(super) const CONTAINERS: Column = wide("Containers", |it| {
    it.joined("/spec/template/spec/containers", "name")
});
pub(super) const IMAGES: Column = wide("Images", |it| {
    it.joined("/spec/template/spec/containers", "image")
});
pub(super) const SELECTOR: Column =
    wide("Selector", |it| it.selector("/spec/selector/matchLabels"));

fn unknown(it: Cell<'_>, pointer: &str) -> Value {
    match it.text(pointer) {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

const STATUSES: &str = "/status/containerStatuses";

fn wanted(it: Cell<'_>) -> u64 {
    it.at("/spec/replicas").as_u64().unwrap_or(1)
}

fn of_replicas(it: Cell<'_>) -> String {
    format!("{}/{}", it.count("/status/readyReplicas"), wanted(it))
}

/// The phase, or a more specific reason.
fn pod_status(it: Cell<'_>) -> &str {
    if !it.at("/metadata/deletionTimestamp").is_null() {
        return "Terminating";
    }
    let mut shown = match it.text("/status/reason") {
        "" => it.text("/status/phase"),
        reason => reason,
    };
    for status in it.list(STATUSES) {
        for kind in ["waiting", "terminated"] {
            if let Some(reason) = status["state"][kind]["reason"].as_str() {
                shown = reason;
            }
        }
    }
    match shown {
        "" => "Unknown",
        shown => shown,
    }
}

/// The number of restarts, and the time since the last one.
fn restarts(it: Cell<'_>) -> String {
    let count = |status: &Value| status["restartCount"].as_u64().unwrap_or_default();
    let count: u64 = it.list(STATUSES).map(count).sum();
    let ended = |status: &Value| {
        let last = status["lastState"]["terminated"]["finishedAt"].as_str()?;
        last.parse::<jiff::Timestamp>().ok()
    };
    match it.list(STATUSES).filter_map(ended).max() {
        Some(last) if count > 0 => {
            let ago = duration(it.now.as_second() - last.as_second());
            format!("{count} ({ago} ago)")
        }
        _ => count.to_string(),
    }
}
