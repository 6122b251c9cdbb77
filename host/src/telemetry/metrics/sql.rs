//! SQL statements by workload and database.
//!
//! A guest chooses which databases it opens, so the number of databases with their own
//! labels is bounded for each workload.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use galleria_mesh::Workload;
use parking_lot::Mutex;
use prometheus::Histogram;

use super::Samples;
use super::register::histogram;
use crate::telemetry::names;

/// Databases of one workload that get their own labels; few workloads use more than two.
const DATABASES_MAX: usize = 16;

/// The label of all other databases.
const OTHER: &str = "other";

/// The statements of one workload to one database.
pub(crate) struct StatementMeters {
    ok: Histogram,
    error: Histogram,
}

/// The statements of all workloads.
#[derive(Default)]
pub(crate) struct Statements(Mutex<HashMap<String, HashMap<String, ByWorkload>>>);

/// The databases of one workload, kept as long as the workload exists.
struct ByWorkload {
    workload: Weak<Workload>,
    databases: HashMap<String, Arc<StatementMeters>>,
}

impl StatementMeters {
    fn new() -> Self {
        Self {
            ok: histogram(&names::SQL_STATEMENT),
            error: histogram(&names::SQL_STATEMENT),
        }
    }

    pub(crate) fn took(&self, time: Duration, ok: bool) {
        let histogram = if ok { &self.ok } else { &self.error };
        histogram.observe(time.as_secs_f64());
    }
}

impl Statements {
    /// The counts of the statements of `workload` on `database`.
    pub(crate) fn of(&self, workload: &Arc<Workload>, database: &str) -> Arc<StatementMeters> {
        let mut known = self.0.lock();
        let namespace = match known.get_mut(&workload.namespace) {
            Some(namespace) => namespace,
            None => known.entry(workload.namespace.clone()).or_default(),
        };
        if !namespace.contains_key(&workload.name) {
            let begun = ByWorkload {
                workload: Weak::new(),
                databases: HashMap::new(),
            };
            namespace.insert(workload.name.clone(), begun);
        }
        let Some(known) = namespace.get_mut(&workload.name) else {
            return Arc::new(StatementMeters::new());
        };
        if !std::ptr::eq(known.workload.as_ptr(), Arc::as_ptr(workload)) {
            known.workload = Arc::downgrade(workload);
        }
        let databases = &mut known.databases;
        if let Some(meters) = databases.get(database) {
            return meters.clone();
        }
        let name = match databases.len() < DATABASES_MAX {
            true => database,
            false => OTHER,
        };
        let meters = databases.entry(name.to_owned());
        let meters = meters.or_insert_with(|| Arc::new(StatementMeters::new()));
        meters.clone()
    }

    pub(crate) fn sample(&self, samples: &mut Samples) {
        let mut known = self.0.lock();
        known.retain(|_, workloads| {
            workloads.retain(|_, it| it.workload.strong_count() > 0);
            !workloads.is_empty()
        });
        for (namespace, workloads) in known.iter() {
            for (workload, known) in workloads {
                for (database, meters) in &known.databases {
                    for (result, histogram) in [("ok", &meters.ok), ("error", &meters.error)] {
                        let labels = [namespace.as_str(), workload, database, result];
                        samples.observed(&names::SQL_STATEMENT, &labels, histogram);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_beyond_the_limit_count_together_until_the_workload_is_removed() {
        let statements = Statements::default();
        let workload = Arc::new(Workload::new("shop", "ui", "default", Default::default()));
        for number in 0..100 {
            let database = format!("db:5432/{number}");
            statements
                .of(&workload, &database)
                .took(Duration::ZERO, true);
        }
        let sampled = || {
            let mut samples = Samples::new();
            statements.sample(&mut samples);
            let families = samples.families();
            families.map(|it| it.get_metric().len()).sum::<usize>()
        };
        assert_eq!(sampled(), 2 * (DATABASES_MAX + 1));
        drop(workload);
        assert_eq!(sampled(), 0);
    }
}
