//! One connection, and how statements run over it.
//!
//! In: a connected client and its driver. Out: a [`Link`], which does its own input and output while somebody waits for
//! an answer. A connection task of its own would hand every few kilobytes of a COPY from thread to thread; here the
//! thread that decodes them reads them.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio_postgres::{
    Client, CopyInSink, CopyOutStream, Row,
    types::{ToSql, Type},
};

use super::failure::{failure, rolled_back};
use crate::error::{Error, Result};

type Driver = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>;
/// A parameter of a statement and its type.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

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
    /// Takes over a client and what drives it.
    pub(super) fn new(client: Client, driver: Driver) -> Self {
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
