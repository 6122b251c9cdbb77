//! Linear-time versions of text functions that take quadratic time in SQLite: no watch
//! can end a function while it processes one value, and `trim` of 200 KB takes ten
//! seconds.

mod text;

use std::collections::HashSet;
use std::sync::Arc;

use memchr::memmem;
use parking_lot::Mutex;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Result};

use crate::limits::LENGTH_MAX;
use text::{bytes, characters, text, too_long};

/// The product of two lengths up to which SQLite's own function is used.
const QUADRATIC_MAX: usize = 20_000_000;

/// The subtype that JSON functions use to recognize each other's results.
const JSON: u32 = b'J' as u32;

/// An unmodified SQLite connection, for cases that are not reimplemented here.
#[derive(Clone, Default)]
struct Plain(Arc<Mutex<Option<Connection>>>);

pub(crate) fn register(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    let plain = Plain::default();
    for (name, ends) in [
        ("trim", Ends::Both),
        ("ltrim", Ends::Left),
        ("rtrim", Ends::Right),
    ] {
        for arguments in [1, 2] {
            let plain = plain.clone();
            connection.create_scalar_function(name, arguments, flags, move |context| {
                trim(context, ends, &plain)
            })?;
        }
    }
    let it = plain.clone();
    connection.create_scalar_function("instr", 2, flags, move |context| instr(context, &it))?;
    let it = plain.clone();
    connection.create_scalar_function("replace", 3, flags, move |context| replace(context, &it))?;
    connection.create_scalar_function("unhex", 2, flags, move |context| unhex(context))?;
    for (name, subtype, call) in [
        ("json_patch", Some(JSON), "select json_patch(?1, ?2)"),
        ("jsonb_patch", None, "select jsonb_patch(?1, ?2)"),
    ] {
        let plain = plain.clone();
        let flags = flags | FunctionFlags::SQLITE_RESULT_SUBTYPE;
        connection.create_scalar_function(name, 2, flags, move |context| {
            let length = |index| bytes(context.get_raw(index)).len().max(1);
            if length(0).saturating_mul(length(1)) > QUADRATIC_MAX {
                return Err(too_long(name));
            }
            let merged = plain.call(call, [context.get_raw(0), context.get_raw(1)])?;
            let subtype = subtype.filter(|_| merged != Value::Null);
            Ok((merged, subtype))
        })?;
    }
    Ok(())
}

impl Plain {
    fn call<const N: usize>(&self, statement: &str, arguments: [ValueRef<'_>; N]) -> Result<Value> {
        let mut connection = self.0.lock();
        let connection = match &mut *connection {
            Some(connection) => connection,
            empty => empty.insert(Connection::open_in_memory()?),
        };
        let arguments = arguments.map(rusqlite::types::ToSqlOutput::Borrowed);
        connection
            .prepare_cached(statement)?
            .query_row(rusqlite::params_from_iter(arguments), |row| row.get(0))
    }

    /// A number in SQLite's notation.
    fn number(&self, number: ValueRef<'_>) -> Result<Vec<u8>> {
        match self.call("select cast(?1 as text)", [number])? {
            Value::Text(text) => Ok(text.into_bytes()),
            _ => Ok(Vec::new()),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    Left,
    Right,
    Both,
}

fn trim(context: &Context<'_>, ends: Ends, plain: &Plain) -> Result<Value> {
    let Some(value) = text(context.get_raw(0), plain)? else {
        return Ok(Value::Null);
    };
    let set = match context.len() {
        1 => b" ".as_slice().into(),
        _ => match text(context.get_raw(1), plain)? {
            Some(set) => set,
            None => return Ok(Value::Null),
        },
    };
    let set: HashSet<&[u8]> = characters(&set).collect();
    let mut rest: &[u8] = &value;
    if ends != Ends::Right {
        for character in characters(&value) {
            if !set.contains(character) {
                break;
            }
            rest = rest.get(character.len()..).unwrap_or_default();
        }
    }
    if ends != Ends::Left {
        let inner: Vec<_> = characters(rest).collect();
        let kept = inner.iter().rev().skip_while(|it| set.contains(**it));
        let length = kept.map(|character| character.len()).sum();
        rest = rest.get(..length).unwrap_or_default();
    }
    text::value(rest)
}

/// The position of the second argument in the first: in bytes for blobs, in characters
/// for texts.
fn instr(context: &Context<'_>, plain: &Plain) -> Result<Option<i64>> {
    let (all, part) = (context.get_raw(0), context.get_raw(1));
    if let (ValueRef::Blob(all), ValueRef::Blob(part)) = (all, part) {
        return Ok(Some(place(memmem::find(all, part))));
    }
    let (Some(all), Some(part)) = (text(all, plain)?, text(part, plain)?) else {
        return Ok(None);
    };
    let found = memmem::find(&all, &part);
    let before = found.and_then(|at| all.get(..at));
    Ok(Some(place(before.map(|it| characters(it).count()))))
}

fn place(before: Option<usize>) -> i64 {
    before.map_or(0, |before| {
        i64::try_from(before).unwrap_or(i64::MAX - 1) + 1
    })
}

fn replace(context: &Context<'_>, plain: &Plain) -> Result<Value> {
    let argument = |index| text(context.get_raw(index), plain);
    let (Some(all), Some(part)) = (argument(0)?, argument(1)?) else {
        return Ok(Value::Null);
    };
    // SQLite ends a pattern at its first zero.
    if part.first().is_none_or(|first| *first == 0) {
        return text::value(&all);
    }
    let Some(by) = argument(2)? else {
        return Ok(Value::Null);
    };
    let mut replaced = Vec::new();
    let mut rest = 0;
    let most = usize::try_from(LENGTH_MAX).unwrap_or_default();
    for at in memmem::find_iter(&all, &*part) {
        replaced.extend_from_slice(all.get(rest..at).unwrap_or_default());
        replaced.extend_from_slice(&by);
        rest = at + part.len();
        if replaced.len() > most {
            return Err(too_long("replace"));
        }
    }
    replaced.extend_from_slice(all.get(rest..).unwrap_or_default());
    text::value(&replaced)
}

/// Decodes pairs of hexadecimal digits, with characters of the second argument before,
/// between and after them; null for anything else.
fn unhex(context: &Context<'_>) -> Result<Option<Vec<u8>>> {
    let plain = Plain::default();
    let (Some(all), Some(ignored)) = (
        text(context.get_raw(0), &plain)?,
        text(context.get_raw(1), &plain)?,
    ) else {
        return Ok(None);
    };
    let ignored: HashSet<&[u8]> = characters(&ignored).collect();
    let mut decoded = Vec::new();
    let mut high = None;
    // SQLite ends the digits at the first zero.
    let digits = all.split(|byte| *byte == 0).next().unwrap_or_default();
    for character in characters(digits) {
        let digit = match character {
            [one] => char::from(*one)
                .to_digit(16)
                .and_then(|it| u8::try_from(it).ok()),
            _ => None,
        };
        match (high.take(), digit) {
            (None, Some(digit)) => high = Some(digit),
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            (None, None) if ignored.contains(character) => {}
            _ => return Ok(None),
        }
    }
    Ok(high.is_none().then_some(decoded))
}
