//! Every span that there is. Of those whose name is always the same no other file
//! holds it.

pub(crate) const QUEUE: &str = "queue";
pub(crate) const INSTANTIATE: &str = "instantiate";
pub(crate) const MIRROR: &str = "mirror";
pub(crate) const FAULT_DELAY: &str = "fault delay";

// The control side.
pub(crate) const START: &str = "start";
pub(crate) const RELOAD: &str = "reload";
pub(crate) const WRITE: &str = "write";
pub(crate) const READ: &str = "read";
pub(crate) const CHECK: &str = "check";
pub(crate) const PLAN: &str = "plan";
pub(crate) const PULL: &str = "pull image";
pub(crate) const LOAD: &str = "load component";
pub(crate) const COMPILE: &str = "compile";
pub(crate) const COMMIT: &str = "commit";
pub(crate) const ROLLOUT: &str = "rollout";
pub(crate) const JOB: &str = "job";
pub(crate) const JOB_POD: &str = "job pod";

/// One kind of span, for the document.
#[cfg(test)]
pub(crate) struct SpanDescription {
    pub name: &'static str,
    pub kind: &'static str,
    /// `service.name`.
    pub service: &'static str,
    pub meaning: &'static str,
}

#[cfg(test)]
const fn describe(
    name: &'static str,
    kind: &'static str,
    service: &'static str,
    meaning: &'static str,
) -> SpanDescription {
    SpanDescription {
        name,
        kind,
        service,
        meaning,
    }
}

/// The service of the control side's spans.
#[cfg(test)]
const HOST: &str = "the host";

/// All of them, from the outermost to the innermost.
#[cfg(test)]
pub(crate) const ALL: &[SpanDescription] = &[
    describe(
        "METHOD ROUTE",
        "server",
        "the gateway",
        "a client's request, until its response's body has ended",
    ),
    describe(
        "METHOD ROUTE",
        "internal",
        "the calling workload",
        "a guest's call, including all attempts",
    ),
    describe(
        FAULT_DELAY,
        "internal",
        "the caller",
        "a delay that a rule injects",
    ),
    describe(
        "METHOD",
        "client",
        "the caller",
        "one attempt at one endpoint, here or on another host",
    ),
    describe(
        MIRROR,
        "internal",
        "the caller",
        "a mirrored copy of the request",
    ),
    describe(
        "METHOD",
        "server",
        "the called workload",
        "the guest's work, until its response's body has ended",
    ),
    describe(
        QUEUE,
        "internal",
        "the called workload",
        "waiting for an instance (WASI 0.2)",
    ),
    describe(
        INSTANTIATE,
        "internal",
        "the called workload",
        "creating an instance (WASI 0.2); absent if an existing one was reused",
    ),
    describe(
        "OPERATION TABLE",
        "client",
        "the workload",
        "a statement of `galleria:sql`, without its values",
    ),
    describe(
        START,
        "internal",
        HOST,
        "starting the host, until every pod is ready for the first time",
    ),
    describe(
        RELOAD,
        "internal",
        HOST,
        "a change of the manifests: `accepted`, `unchanged`, or an error",
    ),
    describe(
        WRITE,
        "internal",
        HOST,
        "a write of the admin API, which continues the trace of its request, of a canary or of an autoscaler: `accepted`, or an error",
    ),
    describe(READ, "internal", HOST, "reading and parsing objects"),
    describe(
        CHECK,
        "internal",
        HOST,
        "checking references, quotas and immutable fields",
    ),
    describe(
        PLAN,
        "internal",
        HOST,
        "planning pods: resolving images, configuration and volumes",
    ),
    describe(
        PULL,
        "internal",
        HOST,
        "asking a registry for an image: `pulled`, `unchanged`, `kept` if the registry is unavailable and an earlier pull is used, or an error",
    ),
    describe(
        LOAD,
        "internal",
        HOST,
        "loading a component: `compiled`, `cached`, or an error",
    ),
    describe(
        COMPILE,
        "internal",
        HOST,
        "compiling the routes and binding the listeners",
    ),
    describe(COMMIT, "internal", HOST, "applying the change"),
    describe(
        ROLLOUT,
        "internal",
        HOST,
        "a rollout of a Deployment, below the change that began it: `complete`, `superseded`, `paused`, `stopped`, or an error if it is stuck",
    ),
    describe(
        JOB,
        "internal",
        HOST,
        "a run of a Job, below the change that began it: `complete`, `stopped`, or an error",
    ),
    describe(
        JOB_POD,
        "internal",
        HOST,
        "one pod of a Job, with its restarts: an error if it fails",
    ),
];
