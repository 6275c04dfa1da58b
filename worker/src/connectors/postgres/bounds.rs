//! Up to where a table is complete: the bound below which no row can appear any more.
//!
//! A row is visible from the commit of its transaction, but its cursor was set before: a delta that ended at the
//! last row it saw would lose those that commit late. The bound is sampled first, the snapshot taken after it.
//!
//! - Cursors that hold the server's time: no open transaction began before the bound, so none can still write a
//!   lesser value. This takes the right to see when others began (`pg_read_all_stats`).
//! - All others: the greatest value is sampled, then the transactions that were open at that moment are waited for.
//!   Where one outlasts the wait, the next delta looks through the numbers of the transactions that wrote each row,
//!   and reads those that were not visible to this load (needs a key, since it may read a few again).

use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::{
    config::PostgresConfig,
    discover::Table,
    link::Link,
    watermark::{Clock, Cursor, Upper, Watermark},
};
use crate::error::{Error, Result};

/// How sessions of readers are named; they only read, so that no bound waits for them.
pub(super) const READER: &str = "millrace-reader/";
const POLL: Duration = Duration::from_millis(20);

/// What a server lets us know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// The start of every open transaction can be seen.
    pub(super) starts: bool,
    /// Transactions run elsewhere.
    pub(super) standby: bool,
}

impl Sight {
    /// Rows of transactions that are still open cannot be missed.
    pub(super) fn safe(self) -> bool {
        self.starts && !self.standby
    }
}

/// Where a delta ends, and from where the next one starts.
pub(super) struct Bound {
    pub(super) upper: Upper,
    /// `None`: nothing is certain, all is to be read again.
    pub(super) next: Watermark,
    /// Open transactions outlasted the wait: the number of the oldest must be added once the snapshot is taken.
    pub(super) unsettled: bool,
}

/// What the role may see.
pub(super) async fn sight(link: &mut Link) -> Result<Sight> {
    let row = link
        .query_one(
            "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AND current_setting('track_activities')::bool, \
             pg_is_in_recovery()",
            &[],
        )
        .await?;
    Ok(Sight {
        starts: row.get(0),
        standby: row.get(1),
    })
}

/// Samples the bound. To be called before the snapshot is taken in which the rows are read.
pub(super) async fn sample(
    link: &mut Link,
    table: &Table,
    cursor: &Cursor,
    config: &PostgresConfig,
    from: Option<&Watermark>,
) -> Result<Bound> {
    let sight = sight(link).await?;
    if cursor.clock != Clock::Counter && sight.safe() {
        let zone = config
            .cursor_time_zone
            .clone()
            .unwrap_or_else(|| link.zone.clone());
        if let Some(bound) = clock_bound(link, table, cursor, config, &zone, from).await? {
            return Ok(bound);
        }
    }
    counter_bound(link, table, cursor, config, sight, from).await
}

/// The least local time, in the zone `$1`, from `b.at` on. Local times repeat when clocks are set back: the quarters
/// of the next three hours are looked at, too.
pub(super) fn local_sql() -> &'static str {
    "SELECT min(s.at AT TIME ZONE $1) FROM (SELECT b.at UNION ALL SELECT generate_series(\
       to_timestamp(ceil(extract(epoch FROM b.at) / 900) * 900), b.at + interval '3 hours', '15 minutes')) s (at)"
}

/// Whether another session hides its start (`state`), the bound as text, and whether it is past the watermark.
fn clock_sql(clock: Clock, millis: u128, watermark: Option<&str>, sql_type: &str) -> String {
    let local = local_sql();
    let bound = match clock {
        Clock::Instant | Clock::Counter => format!("b.at::{sql_type}"),
        Clock::Local => format!("({local})::{sql_type}"),
        Clock::Day => format!("({local})::date::{sql_type}"),
    };
    let past = watermark.map_or_else(|| "true".to_owned(), |watermark| format!("u.upper > {watermark}"));
    format!(
        "SELECT b.hidden, u.upper::text, {past}, $1::text IS NULL FROM (SELECT \
           least(now(), min(a.xact_start)) - interval '{millis} milliseconds' AS at, \
           coalesce(bool_or(a.state = 'disabled'), false) AS hidden FROM pg_stat_activity a \
           WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() \
             AND a.backend_type NOT IN ('autovacuum worker', 'walsender') \
             AND a.application_name NOT LIKE '{READER}%') b, \
         LATERAL (SELECT {bound} AS upper) u"
    )
}

/// `None` where it cannot be proven after all.
async fn clock_bound(
    link: &mut Link,
    table: &Table,
    cursor: &Cursor,
    config: &PostgresConfig,
    zone: &str,
    from: Option<&Watermark>,
) -> Result<Option<Bound>> {
    let before = from.and_then(|from| from.before.as_ref().or_else(|| from.after.as_ref()?.first()));
    let literal = before.map(|text| cursor.literal(0, text));
    let sql_type = cursor.columns.first().map_or("text", |column| &column.sql_type);
    let millis = config.late_margin.get().as_millis();
    let sql = clock_sql(cursor.clock, millis, literal.as_deref(), sql_type);
    let row = link
        .query_one(&sql, &[(&zone, Type::TEXT)])
        .await
        .map_err(|error| Error {
            message: format!("the bound of cursor {:?}: {}", cursor.names(), error.message),
            ..error
        })?;
    if row.get::<_, bool>(0) {
        return Ok(None);
    }
    let (text, past): (String, bool) = (row.get(1), row.get(2));
    let advances = past && !prepared(link, table).await?;
    let next = if advances {
        Watermark {
            before: Some(text.clone()),
            ..start(cursor)
        }
    } else {
        from.cloned().unwrap_or_else(|| start(cursor))
    };
    let upper = match cursor.clock {
        // A day goes on for hours: its rows are read as they come, and once more until it has ended.
        Clock::Day if cursor.keyed => Upper::Open,
        _ if advances => Upper::Below(text),
        _ => Upper::Nothing,
    };
    Ok(Some(Bound {
        upper,
        next,
        unsettled: false,
    }))
}

/// The greatest cursor that is visible, once all that was open with it has ended.
async fn counter_bound(
    link: &mut Link,
    table: &Table,
    cursor: &Cursor,
    config: &PostgresConfig,
    sight: Sight,
    from: Option<&Watermark>,
) -> Result<Bound> {
    let greatest = greatest(link, table, cursor, from).await?;
    let keep = from.cloned().unwrap_or_else(|| start(cursor));
    // Below the watermark, too, there may be rows to read.
    let behind = keep.late.is_some() || cursor.looks_back();
    let Some(greatest) = greatest.or_else(|| keep.after.clone().filter(|_| behind)) else {
        // All that was open with the last bound had ended: what is open now writes beyond it.
        return Ok(Bound {
            upper: Upper::Nothing,
            next: keep,
            unsettled: false,
        });
    };
    let settled = !sight.standby && settle(link, table, config.late_margin.get()).await?;
    let rows_tell = cursor.keyed && table.has_row_headers();
    if !settled && !rows_tell && !sight.standby {
        return Ok(Bound {
            upper: Upper::Nothing,
            next: keep,
            unsettled: false,
        });
    }
    // Where neither a standby nor its rows can tell, the guarantee of the flow says that it may miss late commits.
    let next = Watermark {
        after: Some(greatest.clone()),
        ..start(cursor)
    };
    Ok(Bound {
        upper: Upper::UpTo(greatest),
        next,
        unsettled: !settled && rows_tell,
    })
}

/// From the beginning.
pub(super) fn start(cursor: &Cursor) -> Watermark {
    Watermark {
        columns: cursor.names(),
        ..Watermark::default()
    }
}

async fn greatest(
    link: &mut Link,
    table: &Table,
    cursor: &Cursor,
    from: Option<&Watermark>,
) -> Result<Option<Vec<String>>> {
    let count = cursor.columns.len();
    let texts: Vec<String> = (0..count)
        .map(|place| format!("{}::text", cursor.column(place)))
        .collect();
    let order: Vec<String> = (0..count)
        .map(|place| format!("{} DESC", cursor.column(place)))
        .collect();
    let mut condition = format!("NOT ({})", cursor.is_null());
    match from {
        Some(Watermark {
            before: Some(before), ..
        }) => {
            condition += &format!(" AND {}", cursor.compare(">=", std::slice::from_ref(before)));
        }
        Some(Watermark {
            after: Some(after), ..
        }) => {
            let operator = if cursor.reads_ties_again() { ">=" } else { ">" };
            condition += &format!(" AND {}", cursor.compare(operator, after));
        }
        _ => {}
    }
    let sql = format!(
        "SELECT ARRAY[{}] FROM {} WHERE {condition} ORDER BY {} LIMIT 1",
        texts.join(", "),
        table.sql_name,
        order.join(", ")
    );
    Ok(link.query(&sql, &[]).await?.first().map(|row| row.get(0)))
}

/// Waits until every transaction that is open now has ended; false where one has not in time.
async fn settle(link: &mut Link, table: &Table, patience: Duration) -> Result<bool> {
    const OPEN: &str = "SELECT coalesce(array_agg(l.virtualxid), '{}') FROM pg_locks l \
         JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() \
           AND a.datname = current_database() AND a.backend_type IS DISTINCT FROM 'autovacuum worker' \
           AND a.application_name NOT LIKE 'millrace-reader/%' AND ($1::text[] IS NULL OR l.virtualxid = ANY ($1))";
    let until = Instant::now() + patience;
    let none: Option<Vec<String>> = None;
    let mut open: Vec<String> = link.query_one(OPEN, &[(&none, Type::TEXT_ARRAY)]).await?.get(0);
    while !open.is_empty() {
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
        open = link
            .query_one(OPEN, &[(&Some(&open), Type::TEXT_ARRAY)])
            .await?
            .get(0);
    }
    Ok(!prepared(link, table).await?)
}

/// A prepared transaction has written to this table, and may be committed at any time. It holds its locks until
/// then, so that the others need not be waited for. What lies below a view is not looked up: any one counts there.
async fn prepared(link: &mut Link, table: &Table) -> Result<bool> {
    const PREPARED: &str = "WITH RECURSIVE tree (oid) AS (SELECT $1::oid UNION \
           SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid) \
         SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
           WHERE d.datname = current_database() AND l.pid IS NULL AND l.locktype = 'relation' \
             AND l.mode NOT IN ('AccessShareLock', 'RowShareLock') \
             AND ($2 OR l.relation IN (SELECT oid FROM tree)))";
    let any = !table.is_stored();
    let blocked = link
        .query_one(PREPARED, &[(&table.id, Type::OID), (&any, Type::BOOL)])
        .await?
        .get(0);
    if blocked {
        tracing::warn!(
            stream = table.stream,
            "a prepared transaction has written to this table; deltas wait until it is committed or rolled back"
        );
    }
    Ok(blocked)
}
