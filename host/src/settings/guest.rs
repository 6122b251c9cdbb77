//! What guests may take of the host.

use std::time::Duration;

use clap::Args;
use galleria_manifest::duration;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct GuestSettings {
    /// How long a service may take until its response begins
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_REQUEST_TIMEOUT")]
    pub request_timeout: Duration,

    /// How long a service may pause within a response
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_IDLE_TIMEOUT")]
    pub idle_timeout: Duration,

    /// Memory limit of all guests together, in bytes [default: nine tenths of the machine's or control group's]
    #[arg(long, value_name = "BYTES", env = "GALLERIA_GUEST_MEMORY")]
    pub guest_memory: Option<u64>,

    /// Initial back-off before a crashed pod is restarted; it doubles up to 5 minutes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_RESTART_BACKOFF_INITIAL")]
    pub restart_backoff_initial: Duration,

    /// Interval at which HorizontalPodAutoscalers are evaluated
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, env = "GALLERIA_HORIZONTAL_POD_AUTOSCALER_SYNC_PERIOD")]
    pub horizontal_pod_autoscaler_sync_period: Duration,
}

/// How long a guest may take over one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// Until the response head is complete.
    pub response: Duration,
    /// Between two frames of the response body.
    pub body_idle: Duration,
}

impl GuestSettings {
    pub(crate) fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            response: self.request_timeout,
            body_idle: self.idle_timeout,
        }
    }
}
