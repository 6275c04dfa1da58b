//! The commit: one transaction in which rows, offset and index become true together, or not at all.
//!
//! In: a permit and the tokens of the stages. Out: an [`Outcome`]. The state row is locked by the first statement, so
//! that a worker which was outlawed meanwhile is refused before it touches a row. Whatever takes long and needs no
//! lock (building an index on a new table) comes before.

use std::collections::BTreeSet;

use self::gather::Build;
use super::{
    connect::set_local,
    index,
    ledger::Claim,
    link::{CommitError, Link},
    presence,
    shard::PostgresShard,
    stage::Token,
    swap,
    target::{self, Existing, GONE, KEY, Pour, Target, Wanted},
};
use crate::{
    connector::Staged,
    error::{Context, Error, ErrorKind, Result},
    failpoint,
    protocol::{Commit, Outcome, Permit},
};

mod gather;

/// Rows from which the planner needs to know more of a staging table than its size.
const ANALYZE_ROWS: u64 = 1000;

/// Commits what was staged.
pub(super) async fn commit(shard: &PostgresShard, permit: &Permit, commit: &Commit) -> Outcome {
    let mut link = match shard.control().await {
        Ok(link) => link,
        Err(error) => return Outcome::Failed(error),
    };
    let claim = match Work::new(shard, permit, commit).apply(&mut link).await {
        Ok(claim) => claim,
        Err(error) => return failed(shard, permit, commit, error, link).await,
    };
    if let Claim::Settled(outcome) = claim {
        return outcome;
    }
    match link.commit().await {
        Ok(()) => {
            shard.built().await;
            shard.keep(link).await;
            Outcome::Done
        }
        Err(CommitError::Refused(error)) => Outcome::Failed(with_place(shard, error)),
        Err(CommitError::Silent(error)) => Outcome::Unknown(with_place(shard, error).to_string()),
    }
}

fn with_place(shard: &PostgresShard, error: Error) -> Error {
    Error {
        message: format!("{}: {}", shard.context(), error.message),
        ..error
    }
}

/// Nothing was sent that could have been applied by this attempt. An earlier one, or a newer worker, may be the
/// reason why it did not work: the state says so.
async fn failed(
    shard: &PostgresShard,
    permit: &Permit,
    commit: &Commit,
    error: Error,
    mut link: Link,
) -> Outcome {
    if link.run("ROLLBACK").await.is_ok()
        && let Ok(outcome @ (Outcome::Done | Outcome::Fenced)) =
            shard.ledger.settle(&mut link, permit, commit).await
    {
        return outcome;
    }
    Outcome::Failed(with_place(shard, error))
}

/// What one commit works with.
struct Work<'a> {
    shard: &'a PostgresShard,
    permit: &'a Permit,
    commit: &'a Commit,
    target: &'a Target,
}

impl<'a> Work<'a> {
    fn new(shard: &'a PostgresShard, permit: &'a Permit, commit: &'a Commit) -> Self {
        Self {
            shard,
            permit,
            commit,
            target: &shard.target,
        }
    }

    async fn apply(&self, link: &mut Link) -> Result<Claim> {
        let tokens = tokens(&self.commit.staged)?;
        // A commit that is outlawed already prepares nothing.
        if let Some(last) = self.shard.ledger.last(link).await?
            && last.epoch > self.permit.epoch()
            && !failpoint::mutated("m1")
        {
            return Ok(Claim::Settled(Outcome::Fenced));
        }
        let build = self.gather(link, &tokens).await?;
        let config = &self.shard.server.config;
        let idle = set_local(
            "idle_in_transaction_session_timeout",
            config.idle_in_transaction_timeout.get(),
        );
        link.run(&format!("BEGIN; {idle}")).await?;
        let claim = self.shard.ledger.claim(link, self.permit, self.commit).await?;
        if matches!(claim, Claim::Settled(_)) {
            link.run("ROLLBACK").await?;
            return Ok(claim);
        }
        if !self.commit.replace {
            presence::still_there(link, &self.shard.ledger, self.target).await?;
        }
        self.rows(link, &tokens, build.as_ref()).await?;
        index::publish(link, &self.shard.ledger, self.commit, &tokens)
            .await
            .context("index")?;
        self.drop_staged(link, &tokens, build.as_ref()).await?;
        Ok(claim)
    }

    /// The delivered key, by the names that its columns have at the destination.
    fn key(&self) -> Result<Vec<String>> {
        super::ident::fit_all(self.shard.stream.delivered_key.iter().map(String::as_str))
    }

    async fn rows(&self, link: &mut Link, tokens: &[Token], build: Option<&Build>) -> Result<()> {
        if let Some(build) = build {
            self.unite(link, build).await?;
        }
        let there = target::existing(link, self.target).await?;
        match (there, build, self.commit.replace) {
            (None, None, _) => Ok(()),
            (None, Some(build), _) => swap::rename(link, self.target, &build.table).await,
            (Some(_), None, true) => swap::empty(link, self.target).await,
            (Some(there), Some(build), true) => self.replace(link, there, build).await,
            (Some(there), build, false) => self.merge(link, &there, tokens, build).await,
        }
    }

    async fn replace(&self, link: &mut Link, there: Existing, build: &Build) -> Result<()> {
        let keep = self.shard.server.config.keep_table;
        if !keep && there.kind == b'r' && there.owned && !swap::has_dependents(link, &there).await? {
            return swap::swap(link, self.target, &there, &build.table).await;
        }
        let there = self.evolve(link, there, &build.columns).await?;
        let pour = there.pour(self.target, &build.columns)?;
        swap::empty(link, self.target).await?;
        self.pour(link, &pour, &build.table, false).await.map(drop)
    }

    /// Adds the columns that the target lacks, and looks at it again.
    async fn evolve(&self, link: &mut Link, there: Existing, columns: &[Wanted]) -> Result<Existing> {
        let Some(sql) = there.pour(self.target, columns)?.evolve(self.target) else {
            return Ok(there);
        };
        link.run(&sql).await.context("new columns")?;
        let anew = target::existing(link, self.target).await?;
        anew.ok_or_else(|| Error::transient(format!("{} is gone", self.target.sql_name())))
    }

    /// Changes rows of the target: deletes by key, then inserts.
    async fn merge(
        &self,
        link: &mut Link,
        there: &Existing,
        tokens: &[Token],
        build: Option<&Build>,
    ) -> Result<()> {
        if let Some(build) = build {
            // Somebody made the table while this one was built for it.
            return Err(Error::new(
                ErrorKind::Transient,
                format!(
                    "{} was made by somebody else, while {} was filled",
                    self.target.sql_name(),
                    build.table
                ),
            ));
        }
        for token in tokens {
            if let Some(sql) = there.pour(self.target, &token.columns)?.evolve(self.target) {
                link.run(&sql).await.context("new columns")?;
            }
        }
        let there = target::existing(link, self.target)
            .await?
            .ok_or_else(|| Error::transient(format!("{} is gone", self.target.sql_name())))?;
        let pours: Vec<Pour> = tokens
            .iter()
            .map(|token| there.pour(self.target, &token.columns))
            .collect::<Result<_>>()?;
        // All that goes before all that comes: a key that one stage lets go may be taken by another.
        for (token, pour) in tokens.iter().zip(&pours) {
            self.delete(link, pour, token).await?;
        }
        for (token, pour) in tokens.iter().zip(&pours) {
            let inserted = self.pour(link, pour, &token.table, self.shard.by_key()).await?;
            if inserted != token.live {
                return Err(lost(token, token.live));
            }
        }
        Ok(())
    }

    /// Deletes the rows whose keys were staged, after a look at whether all of them are still there.
    async fn delete(&self, link: &mut Link, pour: &Pour, token: &Token) -> Result<()> {
        let staging = self.target.beside(&token.table);
        let staged = token.live + token.gone;
        if staged >= ANALYZE_ROWS {
            link.run(&format!("ANALYZE {staging}")).await?;
        }
        // An unlogged table is empty after a crash of the server.
        let row = link
            .query_one(&format!("SELECT count(*) FROM {staging}"), &[])
            .await?;
        if u64::try_from(row.get::<_, i64>(0)) != Ok(staged) {
            return Err(lost(token, staged));
        }
        if self.shard.by_key() {
            let same = pour.same_key(&self.key()?)?;
            let sql = format!(
                "DELETE FROM {} t USING {staging} s WHERE {same}",
                self.target.sql_name()
            );
            link.execute(&sql, &[]).await?;
        }
        Ok(())
    }

    /// Copies rows of a table beside the target into it.
    async fn pour(&self, link: &mut Link, pour: &Pour, from: &str, has_gone: bool) -> Result<u64> {
        let filter = if has_gone {
            format!(" WHERE NOT s.{GONE}")
        } else {
            String::new()
        };
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} s{filter}",
            self.target.sql_name(),
            pour.names(),
            pour.values(),
            self.target.beside(from)
        );
        link.execute(&sql, &[]).await
    }

    /// What was poured is no longer needed; what was swapped in has another name by now.
    async fn drop_staged(&self, link: &mut Link, tokens: &[Token], build: Option<&Build>) -> Result<()> {
        let own = tokens
            .iter()
            .filter(|token| !token.build)
            .map(|token| token.table.as_str());
        let tables: BTreeSet<&str> = own.chain(build.map(|build| build.table.as_str())).collect();
        for table in tables {
            link.run(&format!("DROP TABLE IF EXISTS {}", self.target.beside(table)))
                .await?;
        }
        Ok(())
    }
}

/// What the stages say of themselves.
pub(super) fn tokens(staged: &[Staged]) -> Result<Vec<Token>> {
    staged
        .iter()
        .map(|staged| {
            serde_json::from_value(staged.token.clone())
                .map_err(|error| Error::bug(format!("the token of a stage: {error}")))
        })
        .collect()
}

fn lost(token: &Token, expected: u64) -> Error {
    Error::transient(format!(
        "the {expected} rows staged in {} are no longer there",
        token.table
    ))
    .advice("the server was restarted; the load begins anew")
}

/// Whether this is an index or a key that the destination makes itself.
pub(super) fn own_key_pattern() -> String {
    format!("{}%", KEY.replace('_', "\\_"))
}
