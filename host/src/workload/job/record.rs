//! What must survive a restart of the host: the progress of each Job from a file, and the
//! last time of each CronJob. Each has a small JSON file in the folder `jobs` or
//! `cronjobs` of the data folder.
//!
//! The Jobs that a CronJob creates have no record. They are not continued after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::progress::Progress;
use crate::workload::{Plan, WorkloadKey};

/// The folders of the records.
pub(super) struct Records {
    jobs: PathBuf,
    cron_jobs: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobRecord {
    /// [`JobPlan::work`](crate::workload::plan::JobPlan) at that time. If it differs, the
    /// Job starts over.
    pub(super) work: String,
    pub(super) progress: Progress,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CronJobRecord {
    /// Times up to this one are handled: the CronJob did not exist before, or a Job was
    /// started or skipped for them.
    pub(super) done_until: Option<Timestamp>,
    pub(super) last_schedule_time: Option<Timestamp>,
    pub(super) last_successful_time: Option<Timestamp>,
}

impl Records {
    pub(super) fn new(data: &Path) -> Self {
        Self {
            jobs: data.join("jobs"),
            cron_jobs: data.join("cronjobs"),
        }
    }

    pub(super) fn job(&self, key: &WorkloadKey) -> Option<JobRecord> {
        load(&path(&self.jobs, key))
    }

    pub(super) fn save_job(&self, key: &WorkloadKey, record: &JobRecord) {
        save(&path(&self.jobs, key), record);
    }

    pub(super) fn remove_job(&self, key: &WorkloadKey) {
        remove(&path(&self.jobs, key));
    }

    pub(super) fn cron_job(&self, key: &WorkloadKey) -> Option<CronJobRecord> {
        load(&path(&self.cron_jobs, key))
    }

    pub(super) fn save_cron_job(&self, key: &WorkloadKey, record: &CronJobRecord) {
        save(&path(&self.cron_jobs, key), record);
    }

    pub(super) fn remove_cron_job(&self, key: &WorkloadKey) {
        remove(&path(&self.cron_jobs, key));
    }

    /// Removes the records of objects that are not in `plan`. As in a cluster, an object
    /// that is deleted and created again is a new one.
    pub(super) fn keep(&self, plan: &Plan) {
        keep(&self.jobs, &plan.jobs);
        keep(&self.cron_jobs, &plan.cron_jobs);
    }
}

/// A digest of the values, in hexadecimal.
pub(super) fn digest(values: &[&Value]) -> String {
    let mut digest = Sha256::new();
    for value in values {
        digest.update(value.to_string());
        digest.update(b"\0");
    }
    let bytes = digest.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file of a record. Names are DNS names, so the path stays in the folder.
fn path(folder: &Path, key: &WorkloadKey) -> PathBuf {
    folder
        .join(&key.namespace)
        .join(format!("{}.json", key.name))
}

/// None if there is no record, or it cannot be read.
fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read the record of a Job");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(
            |error| tracing::warn!(path = %path.display(), %error, "the record of a Job is corrupt; the Job starts over"),
        )
        .ok()
}

/// Replaces a record atomically. A failure is only logged, and the Job continues.
fn save<T: Serialize>(path: &Path, record: &T) {
    let folder = path.parent().unwrap_or(Path::new("."));
    let saved = fs::create_dir_all(folder).and_then(|()| {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.persist(path)?;
        Ok(())
    });
    if let Err(error) = saved {
        tracing::error!(path = %path.display(), %error, "cannot write the record of a Job; it may run again after a restart");
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove the record of a Job");
        }
        _ => {}
    }
}

fn keep<P>(folder: &Path, plans: &BTreeMap<WorkloadKey, P>) {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in folders.flat_map(|namespace| fs::read_dir(namespace.path()).into_iter().flatten()) {
        let Ok(file) = file.map(|file| file.path()) else {
            continue;
        };
        if !plans.keys().any(|key| path(folder, key) == file) {
            remove(&file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> WorkloadKey {
        WorkloadKey {
            namespace: "test".into(),
            name: name.into(),
        }
    }

    #[test]
    fn record_is_read_again_and_a_corrupt_one_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path());
        assert!(records.cron_job(&key("a")).is_none());
        let record = CronJobRecord {
            done_until: Timestamp::from_second(1).ok(),
            ..CronJobRecord::default()
        };
        records.save_cron_job(&key("a"), &record);
        assert_eq!(records.cron_job(&key("a")), Some(record));
        let file = folder.path().join("cronjobs/test/a.json");
        fs::write(file, "{\"doneUntil\": 7").expect("a file");
        assert!(records.cron_job(&key("a")).is_none());
    }

    #[test]
    fn records_of_removed_objects_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path());
        for name in ["kept", "gone"] {
            records.save_cron_job(&key(name), &CronJobRecord::default());
        }
        keep(&records.cron_jobs, &BTreeMap::from([(key("kept"), ())]));
        assert!(records.cron_job(&key("kept")).is_some());
        assert!(records.cron_job(&key("gone")).is_none());
    }
}
