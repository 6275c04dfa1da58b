//! The SQL of a commit.
//!
//! In: a table, the tables in which a load was laid down, and what is to become of both. Out: statements, to be made in one
//! transaction. They keep to what databases have in common: quoted names, window functions, `EXISTS`.

use super::tables::Table;

/// The column that orders rows of a load; a later one wins.
pub(super) const TURN: &str = "_millrace_row";
/// The column that is 1 where a row is gone.
pub(super) const GONE: &str = "_millrace_gone";

/// Rows of a load, on their way into a table.
pub(super) struct Merge<'a> {
    pub(super) target: &'a Table,
    /// Where they lie.
    pub(super) laid: &'a [Table],
    /// The columns that both have.
    pub(super) columns: &'a [String],
    /// The key by which a row takes the place of another; empty: it never does.
    pub(super) key: &'a [String],
    /// All that was there before goes.
    pub(super) replace: bool,
}

impl Merge<'_> {
    /// The statements, in order.
    pub(super) fn statements(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.replace {
            all.push(format!("DELETE FROM {}", self.target));
        } else if !self.key.is_empty() {
            all.extend(self.laid.iter().map(|laid| self.delete(laid)));
        }
        if !self.laid.is_empty() {
            all.push(self.insert());
        }
        all
    }

    fn delete(&self, laid: &Table) -> String {
        let own = super::tables::quoted(&self.target.name);
        let same = |column: &String| {
            let column = super::tables::quoted(column);
            format!("s.{column} = {own}.{column}")
        };
        let same: Vec<_> = self.key.iter().map(same).collect();
        format!(
            "DELETE FROM {} WHERE EXISTS (SELECT 1 FROM {laid} AS s WHERE {})",
            self.target,
            same.join(" AND ")
        )
    }

    fn insert(&self) -> String {
        let columns = list(self.columns);
        let gone = super::tables::quoted(GONE);
        let turn = super::tables::quoted(TURN);
        let parts = self
            .laid
            .iter()
            .map(|laid| format!("SELECT {columns}, {turn}, {gone} FROM {laid}"));
        let parts = parts.collect::<Vec<_>>().join(" UNION ALL ");
        let from = match self.key {
            [] => format!("({parts}) AS s WHERE {gone} = 0"),
            key => format!(
                "(SELECT {columns}, {gone}, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {turn} DESC) AS n \
                 FROM ({parts}) AS u) AS s WHERE n = 1 AND {gone} = 0",
                list(key)
            ),
        };
        format!(
            "INSERT INTO {} ({columns}) SELECT {columns} FROM {from}",
            self.target
        )
    }
}

/// Names, as a list.
pub(super) fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| super::tables::quoted(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
