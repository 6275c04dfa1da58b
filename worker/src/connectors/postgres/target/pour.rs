//! How rows go into a table that is there: column by column, by assignment or by a cast, and only where nothing of a
//! value can be lost.

use super::{Column, Existing, Target, Wanted};
use crate::{
    connectors::postgres::ident::{list, quote},
    error::{Error, Result},
};

/// How rows go into a table that is there.
pub(in super::super) struct Pour {
    /// Columns that it lacks.
    pub(in super::super) missing: Vec<Wanted>,
    /// For each wanted column the type to cast to, where assigning it is not enough.
    casts: Vec<Option<String>>,
    columns: Vec<Wanted>,
}

impl Existing {
    /// Matches wanted columns with those that are there.
    ///
    /// # Errors
    /// `config`, naming the column, where a value could lose something on its way.
    pub(in super::super) fn pour(&self, target: &Target, columns: &[Wanted]) -> Result<Pour> {
        let mut missing = Vec::new();
        let mut casts = Vec::with_capacity(columns.len());
        for wanted in columns {
            let Some(there) = self.columns.iter().find(|column| column.name == wanted.name) else {
                missing.push(wanted.clone());
                casts.push(None);
                continue;
            };
            casts.push(there.takes(&wanted.type_).ok_or_else(|| {
                Error::config(format!(
                    "{}: column {} is {}, which does not hold every {}",
                    target.sql_name(),
                    wanted.name,
                    there.type_,
                    wanted.type_
                ))
                .reason("SchemaMismatch")
                .advice("change the column's type there, or cast it in a transform")
            })?);
        }
        Ok(Pour {
            missing,
            casts,
            columns: columns.to_vec(),
        })
    }
}

impl Column {
    /// Whether every value of a type fits: by assignment (`Some(None)`) or by a cast.
    pub(super) fn takes(&self, wanted: &str) -> Option<Option<String>> {
        if self.type_ == wanted {
            return Some(None);
        }
        let there = self.type_.trim_end_matches("[]");
        let array = there.len() != self.type_.len();
        let item = wanted.trim_end_matches("[]");
        if array != (item.len() != wanted.len()) {
            return None;
        }
        let cast = || Some(Some(self.type_.clone()));
        let whole =
            |digits: u32| there == "numeric" || numeric(there).is_some_and(|there| holds(there, (digits, 0)));
        let fits = match item {
            _ if item == there => true,
            "smallint" => matches!(there, "integer" | "bigint" | "real" | "double precision") || whole(5),
            "integer" => matches!(there, "bigint" | "double precision") || whole(10),
            "bigint" => whole(19),
            "real" => there == "double precision",
            "jsonb" if there == "json" => return cast(),
            "json" if there == "jsonb" => return cast(),
            "uuid" | "json" | "jsonb" if self.is_text() => return cast_if(array, cast),
            "text" => {
                return if self.is_text() {
                    cast_if(array, cast)
                } else if self.reads_text() {
                    cast()
                } else {
                    None
                };
            }
            _ => match numeric(item) {
                Some(wanted) => {
                    there == "numeric" || numeric(there).is_some_and(|there| holds(there, wanted))
                }
                None => false,
            },
        };
        if fits { cast_if(array, cast) } else { None }
    }

    /// Takes any text by assignment, or refuses it aloud where it is too long.
    fn is_text(&self) -> bool {
        matches!(self.base.as_str(), "varchar" | "bpchar" | "text" | "citext")
    }

    /// Its own text form is read and checked by the server, and nothing of it is cut or rounded.
    fn reads_text(&self) -> bool {
        let plain = !self.type_.contains('(');
        match self.category {
            b'E' | b'I' | b'R' => true,
            _ => {
                self.class != b'd'
                    && plain
                    && matches!(
                        self.base.as_str(),
                        "uuid"
                            | "json"
                            | "jsonb"
                            | "xml"
                            | "numeric"
                            | "interval"
                            | "timetz"
                            | "macaddr"
                            | "macaddr8"
                            | "tsvector"
                            | "point"
                            | "money"
                            | "bit"
                            | "varbit"
                            | "pg_lsn"
                    )
            }
        }
    }
}

/// Items of arrays are not assigned one by one.
fn cast_if(array: bool, cast: impl FnOnce() -> Option<Option<String>>) -> Option<Option<String>> {
    if array { cast() } else { Some(None) }
}

/// Precision and scale of `numeric(p,s)`.
fn numeric(type_: &str) -> Option<(u32, u32)> {
    let (precision, scale) = type_
        .strip_prefix("numeric(")?
        .strip_suffix(')')?
        .split_once(',')?;
    Some((precision.parse().ok()?, scale.parse().ok()?))
}

fn holds(there: (u32, u32), wanted: (u32, u32)) -> bool {
    there.1 >= wanted.1 && there.0.saturating_sub(there.1) >= wanted.0.saturating_sub(wanted.1)
}

impl Pour {
    /// The columns to fill, as INSERT lists them.
    pub(in super::super) fn names(&self) -> String {
        list(self.columns.iter().map(|column| column.name.as_str()))
    }

    /// The same out of the relation `s`, cast where that is needed.
    pub(in super::super) fn values(&self) -> String {
        let values: Vec<String> = (0..self.columns.len()).map(|at| self.value(at)).collect();
        values.join(", ")
    }

    fn value(&self, at: usize) -> String {
        let name = self
            .columns
            .get(at)
            .map(|column| quote(&column.name))
            .unwrap_or_default();
        match self.casts.get(at).and_then(Option::as_ref) {
            Some(cast) => format!("s.{name}::{cast}"),
            None => format!("s.{name}"),
        }
    }

    /// The condition under which a row of `t` has the key of one of `s`.
    pub(in super::super) fn same_key(&self, key: &[String]) -> Result<String> {
        let tests: Vec<String> = key
            .iter()
            .map(|name| {
                let at = self
                    .columns
                    .iter()
                    .position(|column| column.name == *name)
                    .ok_or_else(|| {
                        Error::config(format!(
                            "the key column {name} is not among the delivered columns"
                        ))
                    })?;
                Ok(format!("t.{} = {}", quote(name), self.value(at)))
            })
            .collect::<Result<_>>()?;
        Ok(tests.join(" AND "))
    }

    /// The statement that adds what is missing, if anything is.
    pub(in super::super) fn evolve(&self, target: &Target) -> Option<String> {
        let added: Vec<String> = self
            .missing
            .iter()
            .map(|column| format!("ADD COLUMN {} {}", quote(&column.name), column.type_))
            .collect();
        (!added.is_empty()).then(|| format!("ALTER TABLE {} {}", target.sql_name(), added.join(", ")))
    }
}
