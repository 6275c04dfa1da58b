//! The settings of a PostgreSQL system, as manifests write them.
//!
//! In: the merged `connection` and `options` of a plan. Out: a [`PostgresConfig`] with every default filled in,
//! or an error that names the field. No secret is ever among them.

use std::{path::Path, str::FromStr, time};

use millrace_crds::{duration::Duration, plan::SystemPlan};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Deserializer, Serialize, de::Unexpected};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    connectors::misfit,
    error::{Error, Result},
};

/// How to reach a PostgreSQL server (12 or later), and how to read from it and write to it.
/// The password is a credential of the name `password`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(
    extend("allOf" = [
        { "anyOf": [{ "required": ["host"] }, { "required": ["url"] }] },
        { "anyOf": [{ "required": ["user"] }, { "required": ["url"] }] },
    ]),
    transform = with_fetch_rows
)]
pub struct PostgresConfig {
    /// `postgres://user@host:port/database`: what it names wins over the single fields, which may come from a named
    /// configuration. A password in it is refused: it belongs to the credentials.
    pub url: Option<String>,
    /// The server's name or address; a directory (with a leading `/`) means its Unix socket.
    #[schemars(length(min = 1))]
    pub host: Option<String>,
    /// The server's port. Default: 5432.
    #[serde(deserialize_with = "port")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The database. Default: the same as the user.
    #[schemars(length(min = 1))]
    pub database: Option<String>,
    /// The role to connect as.
    #[schemars(length(min = 1))]
    pub user: Option<String>,
    /// Whether the connection is encrypted, and what is verified.
    pub ssl_mode: Option<SslMode>,
    /// A PEM file of the authorities that may have signed the server's certificate.
    /// Default: those that the machine trusts.
    pub ssl_root_cert: Option<String>,
    /// At a source: discover the tables of this schema alone. At a destination: the schema to write to, made
    /// where it is missing (default `public`); may hold `{namespace}` and `{flow}`.
    pub schema: Option<String>,
    /// The destination table; may hold `{stream}`, `{namespace}` and `{flow}`. Default: `{stream}`.
    /// Dots in a stream's name become underscores.
    pub table: Option<String>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// How long one statement may run; `0s`: without limit.
    pub statement_timeout: Duration,
    /// After how long the server ends a transaction of the destination whose worker went silent.
    pub idle_in_transaction_timeout: Duration,
    /// Rows in one batch of a source.
    #[serde(alias = "fetchRows")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_rows: u32,
    /// How far a delta stays behind the oldest open transaction, for clocks and reports that lag a little.
    /// For cursors that are not times: how long a load waits for transactions that were open as it began.
    pub late_margin: Duration,
    /// How far before its watermark a delta reads again: a duration for cursors that hold times (where clients
    /// set them by their own clocks), a whole number for others. Needs a primary key.
    #[serde(deserialize_with = "text")]
    #[schemars(extend("type" = ["string", "integer", "null"]))]
    pub lookback: Option<String>,
    /// The time zone in which the writers fill a cursor without time zone (`timestamp`, `date`).
    /// Default: the zone that the server gives to this role.
    pub cursor_time_zone: Option<String>,
    /// Declare the stream's primary key on tables that the destination makes.
    pub create_primary_key: bool,
    /// On `overwrite`, keep the destination table and exchange its rows in one transaction, in place of swapping
    /// in a new table. Slower; readers in old REPEATABLE READ transactions then see the old rows, too.
    pub keep_table: bool,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            port: None,
            database: None,
            user: None,
            ssl_mode: None,
            ssl_root_cert: None,
            schema: None,
            table: None,
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(0),
            idle_in_transaction_timeout: Duration::from_secs(60),
            batch_rows: 8_192,
            late_margin: Duration::from_secs(5),
            lookback: None,
            cursor_time_zone: None,
            create_primary_key: false,
            keep_table: false,
        }
    }
}

/// Whether a connection is encrypted, and what is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted where the server can; nothing is verified.
    #[default]
    Prefer,
    /// Encrypted; the certificate is verified only where `sslRootCert` is given.
    Require,
    /// Encrypted, and the certificate is signed by an authority that is trusted.
    VerifyCa,
    /// As `verify-ca`, and the certificate is made out to the host's name.
    VerifyFull,
}

/// `fetchRows` is another name of `batchRows`.
fn with_fetch_rows(schema: &mut Schema) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let mut rows = properties.get("batchRows").cloned().unwrap_or_default();
        rows["description"] = "The same as `batchRows`.".into();
        properties.insert("fetchRows".to_owned(), rows);
    }
}

/// Ports may come as text, since `${PORT}` is replaced by text.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    text(deserializer)?
        .map(|text| {
            text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
                serde::de::Error::invalid_value(Unexpected::Str(&text), &"a `port` between 1 and 65535")
            })
        })
        .transpose()
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(serde::de::Error::invalid_type(
            Unexpected::Other("a value"),
            &"text or a number",
        )),
    }
}

impl PostgresConfig {
    /// The settings of a system: its connection, with the options laid over it.
    ///
    /// # Errors
    /// `config`, naming the field.
    pub fn new(plan: &SystemPlan) -> Result<Self> {
        let all: Map<String, Value> = plan.settings();
        if all.contains_key("password") {
            return Err(Error::config(format!(
                "connector {}: `password` cannot be a setting",
                plan.connector
            ))
            .advice("put it under `credentials`, with a Secret, an `env` or a `file`"));
        }
        let mut config: Self = serde_json::from_value(Value::Object(all))
            .map_err(|error| Error::config(format!("connector {}: {}", plan.connector, misfit(&error))))?;
        config.take_url()?;
        if let (Some(base), Some(file)) = (&plan.base_dir, &config.ssl_root_cert) {
            config.ssl_root_cert = Some(Path::new(base).join(file).to_string_lossy().into_owned());
        }
        if config.host.as_deref().unwrap_or_default().is_empty() {
            return Err(
                Error::config(format!("connector {}: `host` is missing", plan.connector))
                    .advice("write `connection: { host: ..., database: ..., user: ... }`"),
            );
        }
        if config.user.is_none() {
            return Err(Error::config(format!(
                "connector {}: `user` is missing",
                plan.connector
            )));
        }
        if config.batch_rows == 0 {
            return Err(Error::config(format!(
                "connector {}: `batchRows` must be at least 1",
                plan.connector
            )));
        }
        Ok(config)
    }

    /// Takes what the URL names.
    fn take_url(&mut self) -> Result<()> {
        let Some(text) = self.url.take() else {
            return Ok(());
        };
        // The text itself stays out of errors: it may hold a password.
        let url = Url::parse(&text).map_err(|error| {
            Error::config(format!(
                "`url` is not postgres://user@host:port/database: {error}"
            ))
        })?;
        if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
            return Err(Error::config("`url` holds a password")
                .advice("leave it out, and name a credential `password` under `credentials`"));
        }
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(Error::config("`url` does not begin with postgres://"));
        }
        let plain = |part: &str| {
            percent_decode(part).ok_or_else(|| Error::config("`url` holds a `%` sequence that is not UTF-8"))
        };
        if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
            self.host = Some(plain(host.trim_start_matches('[').trim_end_matches(']'))?);
        }
        self.port = url.port().or(self.port);
        if !url.username().is_empty() {
            self.user = Some(plain(url.username())?);
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() {
            self.database = Some(plain(database)?);
        }
        self.take_query(&url)
    }

    fn take_query(&mut self, url: &Url) -> Result<()> {
        for (key, value) in url.query_pairs() {
            match &*key {
                "sslmode" => {
                    let mode = serde_json::from_value(Value::String(value.to_string()))
                        .map_err(|error| Error::config(format!("`url`: sslmode: {}", misfit(&error))))?;
                    self.ssl_mode = Some(mode);
                }
                "sslrootcert" => {
                    self.ssl_root_cert = Some(value.to_string());
                }
                "host" => {
                    self.host = Some(value.to_string());
                }
                _ => {
                    return Err(Error::config("`url` has a parameter that is not known")
                        .advice("known are sslmode, sslrootcert and host"));
                }
            }
        }
        Ok(())
    }

    /// The lookback before a watermark, for cursors that are times.
    ///
    /// # Errors
    /// `config` where the text is no duration.
    pub(super) fn lookback_time(&self) -> Result<time::Duration> {
        let Some(text) = &self.lookback else {
            return Ok(time::Duration::ZERO);
        };
        Duration::from_str(text).map(Duration::get).map_err(|_| {
            Error::config("`lookback` is not a duration, and this cursor holds times")
                .advice("write hours, minutes, seconds or milliseconds, as in 24h, 1h30m or 30s")
        })
    }

    /// The lookback before a watermark, for cursors that count.
    ///
    /// # Errors
    /// `config` where the text is no whole number.
    pub(super) fn lookback_count(&self) -> Result<u64> {
        let Some(text) = &self.lookback else { return Ok(0) };
        text.parse().map_err(|_| {
            Error::config("`lookback` is not a whole number, and this cursor counts")
                .advice("write a whole number, such as 1000")
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
