//! What can be read: tables, views and partitioned tables, their columns, keys and likely cursors.
//!
//! In: a connection. Out: a [`Table`] for each relation that the role may read, or for one named stream.

use std::collections::HashMap;

use arrow::datatypes::{Schema, SchemaRef};
use millrace_crds::schema::Field as Declared;
use tokio_postgres::{Row, types::Type};

use super::{
    defaults::is_servers_time,
    ident::qualified,
    link::Link,
    types::{Attribute, Catalogue, Column, parse_decimal},
    watermark::Clock,
};
use crate::{
    connector::StreamInfo,
    error::{Error, Result},
};

/// One relation that can be read.
pub(super) struct Table {
    pub(super) id: u32,
    /// `"schema"."name"`.
    pub(super) sql_name: String,
    /// `schema.name`, as manifests write it.
    pub(super) stream: String,
    /// `r`, `p`, `v`, `m` or `f`, as `pg_class` has it.
    pub(super) kind: u8,
    /// Rows by the server's own estimate.
    pub(super) rows: Option<u64>,
    /// The role may read the whole row, system columns included.
    pub(super) whole: bool,
    pub(super) attributes: Vec<Attribute>,
    pub(super) primary_key: Vec<String>,
    /// The columns of each unique index.
    pub(super) unique: Vec<Vec<String>>,
}

const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, \
       CASE WHEN c.relkind = 'p' THEN (SELECT sum(greatest(l.reltuples, 0))::float8 FROM pg_partition_tree(c.oid) t \
         JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf) ELSE c.reltuples::float8 END, \
       has_table_privilege(c.oid, 'SELECT') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_temp\\_%' \
       AND has_schema_privilege(n.oid, 'USAGE') \
       AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')) \
       AND CASE WHEN $1::text IS NOT NULL THEN n.nspname || '.' || c.relname = $1 \
         ELSE NOT c.relispartition AND c.relname <> ALL ('{millrace_state,millrace_index}') \
           AND c.relname NOT LIKE 'millrace\\_staging\\_%' AND ($2::text IS NULL OR n.nspname = $2) END \
     ORDER BY n.nspname, c.relname";

const ATTRIBUTES: &str = "SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attndims::int4, a.attnotnull, \
       format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid) \
     FROM pg_attribute a \
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = '' WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped \
       AND has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attrelid, a.attnum";

const INDEXES: &str = "SELECT i.indrelid, i.indisprimary, \
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
         WHERE k.place <= i.indnkeyatts ORDER BY k.place) \
     FROM pg_index i WHERE i.indrelid = ANY ($1) AND i.indisvalid AND i.indisunique AND i.indpred IS NULL \
       AND i.indexprs IS NULL ORDER BY i.indisprimary DESC, i.indexrelid";

/// Every table that can be read, of one schema or of all.
pub(super) async fn tables(link: &mut Link, schema: Option<&str>) -> Result<Vec<Table>> {
    relations(link, None, schema).await
}

/// One table by its stream's name.
///
/// # Errors
/// `config` where there is none, or none that the role may read.
pub(super) async fn table(link: &mut Link, stream: &str) -> Result<Table> {
    let mut found = relations(link, Some(stream), None).await?;
    match (found.pop(), found.is_empty()) {
        (Some(table), true) => Ok(table),
        (Some(_), false) => Err(Error::config(format!("two relations are named {stream}")).advice(
            "a dot in a schema or table name makes it ambiguous; rename one, or read it through a view",
        )),
        (None, _) => Err(
            Error::config(format!("no table or view {stream} that this role may read"))
                .reason("UnknownStream")
                .advice("names are `schema.table`, case and all; `millrace discover` lists them"),
        ),
    }
}

async fn relations(link: &mut Link, stream: Option<&str>, schema: Option<&str>) -> Result<Vec<Table>> {
    let rows = link
        .query(RELATIONS, &[(&stream, Type::TEXT), (&schema, Type::TEXT)])
        .await?;
    let ids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut attributes: HashMap<u32, Vec<Attribute>> = HashMap::new();
    for row in link.query(ATTRIBUTES, &[(&ids, Type::OID_ARRAY)]).await? {
        attributes.entry(row.get(0)).or_default().push(attribute(&row));
    }
    let mut indexes: HashMap<u32, Vec<(bool, Vec<String>)>> = HashMap::new();
    for row in link.query(INDEXES, &[(&ids, Type::OID_ARRAY)]).await? {
        indexes
            .entry(row.get(0))
            .or_default()
            .push((row.get(1), row.get(2)));
    }
    Ok(rows
        .iter()
        .map(|row| {
            let id: u32 = row.get(0);
            let indexes = indexes.remove(&id).unwrap_or_default();
            relation(row, attributes.remove(&id).unwrap_or_default(), indexes)
        })
        .collect())
}

fn attribute(row: &Row) -> Attribute {
    Attribute {
        name: row.get(1),
        type_id: row.get(2),
        modifier: row.get(3),
        dimensions: row.get(4),
        not_null: row.get(5),
        sql_type: row.get(6),
        default: row.get(7),
    }
}

fn relation(row: &Row, attributes: Vec<Attribute>, indexes: Vec<(bool, Vec<String>)>) -> Table {
    let (schema, name): (String, String) = (row.get(1), row.get(2));
    let primary = indexes
        .iter()
        .find(|(primary, _)| *primary)
        .map(|(_, columns)| columns.clone());
    Table {
        id: row.get(0),
        sql_name: qualified(&schema, &name),
        stream: format!("{schema}.{name}"),
        kind: u8::try_from(row.get::<_, i8>(3)).unwrap_or(b'?'),
        rows: row.get::<_, Option<f64>>(4).and_then(estimate),
        whole: row.get(5),
        attributes,
        primary_key: primary.unwrap_or_default(),
        unique: indexes.into_iter().map(|(_, columns)| columns).collect(),
    }
}

/// -1 means that nobody has counted yet; a view is never counted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate, checked to be positive"
)]
fn estimate(rows: f64) -> Option<u64> {
    (rows > 0.0).then_some(rows as u64)
}

impl Table {
    /// Its rows lie in this database: no view, no foreign table.
    pub(super) fn is_stored(&self) -> bool {
        matches!(self.kind, b'r' | b'p' | b'm')
    }

    /// The role can see by which transaction each row was written.
    pub(super) fn has_row_headers(&self) -> bool {
        self.whole && self.is_stored()
    }

    /// The columns as they are read.
    pub(super) fn columns(&self, types: &Catalogue, declared: Option<&[Declared]>) -> Vec<Column> {
        let decimal = |name: &str| {
            let field = declared?.iter().find(|field| field.name == name)?;
            parse_decimal(field.physical_type.as_deref()?)
        };
        self.attributes
            .iter()
            .map(|attribute| types.column(attribute, decimal(&attribute.name)))
            .collect()
    }

    /// The columns of times that writers may fill by their own clocks: the server is not known to fill them.
    pub(super) fn writers_times(&self, types: &Catalogue, zone: &str) -> Vec<String> {
        let columns = self.columns(types, None);
        let times = self
            .attributes
            .iter()
            .zip(&columns)
            .filter(|(attribute, column)| {
                let clock = Clock::of(column);
                let default = attribute.default.as_deref();
                clock != Clock::Counter
                    && !default.is_some_and(|default| is_servers_time(default, clock, zone))
            });
        times.map(|(attribute, _)| attribute.name.clone()).collect()
    }

    /// What discovery tells of it.
    pub(super) fn info(&self, types: &Catalogue) -> StreamInfo {
        let columns = self.columns(types, None);
        StreamInfo {
            name: self.stream.clone(),
            schema: schema(&columns),
            primary_key: self.primary_key.clone(),
            cursors: self.cursors(&columns),
            rows: self.rows,
            trouble: None,
        }
    }

    /// Columns that could serve as a cursor: moments of change first, then other times, then counters.
    fn cursors(&self, columns: &[Column]) -> Vec<String> {
        let mut ranked: Vec<(u8, &Column)> = columns
            .iter()
            .filter_map(|column| Some((self.cursor_rank(column)?, column)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked
            .into_iter()
            .map(|(_, column)| column.name.clone())
            .collect()
    }

    fn cursor_rank(&self, column: &Column) -> Option<u8> {
        let name = column.name.to_lowercase();
        let tells = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match column.base.as_str() {
            "timestamptz" | "timestamp" if tells(&["updat", "modif", "chang"]) => Some(0),
            "timestamptz" | "timestamp" if tells(&["creat", "insert", "added"]) => Some(2),
            "timestamptz" | "timestamp" => Some(1),
            "date" => Some(4),
            "int8" | "int4" if self.unique.iter().any(|index| *index == [column.name.as_str()]) => Some(3),
            _ => None,
        }
    }
}

/// The Arrow schema of columns.
pub(super) fn schema(columns: &[Column]) -> SchemaRef {
    Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()).into()
}
