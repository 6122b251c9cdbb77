//! Values that are sent to a server and received from it.
//!
//! Parameters are sent as text, which the server parses as the type that it has inferred: a
//! text is a date if the column is one. Results are binary. If the interface has no value for a
//! type, the error names the type; nothing is guessed.

use std::error::Error as StdError;

use bytes::BytesMut;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use tokio_postgres::Row;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use super::{Error, Value};

type BoxError = Box<dyn StdError + Sync + Send>;

#[derive(Debug)]
pub(super) struct Parameter<'a>(pub(super) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Boolean(value) => out.extend_from_slice(if *value { b"t" } else { b"f" }),
            Value::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Value::Real(value) => out.extend_from_slice(real(*value).as_bytes()),
            Value::Text(value) => out.extend_from_slice(value.as_bytes()),
            Value::Blob(value) => out.extend_from_slice(value),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.0 {
            Value::Blob(_) => Format::Binary,
            _ => Format::Text,
        }
    }

    to_sql_checked!();
}

/// PostgreSQL's notation for infinity and NaN.
fn real(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => value.to_string(),
    }
}

/// The values of a row.
///
/// # Errors
/// `invalid-statement` for a column whose type the interface has no value for.
pub(super) fn values(row: &Row) -> Result<Vec<Value>, Error> {
    let columns = row.columns().iter().enumerate();
    columns
        .map(|(index, column)| {
            let read = row.try_get::<_, Option<Cell>>(index);
            let cell = read.map_err(|_| {
                let (name, kind) = (column.name(), column.type_());
                Error::InvalidStatement(format!(
                    "column `{name}` has a value of the type `{kind}`, which is not supported; cast it, as in `{name}::text`"
                ))
            })?;
            Ok(cell.map_or(Value::Null, |Cell(value)| value))
        })
        .collect()
}

struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let value = match *kind {
            Type::BOOL => Value::Boolean(bool::from_sql(kind, raw)?),
            Type::INT2 => Value::Integer(i16::from_sql(kind, raw)?.into()),
            Type::INT4 => Value::Integer(i32::from_sql(kind, raw)?.into()),
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::OID => Value::Integer(u32::from_sql(kind, raw)?.into()),
            Type::FLOAT4 => Value::Real(f32::from_sql(kind, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            Type::VOID => Value::Null,
            Type::NUMERIC => Value::Text(numeric(raw).ok_or("not a number")?),
            Type::UUID => Value::Text(uuid(raw)),
            Type::TIMESTAMPTZ => Value::Text(Timestamp::from_sql(kind, raw)?.to_string()),
            Type::TIMESTAMP => Value::Text(DateTime::from_sql(kind, raw)?.to_string()),
            Type::DATE => Value::Text(Date::from_sql(kind, raw)?.to_string()),
            // The first byte is a version.
            Type::JSONB => text(raw.get(1..).unwrap_or_default())?,
            Type::JSON | Type::XML => text(raw)?,
            _ => match kind.kind() {
                Kind::Domain(base) => return Self::from_sql(base, raw),
                Kind::Enum(_) => text(raw)?,
                _ => Value::Text(String::from_sql(kind, raw)?),
            },
        };
        Ok(Self(value))
    }

    fn accepts(kind: &Type) -> bool {
        const READ: &[Type] = &[
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::BYTEA,
            Type::VOID,
            Type::NUMERIC,
            Type::UUID,
            Type::TIMESTAMPTZ,
            Type::TIMESTAMP,
            Type::DATE,
            Type::JSONB,
            Type::JSON,
            Type::XML,
        ];
        match kind.kind() {
            Kind::Domain(base) => Self::accepts(base),
            Kind::Enum(_) => true,
            _ => READ.contains(kind) || <String as FromSql>::accepts(kind),
        }
    }
}

fn text(raw: &[u8]) -> Result<Value, BoxError> {
    Ok(Value::Text(std::str::from_utf8(raw)?.to_owned()))
}

fn uuid(raw: &[u8]) -> String {
    let hex: Vec<_> = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().concat();
    [
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..16),
    ]
    .join("-")
}

/// An exact number: digits to the base of 10,000, the first of which is `weight` places before
/// the decimal point. `scale` decimal places are shown.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut words = raw
        .chunks_exact(2)
        .map(|word| <[u8; 2]>::try_from(word).map_or(0, i16::from_be_bytes));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<i16> = words.collect();
    if digits.len() != usize::try_from(count).ok()? {
        return None;
    }
    let sign = match sign.cast_unsigned() {
        0x0000 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".into()),
        0xd000 => return Some("Infinity".into()),
        0xf000 => return Some("-Infinity".into()),
        _ => return None,
    };
    let digit = |place: i32| {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index
            .and_then(|index| digits.get(index))
            .copied()
            .unwrap_or(0)
    };
    let whole: String = (0..=i32::from(weight.max(0)))
        .rev()
        .map(|place| format!("{:04}", digit(place)))
        .collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let scale = usize::try_from(scale).ok()?;
    if scale == 0 {
        return Some(format!("{sign}{whole}"));
    }
    let places = i32::try_from(scale.div_ceil(4)).ok()?;
    let fraction: String = (1..=places)
        .map(|place| format!("{:04}", digit(-place)))
        .collect();
    Some(format!("{sign}{whole}.{}", fraction.get(..scale)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[i16]) -> Option<String> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        numeric(&bytes)
    }

    #[test]
    fn exact_numbers_remain_exact() {
        const MINUS: i16 = 0x4000;
        for (words, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0, 0, 1, 2], "10002"),
            (&[1, 1, 0, 0, 3], "30000"),
            (&[2, 0, MINUS, 2, 12, 3400], "-12.34"),
            (&[1, -1, 0, 4, 5], "0.0005"),
            (&[1, -2, 0, 6, 500], "0.000005"),
            (&[0, 0, -16384, 0], "NaN"),
        ] {
            assert_eq!(of(words).as_deref(), Some(expected));
        }
        assert_eq!(of(&[2, 0, 0, 0, 1]), None);
        assert_eq!(of(&[0, 0]), None);
    }

    #[test]
    fn uuid_has_dashes() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
