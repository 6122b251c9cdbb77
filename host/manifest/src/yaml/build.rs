//! Builds the trees of documents from the events of the parser, within limits.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::keys::{merged, unique};
use super::parse::ParsedFile;
use super::syntax::explain;
use super::{Entry, Mark, Node, Problem, Scalar, Style, Value};
use crate::codes;
use crate::limits::{ALIASED_BYTES_MAX, NESTING_DEPTH_MAX, NODES_PER_FILE_MAX};

/// A collection that is still open.
struct Frame {
    mark: Mark,
    anchor: usize,
    kind: Collection,
}

enum Collection {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        key: Option<(String, Mark)>,
    },
}

/// Builds documents from events.
pub(super) struct Builder {
    stack: Vec<Frame>,
    /// Anchored values, each with its number of nodes and its bytes of text.
    anchors: HashMap<usize, (Node, usize, usize)>,
    pub(super) nodes_left: usize,
    /// Bytes that aliases may still repeat.
    aliased_left: usize,
    first_line: u32,
    /// Errors at the end of the file are reported on its last line.
    end: Mark,
    root: Option<Node>,
}

impl Builder {
    pub(super) fn new(end: Mark) -> Self {
        Self {
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes_left: NODES_PER_FILE_MAX,
            aliased_left: ALIASED_BYTES_MAX,
            first_line: 0,
            end,
            root: None,
        }
    }

    pub(super) fn reset(&mut self) {
        self.stack.clear();
        self.anchors.clear();
        self.root = None;
    }

    pub(super) fn read(
        &mut self,
        text: &str,
        first_line: u32,
        parsed: &mut ParsedFile,
    ) -> Result<(), Problem> {
        self.first_line = first_line;
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| self.syntax(&error))?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentEnd => {
                    self.anchors.clear();
                    parsed
                        .documents
                        .extend(self.root.take().filter(|root| !root.is_null()));
                }
                event => self.event(event, span, &mut parsed.problems)?,
            }
        }
        Ok(())
    }

    fn event(
        &mut self,
        event: Event<'_>,
        span: Span,
        problems: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let mark = self.mark(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.style(style, tag.as_deref(), mark)?;
                let scalar = Scalar {
                    lead: lead(&text, span),
                    text: text.into_owned(),
                    style,
                };
                self.value(
                    Node {
                        mark,
                        value: Value::Scalar(scalar),
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, _) => {
                self.open(mark, anchor, Collection::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, _) => self.open(
                mark,
                anchor,
                Collection::Mapping {
                    entries: Vec::new(),
                    key: None,
                },
            ),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else {
                    return Ok(());
                };
                let value = match frame.kind {
                    Collection::Sequence(items) => Value::Sequence(items),
                    Collection::Mapping { entries, .. } => {
                        Value::Mapping(merged(unique(entries, problems), problems))
                    }
                };
                self.value(
                    Node {
                        mark: frame.mark,
                        value,
                    },
                    frame.anchor,
                )
            }
            Event::Alias(anchor) => self.alias(anchor, mark),
            _ => Ok(()),
        }
    }

    fn open(&mut self, mark: Mark, anchor: usize, kind: Collection) -> Result<(), Problem> {
        if self.stack.len() >= NESTING_DEPTH_MAX {
            return Err(too_deep(mark));
        }
        if let Some(Frame {
            kind: Collection::Mapping { key: None, .. },
            ..
        }) = self.stack.last()
        {
            return Err(not_a_key(mark));
        }
        self.stack.push(Frame { mark, anchor, kind });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<(), Problem> {
        let Some((node, size, text)) = self.anchors.get(&anchor) else {
            let message = "this alias is inside the value it refers to".to_owned();
            return Err(Problem {
                mark,
                code: codes::SYNTAX,
                message,
            });
        };
        if *size > self.nodes_left {
            return Err(self.too_many_nodes(mark));
        }
        if *text > self.aliased_left {
            let message = format!(
                "the aliases of one file repeat more than {ALIASED_BYTES_MAX} bytes of text; write \
                 less text at the anchor, or split the file"
            );
            return Err(Problem {
                mark,
                code: codes::LIMIT,
                message,
            });
        }
        self.aliased_left -= *text;
        self.nodes_left -= *size;
        let node = node.clone();
        self.value(node, 0)
    }

    fn value(&mut self, mut node: Node, anchor: usize) -> Result<(), Problem> {
        if self.nodes_left == 0 {
            return Err(self.too_many_nodes(node.mark));
        }
        self.nodes_left -= 1;
        if anchor != 0 {
            let (size, text) = (size(&node), text_bytes(&node));
            self.anchors.insert(anchor, (node.clone(), size, text));
        }
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            None => self.root = Some(node),
            Some(Collection::Sequence(items)) => items.push(node),
            Some(Collection::Mapping { entries, key }) => match key.take() {
                Some((name, key_mark)) => {
                    // An absent value has no position; that of its key is used.
                    if matches!(&node.value, Value::Scalar(scalar) if scalar.text.is_empty()) {
                        node.mark = key_mark;
                    }
                    entries.push(Entry {
                        key: name,
                        key_mark,
                        value: node,
                    });
                }
                None => match node.value {
                    Value::Scalar(scalar) => *key = Some((scalar.text, node.mark)),
                    _ => return Err(not_a_key(node.mark)),
                },
            },
        }
        Ok(())
    }

    fn style(&self, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Result<Style, Problem> {
        match tag {
            None if style == ScalarStyle::Plain => Ok(Style::Plain),
            None => Ok(Style::Text),
            Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
                "int" | "float" | "bool" | "null" => Ok(Style::Plain),
                "str" => Ok(Style::Text),
                _ => Err(Problem {
                    mark,
                    code: codes::SYNTAX,
                    message: TAG.to_owned(),
                }),
            },
            Some(tag) if tag.suffix.is_empty() => Ok(Style::Text),
            Some(_) => Err(Problem {
                mark,
                code: codes::SYNTAX,
                message: TAG.to_owned(),
            }),
        }
    }

    fn too_many_nodes(&mut self, mark: Mark) -> Problem {
        self.nodes_left = 0;
        too_many_nodes(mark)
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        Problem {
            mark: self.mark(error.marker()),
            code: codes::SYNTAX,
            message: explain(error.info()),
        }
    }

    fn mark(&self, marker: &Marker) -> Mark {
        let line = self.first_line + marker.line().max(1) as u32;
        if line > self.end.line {
            return self.end;
        }
        Mark {
            line,
            column: marker.col() as u32 + 1,
        }
    }
}

/// The message does not contain the tag, which may be the beginning of a password.
const TAG: &str =
    "a value that begins with `!` is a tag, and this one is not supported; put it in quotes";

fn not_a_key(mark: Mark) -> Problem {
    let message = "a key must be a plain name, not a list or a mapping; text in braces, as \
                   templates use it, needs quotes"
        .to_owned();
    Problem {
        mark,
        code: codes::SYNTAX,
        message,
    }
}

pub(super) fn too_deep(mark: Mark) -> Problem {
    Problem {
        mark,
        code: codes::LIMIT,
        message: format!("nested more than {NESTING_DEPTH_MAX} levels deep"),
    }
}

pub(super) fn too_many_nodes(mark: Mark) -> Problem {
    let message = format!(
        "more than {NODES_PER_FILE_MAX} values in one file, aliases expanded; split the file"
    );
    Problem {
        mark,
        code: codes::LIMIT,
        message,
    }
}

/// See [`Scalar::lead`].
fn lead(text: &str, span: Span) -> Option<u32> {
    let unread = span.len().checked_sub(text.chars().count())?;
    let one_line = span.start.line() == span.end.line();
    match unread {
        0 if one_line => Some(0),
        2 if one_line => Some(1),
        _ => None,
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

fn text_bytes(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Sequence(items) => items.iter().map(text_bytes).sum(),
        Value::Mapping(entries) => {
            let of_entry = |entry: &Entry| entry.key.len() + text_bytes(&entry.value);
            entries.iter().map(of_entry).sum()
        }
    }
}
