//! An answer, in the form in which answers are compared.

use std::collections::BTreeMap;
use std::fmt;

use super::case::SEEN;
use crate::judge::Answer;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// Of a refused request.
    pub(super) body: String,
    /// `www-authenticate`
    pub(super) challenge: Option<String>,
    /// Envoy's reason for refusing the request.
    pub(super) details: String,
    /// The path and the headers that the workload sees.
    pub(super) seen: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    Refused(u16),
    /// The connection ends without a response.
    Closed,
}

impl Outcome {
    pub(super) fn closed() -> Self {
        Self {
            verdict: Verdict::Closed,
            body: String::new(),
            challenge: None,
            details: String::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn admitted(seen: BTreeMap<String, String>) -> Self {
        Self {
            verdict: Verdict::Admitted,
            seen,
            ..Self::closed()
        }
    }

    pub(super) fn of_judge(answer: &Answer) -> Self {
        if answer.closed {
            return Self::closed();
        }
        let header = |name: &str| answer.headers.get(name).cloned();
        if answer.status == 200 {
            let names = SEEN.into_iter().chain(["path"]);
            // Envoy writes `-` for an absent header.
            let seen = names.filter_map(|name| {
                let value = header(&format!("x-seen-{name}"))?;
                (value != "-").then(|| (name.to_owned(), value))
            });
            return Self::admitted(seen.collect());
        }
        Self {
            verdict: Verdict::Refused(answer.status),
            body: answer.body.clone(),
            challenge: header("www-authenticate"),
            details: header("x-details").unwrap_or_default(),
            ..Self::closed()
        }
    }
}

/// What the judge reports of a header with several values: Envoy joins those of `authorization`
/// when it reads a request; of other headers, the first value is compared.
pub(super) fn reported(name: &str, mut values: impl Iterator<Item = String>) -> Option<String> {
    let first = values.next()?;
    Some(match name {
        "authorization" => values.fold(first, |joined, value| format!("{joined},{value}")),
        _ => first,
    })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted => f.write_str("admits"),
            Self::Refused(status) => write!(f, "refuses with {status}"),
            Self::Closed => f.write_str("closes the connection of"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        if let Verdict::Refused(_) = self.verdict {
            write!(f, ", {:?}, {}", self.body, self.details)?;
        }
        if let Some(challenge) = &self.challenge {
            write!(f, ", {challenge}")?;
        }
        for (name, value) in &self.seen {
            write!(f, "\n    {name}: {value}")?;
        }
        Ok(())
    }
}
