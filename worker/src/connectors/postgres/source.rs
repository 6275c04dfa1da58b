//! PostgreSQL as a source: discovery, and loads that are fixed by one snapshot.
//!
//! In: the settings and a stream. Out: a [`Load`](crate::connector::Load) whose parts all see the same rows,
//! however long they are read and whatever is written meanwhile.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

use super::{
    bounds::{self, Bound, READER},
    config::PostgresConfig,
    connect::Server,
    discover::{self, Table},
    ident::literal,
    link::Link,
    load::{Frame, PostgresLoad, Ticket, enter},
    parts::{self, Part},
    types::{Catalogue, Column},
    watermark::{Cursor, Upper, Watermark},
};
use crate::{
    connector::{Estimate, Load, Position, Range, Source, StreamInfo, System},
    error::{Context, Error, Result},
    stream::StreamSpec,
};

/// How every session of a source is set: it only reads, and one part yields its rows in the same order each time.
pub(super) const SESSION: &str = "SET default_transaction_read_only = on; SET synchronize_seqscans = off; \
     SET jit = off; SET max_parallel_workers_per_gather = 0";

/// A PostgreSQL server that is read.
pub(super) struct PostgresSource {
    server: Arc<Server>,
    /// What the last connection found; before the first one nothing speaks against it.
    safe: AtomicBool,
    /// By stream, the columns of times that its writers may fill by their own clocks.
    writers_times: Mutex<HashMap<String, Vec<String>>>,
}

impl PostgresSource {
    /// # Errors
    /// `config` where the settings are wrong.
    pub(super) fn new(system: &System) -> Result<Self> {
        let server = Server {
            config: PostgresConfig::new(&system.plan)?,
            secrets: system.secrets.clone(),
            limiter: system.limiter.clone(),
            application: format!("{READER}{}", system.flow.name),
        };
        Ok(Self {
            server: Arc::new(server),
            safe: AtomicBool::new(true),
            writers_times: Mutex::default(),
        })
    }

    async fn connect(&self) -> Result<Link> {
        let mut link = self.server.connect().await?;
        link.run(SESSION).await?;
        self.safe
            .store(bounds::sight(&mut link).await?.safe(), Ordering::Relaxed);
        Ok(link)
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut link = self.connect().await?;
        let types = Catalogue::read(&mut link).await?;
        let tables = discover::tables(&mut link, self.server.config.schema.as_deref()).await?;
        let config = &self.server.config;
        let zone = config.cursor_time_zone.as_deref().unwrap_or(&link.zone);
        let times = tables
            .iter()
            .map(|table| (table.stream.clone(), table.writers_times(&types, zone)));
        *self.writers_times.lock().unwrap_or_else(PoisonError::into_inner) = times.collect();
        Ok(tables.iter().map(|table| table.info(&types)).collect())
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        let context = || format!("{}: stream {}", self.server.place(), stream.name);
        let load = self.open(stream, range).await.with_place(context)?;
        Ok(Arc::new(load))
    }

    async fn join(&self, stream: &StreamSpec, _range: &Range, ticket: &Position) -> Result<Arc<dyn Load>> {
        let context = || format!("{}: stream {}", self.server.place(), stream.name);
        let ticket = serde_json::from_value(ticket.clone())?;
        let load = self.joined(stream, ticket).await.with_place(context)?;
        Ok(Arc::new(load))
    }

    async fn check(&self) -> Result<()> {
        let mut link = self.connect().await?;
        let row = link
            .query_one("SELECT current_setting('server_version_num')::int4", &[])
            .await?;
        let version: i32 = row.get(0);
        if version < 120_000 {
            return Err(Error::config(format!(
                "{}: PostgreSQL 12 or later is needed",
                self.server.place()
            )));
        }
        Ok(())
    }

    /// A time that clients set says nothing of when its row is committed: only a lookback reaches such rows.
    fn late_commits_safe(&self, stream: &StreamSpec) -> bool {
        let times = self.writers_times.lock().unwrap_or_else(PoisonError::into_inner);
        let by_clients = times
            .get(&stream.name)
            .is_some_and(|columns| stream.cursor.first().is_some_and(|first| columns.contains(first)));
        let looks_back = self
            .server
            .config
            .lookback_time()
            .is_ok_and(|time| !time.is_zero());
        self.safe.load(Ordering::Relaxed) && (looks_back || !by_clients)
    }
}

/// Says where, only when something went wrong.
trait Place<T> {
    fn with_place(self, place: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Place<T> for Result<T> {
    fn with_place(self, place: impl FnOnce() -> String) -> Self {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error).context(place()),
        }
    }
}

/// What a load is to read, before the snapshot is taken.
struct Wish {
    /// `None`: every row.
    condition: Option<String>,
    /// Where the next delta starts.
    next: Option<Watermark>,
    unsettled: bool,
    /// Most of the table may have to be looked through.
    wide: bool,
}

impl PostgresSource {
    async fn open(&self, stream: &StreamSpec, range: &Range) -> Result<PostgresLoad> {
        let mut link = self.connect().await?;
        let types = Catalogue::read(&mut link).await?;
        let table = discover::table(&mut link, &stream.name).await?;
        let columns = table.columns(&types, stream.declared.as_deref());
        let cursor = Cursor::new(stream, &table, &columns, &self.server.config)?;
        let wish = self
            .wish(&mut link, &table, cursor.as_ref(), range, stream)
            .await?;
        let snapshot = snapshot(&mut link).await?;
        let watermark = self.watermark(&mut link, wish.next, wish.unsettled).await?;
        let parts = if wish.wide {
            parts::parts(&mut link, &table, stream.partitions).await?
        } else {
            vec![Part::whole(&table)]
        };
        let null_cursors = match (&cursor, range) {
            (Some(cursor), Range::Delta { .. }) if cursor.nullable => {
                nulls(&mut link, &table, cursor).await?
            }
            _ => 0,
        };
        let rows = table.rows.filter(|_| *range == Range::Full);
        Ok(PostgresLoad::new(Frame {
            server: self.server.clone(),
            schema: discover::schema(&columns),
            queries: queries(&parts, &columns, wish.condition.as_deref()),
            columns: columns.into(),
            snapshot,
            watermark,
            estimate: Estimate { rows, bytes: None },
            stream: stream.name.clone(),
            null_cursors,
            keeper: Mutex::new(link),
        }))
    }

    /// The load of another process, within its snapshot.
    async fn joined(&self, stream: &StreamSpec, ticket: Ticket) -> Result<PostgresLoad> {
        let mut link = self.connect().await?;
        enter(&mut link, &ticket.snapshot).await?;
        let types = Catalogue::read(&mut link).await?;
        let table = discover::table(&mut link, &stream.name).await?;
        let columns = table.columns(&types, stream.declared.as_deref());
        Ok(PostgresLoad::new(Frame {
            server: self.server.clone(),
            schema: discover::schema(&columns),
            queries: ticket.queries,
            columns: columns.into(),
            snapshot: ticket.snapshot,
            watermark: None,
            estimate: Estimate::default(),
            stream: stream.name.clone(),
            null_cursors: ticket.null_cursors,
            keeper: Mutex::new(link),
        }))
    }

    /// Samples the bound where there is a cursor, and settles which rows are wanted.
    async fn wish(
        &self,
        link: &mut Link,
        table: &Table,
        cursor: Option<&Cursor>,
        range: &Range,
        stream: &StreamSpec,
    ) -> Result<Wish> {
        let config = &self.server.config;
        let needed = || {
            Error::config("this load needs a cursor").advice(format!(
                "name one: `streams: [{{ name: {}, cursorField: ... }}]`, or run a full load",
                stream.name
            ))
        };
        match (range, cursor) {
            (Range::Full, None) => Ok(Wish {
                condition: None,
                next: None,
                unsettled: false,
                wide: true,
            }),
            (Range::Full, Some(cursor)) => {
                let Bound { next, unsettled, .. } = bounds::sample(link, table, cursor, config, None).await?;
                Ok(Wish {
                    condition: None,
                    next: Some(next),
                    unsettled,
                    wide: true,
                })
            }
            (Range::Delta { after }, cursor) => {
                let cursor = cursor.ok_or_else(needed)?;
                let from = after
                    .as_ref()
                    .map(|position| Watermark::read(position, cursor))
                    .transpose()?;
                let bound = bounds::sample(link, table, cursor, config, from.as_ref()).await?;
                let condition = Some(cursor.condition(from.as_ref(), &bound.upper));
                let from_start = from.is_none_or(|from| from.late.is_some() || from.is_at_start());
                let wide = from_start && bound.upper != Upper::Nothing;
                Ok(Wish {
                    condition,
                    next: Some(bound.next),
                    unsettled: bound.unsettled,
                    wide,
                })
            }
            (Range::Backfill { from, to }, cursor) => {
                let cursor = cursor.ok_or_else(needed)?;
                let (column, from, to) = (cursor.column(0), cursor.literal(0, from), cursor.literal(0, to));
                let condition = Some(format!("{column} >= {from} AND {column} < {to}"));
                Ok(Wish {
                    condition,
                    next: None,
                    unsettled: false,
                    wide: false,
                })
            }
        }
    }

    /// The watermark, with the oldest transaction that this snapshot cannot see where it must be remembered.
    async fn watermark(
        &self,
        link: &mut Link,
        next: Option<Watermark>,
        unsettled: bool,
    ) -> Result<Option<Position>> {
        let Some(mut next) = next else { return Ok(None) };
        if unsettled {
            let row = link
                .query_one("SELECT txid_snapshot_xmin(txid_current_snapshot())", &[])
                .await?;
            next.late = Some(row.get(0));
        }
        next.position().map(Some)
    }
}

/// Begins the transaction that keeps the snapshot for as long as the load lives.
async fn snapshot(link: &mut Link) -> Result<String> {
    link.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    Ok(link.query_one("SELECT pg_export_snapshot()", &[]).await?.get(0))
}

/// What a connection runs to see the rows of a load.
pub(super) fn join(snapshot: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
        literal(snapshot)
    )
}

fn queries(parts: &[Part], columns: &[Column], condition: Option<&str>) -> Vec<String> {
    let expressions: Vec<&str> = columns.iter().map(|column| column.expression.as_str()).collect();
    parts
        .iter()
        .map(|part| {
            format!(
                "COPY ({}) TO STDOUT (FORMAT binary)",
                part.select(&expressions, condition)
            )
        })
        .collect()
}

/// Rows that no delta can see, since they have no cursor.
async fn nulls(link: &mut Link, table: &Table, cursor: &Cursor) -> Result<u64> {
    let sql = format!(
        "SELECT count(*) FROM {} WHERE {}",
        table.sql_name,
        cursor.is_null()
    );
    let count: i64 = link.query_one(&sql, &[]).await?.get(0);
    if count > 0 {
        tracing::warn!(
            stream = table.stream,
            rows = count,
            "rows without a cursor value are read by full loads alone"
        );
    }
    Ok(u64::try_from(count).unwrap_or(0))
}
