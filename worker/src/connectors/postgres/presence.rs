//! Whether the rows that the ledger knows of are still there: a table that was dropped or emptied is not taken for one
//! that is up to date.
//!
//! In: what was committed last, the index, the table. Out: what was committed last, or that nothing is there any more,
//! which the protocol tells as `StateDiverged`; and once a person has reset the state, a ledger that begins anew.

use tokio_postgres::types::{ToSql, Type};

use super::{index, ledger::Ledger, link::Link, target::Target};
use crate::{
    error::{Error, Result},
    protocol::Committed,
};

/// Where the offset of a commit that replaced everything says how many rows it brought.
const DIGEST_ROWS: &str = "/digest/rows";

/// Whether the rows of a table can be seen at all.
const READABLE: &str = "SELECT c.relkind IN ('r', 'p') AND has_any_column_privilege(c.oid, 'SELECT') \
       AND NOT row_security_active(c.oid) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind NOT IN ('i', 'I', 'c', 't')";

/// What was committed last; nothing, under the epoch of the ledger, where its rows are gone.
pub(super) async fn last(link: &mut Link, ledger: &Ledger, target: &Target) -> Result<Option<Committed>> {
    let mut last = ledger.last(link).await?;
    while let Some(found) = &last {
        if !is_emptied(link, ledger, target, found).await? {
            break;
        }
        // Rows and ledger change in one transaction: where the ledger says the same after the look as before it, no
        // commit came between the look at the one and at the other.
        let again = ledger.last(link).await?;
        if again == last {
            tell(ledger, target, found);
            return Ok(Some(Committed::nothing(found.epoch, &found.nonce)));
        }
        last = again;
    }
    Ok(last)
}

/// Within a fence, which holds the row of the ledger: where the rows are gone, offset and index go too. The protocol
/// lets nobody come here while the state still counts on those rows.
pub(super) async fn forget_emptied(link: &mut Link, ledger: &Ledger, target: &Target) -> Result<()> {
    let Some(found) = ledger.last(link).await? else {
        return Ok(());
    };
    if !is_emptied(link, ledger, target, &found).await? {
        return Ok(());
    }
    ledger.forget(link).await?;
    index::forget(link, ledger).await
}

/// Within a commit, which holds the row of the ledger: changes are for the rows that the index has, and worth nothing
/// without them.
///
/// # Errors
/// `StateDiverged` where they were taken away during the run.
pub(super) async fn still_there(link: &mut Link, ledger: &Ledger, target: &Target) -> Result<()> {
    if look(link, target).await? == Table::Filled || !index::has_entries(link, ledger).await? {
        return Ok(());
    }
    Err(Error::state(
        "StateDiverged",
        format!("{} was dropped or emptied during the run", target.sql_name()),
    )
    .advice(
        "put it back, or let `millrace state reset --stream NAME` forget the offset, so that the next load delivers everything",
    ))
}

/// What a table holds.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    Gone,
    Empty,
    /// At least one row, or rows that this role may not see.
    Filled,
}

/// Whether rows were delivered, and none is left.
async fn is_emptied(link: &mut Link, ledger: &Ledger, target: &Target, last: &Committed) -> Result<bool> {
    if last.generation == 0 {
        return Ok(false);
    }
    let table = look(link, target).await?;
    if table == Table::Filled {
        return Ok(false);
    }
    if index::has_entries(link, ledger).await? {
        return Ok(true);
    }
    match last
        .offset
        .pointer(DIGEST_ROWS)
        .and_then(serde_json::Value::as_u64)
    {
        Some(rows) => Ok(rows > 0),
        // Changes on top of a load that replaced everything are counted nowhere; but they make the table.
        None => Ok(!ledger.indexed && table == Table::Gone),
    }
}

async fn look(link: &mut Link, target: &Target) -> Result<Table> {
    let names = [
        (&target.schema as &(dyn ToSql + Sync), Type::TEXT),
        (&target.table, Type::TEXT),
    ];
    let Some(row) = link.query(READABLE, &names).await?.pop() else {
        return Ok(Table::Gone);
    };
    if row.get::<_, Option<bool>>(0) != Some(true) {
        return Ok(Table::Filled);
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {})", target.sql_name());
    match link.query_one(&sql, &[]).await?.get(0) {
        true => Ok(Table::Filled),
        false => Ok(Table::Empty),
    }
}

fn tell(ledger: &Ledger, target: &Target, found: &Committed) {
    tracing::warn!(
        shard = %ledger.id,
        "commit {}.{} brought rows into {}, which is empty or gone",
        found.generation,
        found.seq,
        target.sql_name()
    );
}
