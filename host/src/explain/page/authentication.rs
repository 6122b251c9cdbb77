//! The part of the page about who calls: mutual TLS, and the token.

use galleria_mesh::{AuthenticationStep, MutualTlsStep, TokenStep};

use super::Page;

impl Page {
    pub(super) fn authentication(&mut self, depth: usize, step: &AuthenticationStep) {
        self.line(depth, &format!("authentication by {}", step.workload), None);
        if let Some(step) = &step.mutual_tls {
            self.mutual_tls(depth + 1, step);
        }
        if let Some(step) = &step.token {
            self.token(depth + 1, step);
        }
    }

    fn mutual_tls(&mut self, depth: usize, step: &MutualTlsStep) {
        let MutualTlsStep { mode, policy, .. } = step;
        let verdict = match (&step.details, step.is_proven) {
            (Some(details), _) => format!("CLOSED with 503 UC, {details}"),
            (None, true) => "the caller is proven".to_owned(),
            (None, false) => "accepted, the caller is not proven".to_owned(),
        };
        let text = format!("mutual TLS is {mode} by {policy}: {verdict}");
        self.line(depth, &text, None);
    }

    pub(super) fn token(&mut self, depth: usize, step: &TokenStep) {
        let TokenStep {
            principal,
            refused,
            keys,
        } = step;
        let text = match (principal, refused) {
            (_, Some(refused)) => format!("token: REFUSED with {refused}"),
            (Some(principal), None) => format!("token: valid, of {principal}"),
            (None, None) if keys.is_empty() => "token: none".to_owned(),
            (None, None) => format!(
                "token: not verified, only a request fetches the keys of {}",
                keys.join(", ")
            ),
        };
        self.line(depth, &text, None);
    }
}
