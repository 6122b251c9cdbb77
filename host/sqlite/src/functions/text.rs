//! Values of SQL functions, converted to text as SQLite does it.

use std::borrow::Cow;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Error, Result, ffi};

use super::Plain;

/// The bytes of a text or a blob.
pub(super) fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

/// `None` for NULL.
pub(super) fn text<'a>(value: ValueRef<'a>, plain: &Plain) -> Result<Option<Cow<'a, [u8]>>> {
    Ok(match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into_bytes().into()),
        ValueRef::Real(_) => Some(plain.number(value)?.into()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.into()),
    })
}

/// The characters of a text. Invalid UTF-8 is split as SQLite splits it: a first byte
/// with the bytes that continue it.
pub(super) fn characters(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let first = *bytes.first()?;
        let continued = match first {
            0xc0.. => bytes
                .iter()
                .skip(1)
                .take_while(|byte| **byte & 0xc0 == 0x80)
                .count(),
            _ => 0,
        };
        let (character, rest) = bytes.split_at_checked(1 + continued)?;
        bytes = rest;
        Some(character)
    })
}

pub(super) fn value(bytes: &[u8]) -> Result<Value> {
    // Invalid UTF-8 cannot be returned as text.
    Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
}

pub(super) fn too_long(function: &str) -> Error {
    let failure = ffi::Error::new(ffi::SQLITE_TOOBIG);
    let message = format!("the strings are too long for `{function}`; process them in the guest");
    Error::SqliteFailure(failure, Some(message))
}
