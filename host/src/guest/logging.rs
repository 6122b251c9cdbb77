//! `wasi:logging` for guests. Each line has a level and its request, even if one instance
//! serves several requests.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use super::output::{GuestLine, LINE_MAX, Origin};
use super::state::GuestState;

/// The draft was published both with and without a version.
const NAMES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// The longest context that is kept, in bytes.
const CONTEXT_MAX: usize = 256;

/// The level of a line.
#[expect(dead_code, reason = "only guests make them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    for name in NAMES {
        linker.instance(name)?.func_wrap("log", log)?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "how the linker calls it")]
fn log(
    store: StoreContextMut<'_, GuestState>,
    (level, context, message): (Level, String, String),
) -> wasmtime::Result<()> {
    let origin = Origin::Log {
        level,
        context: cut(&context, CONTEXT_MAX),
    };
    let state = store.data();
    let request = state.hooks.serving();
    state.events.line(&GuestLine {
        origin,
        text: cut(&message, LINE_MAX),
        trace: request.map(|request| request.trace.trace_id),
    });
    Ok(())
}

/// The longest prefix of `text` with at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn long_text_is_cut_at_a_character_boundary() {
        assert_eq!(cut("short", 16), "short");
        assert_eq!(cut("ééé", 3), "é");
    }
}
