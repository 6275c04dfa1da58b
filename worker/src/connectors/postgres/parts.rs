//! How one table is dealt over several connections: ranges of its pages, which are read side by side.
//!
//! In: a connection within the load's snapshot. Out: [`Part`]s in the order in which the pages lie.

use tokio_postgres::{Row, types::Type};

use super::{discover::Table, ident::qualified, link::Link};
use crate::error::Result;

/// Pages of 8 KiB in one part, where the manifest does not say how many parts there are: 64 MiB.
const PAGES: u64 = 8192;
/// Page ranges are found without reading the whole table from this server version on.
const VERSION: i32 = 140_000;

/// What one COPY reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The relation, with ONLY where its children are parts of their own.
    from: String,
    /// The first page, and the first one that is not wanted.
    pages: Option<(u64, Option<u64>)>,
}

impl Part {
    /// The whole relation.
    pub(super) fn whole(table: &Table) -> Self {
        Self {
            from: table.sql_name.clone(),
            pages: None,
        }
    }

    /// The query of this part.
    pub(super) fn select(&self, columns: &[&str], condition: Option<&str>) -> String {
        let mut tests: Vec<String> = condition
            .map(|condition| format!("({condition})"))
            .into_iter()
            .collect();
        if let Some((from, to)) = self.pages {
            tests.push(format!("ctid >= '({from},0)'::tid"));
            tests.extend(to.map(|to| format!("ctid < '({to},0)'::tid")));
        }
        let filter = if tests.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", tests.join(" AND "))
        };
        format!("SELECT {} FROM {}{filter}", columns.join(", "), self.from)
    }
}

const LEAVES: &str = "WITH RECURSIVE tree (oid) AS (SELECT $1::oid UNION \
       SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid) \
     SELECT n.nspname, c.relname, c.relkind, \
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint END, \
       c.relkind = 'p' OR (c.relkind IN ('r', 'm') AND m.amname = 'heap' \
         AND has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') \
         AND NOT row_security_active(c.oid)), \
       current_setting('server_version_num')::int4 \
     FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
       LEFT JOIN pg_am m ON m.oid = c.relam ORDER BY c.oid <> $1, n.nspname, c.relname";

struct Leaf {
    from: String,
    pages: u64,
}

/// Deals the table into parts: about as many as wanted, or by size.
pub(super) async fn parts(link: &mut Link, table: &Table, wanted: Option<usize>) -> Result<Vec<Part>> {
    if !table.has_row_headers() || wanted == Some(1) {
        return Ok(vec![Part::whole(table)]);
    }
    let rows = link.query(LEAVES, &[(&table.id, Type::OID)]).await?;
    let able = rows
        .iter()
        .all(|row| row.get::<_, bool>(4) && row.get::<_, i32>(5) >= VERSION);
    let leaves: Vec<Leaf> = rows.iter().filter_map(leaf).collect();
    if !able || leaves.is_empty() {
        return Ok(vec![Part::whole(table)]);
    }
    let total: u64 = leaves.iter().map(|leaf| leaf.pages).sum();
    let step = match wanted {
        Some(wanted) => total.div_ceil(wanted.max(1) as u64).max(1),
        None => PAGES,
    };
    Ok(leaves.iter().flat_map(|leaf| leaf.split(step)).collect())
}

/// A partitioned parent holds no rows of its own.
fn leaf(row: &Row) -> Option<Leaf> {
    let (schema, name): (String, String) = (row.get(0), row.get(1));
    let pages = row.get::<_, Option<i64>>(3)?;
    Some(Leaf {
        from: format!("ONLY {}", qualified(&schema, &name)),
        pages: u64::try_from(pages).unwrap_or(0),
    })
}

impl Leaf {
    /// Even ranges of at most about `step` pages. The last one has no end: rows may lie on pages that were added
    /// after the table was measured.
    fn split(&self, step: u64) -> Vec<Part> {
        let count = self.pages.div_ceil(step).max(1);
        let page = |at: u64| at * self.pages / count;
        (0..count)
            .map(|at| {
                let end = (at + 1 < count).then(|| page(at + 1));
                let pages = (count > 1).then(|| (page(at), end));
                Part {
                    from: self.from.clone(),
                    pages,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
