//! A copy of a database that is in use. No other process can make one: the
//! write-ahead log's index is in the memory of this one.

use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::Error;
use crate::connection::VFS;
use crate::memory::initialize;

/// Copies what is committed at this moment. Pages are copied as they are; nothing of
/// the schema is read.
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
    // All in one step, so that no write in between makes it begin anew.
    copy.step(-1)?;
    drop(copy);
    // One file is all there is of the copy.
    to.query_row("pragma journal_mode = delete", (), |_| Ok(()))?;
    Ok(())
}
