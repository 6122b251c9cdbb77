//! Lines for people at a terminal: short and colored. Text from guests and clients cannot
//! control the terminal.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::access_log::Line;

const DIM: Style = Style::new().dimmed();

/// One connection that was passed through: time, flags, the requested name, and how long it
/// took.
fn connection(line: &Line<'_>) -> String {
    let time = line.start_time.to_string();
    let time = clock(&time);
    let name = line.requested_server_name.unwrap_or("-");
    let cluster = line.upstream_cluster.unwrap_or("-");
    format!(
        "{DIM}{time}{DIM:#}  -  {:<3} client → {cluster}  TLS {}  {} ms",
        line.response_flags,
        EscapeControls(name),
        line.duration,
    )
}

/// One call: time, status and flags, who calls whom, what, and how long it took.
pub(crate) fn call(line: &Line<'_>) -> String {
    let (Some(method), Some(path), Some(trace_id)) = (line.method, line.path, &line.trace_id)
    else {
        return connection(line);
    };
    let colour = match line.response_code {
        200..=299 => AnsiColor::Green,
        100..=399 => AnsiColor::Cyan,
        400..=499 => AnsiColor::Yellow,
        _ => AnsiColor::Red,
    };
    let code = colour.on_default().bold();
    let source = line.source_workload.as_ref();
    let source = source.map_or("client", |source| &source.0.name);
    let destination = line.destination_workload.as_ref();
    let destination = destination.map_or("-", |destination| &destination.0.name);
    let time = line.start_time.to_string();
    let time = clock(&time);
    format!(
        "{DIM}{time}{DIM:#} {code}{}{code:#} {:<3} {source} → {destination}  {} {}  {} ms  {DIM}{}{DIM:#}",
        line.response_code,
        line.response_flags,
        method,
        EscapeControls(path),
        line.duration,
        trace_id,
    )
}

/// One line of a guest.
pub(crate) fn guest(time: Timestamp, workload: &str, origin: &str, text: &str) -> String {
    let colour = match origin {
        "error" | "critical" => AnsiColor::Red,
        "warn" | "stderr" => AnsiColor::Yellow,
        _ => AnsiColor::Blue,
    };
    let style = colour.on_default();
    let time = format!("{time:.3}");
    format!(
        "{DIM}{}{DIM:#} {style}{workload} {origin}{style:#} {}",
        clock(&time),
        EscapeControls(text)
    )
}

/// `hh:mm:ss.sss` of a timestamp by RFC 3339.
fn clock(timestamp: &str) -> &str {
    timestamp.get(11..23).unwrap_or(timestamp)
}

/// Text in which control characters are escaped.
struct EscapeControls<'a>(&'a str);

impl fmt::Display for EscapeControls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|character| match character.is_control() {
                true => write!(f, "{}", character.escape_default()),
                false => f.write_char(character),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_cannot_control_the_terminal() {
        let line = guest(Timestamp::UNIX_EPOCH, "ui-v1", "stdout", "a\x1b[2Jb\rc é");
        assert!(line.contains("a\\u{1b}[2Jb\\rc é"), "{line:?}");
        assert!(line.contains("00:00:00.000"), "{line:?}");
    }
}
