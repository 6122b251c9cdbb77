//! Parts of an object in the form in which they were written, as JSON.
//!
//! The typed fields decide what the host does. These parts are what it shows again
//! (the `spec` of a pod, the template of a ReplicaSet) and what it compares to find
//! out whether a template changed, unread fields included. A part that is absent is
//! `null`.

use serde_json::Value;

use super::{Object, Resource};

impl Object {
    /// The pod template; for a Pod, the whole object.
    pub fn written_template(&self) -> &Value {
        match &self.resource {
            Resource::Pod(_) => &self.raw,
            Resource::CronJob(_) => &self.written_job_spec()["template"],
            _ => &self.raw["spec"]["template"],
        }
    }

    /// The `spec` of the pod template.
    pub fn written_pod_spec(&self) -> &Value {
        &self.written_template()["spec"]
    }

    /// The selector of a Deployment, ReplicaSet or StatefulSet.
    pub fn written_selector(&self) -> &Value {
        &self.raw["spec"]["selector"]
    }

    /// The `spec` of a Job, or of the Jobs that a CronJob creates.
    pub fn written_job_spec(&self) -> &Value {
        match &self.resource {
            Resource::CronJob(_) => &self.raw["spec"]["jobTemplate"]["spec"],
            _ => &self.raw["spec"],
        }
    }

    /// The fields of a Job that are immutable in a cluster: another value makes it
    /// another Job.
    pub fn written_job_identity(&self) -> [&Value; 3] {
        let spec = self.written_job_spec();
        ["template", "completions", "completionMode"].map(|field| &spec[field])
    }

    /// The `spec` of an object of any kind.
    pub fn written_spec(&self) -> &Value {
        &self.raw["spec"]
    }
}
