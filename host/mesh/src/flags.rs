//! Envoy's response flags: why the mesh replied itself or changed a response.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of Envoy's response flags (`%RESPONSE_FLAGS%`). It is displayed as in Envoy: in
/// Envoy's order, separated by commas, `-` if empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
        }
        /// In Envoy's order, which is not alphabetical.
        const NAMES: &[(ResponseFlags, &str)] = &[$((ResponseFlags::$name, stringify!($name))),*];
    };
}

flags! {
    /// No healthy upstream: no endpoint is ready, or all are ejected.
    UH = 0;
    /// Upstream request timeout: of the route, or of the last attempt.
    UT = 1;
    /// The upstream reset the stream.
    UR = 2;
    /// The connection to the upstream failed.
    UF = 3;
    /// The upstream terminated the connection, or the guest trapped.
    UC = 4;
    /// Overflow: a connection pool limit was reached.
    UO = 5;
    /// No route matched.
    NR = 6;
    /// A fault's delay was injected.
    DI = 7;
    /// A fault's abort was injected.
    FI = 8;
    /// A rate limit was reached.
    RL = 14;
    /// A service of external authorization has not allowed the request.
    UAEX = 15;
    /// The service of rate limits has failed.
    RLSE = 16;
    /// The downstream disconnected.
    DC = 9;
    /// The limit of retries was reached, and the last answer would have been retried.
    URX = 10;
    /// The stream was idle for too long.
    SI = 11;
    /// The downstream violated the protocol.
    DPE = 12;
    /// The route's cluster does not exist.
    NC = 13;
    /// The upstream violated the protocol.
    UPE = 17;
}

impl ResponseFlags {
    /// No flag, displayed as `-`.
    pub const NONE: Self = Self(0);

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.contains(*flag) {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_displayed_as_in_envoy() {
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        assert_eq!(ResponseFlags::UH.to_string(), "UH");
        assert_eq!(
            (ResponseFlags::URX | ResponseFlags::UT).to_string(),
            "UT,URX"
        );
    }
}
