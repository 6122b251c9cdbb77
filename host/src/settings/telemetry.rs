//! What is logged, counted and traced.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::variable;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Telemetry")]
pub(crate) struct TelemetrySettings {
    /// One line per call on standard output [default: readable on a terminal, else json]
    #[arg(long, value_enum, env = "GALLERIA_ACCESS_LOG")]
    pub access_log: Option<AccessLogFormat>,

    /// Whether to collect metrics of every call; those of pods and the host are always collected
    #[arg(long, value_enum, default_value_t = Switch::On, value_name = "on|off", env = "GALLERIA_METRICS")]
    pub metrics: Switch,

    /// Share of the traces that begin here to sample, from 0 to 1; a caller's own decision is kept [default: OTEL_TRACES_SAMPLER, or 1]
    #[arg(long, value_name = "RATIO", value_parser = ratio, env = "GALLERIA_TRACE_SAMPLE")]
    pub trace_sample: Option<f64>,

    /// Log level of the host on standard error: error, warn, info, debug, or by module, as in `galleria=debug`
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "GALLERIA_LOG"
    )]
    pub log: String,
}

/// How lines of the access log are written (`--access-log`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessLogFormat {
    /// One JSON object per line.
    Json,
    /// Envoy's default text form.
    Text,
    /// Short and in colours, for people; includes output of guests
    Readable,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// What the flags and the standard `OTEL_*` variables configure. The exporter reads
/// its own variables (endpoint, headers, timeout) itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TraceSettings {
    /// Share of the traces that begin here, from 0 to 1.
    pub ratio: f64,
    pub export: TraceProtocol,
    /// How long spans wait to be exported in a batch (`OTEL_BSP_SCHEDULE_DELAY`).
    pub batch_delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TraceProtocol {
    /// Nothing is exported.
    Off,
    Grpc,
    Http,
}

impl TelemetrySettings {
    pub(crate) fn traces(&self) -> TraceSettings {
        TraceSettings::new(self.trace_sample, &variable)
    }

    /// The format of the access log and of guests' output.
    pub(crate) fn access_log_format(&self) -> AccessLogFormat {
        self.access_log.unwrap_or(match io::stdout().is_terminal() {
            true => AccessLogFormat::Readable,
            false => AccessLogFormat::Json,
        })
    }
}

impl TraceSettings {
    fn new(flag: Option<f64>, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let argument = || ratio(&variable("OTEL_TRACES_SAMPLER_ARG")?).ok();
        let sampler = variable("OTEL_TRACES_SAMPLER").unwrap_or_default();
        let sampler_ratio = match sampler.trim_start_matches("parentbased_") {
            "always_off" => 0.0,
            "traceidratio" => argument().unwrap_or(1.0),
            _ => 1.0,
        };
        let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|it| it == "true");
        let exporter = variable("OTEL_TRACES_EXPORTER");
        let endpoint = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let is_on = match exporter.as_deref() {
            Some(named) => named == "otlp",
            None => endpoint.is_some(),
        };
        let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
        let delay = variable("OTEL_BSP_SCHEDULE_DELAY").and_then(|text| text.parse().ok());
        Self {
            batch_delay: delay.map_or(Duration::from_secs(5), Duration::from_millis),
            ratio: flag.unwrap_or(sampler_ratio),
            export: match protocol.as_deref() {
                _ if is_disabled || !is_on => TraceProtocol::Off,
                Some("grpc") => TraceProtocol::Grpc,
                Some(_) => TraceProtocol::Http,
                // Each protocol has its own well-known port.
                None if endpoint.is_some_and(|it| it.ends_with(":4318")) => TraceProtocol::Http,
                None => TraceProtocol::Grpc,
            },
        }
    }
}

/// From 0 to 1.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "use a number such as `0.01`")?;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err("must be from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_follow_the_standard_variables() {
        let traces = |flag, variables: &[(&str, &str)]| {
            TraceSettings::new(flag, &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let off = traces(None, &[]);
        assert_eq!((off.ratio, off.export), (1.0, TraceProtocol::Off));
        assert_eq!(traces(None, &[endpoint]).export, TraceProtocol::Grpc);
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(traces(None, &[endpoint, http]).export, TraceProtocol::Http);
        let none = ("OTEL_TRACES_EXPORTER", "none");
        assert_eq!(traces(None, &[endpoint, none]).export, TraceProtocol::Off);
        let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        let argument = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
        assert_eq!(traces(None, &[sampler, argument]).ratio, 0.25);
        assert_eq!(traces(Some(0.5), &[sampler, argument]).ratio, 0.5);
        assert!(ratio("1.1").is_err() && ratio("-1").is_err() && ratio("x").is_err());
    }
}
