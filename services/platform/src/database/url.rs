//! The URL of a database whose user and password are variables of their own, as programs that
//! use JDBC have them.

use crate::config;

/// The URL of `PREFIX_CONNECTION_URL`, with the login of `PREFIX_USER` and `PREFIX_PASSWORD`;
/// `None` without the first.
pub fn configured_url(prefix: &str) -> Option<String> {
    let url = config(&format!("{prefix}_CONNECTION_URL"))?;
    let login = ["user", "password"].map(|name| {
        let variable = format!("{prefix}_{}", name.to_ascii_uppercase());
        config(&variable).map(|value| (name, value))
    });
    Some(with_login(url, login.into_iter().flatten()))
}

/// Adds parameters to the URL of a server. A file has no login.
fn with_login(mut url: String, login: impl Iterator<Item = (&'static str, String)>) -> String {
    if super::is_sqlite(&url) {
        return url;
    }
    for (name, value) in login {
        let separator = if url.contains('?') { '&' } else { '?' };
        url.extend([separator.to_string(), format!("{name}="), encoded(&value)]);
    }
    url
}

/// `value` with everything but letters, digits, `-`, `.`, `_` and `~` percent-encoded.
fn encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, login: &[(&'static str, &str)], expected: &str) {
        let login = login
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        assert_eq!(with_login(url.to_owned(), login), expected);
    }

    #[test]
    fn login_is_added_to_the_url_of_a_server_only() {
        let login = [("user", "ann"), ("password", "a&b c=%é")];
        check(
            "jdbc:postgresql://db/shop",
            &login,
            "jdbc:postgresql://db/shop?user=ann&password=a%26b%20c%3D%25%C3%A9",
        );
        check(
            "postgres://db/shop?sslmode=require",
            &login[..1],
            "postgres://db/shop?sslmode=require&user=ann",
        );
        check("sqlite:/data/shop.db", &login, "sqlite:/data/shop.db");
        check("jdbc:sqlite:/data/a.db", &login, "jdbc:sqlite:/data/a.db");
    }

    #[test]
    fn without_a_url_nothing_is_configured() {
        assert_eq!(configured_url("GALLERIA_NO_SUCH_PREFIX"), None);
    }
}
