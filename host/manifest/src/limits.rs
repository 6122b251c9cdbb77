//! Limits of the reader. A manifest is written by a person or a generator; anything larger is
//! a mistake or an attack, and is refused with a message before it becomes expensive.

/// Bytes of one file. The largest manifests in use (bundles of custom resource
/// definitions) are below 2 MiB; etcd refuses objects over 1.5 MiB.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Nesting of mappings and sequences. The deepest field of any kind is 14 levels down. The
/// tree is walked recursively, so this also bounds the stack.
pub const NESTING_DEPTH_MAX: usize = 64;

/// Values in one file with expanded aliases, which aliases of aliases could otherwise
/// multiply without bound. Ten thousand routes in one file are about 200,000 values.
pub const NODES_PER_FILE_MAX: usize = 500_000;

/// Bytes of text that the aliases of one file repeat: many aliases of one long text could
/// otherwise multiply it without bound.
pub const ALIASED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Files of one load. A folder with more is not a folder of manifests.
pub const FILES_MAX: usize = 10_000;

/// Levels of folders below a given one. This also ends a cycle of links.
pub const FOLDER_DEPTH_MAX: usize = 16;

/// Syntax errors of one file before the rest of it is skipped: after each, the reader
/// continues at the next document.
pub const SYNTAX_ERRORS_PER_FILE_MAX: usize = 20;

/// Reported problems of one object; further ones are only counted.
pub const DIAGNOSTICS_PER_OBJECT_MAX: usize = 100;

/// Bytes of a compiled regular expression: less than the default of the `regex` crate, since
/// a manifest may have thousands.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a value shown in a message.
pub const SHOWN_CHARACTERS_MAX: usize = 60;

/// Bytes of a request's body that a service of external authorization gets. They are in
/// memory while it decides.
pub const CHECKED_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a JSON Web Key Set, inline or fetched. The largest of the public identity
/// providers are below 20 KiB.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
