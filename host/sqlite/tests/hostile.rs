//! Malicious statements of a guest, each on its own file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use galleria_sqlite::{
    AnswerLimits, Budget, Connection, Error, HostStatement, Kind, Memory, Rows, Settings, Value,
    Watch,
};

/// A budget of this many bytes.
struct LimitedMemory {
    limit: u64,
    used: AtomicU64,
}

impl Budget for LimitedMemory {
    fn reserve(&self, bytes: u64) -> bool {
        let within = |used: u64| Some(used + bytes).filter(|total| *total <= self.limit);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        taken.is_ok()
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

struct File {
    folder: tempfile::TempDir,
    budget: Arc<LimitedMemory>,
    memory: Arc<Memory>,
}

impl File {
    fn new() -> Self {
        let budget = Arc::new(LimitedMemory {
            limit: 32 << 20,
            used: AtomicU64::new(0),
        });
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            memory: Memory::new(budget.clone()),
            budget,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    fn open(&self, kind: Kind) -> Connection {
        let settings = Settings {
            path: &self.path(),
            kind,
            memory: self.memory.clone(),
            size_max: 16 << 20,
        };
        Connection::open(&settings).expect("a connection")
    }

    fn writer(&self) -> Connection {
        self.open(Kind::Writer)
    }
}

/// Ends statements that take longer than a test may.
fn patience() -> Watch {
    ends_after(Duration::from_secs(5))
}

fn ends_after(time: Duration) -> Watch {
    let until = Instant::now() + time;
    Box::new(move || Instant::now() > until)
}

fn ask_with(
    connection: &mut Connection,
    statement: &str,
    parameters: &[Value],
) -> Result<Rows, Error> {
    let limits = AnswerLimits {
        rows: 10_000,
        bytes: 8 << 20,
    };
    connection.run(
        Kind::Writer,
        statement,
        parameters,
        Some(limits),
        patience(),
    )
}

fn ask(connection: &mut Connection, statement: &str) -> Result<Rows, Error> {
    ask_with(connection, statement, &[])
}

#[track_caller]
fn one(connection: &mut Connection, statement: &str) -> Value {
    let rows = ask(connection, statement).expect("an answer");
    rows.rows.into_iter().flatten().next().expect("a value")
}

#[test]
fn statements_of_ordinary_applications_are_allowed() {
    let file = File::new();
    let mut connection = file.writer();
    for statement in [
        "create table a (id integer primary key autoincrement, b text not null default 'x' check (length(b) < 9), c real)",
        "create table d (a references a deferrable initially deferred, e generated always as (upper(f)) stored, f)",
        "create unique index i on a (b) where c > 0",
        "create index j on a (lower(trim(b)))",
        "create view v as select a.b, count(*) over (partition by b) as n from a join d on d.a = a.id",
        "create trigger t after insert on a begin insert into d (a, f) values (new.id, 'f'); end",
        "insert into a (b, c) values ('one', 1), ('two', 2) on conflict do nothing",
        "insert into a (b) values ('three') returning id",
        "update a set c = c + 1 from d where d.a = a.id",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100) select sum(i) from n",
        "select * from v order by n limit 1",
        "select json_extract('{\"a\": [1, 2]}', '$.a[1]'), '{}' -> '$', value from json_each('[1]')",
        "select group_concat(b, ', ') from (select b from a union select f from d except select 'z')",
        "select datetime('now'), strftime('%Y', 0, 'unixepoch'), printf('%05.2f', 1.5), hex(randomblob(4))",
        "create virtual table words using fts5 (text)",
        "insert into words values ('some text of a shop')",
        "select highlight(words, 0, '<', '>') from words where words match 'shop' order by bm25(words)",
        "create virtual table places using rtree (id, a, b)",
        "insert into places values (1, 2, 3)",
        "alter table a rename column c to price",
        "alter table a add column more text default ''",
        "alter table a rename to articles",
        "alter table articles drop column more",
        "analyze",
        "reindex",
        "explain query plan select * from articles",
        "pragma user_version = 3",
        "pragma table_info(articles)",
        "select name from pragma_table_info('articles')",
        "select name, sql from sqlite_schema",
        "pragma foreign_keys = on",
        "pragma journal_mode = wal",
        "pragma foreign_key_check",
        "pragma optimize",
        "delete from d",
        "delete from articles where id = 1",
        "drop table words",
        "drop view v",
        "drop trigger t",
        "drop index j",
    ] {
        ask(&mut connection, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    assert_eq!(
        one(&mut connection, "pragma user_version"),
        Value::Integer(3)
    );
    assert_eq!(
        one(&mut connection, "pragma foreign_keys"),
        Value::Integer(1)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of statements")]
fn all_other_statements_are_refused() {
    let file = File::new();
    let mut connection = file.writer();
    ask(&mut connection, "create table a (b)").expect("a table");
    for statement in [
        "attach '/tmp/x.db' as x",
        "attach ':memory:' as x",
        "detach main",
        "vacuum",
        "vacuum into '/tmp/x.db'",
        "create temp table x (a)",
        "create temp view x as select 1",
        "create temp trigger x after insert on a begin select 1; end",
        "create table temp.x (a)",
        "create virtual table x using fts3 (a)",
        "create virtual table x using fts4 (a)",
        "select load_extension('/tmp/x.so')",
        "select fts3_tokenizer('simple')",
        "select sqlite_compileoption_get(0)",
        "select sqlite_log(1, 'x')",
        "select rtreecheck('a')",
        "pragma mmap_size = 1000000000",
        "pragma hard_heap_limit = 1000",
        "pragma soft_heap_limit = 1000",
        "pragma temp_store_directory = '/tmp'",
        "pragma \"data_store_directory\" = '/tmp'",
        "pragma writable_schema = on",
        "pragma trusted_schema = on",
        "pragma journal_mode = off",
        "pragma journal_mode = delete",
        "pragma locking_mode = normal",
        "pragma synchronous = off",
        "pragma cache_size = 1000000",
        "pragma cache_spill = off",
        "pragma max_page_count = 4294967294",
        "pragma journal_size_limit = -1",
        "pragma wal_checkpoint(truncate)",
        "pragma wal_autocheckpoint = 0",
        "pragma threads = 8",
        "pragma temp_store = file",
        "pragma query_only = off",
        "pragma foreign_keys = off",
        "pragma case_sensitive_like = on",
        "pragma database_list",
        "pragma shrink_memory",
        "pragma secure_delete = on",
        "pragma page_size = 65536",
        "pragma encoding = 'UTF-16'",
        "pragma temp.user_version = 1",
        "select * from pragma_database_list",
        "select * from pragma_hard_heap_limit(1)",
    ] {
        let refused = ask(&mut connection, statement);
        assert!(
            matches!(
                refused,
                Err(Error::AccessDenied(_) | Error::InvalidStatement(_))
            ),
            "{statement}: {refused:?}"
        );
    }
    for statement in [
        "begin",
        "commit",
        "rollback",
        "savepoint a",
        "release a",
        "end",
    ] {
        let refused = ask(&mut connection, statement);
        let Err(Error::InvalidStatement(message)) = refused else {
            panic!("{statement}: {refused:?}");
        };
        assert!(
            message.contains("of the interface"),
            "{statement}: {message}"
        );
    }
    for statement in [
        "update sqlite_schema set sql = 'x'",
        "update temp.sqlite_schema set sql = 'x'",
        "insert into temp.sqlite_schema values ('table', 'x', 'x', 2, 'create table x (a)')",
        "delete from sqlite_master",
        "create table sqlite_x (a)",
        "alter table a rename to sqlite_x",
    ] {
        assert!(ask(&mut connection, statement).is_err(), "{statement}");
    }
    assert_eq!(
        one(&mut connection, "select count(*) from sqlite_schema"),
        Value::Integer(1)
    );
}

#[test]
fn reader_refuses_writes() {
    let file = File::new();
    let mut writer = file.writer();
    ask(&mut writer, "create table a (b)").expect("a table");
    let mut reader = file.open(Kind::Reader);
    let mut read = |statement: &str| {
        let limits = Some(AnswerLimits { rows: 9, bytes: 99 });
        reader.run(Kind::Reader, statement, &[], limits, patience())
    };
    assert!(read("select count(*) from a").is_ok());
    for statement in [
        "insert into a values (1)",
        "with x as (select 1) insert into a select * from x",
        "pragma user_version = 1",
        "drop table a",
    ] {
        assert_eq!(read(statement), Err(Error::Writes), "{statement}");
    }
}

#[test]
fn statement_of_a_known_attack_is_harmless() {
    let file = File::new();
    let mut connection = file.writer();
    // CVE-2025-3277: the length of the separators wraps around.
    let separators = "select concat_ws(replace(hex(zeroblob(1000)), '00', hex(zeroblob(1000)))";
    let statement = format!("{separators}{})", ", 'a'".repeat(100));
    let _ = ask(&mut connection, &statement);
    assert_eq!(one(&mut connection, "select 1"), Value::Integer(1));
}

#[test]
fn watch_ends_an_endless_statement() {
    let file = File::new();
    let mut connection = file.writer();
    ask(&mut connection, "create table a (b)").expect("a table");
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n)";
    for rest in [
        "select count(*) from n",
        "insert into a select i from n where i < 0",
        "select 1 from n where i < 0",
    ] {
        let began = Instant::now();
        let statement = format!("{endless} {rest}");
        let watch = ends_after(Duration::from_millis(50));
        let ended = connection.run(Kind::Writer, &statement, &[], None, watch);
        assert_eq!(ended, Err(Error::Ended), "{rest}");
        assert!(began.elapsed() < Duration::from_secs(2), "{rest}");
    }
    assert_eq!(
        one(&mut connection, "select count(*) from a"),
        Value::Integer(0)
    );
}

#[test]
fn memory_is_counted_and_bounded() {
    let file = File::new();
    let mut connection = file.writer();
    let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000)";
    for statement in [
        "select zeroblob(900000000)".to_owned(),
        "select hex(zeroblob(1900000))".into(),
        "select replace(hex(zeroblob(500000)), '0', 'xxxxxxxx')".into(),
        format!("{many} select randomblob(100000) from n order by 1"),
        format!("{many} select count(distinct randomblob(10000)) from n"),
        format!("{many} select group_concat(hex(randomblob(1000))) from n"),
        format!("{many} select json_group_array(randomblob(10)) from n"),
        format!(
            "{many}, m as materialized (select randomblob(9999) as b from n) select * from m, m as k"
        ),
        format!("select {}", vec!["randomblob(2000000)"; 400].join(", ")),
    ] {
        let refused = ask(&mut connection, &statement);
        assert!(
            matches!(
                refused,
                Err(Error::TooLarge(_) | Error::InvalidStatement(_))
            ),
            "{statement:.99} is not refused"
        );
    }
    assert_eq!(one(&mut connection, "select 1"), Value::Integer(1));
    assert!(file.memory.used() < 8 << 20, "{}", file.memory.used());
    drop(connection);
    let File { budget, memory, .. } = file;
    assert_eq!(memory.used(), 0, "all memory is released");
    drop(memory);
    assert_eq!(budget.used.load(Ordering::Relaxed), 0);
}

#[test]
fn functions_on_long_texts_take_linear_time() {
    let file = File::new();
    let mut connection = file.writer();
    let many: String = (0x4e00..0x4e00 + 20_000)
        .filter_map(char::from_u32)
        .collect();
    let long = many.repeat(10);
    let zeros = "0".repeat(500_000);
    let keys = |from: u32| {
        let keys: Vec<_> = (from..from + 20_000)
            .map(|key| format!("\"{key}\":1"))
            .collect();
        format!("{{{}}}", keys.join(","))
    };
    let text = |text: &str| Value::Text(text.to_owned());
    for (statement, parameters) in [
        ("select trim($1, $2)", [text(&long), text(&many)]),
        ("select ltrim($1, $2)", [text(&long), text(&many)]),
        ("select rtrim($1, $2)", [text(&long), text(&many)]),
        (
            "select instr($1, $2)",
            [text(&zeros), text(&(zeros[..250_000].to_owned() + "1"))],
        ),
        (
            "select replace($1, $2, '')",
            [text(&zeros), text(&(zeros[..250_000].to_owned() + "1"))],
        ),
        ("select unhex($1, $2)", [text(&long), text(&many)]),
        (
            "select json_patch($1, $2)",
            [text(&keys(0)), text(&keys(50_000))],
        ),
        (
            "select jsonb_patch($1, $2)",
            [text(&keys(0)), text(&keys(50_000))],
        ),
        (
            "select $1 like $2",
            [text(&zeros), text(&"%0_".repeat(170))],
        ),
        (
            "select $1 glob $2",
            [text(&zeros), text(&"*0?".repeat(170))],
        ),
    ] {
        let began = Instant::now();
        let _ = ask_with(&mut connection, statement, &parameters);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{statement}: {took:?}");
    }
}

/// The results that the functions had before they were replaced.
#[test]
fn replaced_functions_return_the_same_as_sqlite() {
    let file = File::new();
    let mut ours = file.writer();
    let theirs = rusqlite::Connection::open_in_memory().expect("a database");
    let values = [
        "null",
        "''",
        "'a'",
        "'aab'",
        "' a b '",
        "'äöü'",
        "'xäx'",
        "'ö'",
        "x''",
        "x'61'",
        "x'00ff'",
        "12",
        "-1",
        "1.5",
        "0.1",
        "1e100",
        "1e-7",
        "123456789.123456789",
        "'6'",
        "'4a 4B'",
        "' '",
        "'{\"a\":1,\"b\":{\"c\":2.50}}'",
        "'{\"b\":{\"c\":null,\"d\":[1]}}'",
        "'12'",
        "'.'",
    ];
    let mut compared = 0;
    let mut compare = |call: String| {
        let statement = format!("select typeof({call}), quote({call})");
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let expected: Result<(String, String), _> = theirs.query_row(&statement, (), read);
        let found = ask(&mut ours, &statement);
        match (expected, found) {
            (Ok((kind, value)), Ok(rows)) => {
                let expected = vec![Value::Text(kind), Value::Text(value)];
                assert_eq!(rows.rows, [expected], "{call}");
            }
            (Err(_), Err(_)) => {}
            (expected, found) => panic!("{call}: {expected:?} {found:?}"),
        }
        compared += 1;
    };
    for a in values {
        for name in ["trim", "ltrim", "rtrim"] {
            compare(format!("{name}({a})"));
        }
        for b in values {
            for name in ["trim", "ltrim", "rtrim", "instr", "unhex", "json_patch"] {
                compare(format!("{name}({a}, {b})"));
            }
            compare(format!("json_array(json_patch({a}, {b}))"));
            for c in ["null", "''", "'xy'", "7", "1.5"] {
                compare(format!("replace({a}, {b}, {c})"));
            }
        }
    }
    assert!(compared > 5_000, "{compared}");
}

#[test]
fn parameters_are_bound_by_number() {
    let file = File::new();
    let mut connection = file.writer();
    let text = |text: &str| Value::Text(text.to_owned());
    let given = [text("a"), text("b")];
    for (statement, expected) in [
        ("select $2, $1", [text("b"), text("a")]),
        ("select ?2, ?1", [text("b"), text("a")]),
        ("select ?, ?", [text("a"), text("b")]),
        ("select $2, $3", [text("b"), Value::Null]),
    ] {
        let rows = ask_with(&mut connection, statement, &given).expect("an answer");
        assert_eq!(rows.rows, [expected], "{statement}");
    }
    for statement in ["select :a", "select @a", "select $a", "select $0"] {
        let refused = ask_with(&mut connection, statement, &given);
        assert!(
            matches!(refused, Err(Error::InvalidStatement(_))),
            "{statement}"
        );
    }
}

#[test]
fn oversized_statements_are_refused() {
    let file = File::new();
    let mut connection = file.writer();
    for statement in [
        "select 1; select 2".to_owned(),
        "select 1;".repeat(20_000),
        String::new(),
        "  ; -- nothing".into(),
        format!("select '{}'", "x".repeat(300_000)),
        format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("select {}1", "not ".repeat(10_000)),
        format!("select {}", vec!["1"; 501].join(", ")),
        format!("select 1 {}", "union all select 1 ".repeat(101)),
        format!("select {}", vec!["?"; 10_000].join(" || ")),
        "select ?10000".into(),
    ] {
        let refused = ask(&mut connection, &statement);
        assert!(
            matches!(refused, Err(Error::InvalidStatement(_))),
            "{statement:.60}: {refused:?}"
        );
    }
    assert_eq!(
        one(&mut connection, "select 'a;b'"),
        Value::Text("a;b".into())
    );
    assert_eq!(one(&mut connection, "select 1 ; ; "), Value::Integer(1));
}

#[test]
fn file_does_not_exceed_its_maximum_size() {
    let file = File::new();
    let mut connection = file.writer();
    ask(&mut connection, "create table a (b)").expect("a table");
    let fill = "insert into a values (zeroblob(1000000))";
    let full = (0..100)
        .map(|_| ask(&mut connection, fill))
        .find_map(Result::err);
    assert!(matches!(full, Some(Error::Unavailable(_))), "{full:?}");
    assert!(std::fs::metadata(file.path()).expect("a file").len() <= 16 << 20);
    let Value::Integer(rows) = one(&mut connection, "select count(*) from a") else {
        panic!("no number");
    };
    assert!(rows >= 10, "{rows}");
    ask(&mut connection, "delete from a").expect("a full file allows deletion");
    ask(&mut connection, fill).expect("works again");
}

#[test]
fn links_are_not_followed_and_uris_are_not_interpreted() {
    let file = File::new();
    drop(file.writer());
    let open = |name: &str, kind| {
        let settings = Settings {
            path: &file.folder.path().join(name),
            kind,
            memory: file.memory.clone(),
            size_max: 16 << 20,
        };
        Connection::open(&settings)
    };
    std::os::unix::fs::symlink(file.path(), file.folder.path().join("link")).expect("a link");
    assert!(open("link", Kind::Writer).is_err());
    assert!(open("absent.db", Kind::Reader).is_err());
    assert!(!file.folder.path().join("shop.db-shm").exists());
}

#[test]
fn short_statement_is_interrupted_in_time_and_can_run_again() {
    let file = File::new();
    let mut connection = file.writer();
    ask(&mut connection, "create table a (b)").expect("a table");
    ask(&mut connection, "insert into a values (zeroblob(100000))").expect("a row");
    ask(&mut connection, "insert into a values ('short')").expect("a row");
    let long = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000) \
                select sum(i) from n";
    let compares = "select count(*) from a x where instr(hex(x.b), hex(x.b) || 'x') = 0";
    let mut reader = file.open(Kind::Reader);
    let limits = Some(AnswerLimits {
        rows: 10,
        bytes: 1 << 20,
    });
    for statement in [
        long,
        compares,
        "select b from a",
        "select 1 where 'x' like replace(hex(zeroblob(100)), '0', '%')",
        "delete from a",
        "no statement",
    ] {
        let began = Instant::now();
        let until = began + Duration::from_millis(1);
        let done = reader.run_short(statement, &[], limits, until);
        assert_eq!(done, None, "{statement}");
        // A generous limit: on a busy machine this is mostly waiting for a core.
        assert!(began.elapsed() < Duration::from_millis(500), "{statement}");
    }
    let until = Instant::now() + Duration::from_secs(5);
    let short = reader.run_short("select count(*) from a", &[], limits, until);
    assert_eq!(short.map(|it| it.rows), Some(vec![vec![Value::Integer(2)]]));
    // The usual limits are restored.
    for statement in ["select b from a", long] {
        let done = reader.run(Kind::Reader, statement, &[], limits, patience());
        assert!(done.is_ok(), "{statement}: {done:?}");
    }
}

#[test]
fn guest_cannot_run_a_statement_that_the_host_prepared() {
    let file = File::new();
    let mut connection = file.writer();
    ask(&mut connection, "create table a (b)").expect("a table");
    for end in [HostStatement::Commit, HostStatement::Rollback] {
        // All of them are prepared and kept.
        for statement in [
            HostStatement::Begin,
            HostStatement::Savepoint,
            HostStatement::RollbackToSavepoint,
            HostStatement::Release,
            end,
        ] {
            connection.host(statement).expect("it runs");
        }
        connection.host(HostStatement::Begin).expect("it runs");
        for text in [
            "commit",
            "commit;",
            "commit; ",
            "rollback;",
            "savepoint item;",
            "release item;",
        ] {
            let refused = ask(&mut connection, text);
            assert!(
                matches!(refused, Err(Error::InvalidStatement(_))),
                "{text}: {refused:?}"
            );
            assert!(!connection.is_autocommit(), "{text}");
        }
        connection.host(end).expect("it runs");
    }
    connection.host(HostStatement::Checkpoint).expect("it runs");
    let refused = ask(&mut connection, "pragma wal_checkpoint(truncate);");
    assert!(
        matches!(refused, Err(Error::AccessDenied(_))),
        "{refused:?}"
    );
}

#[test]
fn columns_are_those_of_the_current_schema() {
    let file = File::new();
    let mut writer = file.writer();
    ask(&mut writer, "create table a (b)").expect("a table");
    ask(&mut writer, "insert into a values (1)").expect("a row");
    let mut reader = file.open(Kind::Reader);
    let limits = Some(AnswerLimits {
        rows: 10,
        bytes: 1 << 20,
    });
    let mut columns = || {
        let rows = reader.run(Kind::Reader, "select * from a", &[], limits, patience());
        rows.expect("rows").columns
    };
    assert_eq!(columns(), ["b"]);
    ask(&mut writer, "alter table a add column c").expect("a column");
    assert_eq!(columns(), ["b", "c"]);
    ask(&mut writer, "alter table a drop column b").expect("a column");
    assert_eq!(columns(), ["c"]);
    ask(&mut writer, "delete from a").expect("no row");
    ask(&mut writer, "alter table a add column d").expect("a column");
    assert_eq!(columns(), ["c", "d"]);
}
