//! Copies a database that is in use. No other process can do it, because the index of the
//! write-ahead log is in the memory of this process.

use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::Error;
use crate::connection::VFS;
use crate::memory::initialize;

/// Copies the data that is committed at this moment. Pages are copied unchanged; the
/// schema is not interpreted.
///
/// # Errors
/// A file cannot be opened, read or written.
pub fn back_up(from: &Path, to: &Path) -> Result<(), Error> {
    initialize()?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let from = Connection::open_with_flags_and_vfs(from, flags, VFS)?;
    let mut to = Connection::open_with_flags(to, flags | OpenFlags::SQLITE_OPEN_CREATE)?;
    let copy = Backup::new(&from, &mut to)?;
    // In a single step: a concurrent write would make the copy start again.
    copy.step(-1)?;
    drop(copy);
    // The copy consists of a single file.
    to.query_row("pragma journal_mode = delete", (), |_| Ok(()))?;
    Ok(())
}
