//! The subject of a certificate as text (RFC 2253), in the form that OpenSSL and Envoy write.

use std::fmt::Write;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names that OpenSSL has for common attributes. Others are written as numbers.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The most specific part first, as in `CN=client,O=shop,C=DE`.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter()
        .map(|part| {
            let attributes: Vec<_> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let number = attribute.attr_type().to_id_string();
    let known = SHORT_NAMES.iter().find(|(known, _)| *known == number);
    let value = attribute.attr_value();
    let text = match value.tag() {
        Tag::BmpString => {
            let units = value.data.as_chunks::<2>().0.iter();
            let units = units.map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
                .into_bytes()
        }
        _ => value.data.to_vec(),
    };
    match known {
        Some((_, name)) => format!("{name}={}", escaped(&text)),
        None => {
            // An attribute without a name is written as it is encoded.
            let mut written = format!("{number}=#");
            let length = value.data.len();
            if let Ok(short) = u8::try_from(length)
                && short < 0x80
            {
                let tag = value.tag().0;
                let _ = write!(written, "{tag:02X}{short:02X}");
            }
            for byte in value.data {
                let _ = write!(written, "{byte:02X}");
            }
            written
        }
    }
}

/// Separators with a backslash; control characters and all bytes outside of ASCII as
/// hexadecimal digits.
fn escaped(text: &[u8]) -> String {
    let mut written = String::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        let is_end = at == 0 || at + 1 == text.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                written.push('\\');
                written.push(char::from(byte));
            }
            b'#' if at == 0 => written.push_str("\\#"),
            b' ' if is_end => written.push_str("\\ "),
            0x20..0x7f => written.push(char::from(byte)),
            _ => {
                let _ = write!(written, "\\{byte:02X}");
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_and_other_alphabets_are_escaped() {
        for (text, expected) in [
            ("client", "client"),
            ("a,b+c\"d\\e<f>g;h", "a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h"),
            (" a b ", "\\ a b\\ "),
            ("#1", "\\#1"),
            ("1#", "1#"),
            ("Müller", "M\\C3\\BCller"),
            ("a\r\nb", "a\\0D\\0Ab"),
            ("", ""),
        ] {
            assert_eq!(escaped(text.as_bytes()), expected);
        }
    }
}
