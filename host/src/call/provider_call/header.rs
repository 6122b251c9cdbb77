//! `envoy.config.core.v3.HeaderValue`: a header in the messages of a provider.

use http::{HeaderName, HeaderValue};

#[derive(Clone, PartialEq, prost::Message)]
pub(in super::super) struct HeaderMessage {
    #[prost(string, tag = "1")]
    pub(in super::super) key: String,
    #[prost(string, tag = "2")]
    pub(in super::super) value: String,
    /// Used if `value` is empty.
    #[prost(bytes = "vec", tag = "3")]
    pub(in super::super) raw_value: Vec<u8>,
}

impl HeaderMessage {
    /// None if it cannot be sent.
    pub(in super::super) fn read(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = match self.value.is_empty() {
            true => self.raw_value.as_slice(),
            false => self.value.as_bytes(),
        };
        let name = HeaderName::from_bytes(self.key.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_value_is_used_if_there_is_no_value() {
        for (key, value, raw, expected) in [
            ("X-User", "me", &b"raw"[..], Some("me")),
            ("x-user", "", b"raw", Some("raw")),
            ("x-user", "", b"", Some("")),
            ("", "me", b"", None),
            (":path", "/", b"", None),
            ("x-user", "a\r\nb: c", b"", None),
            ("x-user", "", b"a\nb", None),
        ] {
            let message = HeaderMessage {
                key: key.to_owned(),
                value: value.to_owned(),
                raw_value: raw.to_vec(),
            };
            let expected = expected.map(|value| {
                let name = HeaderName::from_static("x-user");
                (name, HeaderValue::from_static(value))
            });
            assert_eq!(message.read(), expected, "{message:?}");
        }
    }
}
