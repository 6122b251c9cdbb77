//! The kinds that the admin API serves, and the columns that it prints them with.
//!
//! The names are those of the table of kinds in `galleria_manifest`.

mod columns;

pub(crate) use columns::{Cell, of as columns_of};
pub(crate) use galleria_manifest::kind::{Kind, SCALE, served};

/// `apps/v1`; `v1`. A version of another group than the kind's, as in `extensions/v1beta1`,
/// has its group already.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    match group {
        _ if version.contains('/') => version.to_owned(),
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}
