//! Settings that several processes share, as flags and environment variables. Each process flattens into its own command
//! line what it needs; what only one crate needs (the keys of providers) is declared there.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, io};

use anyhow::Context as _;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use sqlx::postgres::PgConnectOptions;

use crate::telemetry::LogFormat;

/// A text that is not shown: neither by `Debug` nor in `--help`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The key that access tokens are signed with, at least 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSecret(Secret);

impl JwtSecret {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.expose().as_bytes()
    }
}

impl FromStr for JwtSecret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.len() {
            32.. => Ok(Self(Secret(text.to_owned()))),
            length => Err(format!("it has {length} bytes and needs at least 32 (for example: openssl rand -hex 32)")),
        }
    }
}

/// Reads a [`JwtSecret`] on the command line: other than with a plain `FromStr`, what is refused is not shown.
#[derive(Clone, Copy)]
struct JwtSecretParser;

impl TypedValueParser for JwtSecretParser {
    type Value = JwtSecret;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<JwtSecret, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(str::parse);
        parsed.map_err(|why| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("JWT_SECRET: {why}\n")).with_cmd(command)
        })
    }
}

/// How to log in to PostgreSQL.
#[derive(Args, Clone, Debug)]
pub struct Database {
    /// PostgreSQL, as postgres://user:password@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Secret,
    /// The same database as its owner, for migrations only; without it they are run as the role of `DATABASE_URL`, if that may, or
    /// else waited for.
    #[arg(long, env = "DATABASE_OWNER_URL", hide_env_values = true, value_name = "URL")]
    pub database_owner_url: Option<Secret>,
}

impl Database {
    /// The login of the processes. Only a malformed URL is an error.
    pub fn options(&self) -> anyhow::Result<PgConnectOptions> {
        self.database_url.expose().parse().context("DATABASE_URL")
    }

    /// The login of the owner, where there is one of its own.
    pub fn owner_options(&self) -> anyhow::Result<Option<PgConnectOptions>> {
        let parsed = self.database_owner_url.as_ref().map(|url| url.expose().parse().context("DATABASE_OWNER_URL"));
        parsed.transpose()
    }
}

/// The servers, for a process that runs one role.
#[derive(Args, Clone, Debug)]
pub struct Servers {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub database: Database,
    /// NATS, as nats://user:password@host:port.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub nats_url: Secret,
}

/// Where a process answers HTTP. The default depends on the role.
#[derive(Args, Clone, Debug, Default)]
pub struct Listen {
    /// Address to answer HTTP on; port 0 means any free one.
    #[arg(long, env = "HTTP_ADDR", value_name = "ADDR:PORT")]
    pub http_addr: Option<SocketAddr>,
    /// Bearer token that `/metrics` needs on an address other than loopback; without one it is closed there.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub metrics_token: Option<Secret>,
}

impl Listen {
    /// The address, by default on loopback at `port`.
    pub fn or_port(&self, port: u16) -> SocketAddr {
        self.http_addr.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

/// The key of access tokens, for a process that issues or checks them.
#[derive(Args, Clone, Debug)]
pub struct Auth {
    /// Key that access tokens are signed with, at least 32 bytes.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = JwtSecretParser)]
    pub jwt_secret: JwtSecret,
}

/// The form of the logs, which `RUST_LOG` filters, and where traces go.
#[derive(Args, Clone, Debug)]
pub struct Logs {
    /// Form of the log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
    /// Collector to send spans to by OTLP over HTTP with protobuf (its port 4318, as a rule); without it none are sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true, value_name = "URL", global = true)]
    pub otlp_endpoint: Option<String>,
}

/// The settings of `daybook up`: what is not given it brings itself.
#[derive(Args, Clone, Debug)]
pub struct Up {
    /// PostgreSQL to use instead of starting one, as postgres://user:password@host:port/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// That PostgreSQL as the owner of the database, for migrations only [default: `DATABASE_URL`].
    #[arg(long, env = "DATABASE_OWNER_URL", hide_env_values = true, value_name = "URL", requires = "database_url")]
    pub database_owner_url: Option<Secret>,
    /// NATS to use instead of starting one, as nats://user:password@host:port.
    #[arg(long, env = "NATS_URL", hide_env_values = true, value_name = "URL")]
    pub nats_url: Option<Secret>,
    /// Key that access tokens are signed with, at least 32 bytes; else one is made and kept in the data folder.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = JwtSecretParser)]
    pub jwt_secret: Option<JwtSecret>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub data: Data,
    /// Where the PostgreSQL that it starts listens, on loopback; port 0 means any free one.
    #[arg(long, env = "POSTGRES_ADDR", default_value = "127.0.0.1:5442", value_name = "ADDR:PORT")]
    pub postgres_addr: SocketAddr,
    /// Where the nats-server that it starts listens, on loopback; port 0 means any free one.
    #[arg(long, env = "NATS_ADDR", default_value = "127.0.0.1:4222", value_name = "ADDR:PORT")]
    pub nats_addr: SocketAddr,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub listen: Listen,
}

/// The data folder of `daybook up`, which other commands find the running system through.
#[derive(Args, Clone, Debug, Default)]
pub struct Data {
    /// Data folder [default: .daybook, or as root, where PostgreSQL's user could not enter it, one under /var/tmp].
    #[arg(long = "data", env = "DAYBOOK_DATA", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Reads `.env` of the working directory or one above it. What the environment already has stays. To be called before
/// the command line is parsed, while there is one thread. A file that cannot be understood is an error, which shows
/// nothing of it; a missing one is not.
pub fn load_env_file() -> io::Result<()> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(dotenvy::Error::Io(error)) => Err(error),
        Err(_) => Err(io::Error::other("a line of it is not NAME=value")),
    }
}

/// A time on the command line: a number with `ms`, `s`, `m` or `h` behind it; alone it is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "it is not a time such as 60s, 1500ms or 2m".to_owned())?;
    let milliseconds = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        other => return Err(format!("{other} is not one of ms, s, m, h")),
    };
    match number.checked_mul(milliseconds) {
        None => Err("it is too long".to_owned()),
        Some(0) => Err("it is nothing".to_owned()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_not_shown() {
        #[derive(clap::Parser, Debug)]
        struct Line {
            #[command(flatten)]
            auth: Auth,
        }
        let refused = <Line as clap::Parser>::try_parse_from(["daybook", "--jwt-secret", "hunter2"]).map(|_| ());
        let told = refused.map_err(|error| error.to_string());
        assert!(told.is_err_and(|told| told.contains("it has 7 bytes") && !told.contains("hunter2")));
        let key = "hunter2!".repeat(4);
        let taken = <Line as clap::Parser>::try_parse_from(["daybook", "--jwt-secret", &key]);
        assert!(taken.is_ok_and(|line| line.auth.jwt_secret.as_bytes() == key.as_bytes()));
    }

    #[test]
    fn secrets_do_not_show_and_short_keys_are_refused() {
        let secret: Secret = "postgres://user:hunter2@host/db".parse().unwrap_or_else(|never| match never {});
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!("x".repeat(31).parse::<JwtSecret>().map_err(|why| why.starts_with("it has 31 bytes")), Err(true));
        let key = "hunter2!".repeat(4).parse::<JwtSecret>();
        assert!(key.is_ok_and(|key| key.as_bytes().len() == 32 && !format!("{key:?}").contains("hunter")));
    }

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, milliseconds) in
            [("60", 60_000), ("60s", 60_000), ("1500ms", 1_500), ("2 m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "0", "0s", "1.5s", "-1", "10 days", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
