//! The two tables that make a destination exact: `millrace_state`, one row a shard, and `millrace_index`, the
//! index of what was delivered.
//!
//! In: epochs and commits. Out: what was committed last, and the row lock by which a fence and a commit are put
//! in order: a commit of an older worker comes before the fence and is seen, or after it and is refused.

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{destination::ensure_schema, link::Link, presence, target::Target};
use crate::{
    error::{Error, Result},
    failpoint,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
};

/// The table of offsets.
const STATE: &str = "millrace_state";
/// The table of index segments.
const INDEX: &str = "millrace_index";

/// The ledger of one shard.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) id: ShardId,
    pub(super) state: String,
    pub(super) index: String,
    /// What it is written to, so that two writers of one table are seen.
    target: String,
    schema: String,
    /// Every row has an entry in the index; not so where each full load replaces all.
    pub(super) indexed: bool,
}

/// Whether a commit may go on.
pub(super) enum Claim {
    /// The state row is locked and already says what the commit will.
    Held,
    /// It is settled without one.
    Settled(Outcome),
}

impl Ledger {
    pub(super) fn new(id: &ShardId, target: &Target, indexed: bool) -> Self {
        Self {
            id: id.clone(),
            state: target.beside(STATE),
            index: target.beside(INDEX),
            target: target.sql_name(),
            schema: target.schema.clone(),
            indexed,
        }
    }

    /// Makes both tables where they are missing.
    pub(super) async fn ensure(&self, link: &mut Link) -> Result<()> {
        if self.is_there(link).await? {
            return Ok(());
        }
        // Two workers may come here at once, and IF NOT EXISTS alone does not keep them apart.
        link.run("BEGIN; SELECT pg_advisory_xact_lock(hashtext('millrace ledger'))")
            .await?;
        ensure_schema(link, &self.schema).await?;
        link.run(&format!(
            "CREATE TABLE IF NOT EXISTS {state} (state_id text NOT NULL, shard text NOT NULL, generation bigint NOT NULL, \
               epoch bigint NOT NULL, seq bigint NOT NULL, \"offset\" jsonb NOT NULL, nonce text NOT NULL, target text NOT NULL, \
               PRIMARY KEY (state_id, shard)); \
             COMMENT ON TABLE {state} IS 'What Millrace has committed; it belongs to the rows beside it'; \
             CREATE TABLE IF NOT EXISTS {index} (state_id text NOT NULL, shard text NOT NULL, segment text NOT NULL, \
               chunk integer NOT NULL, generation bigint NOT NULL, epoch bigint NOT NULL, live boolean NOT NULL, \
               rows bigint NOT NULL, dead bytea NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (state_id, shard, segment, chunk)); \
             ALTER TABLE {index} ALTER COLUMN bytes SET STORAGE EXTERNAL; \
             COMMENT ON TABLE {index} IS 'Keys and hashes of the rows that Millrace has delivered, as Parquet files'; COMMIT",
            state = self.state,
            index = self.index
        ))
        .await
    }

    async fn is_there(&self, link: &mut Link) -> Result<bool> {
        let row = link
            .query_one(
                "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL",
                &[(&self.state, Type::TEXT), (&self.index, Type::TEXT)],
            )
            .await?;
        Ok(row.get(0))
    }

    /// What was committed last; `None` where this shard was never here.
    pub(super) async fn last(&self, link: &mut Link) -> Result<Option<Committed>> {
        if !self.is_there(link).await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT epoch, generation, seq, \"offset\"::text, nonce FROM {} WHERE state_id = $1 AND shard = $2",
            self.state
        );
        let rows = link.query(&sql, &self.names()).await?;
        rows.first().map(committed).transpose()
    }

    pub(super) fn names(&self) -> [super::link::Param<'_>; 2] {
        [(&self.id.state, Type::TEXT), (&self.id.stream, Type::TEXT)]
    }

    /// Outlaws every older epoch. Waits for the row lock, and thereby for a transaction of an older worker. Where this
    /// epoch is there already, nothing changes. Where the rows are gone that were committed, the offset is forgotten.
    ///
    /// # Errors
    /// `fenced` where a newer epoch is there; `config` where another shard writes the same table.
    pub(super) async fn fence(
        &self,
        link: &mut Link,
        epoch: Epoch,
        nonce: &str,
        (into, shares): (&Target, bool),
    ) -> Result<()> {
        let number = signed(epoch)?;
        link.run("BEGIN").await?;
        let [state, shard] = self.names();
        let insert = format!(
            "INSERT INTO {} VALUES ($1, $2, 0, 0, 0, 'null', '', $3) ON CONFLICT DO NOTHING",
            self.state
        );
        link.execute(
            &insert,
            &[state.clone(), shard.clone(), (&self.target, Type::TEXT)],
        )
        .await?;
        let update = format!(
            "UPDATE {} SET epoch = $3, nonce = $4, target = $5 WHERE state_id = $1 AND shard = $2 AND epoch < $3",
            self.state
        );
        let target = (&self.target as &(dyn ToSql + Sync), Type::TEXT);
        let raised = link
            .execute(
                &update,
                &[state, shard, (&number, Type::INT8), (&nonce, Type::TEXT), target],
            )
            .await?;
        if raised == 1 {
            presence::forget_emptied(link, self, into).await?;
        }
        let found = self.last(link).await?.map_or(0, |last| last.epoch);
        if found > epoch {
            link.run("ROLLBACK").await?;
            return Err(Error::fenced(format!(
                "{}: epoch {epoch} came after epoch {found}",
                self.id
            )));
        }
        if !shares {
            self.alone(link).await?;
        }
        link.run("COMMIT").await
    }

    /// Within a fence: as if nothing had been committed. The epoch stays.
    pub(super) async fn forget(&self, link: &mut Link) -> Result<()> {
        let sql = format!(
            "UPDATE {} SET generation = 0, seq = 0, \"offset\" = 'null' WHERE state_id = $1 AND shard = $2",
            self.state
        );
        link.execute(&sql, &self.names()).await.map(drop)
    }

    /// No other shard writes this table.
    async fn alone(&self, link: &mut Link) -> Result<()> {
        let sql = format!(
            "SELECT o.state_id, o.shard FROM (SELECT pg_advisory_xact_lock(hashtext($3))) l, {} o \
             WHERE o.target = $3 AND (o.state_id, o.shard) <> ($1, $2) LIMIT 1",
            self.state
        );
        let [state, shard] = self.names();
        let others = link
            .query(&sql, &[state, shard, (&self.target, Type::TEXT)])
            .await?;
        let Some(other) = others.first() else {
            return Ok(());
        };
        let (state, shard): (String, String) = (other.get(0), other.get(1));
        Err(Error::config(format!(
            "{} is written by {state}:{shard} already, so {} cannot own it",
            self.target, self.id
        ))
        .reason("TargetConflict")
        .advice(format!(
            "give one of them another `table`; or where the other is no more, delete its row from {}",
            self.state
        )))
    }

    /// The first statement of a commit: takes the row lock, and writes the offset if all is as expected.
    pub(super) async fn claim(&self, link: &mut Link, permit: &Permit, commit: &Commit) -> Result<Claim> {
        if (commit.generation, commit.seq) != permit.next(commit.replace) {
            return Ok(Claim::Settled(self.settle(link, permit, commit).await?));
        }
        let (generation, seq) = permit.last().at();
        let expected = match failpoint::mutated("m1") {
            true => "least($8, $9, $10) >= 0",
            false => "epoch = $8 AND generation = $9 AND seq = $10",
        };
        let sql = format!(
            "UPDATE {} SET generation = $3, seq = $4, \"offset\" = $5::text::jsonb, nonce = $6, target = $7 \
             WHERE state_id = $1 AND shard = $2 AND {expected}",
            self.state
        );
        let offset = encode(&commit.offset)?;
        let numbers = [
            signed(commit.generation)?,
            signed(commit.seq)?,
            signed(permit.epoch())?,
            signed(generation)?,
            signed(seq)?,
        ];
        let [state, shard] = self.names();
        let changed = link
            .execute(
                &sql,
                &[
                    state,
                    shard,
                    (&numbers[0], Type::INT8),
                    (&numbers[1], Type::INT8),
                    (&offset, Type::TEXT),
                    (&commit.nonce, Type::TEXT),
                    (&self.target, Type::TEXT),
                    (&numbers[2], Type::INT8),
                    (&numbers[3], Type::INT8),
                    (&numbers[4], Type::INT8),
                ],
            )
            .await?;
        if changed == 1 {
            Ok(Claim::Held)
        } else {
            Ok(Claim::Settled(self.settle(link, permit, commit).await?))
        }
    }

    /// Why the state is not what a commit expects.
    pub(super) async fn settle(&self, link: &mut Link, permit: &Permit, commit: &Commit) -> Result<Outcome> {
        let Some(last) = self.last(link).await? else {
            return Ok(Outcome::Failed(Error::state(
                "StateLost",
                format!("shard {}: its row in {} is gone", self.id, self.state),
            )));
        };
        if last.epoch > permit.epoch() {
            return Ok(Outcome::Fenced);
        }
        let ours = last.at() == (commit.generation, commit.seq) && last.nonce == commit.nonce;
        if ours && last.epoch == permit.epoch() {
            return Ok(Outcome::Done);
        }
        let expected = permit.last();
        Ok(Outcome::Failed(Error::state(
            "StateDiverged",
            format!(
                "shard {}: {} says epoch {}, generation {}, seq {}, where epoch {}, generation {}, seq {} were expected",
                self.id,
                self.state,
                last.epoch,
                last.generation,
                last.seq,
                permit.epoch(),
                expected.generation,
                expected.seq
            ),
        )))
    }
}

fn committed(row: &Row) -> Result<Committed> {
    let number = |at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
    let text: String = row.get(3);
    Ok(Committed {
        epoch: number(0),
        generation: number(1),
        seq: number(2),
        offset: decode(&text)?,
        nonce: row.get(4),
    })
}

pub(super) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::bug(format!("{number} is beyond what the ledger can hold")))
}

/// `jsonb` cannot hold a zero character: an offset with one is kept as a text that holds its JSON.
const WRAP: &str = "$millrace_text";

fn encode(offset: &serde_json::Value) -> Result<String> {
    let text = serde_json::to_string(offset)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    Ok(serde_json::to_string(&serde_json::json!({ WRAP: text }))?)
}

fn decode(text: &str) -> Result<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    match value.get(WRAP).and_then(serde_json::Value::as_str) {
        Some(inner) => Ok(serde_json::from_str(inner)?),
        None => Ok(value),
    }
}
