//! The limited result of a query, on its way to a guest.

use super::{Error, RowSet, Value};

/// The maximum rows and bytes of a result: what fits comfortably into a guest's memory.
pub(super) const ROWS_MAX: usize = 10_000;
pub(super) const BYTES_MAX: usize = 8 << 20;

/// Collects the rows of one result.
pub(super) struct Answer {
    rows: RowSet,
    bytes: usize,
}

impl Answer {
    pub(super) fn new() -> Self {
        let rows = RowSet {
            columns: Vec::new(),
            rows: Vec::new(),
        };
        Self { rows, bytes: 0 }
    }

    /// Sets the names of the columns, at the first call only.
    pub(super) fn name<'a>(&mut self, columns: impl Iterator<Item = &'a str>) {
        if self.rows.columns.is_empty() {
            self.rows.columns = columns.map(str::to_owned).collect();
        }
    }

    /// # Errors
    /// `too-large` if the result exceeds the maximum rows or bytes.
    pub(super) fn push(&mut self, values: Vec<Value>) -> Result<(), Error> {
        self.bytes += values.iter().map(size).sum::<usize>();
        if self.rows.rows.len() >= ROWS_MAX || self.bytes > BYTES_MAX {
            return Err(too_large());
        }
        self.rows.rows.push(values);
        Ok(())
    }

    pub(super) fn finish(self) -> RowSet {
        self.rows
    }
}

pub(super) fn too_large() -> Error {
    Error::TooLarge(format!(
        "the answer has more than {ROWS_MAX} rows or {BYTES_MAX} bytes; select less, or page with `limit`"
    ))
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Boolean(_) => 1,
        Value::Integer(_) | Value::Real(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}
