//! Connections: how one is made, and how statements run over it.
//!
//! In: the settings and the password, read anew each time. Out: a [`Link`], which does its own input and output
//! while somebody waits for an answer. A connection task of its own would hand every few kilobytes of a COPY from
//! thread to thread; here the thread that decodes them reads them.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio_postgres::{
    Client, Config, CopyInSink, CopyOutStream, NoTls, Row,
    types::{ToSql, Type},
};

use super::{
    config::{PostgresConfig, SslMode},
    failure::{failure, rolled_back},
    ident::literal,
    tls,
};
use crate::{
    error::{Context, Error, Result},
    rate::RateLimiter,
    secrets::Secrets,
};

type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;
/// A parameter of a statement and its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

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
        let mut link = self.open().await.context(&place)?;
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

/// One connection.
pub(super) struct Link {
    client: Option<Client>,
    wire: Wire,
    /// The time zone that the server gives to this role; the session itself is in UTC.
    pub(super) zone: String,
}

enum Wire {
    Open(Driver),
    /// Ended, and why.
    Closed(Error),
}

impl Link {
    fn new(client: Client, driver: Driver) -> Self {
        Self {
            client: Some(client),
            wire: Wire::Open(driver),
            zone: String::new(),
        }
    }

    fn parts(&mut self) -> Result<(&Client, &mut Wire)> {
        let client = self
            .client
            .as_ref()
            .ok_or_else(|| Error::transient("the connection is closed"))?;
        Ok((client, &mut self.wire))
    }

    /// Runs statements that answer with nothing.
    pub(super) async fn run(&mut self, sql: &str) -> Result<()> {
        let (client, wire) = self.parts()?;
        drive(wire, client.batch_execute(sql))
            .await?
            .map_err(|error| failure(&error))
    }

    /// Runs one statement and takes its rows.
    pub(super) async fn query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let (client, wire) = self.parts()?;
        drive(wire, client.query_typed(sql, params))
            .await?
            .map_err(|error| failure(&error))
    }

    /// Runs one statement that answers with exactly one row.
    pub(super) async fn query_one(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Row> {
        let mut rows = self.query(sql, params).await?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            _ => Err(Error::bug(format!("not one row: {sql}"))),
        }
    }

    /// Runs one statement; how many rows it touched.
    pub(super) async fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        let (client, wire) = self.parts()?;
        drive(wire, client.execute_typed(sql, params))
            .await?
            .map_err(|error| failure(&error))
    }

    /// Ends the transaction. The error is the driver's own: only it tells an answer from silence.
    pub(super) async fn commit(&mut self) -> Result<(), CommitError> {
        let (client, wire) = self.parts().map_err(CommitError::Silent)?;
        match drive(wire, client.simple_query("COMMIT")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if rolled_back(&error) => Err(CommitError::Refused(failure(&error))),
            Ok(Err(error)) => Err(CommitError::Silent(failure(&error))),
            Err(error) => Err(CommitError::Silent(error)),
        }
    }

    /// Starts `COPY ... TO STDOUT`.
    pub(super) async fn copy_out(&mut self, sql: &str) -> Result<CopyOutStream> {
        let (client, wire) = self.parts()?;
        drive(wire, client.copy_out(sql))
            .await?
            .map_err(|error| failure(&error))
    }

    /// Starts `COPY ... FROM STDIN`.
    pub(super) async fn copy_in(&mut self, sql: &str) -> Result<CopyInSink<bytes::Bytes>> {
        let (client, wire) = self.parts()?;
        drive(wire, client.copy_in(sql))
            .await?
            .map_err(|error| failure(&error))
    }

    /// Waits for something that needs this connection's traffic.
    pub(super) async fn wait<T>(
        &mut self,
        future: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        drive(&mut self.wire, future)
            .await?
            .map_err(|error| failure(&error))
    }

    /// Polls the connection once; true where it has ended.
    pub(super) fn poll_wire(&mut self, task: &mut TaskContext<'_>) -> bool {
        self.wire.poll(task)
    }

    /// Why the connection ended, where it has.
    pub(super) fn ended(&self) -> Option<Error> {
        match &self.wire {
            Wire::Open(_) => None,
            Wire::Closed(error) => Some(error.clone()),
        }
    }
}

/// Why a COMMIT did not succeed.
pub(super) enum CommitError {
    /// The server rolled back.
    Refused(Error),
    /// It is not known.
    Silent(Error),
}

impl Wire {
    /// Polls the connection; true where it has ended.
    fn poll(&mut self, task: &mut TaskContext<'_>) -> bool {
        let Self::Open(driver) = self else { return true };
        let Poll::Ready(end) = driver.as_mut().poll(task) else {
            return false;
        };
        *self = Self::Closed(match end {
            Ok(()) => Error::transient("the connection was closed"),
            Err(error) => failure(&error),
        });
        true
    }
}

/// Waits for an answer and moves bytes meanwhile. The outer error: the connection ended first, with the
/// server's own last words where it had any.
async fn drive<T>(
    wire: &mut Wire,
    future: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<Result<T, tokio_postgres::Error>> {
    let mut future = pin!(future);
    let answer = poll_fn(|task| {
        loop {
            if let Poll::Ready(answer) = future.as_mut().poll(task) {
                return Poll::Ready(Some(answer));
            }
            if matches!(wire, Wire::Closed(_)) {
                return Poll::Ready(None);
            }
            // Where it has just ended, the answer may have come with its last bytes.
            if !wire.poll(task) {
                return future.as_mut().poll(task).map(Some);
            }
        }
    })
    .await;
    match (answer, &*wire) {
        (Some(Err(error)), Wire::Closed(last)) if error.is_closed() => Err(last.clone()),
        (Some(answer), _) => Ok(answer),
        (None, Wire::Closed(last)) => Err(last.clone()),
        (None, Wire::Open(_)) => Err(Error::bug("an open connection gave no answer")),
    }
}

impl Drop for Link {
    /// Says goodbye in the background, so that the server frees its side at once and logs no broken connection.
    fn drop(&mut self) {
        drop(self.client.take());
        let closed = Wire::Closed(Error::transient("the connection is closed"));
        if let Wire::Open(driver) = std::mem::replace(&mut self.wire, closed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { drop(tokio::time::timeout(Duration::from_secs(5), driver).await) });
        }
    }
}

/// `SET LOCAL` for a number of milliseconds.
pub(super) fn set_local(name: &str, value: Duration) -> String {
    format!("SET LOCAL {name} = {}", literal(&value.as_millis().to_string()))
}
