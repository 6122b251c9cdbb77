//! What a statement may do: an allow list that SQLite consults while it prepares the
//! statement. Everything that is not listed is refused, so a newer SQLite does not give
//! guests new abilities by itself.

use rusqlite::hooks::AuthAction;

/// Why a statement was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It accesses something that guests must not access.
    AccessDenied(String),
    /// The interface offers another way to do this.
    Misplaced(String),
}

/// The main database of a connection, the only one that guests may use. Content of `temp`
/// would be visible to the next statement on the same connection.
const DATABASE: &str = "main";

/// The tables that list the temporary tables.
const TEMPORARY_SCHEMA: [&str; 4] = [
    "sqlite_temp_master",
    "sqlite_temp_schema",
    "sqlite_master",
    "sqlite_schema",
];

/// Virtual table modules that are part of SQLite and stay within the database.
const MODULES: [&str; 4] = ["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// PRAGMAs that only return information, with or without an argument.
const PRAGMAS_WITH_ARGUMENT: [&str; 12] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_info",
    "index_xinfo",
    "index_list",
    "foreign_key_list",
    "foreign_key_check",
    "quick_check",
    "integrity_check",
    "optimize",
    "defer_foreign_keys",
];

/// PRAGMAs that guests may set: version numbers of applications, stored in the file.
const PRAGMAS_WRITTEN: [&str; 2] = ["user_version", "application_id"];

/// PRAGMAs that guests may only read. Setting them would change the connection, which
/// other statements share, or the file.
const PRAGMAS_READ: [&str; 10] = [
    "auto_vacuum",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "page_count",
    "page_size",
    "schema_version",
    "synchronous",
];

/// Settings that many programs apply when they connect, with the values that are in
/// effect anyway.
const PRAGMAS_SET_ALREADY: [(&str, &[&str]); 2] = [
    ("foreign_keys", &["1", "on", "true", "yes"]),
    ("journal_mode", &["wal"]),
];

/// # Errors
/// Why the action is refused; the statement is then not prepared.
pub fn allow(action: &AuthAction<'_>, database: Option<&str>) -> Result<(), Refusal> {
    let elsewhere = match action {
        // ALTER TABLE names its database in another field than the other actions.
        AuthAction::AlterTable { database_name, .. } => *database_name != DATABASE,
        _ => database.is_some_and(|name| name != DATABASE) && !is_empty_schema(action, database),
    };
    if elsewhere {
        return Err(denied("temporary tables and other databases are"));
    }
    match action {
        AuthAction::Select
        | AuthAction::Recursive
        | AuthAction::Read { .. }
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::AlterTable { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropView { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. } => Ok(()),
        AuthAction::CreateVtable { module_name, .. }
        | AuthAction::DropVtable { module_name, .. } => match has(&MODULES, module_name) {
            true => Ok(()),
            false => Err(denied("this kind of virtual table is")),
        },
        AuthAction::Function { function_name } => match is_function(function_name) {
            true => Ok(()),
            false => Err(denied(&format!(
                "the function `{}` is",
                plain(function_name)
            ))),
        },
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => pragma(pragma_name, *pragma_value),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Err(Refusal::Misplaced(
            "a statement cannot begin or end transactions; use `begin`, and `commit` and \
                 `rollback` of the interface"
                .into(),
        )),
        AuthAction::Attach { .. } => Err(Refusal::AccessDenied(
            "ATTACH and VACUUM would access another file; open that file by its own URL".into(),
        )),
        _ => Err(denied("this kind of statement is")),
    }
}

/// ALTER TABLE searches the list of temporary tables for its table. The list is empty,
/// and guests cannot write to it.
fn is_empty_schema(action: &AuthAction<'_>, database: Option<&str>) -> bool {
    let (AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. }) = action
    else {
        return false;
    };
    database == Some("temp") && has(&TEMPORARY_SCHEMA, table_name)
}

fn pragma(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let already = |(it, values): &(&str, &[&str])| {
        name.eq_ignore_ascii_case(it) && value.is_some_and(|value| has(values, value))
    };
    let allowed = has(&PRAGMAS_WITH_ARGUMENT, name)
        || has(&PRAGMAS_WRITTEN, name)
        || (value.is_none() && has(&PRAGMAS_READ, name))
        || PRAGMAS_SET_ALREADY.iter().any(already);
    match allowed {
        true => Ok(()),
        false => Err(denied(&format!("this use of `PRAGMA {}` is", plain(name)))),
    }
}

/// Every function that a statement may call.
const FUNCTIONS: &[&str] = &[
    // Scalar functions.
    "abs",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "format",
    "glob",
    "hex",
    "if",
    "ifnull",
    "iif",
    "instr",
    "length",
    "like",
    "likelihood",
    "likely",
    "lower",
    "ltrim",
    "max",
    "min",
    "nullif",
    "octet_length",
    "printf",
    "quote",
    "random",
    "randomblob",
    "replace",
    "round",
    "rtrim",
    "sign",
    "soundex",
    "substr",
    "substring",
    "trim",
    "typeof",
    "unhex",
    "unicode",
    "unistr",
    "unistr_quote",
    "unlikely",
    "upper",
    "zeroblob",
    // Functions about the connection.
    "changes",
    "last_insert_rowid",
    "sqlite_version",
    "total_changes",
    // Date and time functions.
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "julianday",
    "strftime",
    "time",
    "timediff",
    "unixepoch",
    // Aggregate and window functions.
    "avg",
    "count",
    "group_concat",
    "median",
    "percentile",
    "percentile_cont",
    "percentile_disc",
    "string_agg",
    "sum",
    "total",
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
    // Mathematical functions.
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "ceiling",
    "cos",
    "cosh",
    "degrees",
    "exp",
    "floor",
    "ln",
    "log",
    "log10",
    "log2",
    "mod",
    "pi",
    "pow",
    "power",
    "radians",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
    // JSON functions.
    "->",
    "->>",
    "json",
    "json_array",
    "json_array_insert",
    "json_array_length",
    "json_each",
    "json_error_position",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_insert",
    "json_object",
    "json_patch",
    "json_pretty",
    "json_quote",
    "json_remove",
    "json_replace",
    "json_set",
    "json_tree",
    "json_type",
    "json_valid",
    "jsonb",
    "jsonb_array",
    "jsonb_array_insert",
    "jsonb_each",
    "jsonb_extract",
    "jsonb_group_array",
    "jsonb_group_object",
    "jsonb_insert",
    "jsonb_object",
    "jsonb_patch",
    "jsonb_remove",
    "jsonb_replace",
    "jsonb_set",
    "jsonb_tree",
    // Full-text search, and the internal functions that ALTER TABLE calls.
    "bm25",
    "highlight",
    "match",
    "snippet",
    "sqlite_drop_column",
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
    "sqlite_add_constraint",
    "sqlite_drop_constraint",
    "sqlite_find_constraint",
    "sqlite_fail",
];

fn is_function(name: &str) -> bool {
    has(FUNCTIONS, name)
}

fn has(names: &[&str], name: &str) -> bool {
    names.iter().any(|it| it.eq_ignore_ascii_case(name))
}

fn denied(what: &str) -> Refusal {
    Refusal::AccessDenied(format!("{what} not available to guests"))
}

/// A name in a form that is safe in a message: guests can choose any spelling.
fn plain(name: &str) -> String {
    let is_plain = |it: &char| it.is_ascii_alphanumeric() || *it == '_';
    name.chars().filter(is_plain).take(40).collect()
}
