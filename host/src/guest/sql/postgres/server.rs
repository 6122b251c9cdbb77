//! The contents of a `postgres://` URL: the server, the user and the limits.
//!
//! Messages never repeat the URL, which may contain a password.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::Error;
use crate::guest::ServerTarget;
use crate::tls::{ClientTlsConfig, PemFile};

/// Connections of one workload to one database. By default, PostgreSQL accepts 100 in total,
/// from all hosts and tools.
const CONNECTIONS_DEFAULT: usize = 8;
const CONNECTIONS_MAX: u64 = 64;

/// The time until a connection must be logged in.
const CONNECT_DEFAULT: Duration = Duration::from_secs(5);
const CONNECT_SECONDS_MAX: u64 = 60;

/// The maximum duration of a statement. Jobs may need more, hence the parameter.
const STATEMENT_DEFAULT: Duration = Duration::from_secs(30);
const STATEMENT_MILLIS_MAX: u64 = 3_600_000;

const EXAMPLE: &str = "`postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`, with special characters in the password percent-encoded";

/// The address of the server in the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::guest::sql) struct Address {
    pub(in crate::guest::sql) host: String,
    pub(in crate::guest::sql) port: u16,
}

/// One database of a server, and the settings of its connections.
#[derive(Debug)]
pub(in crate::guest::sql) struct Server {
    pub(super) address: Address,
    /// The endpoints of the server, which are tried in turn.
    pub(super) targets: Vec<ServerTarget>,
    pub(super) config: Config,
    pub(super) encryption: Encryption,
    pub(super) connections_max: usize,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

/// `sslmode`, as in libpq.
#[derive(Debug)]
pub(super) enum Encryption {
    None,
    /// TLS if the server supports it, without verification of the server.
    Offered(ClientTlsConfig),
    Required(ClientTlsConfig),
}

impl Server {
    /// Parses `url`. `file` maps a path of the guest to a file on the host.
    ///
    /// # Errors
    /// `invalid-url`, and the errors of `file`.
    pub(in crate::guest::sql) fn read(
        url: &str,
        file: impl Fn(&str) -> Result<PemFile, Error>,
    ) -> Result<Self, Error> {
        let after_login = url.find('@').unwrap_or_default();
        let query = url.get(after_login..).and_then(|rest| rest.find('?'));
        let (base, query) = match query {
            Some(query) => url.split_at(after_login + query),
            None => (url, ""),
        };
        let mut config: Config = base
            .parse()
            .map_err(|_| invalid(format!("it is not valid; the format is {EXAMPLE}")))?;
        let address = address(&config)?;
        let mut server = Self {
            targets: Vec::new(),
            encryption: Encryption::None,
            connections_max: CONNECTIONS_DEFAULT,
            connect_timeout: CONNECT_DEFAULT,
            statement_timeout: STATEMENT_DEFAULT,
            config: Config::new(),
            address,
        };
        let (mut mode, mut authorities) = ("prefer".to_owned(), None);
        for pair in query
            .trim_start_matches('?')
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            let number = |max| number(name, &value, max);
            match name {
                "user" => _ = config.user(value),
                "password" => _ = config.password(value),
                "application_name" => _ = config.application_name(value),
                "sslmode" => mode = value,
                "sslrootcert" => authorities = Some(value),
                "connect_timeout" => {
                    server.connect_timeout = Duration::from_secs(number(CONNECT_SECONDS_MAX)?);
                }
                "statement_timeout" => {
                    server.statement_timeout = Duration::from_millis(number(STATEMENT_MILLIS_MAX)?);
                }
                "pool_max_conns" => {
                    server.connections_max = usize::try_from(number(CONNECTIONS_MAX)?).unwrap_or(1);
                }
                _ => return Err(unknown(name)),
            }
        }
        if config.get_user().is_none_or(str::is_empty) {
            return Err(invalid(format!("it has no user; the format is {EXAMPLE}")));
        }
        if config.get_application_name().is_none() {
            config.application_name("galleria");
        }
        // TLS is started before the protocol is.
        config.ssl_mode(SslMode::Disable);
        let authorities = authorities.filter(|path| path != "system");
        let authorities = authorities.map(|path| file(&path)).transpose()?;
        server.encryption = encryption(&mode, &server.address.host, authorities)?;
        server.config = config;
        Ok(server)
    }

    pub(in crate::guest::sql) fn address(&self) -> &Address {
        &self.address
    }

    /// The database, for metrics. Without the user.
    pub(in crate::guest::sql) fn label(&self) -> String {
        match self.config.get_dbname() {
            Some(name) => format!("{}/{name}", self.place()),
            None => self.place(),
        }
    }

    /// Sets the endpoints of the server.
    pub(in crate::guest::sql) fn at(mut self, targets: Vec<ServerTarget>) -> Self {
        self.targets = targets;
        self
    }

    /// The server, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.address.host, self.address.port)
    }
}

fn address(config: &Config) -> Result<Address, Error> {
    match (config.get_hosts(), config.get_ports()) {
        ([Host::Tcp(host)], [port]) if !host.is_empty() => Ok(Address {
            host: host.clone(),
            port: *port,
        }),
        _ => Err(invalid(format!(
            "it must name one host, not a Unix socket; the format is {EXAMPLE}"
        ))),
    }
}

fn encryption(mode: &str, host: &str, authorities: Option<PemFile>) -> Result<Encryption, Error> {
    let tls = |authorities, insecure| ClientTlsConfig::database(host, authorities, insecure);
    match mode {
        "disable" => Ok(Encryption::None),
        "allow" | "prefer" => Ok(Encryption::Offered(tls(None, true))),
        // As in libpq, the certificate is verified if an authority is named.
        "require" => {
            let insecure = authorities.is_none();
            Ok(Encryption::Required(tls(authorities, insecure)))
        }
        "verify-ca" | "verify-full" => Ok(Encryption::Required(tls(authorities, false))),
        _ => Err(invalid(
            "`sslmode` must be disable, prefer, require, verify-ca or verify-full",
        )),
    }
}

fn number(name: &str, value: &str, max: u64) -> Result<u64, Error> {
    let number = value.parse().ok();
    number
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| invalid(format!("`{name}` must be a whole number from 1 to {max}")))
}

/// An unknown parameter may be part of a password that was not encoded: it is only repeated if
/// it is the name of a known parameter of libpq.
fn unknown(name: &str) -> Error {
    const KNOWN: &str = "application_name, connect_timeout, password, pool_max_conns, sslmode, sslrootcert, statement_timeout, user";
    const LIBPQ: &[&str] = &[
        "channel_binding",
        "client_encoding",
        "dbname",
        "gssencmode",
        "host",
        "hostaddr",
        "keepalives",
        "options",
        "passfile",
        "port",
        "sslcert",
        "sslkey",
        "target_session_attrs",
    ];
    let parameter = match LIBPQ.contains(&name) {
        true => format!("`{name}` is"),
        false => "one of its parameters is".to_owned(),
    };
    invalid(format!("{parameter} not supported; supported are: {KNOWN}"))
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::InvalidUrl(format!("the URL of a PostgreSQL database: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Server, Error> {
        Server::read(url, |path| Ok(PemFile::new(format!("/host{path}"))))
    }

    #[test]
    fn url_contains_user_server_and_limits() {
        let server = read("postgres://ann:p%40ss%2Fw%3Frd@db:5433/shop?sslmode=disable&pool_max_conns=3&connect_timeout=2&statement_timeout=1500")
            .expect("a server");
        assert_eq!(server.place(), "db:5433");
        assert_eq!(server.config.get_user(), Some("ann"));
        assert_eq!(server.config.get_password(), Some(b"p@ss/w?rd".as_slice()));
        assert_eq!(server.config.get_dbname(), Some("shop"));
        assert!(matches!(server.encryption, Encryption::None));
        assert_eq!(server.connections_max, 3);
        assert_eq!(server.connect_timeout, Duration::from_secs(2));
        assert_eq!(server.statement_timeout, Duration::from_millis(1500));
    }

    #[test]
    fn defaults_are_those_of_libpq_with_limits() {
        let server = read("postgresql://db/shop?user=ann&password=a%26b").expect("a server");
        assert_eq!(server.place(), "db:5432");
        assert_eq!(server.label(), "db:5432/shop");
        assert_eq!(server.config.get_password(), Some(b"a&b".as_slice()));
        assert!(matches!(server.encryption, Encryption::Offered(_)));
        assert_eq!(server.connections_max, CONNECTIONS_DEFAULT);
        for (url, says) in [
            ("ann@db/x?sslmode=verify-full", "None"),
            (
                "ann@db/x?sslmode=require&sslrootcert=/c/ca.pem",
                "/host/c/ca.pem",
            ),
        ] {
            let server = read(&format!("postgres://{url}")).expect("a server");
            let trust = format!("{:?}", server.encryption);
            assert!(
                trust.contains(says) && trust.contains("insecure_skip_verify: false"),
                "{trust}"
            );
        }
    }

    #[test]
    fn errors_explain_the_url_without_the_password() {
        for (url, says) in [
            ("postgres://ann:sesame@/shop", "one host"),
            ("postgres://ann:sesame@a,b/shop", "one host"),
            ("postgres://ann:sesame@%2Frun%2Fpostgresql/shop", "one host"),
            ("postgres://ann:sesame@db:port/shop", "it is not valid"),
            ("postgres://:sesame@db/shop", "no user"),
            (
                "postgres://ann:sesame@db/shop?sslmode=on",
                "`sslmode` must be",
            ),
            (
                "postgres://ann:sesame@db/shop?pool_max_conns=0",
                "from 1 to 64",
            ),
            (
                "postgres://ann:sesame@db/shop?connect_timeout=x",
                "`connect_timeout` must be",
            ),
            (
                "postgres://ann:sesame@db/shop?hostaddr=10.0.0.1",
                "`hostaddr` is not supported",
            ),
            ("postgres://ann:x@y?sesame@db/shop", ""),
        ] {
            let Err(Error::InvalidUrl(message)) = read(url) else {
                unreachable!("{url} was read");
            };
            assert!(message.contains(says), "{url}: {message}");
            assert!(!message.contains("sesame"), "{message}");
        }
    }
}
