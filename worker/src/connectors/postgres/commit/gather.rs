//! The new table of a commit: what its stages have filled together, complete, and with its key.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::Type;

use super::Work;
use crate::{
    connectors::postgres::{
        ident::{list, literal, quote},
        link::Link,
        stage::Token,
        target::{Target, Wanted},
    },
    error::{Context, Error, Result},
};

/// A new table, filled.
pub(super) struct Build {
    pub(super) table: String,
    /// Tables with the rest of its rows.
    others: Vec<String>,
    pub(super) columns: Vec<Wanted>,
}

impl Work<'_> {
    /// The new table that stages have filled together, complete and with its key; `None`: there is none.
    pub(super) async fn gather(&self, link: &mut Link, tokens: &[Token]) -> Result<Option<Build>> {
        let mut tables: BTreeMap<&str, Vec<&Token>> = BTreeMap::new();
        for token in tokens.iter().filter(|token| token.build) {
            tables.entry(&token.table).or_default().push(token);
        }
        for (table, stages) in &tables {
            self.only_these(link, table, stages).await?;
        }
        let live = |stages: &[&Token]| stages.iter().map(|token| token.live).sum::<u64>();
        let Some((table, stages)) = tables.iter().max_by_key(|(_, stages)| live(stages)) else {
            return Ok(None);
        };
        let columns = stages
            .first()
            .map(|token| token.columns.clone())
            .unwrap_or_default();
        if tokens.iter().any(|token| token.columns != columns) {
            return Err(Error::bug("the stages of this commit differ in their columns"));
        }
        let others = tables
            .keys()
            .filter(|other| *other != table)
            .map(|other| (*other).to_owned())
            .collect();
        let build = Build {
            table: (*table).to_owned(),
            others,
            columns,
        };
        if self.shard.by_key() {
            self.add_key(link, &build).await?;
        }
        link.run(&format!("ANALYZE {}", self.target.beside(&build.table)))
            .await?;
        Ok(Some(build))
    }

    /// Brings what stages have put into further new tables into the one that counts.
    pub(super) async fn unite(&self, link: &mut Link, build: &Build) -> Result<()> {
        let names = list(build.columns.iter().map(|column| column.name.as_str()));
        let table = self.target.beside(&build.table);
        for other in &build.others {
            let other = self.target.beside(other);
            link.run(&format!(
                "INSERT INTO {table} ({names}) SELECT {names} FROM {other}; DROP TABLE {other}"
            ))
            .await?;
        }
        Ok(())
    }

    /// Takes out what stages have left there that are no part of this commit.
    async fn only_these(&self, link: &mut Link, table: &str, stages: &[&Token]) -> Result<()> {
        let known = self.shard.build_of(table).await;
        let done: BTreeSet<String> = known
            .map(|known| {
                known
                    .done
                    .lock()
                    .map(|done| done.iter().cloned().collect())
                    .unwrap_or_default()
            })
            .unwrap_or_default();
        let wanted: BTreeSet<String> = stages.iter().map(|token| token.stage.clone()).collect();
        if done == wanted {
            return Ok(());
        }
        let ours: Vec<String> = stages.iter().map(|token| literal(&token.transaction)).collect();
        let sql = format!(
            "DELETE FROM {} WHERE xmin::text NOT IN ({})",
            self.target.beside(table),
            ours.join(", ")
        );
        link.execute(&sql, &[]).await.map(drop)
    }

    /// The key of a new table: an index by which later changes find their rows, or the primary key where asked for.
    async fn add_key(&self, link: &mut Link, build: &Build) -> Result<()> {
        let name = Target::key_name(&build.table);
        let known = link
            .query(
                "SELECT to_regclass($1) IS NOT NULL",
                &[(&self.target.beside(&name), Type::TEXT)],
            )
            .await?;
        if known.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        let key = self.key()?;
        let (table, columns) = (
            self.target.beside(&build.table),
            list(key.iter().map(String::as_str)),
        );
        let sql = if self.shard.server.config.create_primary_key {
            format!(
                "ALTER TABLE {table} ADD CONSTRAINT {} PRIMARY KEY ({columns})",
                quote(&name)
            )
        } else {
            format!("CREATE INDEX {} ON {table} ({columns})", quote(&name))
        };
        link.run(&sql).await.context("the key of the new table")
    }
}
