//! The keys of a mapping: they are unique, and `<<` merges those of other mappings.

use std::collections::HashMap;

use super::{Entry, Problem, Value};
use crate::codes;

/// Reports duplicate keys and keeps the first. Messages do not contain the keys: in a Secret,
/// braces without quotes turn values into keys.
pub(super) fn unique(entries: Vec<Entry>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut seen = HashMap::with_capacity(entries.len());
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(line) = seen.get(&entry.key) {
            problems.push(Problem {
                mark: entry.key_mark,
                code: codes::DUPLICATE_KEY,
                message: format!("this key is already set on line {line}; keep one of the two"),
            });
        } else {
            seen.insert(entry.key.clone(), entry.key_mark.line);
            kept.push(entry);
        }
    }
    kept
}

/// Merges the mappings of `<<` into the entries next to it, which take precedence.
pub(super) fn merged(mut entries: Vec<Entry>, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let Some(at) = entries.iter().position(|entry| entry.key == "<<") else {
        return entries;
    };
    let merge = entries.remove(at);
    let sources = match merge.value.value {
        Value::Sequence(items) => items,
        _ => vec![merge.value],
    };
    for source in sources {
        match source.value {
            Value::Mapping(inherited) => {
                for entry in inherited {
                    if !entries.iter().any(|own| own.key == entry.key) {
                        entries.push(entry);
                    }
                }
            }
            _ => problems.push(Problem {
                mark: merge.key_mark,
                code: codes::SYNTAX,
                message: "`<<` takes a mapping or a list of mappings, by alias".to_owned(),
            }),
        }
    }
    entries
}
