//! The certificates of the workloads, made when they are first used.
//!
//! A certificate is replaced when it is used after half to two thirds of its life, at random,
//! so that the certificates of a host are not all renewed at once. Nothing runs in the
//! background: a workload that opens no connection needs no certificate.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use galleria_mesh::inbound::SpiffeId;
use parking_lot::Mutex;
use rand::Rng;
use rustls::sign::CertifiedKey;

use super::authority::Authority;
use super::failure::Fault;

/// The part of its life after which a certificate is renewed.
const RENEWAL: std::ops::Range<f64> = 0.5..0.67;

/// See the module's documentation.
pub(super) struct Certificates {
    ttl: Duration,
    current: Mutex<HashMap<SpiffeId, Current>>,
    issued: AtomicU64,
}

struct Current {
    certificate: Arc<CertifiedKey>,
    /// The one that has signed it.
    authority: Arc<Authority>,
    made: SystemTime,
    renewal: SystemTime,
    not_after: SystemTime,
}

impl Certificates {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            current: Mutex::default(),
            issued: AtomicU64::new(0),
        }
    }

    /// How many certificates were made.
    pub(super) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// The certificate of `id`, signed by `authority`.
    ///
    /// # Errors
    /// See [`Authority::issue`].
    pub(super) fn of(
        &self,
        id: &SpiffeId,
        authority: &Arc<Authority>,
        now: SystemTime,
    ) -> Result<Arc<CertifiedKey>, Fault> {
        let mut current = self.current.lock();
        if let Some(it) = current.get(id)
            && Arc::ptr_eq(&it.authority, authority)
            && (it.made..it.renewal).contains(&now)
        {
            return Ok(it.certificate.clone());
        }
        let issued = authority.issue(id, self.ttl, now)?;
        let certificate = Arc::new(issued.certified()?);
        self.issued.fetch_add(1, Ordering::Relaxed);
        let life = issued.not_after.duration_since(now).unwrap_or_default();
        let renewal = now + life.mul_f64(rand::rng().random_range(RENEWAL));
        // Workloads come and go.
        current.retain(|_, it| now < it.not_after);
        current.insert(
            id.clone(),
            Current {
                certificate: certificate.clone(),
                authority: authority.clone(),
                made: now,
                renewal,
                not_after: issued.not_after,
            },
        );
        Ok(certificate)
    }
}
