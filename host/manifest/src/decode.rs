//! The decoder: from a tree to typed values, collecting all problems instead of stopping at
//! the first.
//!
//! A reader is a function `fn(&mut Decoder, &Node) -> Option<T>`. It reports a problem to
//! the decoder and returns `None`, and its caller continues with the next field. The decoder
//! keeps the path to the current value, so that readers do not have to.

mod durations;
mod fields;
mod lists;
mod names;
mod numbers;
mod path;
mod quantities;
mod regexes;
mod scalars;
mod suggest;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

pub(crate) use durations::{
    duration, go_duration, non_negative_seconds, optional_timeout, positive_duration,
};
pub(crate) use fields::Fields;
pub(crate) use lists::{items, labels, map, strings};
pub(crate) use names::{
    bind_address, destination_name, dns_label, dns_name, dns_subdomain, ends_with_number,
    header_name, is_dns_label, is_dns_subdomain, is_partial_wildcard, is_qualified_name,
    label_of_any_case, network,
};
pub(crate) use numbers::{
    int_or_percent, integer, number, optional_port, percent, percentage, port, port_name,
    port_reference,
};
pub(crate) use path::{Segment, steps};
pub(crate) use quantities::{bytes, cpu_millis, near_quantity, quantity};
pub(crate) use regexes::{full_match, rewrite_pattern};
pub(crate) use scalars::{
    boolean, choice, located, located_string, located_text, non_empty, string,
};
pub(crate) use suggest::{did_you_mean, nearest};

use crate::limits::{DIAGNOSTICS_PER_OBJECT_MAX, SHOWN_CHARACTERS_MAX};
use crate::yaml::{Mark, Node, ResolvedScalar, Value};
use crate::{Code, Diagnostic, Position, Severity, Unenforced, WithPosition, codes};

/// Collects the problems of one document.
pub(crate) struct Decoder {
    file: Arc<Path>,
    object: Option<String>,
    api_version: String,
    path: Vec<Segment>,
    /// Whether schema problems have Istio's code.
    istio: bool,
    /// Whether values must not appear in messages.
    secret: bool,
    diagnostics: Vec<Diagnostic>,
    unreported: usize,
    refused: bool,
}

impl Decoder {
    pub(crate) fn new(file: &Arc<Path>) -> Self {
        Self {
            file: Arc::clone(file),
            object: None,
            api_version: String::new(),
            path: Vec::new(),
            istio: false,
            secret: false,
            diagnostics: Vec::new(),
            unreported: 0,
            refused: false,
        }
    }

    /// Names the object in all further problems.
    pub(crate) fn name_object(&mut self, kind: &str, name: &str) {
        self.object = Some(format!("{kind}/{name}"));
    }

    /// The name of the object, once it is known.
    pub(crate) fn object_name(&self) -> Option<&str> {
        let (_, name) = self.object.as_deref()?.split_once('/')?;
        Some(name)
    }

    /// The document's apiVersion, for fields that differ between versions.
    pub(crate) fn api_version(&self) -> &str {
        &self.api_version
    }

    pub(crate) fn set_api_version(&mut self, api_version: &str) {
        api_version.clone_into(&mut self.api_version);
    }

    pub(crate) fn hide_values(&mut self) {
        self.secret = true;
    }

    pub(crate) fn use_istio_codes(&mut self) {
        self.istio = true;
    }

    /// Whether an error was reported.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        if self.unreported > 0
            && let Some(last) = self.diagnostics.last()
        {
            let message = format!(
                "{} more problems of this object are not shown",
                self.unreported
            );
            let severity = if self.refused {
                Severity::Error
            } else {
                Severity::Warning
            };
            let diagnostic = Diagnostic {
                message,
                severity,
                code: codes::LIMIT,
                path: String::new(),
                unenforced: None,
                ..last.clone()
            };
            self.diagnostics.push(diagnostic);
        }
        self.diagnostics
    }

    pub(crate) fn error(&mut self, mark: Mark, code: Code, message: impl Into<String>) {
        self.report(mark, Severity::Error, code, message.into());
    }

    pub(crate) fn warning(&mut self, mark: Mark, code: Code, message: impl Into<String>) {
        self.report(mark, Severity::Warning, code, message.into());
    }

    pub(crate) fn note(&mut self, mark: Mark, code: Code, message: impl Into<String>) {
        self.report(mark, Severity::Note, code, message.into());
    }

    /// Reports a restriction that the host does not enforce, after what it is: an error
    /// that does not refuse the object, because an operator may accept it.
    pub(crate) fn unenforced(&mut self, mark: Mark, name: Unenforced, what: &str) {
        // The limit of diagnostics must not hide a restriction.
        if self
            .diagnostics
            .iter()
            .any(|it| it.unenforced == Some(name))
            && self.diagnostics.len() >= DIAGNOSTICS_PER_OBJECT_MAX
        {
            self.unreported += 1;
            return;
        }
        let accept = name.name();
        self.diagnostics.push(Diagnostic {
            at: self.position(mark),
            severity: Severity::Error,
            object: self.object.clone(),
            path: path::render(&self.path),
            message: format!("{what}; `--allow-unenforced {accept}` accepts that"),
            code: codes::RESTRICTION_NOT_ENFORCED,
            unenforced: Some(name),
        });
    }

    fn report(&mut self, mark: Mark, severity: Severity, code: Code, message: String) {
        self.refused |= severity == Severity::Error;
        if self.diagnostics.len() >= DIAGNOSTICS_PER_OBJECT_MAX {
            self.unreported += 1;
            return;
        }
        let code = match severity {
            _ if !self.istio || !is_schema(code) => code,
            Severity::Error => codes::SCHEMA,
            Severity::Warning | Severity::Note => codes::SCHEMA_WARNING,
        };
        self.diagnostics.push(Diagnostic {
            at: self.position(mark),
            severity,
            object: self.object.clone(),
            path: path::render(&self.path),
            message,
            code,
            unenforced: None,
        });
    }

    pub(crate) fn position(&self, mark: Mark) -> Position {
        Position {
            file: Arc::clone(&self.file),
            line: mark.line,
            column: mark.column,
        }
    }

    pub(crate) fn locate<T>(&self, value: T, node: &Node) -> WithPosition<T> {
        WithPosition::new(value, self.position(node.mark))
    }

    /// Runs `read` with `key` added to the path.
    pub(crate) fn under<T>(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(Segment::Key(key.into()));
        let result = read(self);
        self.path.pop();
        result
    }

    /// Runs `read` with `[index]` added to the path.
    pub(crate) fn at_index<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Segment::Index(index));
        let result = read(self);
        self.path.pop();
        result
    }

    /// The value in backquotes, shortened if it is long; never the value of a Secret.
    pub(crate) fn show(&self, text: &str) -> String {
        if self.secret {
            return "the value".to_owned();
        }
        let mut shown: String = text
            .chars()
            .take(SHOWN_CHARACTERS_MAX)
            .flat_map(char::escape_debug)
            .collect();
        if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
            shown.push('…');
        }
        format!("`{}`", shown.replace("\\'", "'").replace("\\\"", "\""))
    }

    /// Describes a value of the wrong type, for "expected a string, found …".
    pub(crate) fn describe(&self, node: &Node) -> String {
        let (kind, text) = match &node.value {
            Value::Mapping(_) => return "a mapping".to_owned(),
            Value::Sequence(_) => return "a list".to_owned(),
            Value::Scalar(scalar) => match scalar.resolve() {
                ResolvedScalar::Null => return "nothing".to_owned(),
                ResolvedScalar::Bool(_) => ("the boolean", &scalar.text),
                ResolvedScalar::Int(_) => ("the integer", &scalar.text),
                ResolvedScalar::Float(_) => ("the number", &scalar.text),
                ResolvedScalar::Text => ("the text", &scalar.text),
            },
        };
        if self.secret {
            return kind
                .replacen("the", "a", 1)
                .replace("a integer", "an integer");
        }
        format!("{kind} {}", self.show(text))
    }

    /// Runs `read` with several steps added to the path; see [`steps!`].
    pub(crate) fn within<T>(&mut self, path: &[Segment], read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.extend_from_slice(path);
        let result = read(self);
        self.path.truncate(length);
        result
    }
}

impl From<&Position> for Mark {
    fn from(at: &Position) -> Self {
        Self {
            line: at.line,
            column: at.column,
        }
    }
}

fn is_schema(code: Code) -> bool {
    [
        codes::MISSING_FIELD,
        codes::WRONG_TYPE,
        codes::INVALID_VALUE,
        codes::UNKNOWN_CHOICE,
        codes::UNKNOWN_FIELD,
        codes::EXCLUSIVE_FIELDS,
        codes::INVALID_REGEX,
    ]
    .contains(&code)
}
