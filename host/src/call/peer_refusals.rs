//! Connections between hosts that are refused, and callers that are not believed: counts and
//! reports them.

use std::error::Error;
use std::fmt;
use std::time::Instant;

use prometheus::IntCounterVec;

use crate::tls::TlsRefusal;
use crate::workload::FailureLog;

/// The problem of hosts that have no authority in common.
pub(crate) const NO_SHARED_AUTHORITY: &str = "calls between hosts are in plain text and prove no \
     identity: PeerAuthentication STRICT and principals of AuthorizationPolicies refuse them; \
     start every host with the same --ca-dir";

/// See the module's documentation.
pub(crate) struct PeerRefusals {
    counts: IntCounterVec,
    /// Any client that can reach a port can cause these lines.
    log: FailureLog,
}

/// Why a caller, or the host that is called, is refused or not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerRefusal {
    Tls(TlsRefusal),
    /// The connection is in plain text, and the destination is strict.
    PlainText,
    /// The request claims another identity than its connection proves.
    Claim,
}

impl PeerRefusal {
    pub(crate) const ALL: [Self; 7] = [
        Self::Tls(TlsRefusal::UnknownAuthority),
        Self::Tls(TlsRefusal::Expired),
        Self::Tls(TlsRefusal::NoCertificate),
        Self::Tls(TlsRefusal::WrongIdentity),
        Self::Tls(TlsRefusal::Handshake),
        Self::PlainText,
        Self::Claim,
    ];

    /// The value of the label `reason`.
    fn name(self) -> &'static str {
        match self {
            Self::Tls(TlsRefusal::UnknownAuthority) => "unknown_authority",
            Self::Tls(TlsRefusal::Expired) => "expired",
            Self::Tls(TlsRefusal::NoCertificate) => "no_certificate",
            Self::Tls(TlsRefusal::WrongIdentity) => "wrong_identity",
            Self::Tls(TlsRefusal::Handshake) => "handshake",
            Self::PlainText => "plain_text",
            Self::Claim => "claim",
        }
    }
}

impl PeerRefusals {
    /// All counts begin at zero, so that the first refusal is an increase.
    pub(crate) fn new(counts: &IntCounterVec) -> Self {
        for refusal in PeerRefusal::ALL {
            counts.with_label_values(&[refusal.name()]);
        }
        Self {
            counts: counts.clone(),
            log: FailureLog::default(),
        }
    }

    /// Counts a refusal that is reported elsewhere.
    pub(crate) fn count(&self, refusal: PeerRefusal) {
        self.counts.with_label_values(&[refusal.name()]).inc();
    }

    /// `peer` is the other end, and `reason` says why.
    pub(crate) fn report(&self, refusal: PeerRefusal, peer: impl fmt::Display, reason: &str) {
        self.count(refusal);
        let Some(left_out) = self.log.admit(Instant::now()) else {
            return;
        };
        let left_out = (left_out > 0).then_some(left_out);
        tracing::warn!(left_out, %peer, refused = refusal.name(), "{reason}");
    }

    /// Reports `error` if it is a failure of TLS.
    pub(crate) fn report_tls(&self, peer: impl fmt::Display, error: &(dyn Error + 'static)) {
        if let Some((refusal, description)) = TlsRefusal::of(error) {
            let reason = format!("no mutual TLS with this peer: {description}");
            self.report(PeerRefusal::Tls(refusal), peer, &reason);
        }
    }
}
