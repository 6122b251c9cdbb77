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
        "a guest's call, over all its tries",
    ),
    described(
        FAULT_DELAY,
        "internal",
        "whoever calls",
        "a delay that a rule injects",
    ),
    described(
        "METHOD",
        "client",
        "whoever calls",
        "one try at one endpoint, here or on another host",
    ),
    described(
        MIRROR,
        "internal",
        "whoever calls",
        "a copy of the request, sent besides",
    ),
    described(
        "METHOD",
        "server",
        "the called workload",
        "the guest at work, until its response's body has ended",
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
        "making an instance (WASI 0.2); a request without it met one that was there",
    ),
    described(
        "OPERATION TABLE",
        "client",
        "the workload",
        "a statement of `galleria:sql`, without its values",
    ),
];
