//! Connections: how one is made, and what every session starts with.
//!
//! In: the settings and the password, read anew each time. Out: a [`Link`].

use std::time::Duration;

use tokio_postgres::{Config, NoTls, Row};

use super::{
    config::{PostgresConfig, SslMode},
    failure::failure,
    ident::literal,
    link::Link,
    tls,
};
use crate::{
    error::{Context, Error, Result},
    rate::RateLimiter,
    secrets::Secrets,
};

/// All that a connection is made from.
pub(super) struct Server {
    pub(super) config: PostgresConfig,
    pub(super) secrets: Secrets,
    pub(super) limiter: RateLimiter,
    /// What the server shows as the name of these sessions.
    pub(super) application: String,
}

/// What every session starts with, so that text forms do not depend on the server's settings.
const SESSION: &str = "SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; \
     SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET xmloption = 'content'; \
     SET client_min_messages = warning; ";

impl Server {
    /// Opens a connection and prepares its session.
    ///
    /// # Errors
    /// `config` for what a person must change (role, password, certificate), `transient` where nobody answers.
    pub(super) async fn connect(&self) -> Result<Link> {
        self.limiter.wait().await;
        let place = self.place();
        let mut link = self
            .open()
            .await
            .map_err(|error| self.silent(error))
            .context(&place)?;
        let zone: Vec<Row> = link
            .query(
                "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'",
                &[],
            )
            .await
            .context(&place)?;
        link.zone = zone.first().map_or_else(|| "UTC".to_owned(), |row| row.get(0));
        link.run(&self.session()).await.context(&place)?;
        Ok(link)
    }

    /// An error without the password: a server, or what stands before it, may repeat what it was told.
    fn silent(&self, error: Error) -> Error {
        let Some(password) = self.secrets.plain("password").ok().flatten() else {
            return error;
        };
        if password.is_empty() {
            return error;
        }
        let without = |text: String| text.replace(&password, "***");
        Error {
            message: without(error.message),
            advice: error.advice.map(without),
            ..error
        }
    }

    /// Where this is, for people.
    pub(super) fn place(&self) -> String {
        let config = &self.config;
        let user = config.user.as_deref().unwrap_or_default();
        let database = config.database.as_deref().unwrap_or(user);
        let host = config.host.as_deref().unwrap_or_default();
        format!(
            "PostgreSQL {user}@{host}:{}/{database}",
            config.port.unwrap_or(5432)
        )
    }

    fn session(&self) -> String {
        let config = &self.config;
        format!(
            "{SESSION}SET TimeZone = 'UTC'; SET lock_timeout = {}; SET statement_timeout = {}; \
             SET idle_in_transaction_session_timeout = 0; SET synchronous_commit = on",
            config.lock_timeout.get().as_millis(),
            config.statement_timeout.get().as_millis(),
        )
    }

    async fn open(&self) -> Result<Link> {
        let mode = self.config.ssl_mode.unwrap_or_default();
        let config = self.driver_config(mode)?;
        let deadline = self.config.connect_timeout.get();
        let connecting = async {
            if mode == SslMode::Disable {
                let (client, connection) = config.connect(NoTls).await.map_err(|error| failure(&error))?;
                return Ok(Link::new(client, Box::pin(connection)));
            }
            let tls = tls::connector(mode, self.config.ssl_root_cert.as_deref())?;
            let (client, connection) = config.connect(tls).await.map_err(|error| failure(&error))?;
            Ok(Link::new(client, Box::pin(connection)))
        };
        if deadline.is_zero() {
            return connecting.await;
        }
        // The driver's own limit is for each address; this one holds for all of it, a stuck handshake included.
        match tokio::time::timeout(deadline, connecting).await {
            Ok(link) => link,
            Err(_) => Err(Error::transient(format!(
                "no connection within {}",
                self.config.connect_timeout
            ))),
        }
    }

    fn driver_config(&self, mode: SslMode) -> Result<Config> {
        let ours = &self.config;
        let mut config = Config::new();
        config
            .host(ours.host.as_deref().unwrap_or_default())
            .port(ours.port.unwrap_or(5432))
            .user(ours.user.as_deref().unwrap_or_default())
            .application_name(&self.application)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_mins(1))
            .ssl_mode(match mode {
                SslMode::Disable => tokio_postgres::config::SslMode::Disable,
                SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                _ => tokio_postgres::config::SslMode::Require,
            });
        if let Some(database) = &ours.database {
            config.dbname(database);
        }
        if let Some(password) = self.secrets.plain("password")? {
            config.password(password);
        }
        Ok(config)
    }
}

/// `SET LOCAL` for a number of milliseconds.
pub(super) fn set_local(name: &str, value: Duration) -> String {
    format!("SET LOCAL {name} = {}", literal(&value.as_millis().to_string()))
}
