//! Bounds on what the reader takes in. A manifest comes from a person or a
//! generator; whatever is over these is a mistake or an attack, and is refused
//! with a message instead of with a stall.

/// Bytes of one file. The largest manifests in use (bundles of custom resource
/// definitions) are below 2 MiB; etcd refuses objects over 1.5 MiB.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How deep mappings and sequences nest. The deepest field of the kinds read
/// here is 14 levels down; the tree is walked recursively, so this also bounds
/// the stack.
pub const NESTING_DEPTH_MAX: usize = 64;

/// Values in one file, aliases expanded: what a chain of aliases of aliases
/// would otherwise multiply without end. Ten thousand routes in one file are
/// about 200,000 values.
pub const NODES_PER_FILE_MAX: usize = 500_000;

/// Bytes of text that the aliases of one file repeat: one long text and many aliases
/// to it would multiply it without end.
pub const ALIASED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Files of one load. A folder with more is not a folder of manifests.
pub const FILES_MAX: usize = 10_000;

/// Folders below a folder that is given. Also what ends a cycle of links.
pub const FOLDER_DEPTH_MAX: usize = 16;

/// Syntax errors reported for one file before the rest of it is skipped: after
/// each the reader goes on at the next document.
pub const SYNTAX_ERRORS_PER_FILE_MAX: usize = 20;

/// Problems reported for one object before the rest is only counted.
pub const DIAGNOSTICS_PER_OBJECT_MAX: usize = 100;

/// Bytes of a compiled regular expression, the `regex` crate's own bound made
/// smaller: a manifest may hold thousands.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a value shown in a message.
pub const SHOWN_CHARACTERS_MAX: usize = 60;
