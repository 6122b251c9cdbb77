//! Counts SQLite's memory per account.
//!
//! SQLite limits only its page cache: a statement that sorts, or that collects distinct
//! values, allocates as much as it needs. SQLite's own limit applies to the whole
//! process, so the statement of one tenant would make another's fail. Therefore every
//! allocation is made here, belongs to an account, and fails if the account's budget is
//! used up. SQLite handles that, and the statement ends with "out of memory".
//!
//! The account is that of the thread's current [`Scope`]. Freeing does not need one: a
//! page that one thread allocated is credited to its account by whichever thread frees
//! it.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rusqlite::ffi;

use crate::Error;

/// Bytes that an account reserves at a time: a statement makes some hundred allocations.
const CHUNK: u64 = 256 << 10;

/// The source of an account's bytes.
pub trait Budget: Send + Sync {
    /// Reserves `bytes` and returns true if that many are left.
    fn reserve(&self, bytes: u64) -> bool;
    fn release(&self, bytes: u64);
}

/// The account of a group of connections.
pub struct Memory {
    budget: Arc<dyn Budget>,
    used: AtomicU64,
    /// Bytes reserved from the budget; changed by one thread at a time.
    reserved: AtomicU64,
    turn: Mutex<()>,
}

impl Memory {
    pub fn new(budget: Arc<dyn Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            used: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            turn: Mutex::default(),
        })
    }

    /// Bytes that SQLite currently holds.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts SQLite's allocations on this thread to this account for as long as the
    /// scope exists.
    pub(crate) fn enter(self: &Arc<Self>) -> Scope {
        Scope(CURRENT.replace(Some(self.clone())))
    }

    fn charge(&self, bytes: u64) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.reserved.load(Ordering::Relaxed) || self.grow(used) {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    fn grow(&self, used: u64) -> bool {
        let _turn = self.turn.lock();
        let reserved = self.reserved.load(Ordering::Relaxed);
        let wanted = used.next_multiple_of(CHUNK).saturating_sub(reserved);
        if wanted > 0 && !self.budget.reserve(wanted) {
            return false;
        }
        self.reserved.fetch_add(wanted, Ordering::Relaxed);
        true
    }

    fn credit(&self, bytes: u64) {
        let used = self.used.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if self.reserved.load(Ordering::Relaxed) > used + 2 * CHUNK {
            self.shrink();
        }
    }

    fn shrink(&self) {
        let _turn = self.turn.lock();
        let needed = self.used().next_multiple_of(CHUNK);
        let reserved = self.reserved.load(Ordering::Relaxed);
        let surplus = reserved.saturating_sub(needed);
        self.reserved.fetch_sub(surplus, Ordering::Relaxed);
        self.budget.release(surplus);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.budget.release(*self.reserved.get_mut());
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Memory>>> = const { RefCell::new(None) };
}

/// The previous account, which becomes current again when this is dropped.
pub(crate) struct Scope(Option<Arc<Memory>>);

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Makes SQLite allocate here. Must be called before a database is opened.
///
/// # Errors
/// SQLite was used before, or was built without the flags of `.cargo/config.toml`.
pub fn initialize() -> Result<(), Error> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| configure().and_then(|()| check_build()))
        .clone()
        .map_err(Error::Unavailable)
}

/// Required build flags.
const BUILT_WITH: [&str; 3] = ["MAX_MMAP_SIZE=0", "TEMP_STORE=3", "OMIT_SHARED_CACHE"];

fn check_build() -> Result<(), String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let connection = rusqlite::Connection::open_in_memory()?;
        let mut options = connection.prepare("pragma compile_options")?;
        options.query_map((), |row| row.get(0))?.collect()
    };
    let options = read().map_err(|error| error.to_string())?;
    for flag in BUILT_WITH {
        if !options.iter().any(|option| option == flag) {
            return Err(format!(
                "SQLite was built without `{flag}`; build the host in its own folder, where \
                 .cargo/config.toml sets LIBSQLITE3_FLAGS"
            ));
        }
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "SQLite takes its allocator as a table of C functions"
)]
fn configure() -> Result<(), String> {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(allocate),
        xFree: Some(free),
        xRealloc: Some(reallocate),
        xSize: Some(size),
        xRoundup: Some(round_up),
        xInit: Some(init),
        xShutdown: Some(shutdown),
        pAppData: ptr::null_mut(),
    };
    // SAFETY: SQLite copies the table; no connection is open yet, otherwise SQLite
    // returns an error.
    let result = unsafe {
        match ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) {
            // SQLite's own statistics would take a lock for every allocation.
            ffi::SQLITE_OK => ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int),
            failed => failed,
        }
    };
    match result {
        ffi::SQLITE_OK => Ok(()),
        failed => Err(format!(
            "the memory of SQLite cannot be counted (code {failed})"
        )),
    }
}

/// Precedes every allocation.
#[repr(C, align(16))]
struct Header {
    /// Bytes that SQLite requested.
    bytes: usize,
    /// From [`Arc::into_raw`], or null.
    account: *const Memory,
}

const HEADER: usize = size_of::<Header>();

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEADER)?, align_of::<Header>()).ok()
}

fn current() -> Option<Arc<Memory>> {
    CURRENT
        .try_with(|current| current.borrow().clone())
        .unwrap_or_default()
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    let Ok(bytes @ 1..) = usize::try_from(bytes) else {
        return ptr::null_mut();
    };
    let Some(layout) = layout(bytes) else {
        return ptr::null_mut();
    };
    let account = current();
    if account
        .as_ref()
        .is_some_and(|it| !it.charge(layout.size() as u64))
    {
        return ptr::null_mut();
    }
    // SAFETY: the layout is not empty, since it includes a header.
    let header = unsafe { alloc(layout) }.cast::<Header>();
    if header.is_null() {
        if let Some(account) = account {
            account.credit(layout.size() as u64);
        }
        return ptr::null_mut();
    }
    let account = account.map_or(ptr::null(), Arc::into_raw);
    // SAFETY: the pointer is not null, is aligned, and has room for a header and the
    // requested bytes.
    unsafe {
        header.write(Header { bytes, account });
        header.add(1).cast()
    }
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn free(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: SQLite frees a pointer from `allocate` or `reallocate` exactly once.
    unsafe {
        let header = memory.cast::<Header>().sub(1);
        let Header { bytes, account } = header.read();
        let Some(layout) = layout(bytes) else {
            return;
        };
        dealloc(header.cast(), layout);
        if !account.is_null() {
            Arc::from_raw(account).credit(layout.size() as u64);
        }
    }
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn reallocate(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    if memory.is_null() {
        // SAFETY: as for `allocate`.
        return unsafe { allocate(bytes) };
    }
    let Ok(wanted @ 1..) = usize::try_from(bytes) else {
        return ptr::null_mut();
    };
    // SAFETY: SQLite passes a pointer from `allocate` or `reallocate`; if this fails,
    // that allocation is unchanged. The account is borrowed, not released.
    unsafe {
        let header = memory.cast::<Header>().sub(1);
        let account = (*header).account.as_ref();
        let (Some(old), Some(new)) = (layout((*header).bytes), layout(wanted)) else {
            return ptr::null_mut();
        };
        let grown = new.size().saturating_sub(old.size()) as u64;
        if account.is_some_and(|it| grown > 0 && !it.charge(grown)) {
            return ptr::null_mut();
        }
        let moved = realloc(header.cast(), old, new.size()).cast::<Header>();
        if moved.is_null() {
            if let Some(account) = account {
                account.credit(grown);
            }
            return ptr::null_mut();
        }
        (*moved).bytes = wanted;
        let freed = old.size().saturating_sub(new.size()) as u64;
        if let Some(account) = account.filter(|_| freed > 0) {
            account.credit(freed);
        }
        moved.add(1).cast()
    }
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: SQLite passes a pointer from `allocate` or `reallocate`.
    let bytes = unsafe { (*memory.cast::<Header>().sub(1)).bytes };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn init(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

#[expect(unsafe_code, reason = "one of SQLite's allocation functions")]
unsafe extern "C" fn shutdown(_: *mut c_void) {}
