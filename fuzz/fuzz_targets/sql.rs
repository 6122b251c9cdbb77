//! Runs any statement on a guest's connection. A statement can change its own tables, but
//! the connection keeps its settings, no other file is created, no transaction stays
//! open, and its memory is bounded.

#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use galleria_sqlite::{AnswerLimits, Budget, Connection, Kind, Memory, Settings, Value};
use libfuzzer_sys::fuzz_target;

const MEMORY_MAX: u64 = 32 << 20;

/// Settings that a guest must not change, and their values.
const SETTINGS: [(&str, i64); 9] = [
    ("pragma mmap_size", 0),
    ("pragma hard_heap_limit", 0),
    ("pragma soft_heap_limit", 0),
    ("pragma trusted_schema", 0),
    ("pragma writable_schema", 0),
    ("pragma foreign_keys", 1),
    ("pragma synchronous", 2),
    ("pragma cache_size", -2_000),
    // Some of SQLite's own operations, such as `alter table`, create an empty `temp`.
    (
        "select count(*) from pragma_database_list where name not in ('main', 'temp')",
        0,
    ),
];

#[derive(Default)]
struct Limited(AtomicU64);

impl Budget for Limited {
    fn reserve(&self, bytes: u64) -> bool {
        let within = |used: u64| Some(used + bytes).filter(|used| *used <= MEMORY_MAX);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        taken.is_ok()
    }

    fn release(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

struct Database {
    connection: Connection,
    folder: PathBuf,
    statements: u32,
}

impl Database {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("galleria-fuzz-sql-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut connection = Connection::open(&Settings {
            path: &folder.join("shop.db"),
            kind: Kind::Writer,
            memory: Memory::new(Arc::new(Limited::default())),
            size_max: 16 << 20,
        })
        .expect("a connection");
        let script = "create table t (a integer primary key, b text, c blob); insert into t values (1, 'x', x'00')";
        connection
            .run_script(script, Box::new(|| false))
            .expect("a table");
        Self {
            connection,
            folder,
            statements: 0,
        }
    }

    fn run(&mut self, text: &str) {
        let until = Instant::now() + Duration::from_millis(20);
        let answer = Some(AnswerLimits {
            rows: 100,
            bytes: 1 << 20,
        });
        let watch = Box::new(move || Instant::now() > until);
        let parameters = [Value::Integer(1), Value::Text("x".into())];
        let _ = self
            .connection
            .run(Kind::Writer, text, &parameters, answer, watch);
        assert!(self.connection.is_autocommit(), "a transaction is open");
        for (setting, expected) in SETTINGS {
            let found = self.connection.host_value(setting).expect("a setting");
            assert_eq!(found, Value::Integer(expected), "{setting}");
        }
        for entry in std::fs::read_dir(&self.folder).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_string_lossy();
            assert!(
                ["shop.db", "shop.db-wal"].contains(&&*name),
                "{name} appeared"
            );
        }
        self.statements += 1;
    }
}

thread_local! {
    static DATABASE: RefCell<Option<Database>> = const { RefCell::new(None) };
}

fuzz_target!(|text: &str| {
    DATABASE.with_borrow_mut(|database| {
        database.get_or_insert_with(Database::new).run(text);
        // The effects of earlier statements must not mask those of later ones.
        if database.as_ref().is_some_and(|it| it.statements >= 500) {
            *database = None;
        }
    });
});
