//! The certificates of gateways: put in force, followed, and reported.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::Control;
use crate::store::{EventType, InvolvedObject};
use crate::tls::{Expiring, Fault, GatewayTls};
use crate::workload::NODE_NAME;

/// How often certificate files are read again, because not every file system reports changes.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(10);

/// How often the host reports certificates that expire soon.
const REPORT_EXPIRY: Duration = Duration::from_secs(3_600);

/// Usual issuers renew a certificate when a third of its time is left, which is 30 days of 90.
/// Less than this time means that the renewal has failed.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What was reported about certificates, so that the log has it once.
#[derive(Default)]
pub(in crate::app) struct ReportedCertificates {
    expiring: BTreeSet<(Expiring, bool)>,
    at: Option<Instant>,
}

impl Control {
    /// Makes `tls` the configuration in force, and reports its problems.
    pub(super) fn use_certificates(&mut self, tls: GatewayTls) {
        let before = std::mem::replace(&mut self.data_plane.tls, Arc::new(tls));
        let tls = self.data_plane.tls.clone();
        tokio::task::block_in_place(|| self.data_plane.tls_files.watch(&tls));
        for fault in &tls.faults {
            // The log has the others as warnings of the change.
            if fault.is_reported && !before.faults.contains(fault) {
                tracing::warn!("{fault}");
            }
            self.record(fault);
        }
        let health = &self.reporting.health;
        health.set_unopened(tls.faults.iter().map(Fault::to_string).collect());
        self.certificates.at = None;
        self.report_expiry();
    }

    fn record(&self, fault: &Fault) {
        let reason = match fault.keeps_previous {
            true => "CertificateNotReplaced",
            false => "ListenerNotOpened",
        };
        self.record_of(
            fault.kind,
            &fault.namespace,
            &fault.name,
            reason,
            &fault.to_string(),
        );
    }

    fn record_of(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        reason: &'static str,
        message: &str,
    ) {
        let object = self.in_force.iter().find(|object| {
            let metadata = &object.metadata;
            object.kind == kind && metadata.namespace == namespace && *metadata.name == name
        });
        if let Some(object) = object {
            let involved = Arc::new(InvolvedObject::of(object));
            let recorder = &self.reporting.recorder;
            recorder.record(&involved, EventType::Warning, reason, message);
        }
    }

    /// The authority belongs to no object, but to the host.
    fn record_of_node(&self, reason: &'static str, message: &str) {
        let involved = Arc::new(InvolvedObject::node(NODE_NAME));
        let recorder = &self.reporting.recorder;
        recorder.record(&involved, EventType::Warning, reason, message);
    }

    /// Reads certificate files again. If they have changed, or a missing one exists, or the
    /// identity of the gateway was renewed, the objects in force are applied again with them.
    pub(super) async fn follow_certificates(&mut self) {
        self.report_expiry();
        let tls = self.data_plane.tls.clone();
        let has_other_identity = tls.has_other_identity(&self.data_plane.mesh_certificates());
        if !has_other_identity && !tokio::task::block_in_place(|| tls.is_stale()) {
            return;
        }
        match self.apply(self.desired.clone()).await {
            Ok(()) => {
                self.serve();
                tracing::info!("certificates have changed; new connections use them");
            }
            Err(rejected) => {
                for problem in rejected.problems() {
                    tracing::error!("cannot use the changed certificate files: {problem}");
                }
            }
        }
    }

    /// Reports the certificates that have expired, or expire soon.
    fn report_expiry(&mut self) {
        let since = self.certificates.at.map(|at| at.elapsed());
        if since.is_some_and(|since| since < REPORT_EXPIRY) {
            return;
        }
        self.certificates.at = Some(Instant::now());
        let all = self.data_plane.tls.expiring();
        let authority = self.data_plane.mesh.identities.expiries().into_iter();
        let authority = authority.map(|(certificate, not_after)| Expiring {
            certificate,
            not_after,
        });
        let authority: BTreeSet<_> = authority.collect();
        let now = Timestamp::now().as_second();
        let soon = now.saturating_add(EXPIRES_SOON.as_secs());
        let mut expiring = BTreeSet::new();
        let ending = all.iter().chain(&authority);
        for it in ending.filter(|it| it.not_after < soon) {
            let has_expired = it.not_after <= now;
            let certificate = &it.certificate;
            let end = Timestamp::from_second(it.not_after).map(|end| end.to_string());
            let end = end.unwrap_or_default();
            let (reason, message) = match has_expired {
                true => (
                    "CertificateExpired",
                    format!("the certificate {certificate} has expired on {end}; renew it"),
                ),
                false => (
                    "CertificateExpiresSoon",
                    format!("the certificate {certificate} expires on {end}; renew it"),
                ),
            };
            if authority.contains(it) {
                // The log has it from the room that follows the files.
                self.record_of_node(reason, &message);
                continue;
            }
            let reported = (it.clone(), has_expired);
            if !self.certificates.expiring.contains(&reported) {
                tracing::warn!("{message}");
            }
            expiring.insert(reported);
            if let Some((namespace, name)) = certificate.split_once('/') {
                self.record_of("Secret", namespace, name, reason, &message);
            }
        }
        self.certificates.expiring = expiring;
        self.reporting.health.set_certificates(all);
    }
}
