//! Where one stream's rows go: the table's name, what it looks like now, and how rows fit into it.
//!
//! In: the settings, a stream, and Arrow columns. Out: names, column definitions, and for a table that is there
//! already the expression by which each column is filled, or why that would lose something.

use std::str::FromStr;

use arrow::datatypes::Schema;
use millrace_crds::{
    plan::FlowRef,
    template::{Template, Values},
};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::{
    config::PostgresConfig,
    encode::sql::sql_type,
    ident::{fit, fit_all, mark, qualified, quote},
    link::Link,
};
use crate::{
    error::{Error, Result},
    protocol::ShardId,
};

mod pour;

pub(super) use self::pour::Pour;

/// How the tables begin that hold what is not committed yet.
pub(super) const STAGING: &str = "millrace_staging_";
/// How the indexes and keys begin that the destination makes itself.
pub(super) const KEY: &str = "millrace_key_";
/// The column of a staging table that tells rows to delete.
pub(super) const GONE: &str = "millrace_gone";

/// One stream's table.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) schema: String,
    pub(super) table: String,
    /// Tells the staging tables of this shard from those of others.
    mark: String,
}

impl Target {
    /// The table of a stream.
    ///
    /// # Errors
    /// `config` where a template is none.
    pub(super) fn new(config: &PostgresConfig, flow: &FlowRef, shard: &ShardId) -> Result<Self> {
        // A dot would have to be quoted in every query.
        let stream = shard.stream.replace('.', "_");
        let values = Values {
            namespace: &flow.namespace,
            flow: &flow.name,
            stream: &stream,
            labels: &flow.labels,
            date: jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date(),
        };
        let fill = |field: &str, text: &str| -> Result<String> {
            let wrong = |error| Error::config(format!("`{field}` of the destination: {error}"));
            let name = Template::from_str(text)
                .map_err(wrong)?
                .render(&values)
                .map_err(wrong)?;
            if name.is_empty() || name.contains('\0') {
                return Err(Error::config(format!(
                    "`{field}` of the destination renders as {name:?}"
                )));
            }
            Ok(fit(&name))
        };
        Ok(Self {
            schema: fill("schema", config.schema.as_deref().unwrap_or("public"))?,
            table: fill("table", config.table.as_deref().unwrap_or("{stream}"))?,
            mark: mark(&format!("{}\0{}", shard.state, shard.stream)),
        })
    }

    /// `"schema"."table"`.
    pub(super) fn sql_name(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    /// Another relation of the same schema.
    pub(super) fn beside(&self, name: &str) -> String {
        qualified(&self.schema, name)
    }

    /// A name that no table has yet, for what one commit of an epoch is to bring.
    pub(super) fn staging(&self, epoch: u64, (generation, seq): (u64, u64)) -> String {
        let random = uuid::Uuid::new_v4().simple().to_string();
        format!(
            "{}{epoch}_{generation}_{seq}_{}",
            self.staging_prefix(),
            &random[..8]
        )
    }

    /// The epoch and the commit that a staging table was made for.
    pub(super) fn staged_for(&self, name: &str) -> Option<(u64, (u64, u64))> {
        let rest = name.strip_prefix(&self.staging_prefix())?;
        let mut numbers = rest.split('_').map_while(|part| part.parse::<u64>().ok());
        Some((numbers.next()?, (numbers.next()?, numbers.next()?)))
    }

    /// How the staging tables of this shard begin; epoch and commit follow.
    pub(super) fn staging_prefix(&self) -> String {
        format!("{STAGING}{}_", self.mark)
    }

    /// The name of the key of a table that is being built.
    pub(super) fn key_name(build: &str) -> String {
        format!("{KEY}{}", mark(build))
    }
}

/// One column to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// The type as SQL writes it.
    pub(super) type_: String,
}

/// The columns of a schema, by the names that they get.
///
/// # Errors
/// `config` where two names become one.
pub(super) fn wanted(schema: &Schema) -> Result<Vec<Wanted>> {
    let names = fit_all(schema.fields().iter().map(|field| field.name().as_str()))?;
    Ok(names
        .into_iter()
        .zip(schema.fields())
        .map(|(name, field)| Wanted {
            name,
            type_: sql_type(field),
        })
        .collect())
}

/// Column definitions for CREATE TABLE.
pub(super) fn definitions(columns: &[Wanted]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", quote(&column.name), column.type_))
        .collect();
    columns.join(", ")
}

/// The table as it is now.
pub(super) struct Existing {
    pub(super) id: u32,
    /// `r`, `p`, `v`, ... as `pg_class` has it.
    pub(super) kind: u8,
    /// This role may rename and drop it.
    pub(super) owned: bool,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// Below all domains of one step.
    type_: String,
    base: String,
    class: u8,
    category: u8,
}

const RELATION: &str = "SELECT c.oid, c.relkind, pg_get_userbyid(c.relowner) = current_user \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind NOT IN ('i', 'I', 'c', 't')";

const COLUMNS: &str = "SELECT a.attname, \
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE format_type(t.oid, a.atttypmod) END, \
       coalesce(e.typname, b.typname, t.typname), coalesce(e.typtype, b.typtype, t.typtype), \
       coalesce(e.typcategory, b.typcategory, t.typcategory) \
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
       LEFT JOIN pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype \
       LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem \
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Looks the table up; `None`: there is none.
///
/// # Errors
/// `config` where something of that name is no table.
pub(super) async fn existing(link: &mut Link, target: &Target) -> Result<Option<Existing>> {
    let names = [
        (
            &target.schema as &(dyn tokio_postgres::types::ToSql + Sync),
            Type::TEXT,
        ),
        (&target.table, Type::TEXT),
    ];
    let Some(row) = link.query(RELATION, &names).await?.pop() else {
        return Ok(None);
    };
    let id: u32 = row.get(0);
    let kind = u8::try_from(row.get::<_, i8>(1)).unwrap_or(b'?');
    if !matches!(kind, b'r' | b'p') {
        return Err(
            Error::config(format!("{} is there already, and is no table", target.sql_name()))
                .advice("choose another name with `table`, or drop it"),
        );
    }
    let columns = link.query(COLUMNS, &[(&id, Type::OID)]).await?;
    let letter = |letter: i8| u8::try_from(letter).unwrap_or(b'?');
    let columns = columns
        .iter()
        .map(|row| Column {
            name: row.get(0),
            type_: row.get(1),
            base: row.get(2),
            class: letter(row.get(3)),
            category: letter(row.get(4)),
        })
        .collect();
    Ok(Some(Existing {
        id,
        kind,
        owned: row.get(2),
        columns,
    }))
}

#[cfg(test)]
mod tests;
