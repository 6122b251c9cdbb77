//! Every span that there is. Of those whose name is always the same no other file
//! holds it.

pub(crate) const QUEUE: &str = "queue";
pub(crate) const INSTANTIATE: &str = "instantiate";
pub(crate) const MIRROR: &str = "mirror";
pub(crate) const FAULT_DELAY: &str = "fault delay";

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
];
