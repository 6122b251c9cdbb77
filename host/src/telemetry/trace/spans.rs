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
pub(crate) struct Described {
    pub name: &'static str,
    pub kind: &'static str,
    /// `service.name`.
    pub service: &'static str,
    pub meaning: &'static str,
}

#[cfg(test)]
const fn described(
    name: &'static str,
    kind: &'static str,
    service: &'static str,
    meaning: &'static str,
) -> Described {
    Described {
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
pub(crate) const ALL: &[Described] = &[
    described(
        "METHOD ROUTE",
        "server",
        "the gateway",
        "a client's request, until its response's body has ended",
    ),
    described(
        "METHOD ROUTE",
        "internal",
        "the calling workload",
        "a guest's call, including all attempts",
    ),
    described(
        FAULT_DELAY,
        "internal",
        "the caller",
        "a delay that a rule injects",
    ),
    described(
        "METHOD",
        "client",
        "the caller",
        "one attempt at one endpoint, here or on another host",
    ),
    described(
        MIRROR,
        "internal",
        "the caller",
        "a mirrored copy of the request",
    ),
    described(
        "METHOD",
        "server",
        "the called workload",
        "the guest's work, until its response's body has ended",
    ),
    described(
        QUEUE,
        "internal",
        "the called workload",
        "waiting for an instance (WASI 0.2)",
    ),
    described(
        INSTANTIATE,
        "internal",
        "the called workload",
        "creating an instance (WASI 0.2); absent if an existing one was reused",
    ),
    described(
        "OPERATION TABLE",
        "client",
        "the workload",
        "a statement of `galleria:sql`, without its values",
    ),
    described(
        START,
        "internal",
        HOST,
        "starting the host, until every pod is ready for the first time",
    ),
    described(
        RELOAD,
        "internal",
        HOST,
        "a change of the manifests: `accepted`, `unchanged`, or an error",
    ),
    described(
        WRITE,
        "internal",
        HOST,
        "a write of the admin API, which continues the trace of its request, of a canary or of an autoscaler: `accepted`, or an error",
    ),
    described(READ, "internal", HOST, "reading and parsing objects"),
    described(
        CHECK,
        "internal",
        HOST,
        "checking references, quotas and immutable fields",
    ),
    described(
        PLAN,
        "internal",
        HOST,
        "planning pods: resolving images, configuration and volumes",
    ),
    described(
        PULL,
        "internal",
        HOST,
        "asking a registry for an image: `pulled`, `unchanged`, `kept` if the registry is unavailable and an earlier pull is used, or an error",
    ),
    described(
        LOAD,
        "internal",
        HOST,
        "loading a component: `compiled`, `cached`, or an error",
    ),
    described(
        COMPILE,
        "internal",
        HOST,
        "compiling the routes and binding the listeners",
    ),
    described(COMMIT, "internal", HOST, "putting the change in force"),
    described(
        ROLLOUT,
        "internal",
        HOST,
        "a rollout of a Deployment, below the change that began it: `complete`, `superseded`, `paused`, `stopped`, or an error if it is stuck",
    ),
    described(
        JOB,
        "internal",
        HOST,
        "a run of a Job, below the change that began it: `complete`, `stopped`, or an error",
    ),
    described(
        JOB_POD,
        "internal",
        HOST,
        "one pod of a Job, with its restarts: an error if it fails",
    ),
];
