//! Options of a component's instances that Kubernetes has no fields for: the
//! annotations `galleria.dev/…` of a pod template.

use std::time::Duration;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestOptions {
    /// `galleria.dev/isolation`. None: WASI 0.2 components get an instance per
    /// request, WASI 0.3 components serve requests concurrently in reused instances.
    pub isolation: Option<Isolation>,
    /// `galleria.dev/max-instances`, 1 to 1000, 64 where absent.
    pub instances_max: u32,
    /// `galleria.dev/max-queue`: requests that may wait for an instance, 0 to
    /// 100000, 256 where absent.
    pub queue_max: u32,
    /// `galleria.dev/request-timeout`, at most a day; overrides `--request-timeout`.
    pub request_timeout: Option<Duration>,
}

/// How requests are assigned to instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Every request gets a new instance: the default of WASI 0.2 components.
    Request,
    /// Instances are reused, for one request at a time.
    Instance,
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self {
            isolation: None,
            instances_max: 64,
            queue_max: 256,
            request_timeout: None,
        }
    }
}
