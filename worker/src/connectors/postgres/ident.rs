//! Names and literals in SQL: quoted, and within the 63 bytes that PostgreSQL keeps.

use std::collections::HashMap;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::error::{Error, Result};

/// What PostgreSQL keeps of a name; it cuts the rest off without an error.
const LIMIT: usize = 63;

/// A name as SQL writes it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `"schema"."name"`.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// A text literal. The sessions have `standard_conforming_strings` on, so a backslash is itself.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Names in SQL, with commas between.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote).collect::<Vec<_>>().join(", ")
}

/// The name itself, or where it is too long its beginning and a hash of it all: two long names that
/// differ stay different.
pub(super) fn fit(name: &str) -> String {
    if name.len() <= LIMIT {
        return name.to_owned();
    }
    let mut keep = LIMIT - 17;
    while !name.is_char_boundary(keep) {
        keep -= 1;
    }
    format!("{}_{:016x}", &name[..keep], xxh3_64(name.as_bytes()))
}

/// [`fit`] for each name of one table.
///
/// # Errors
/// `config`, naming the pair, where two names become one; also for names that PostgreSQL cannot hold.
pub(super) fn fit_all<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
    let mut taken: HashMap<String, &str> = HashMap::new();
    names
        .into_iter()
        .map(|name| {
            if name.is_empty() || name.contains('\0') {
                return Err(Error::config(format!(
                    "{name:?} cannot be the name of a column in PostgreSQL"
                )));
            }
            let fitted = fit(name);
            match taken.insert(fitted.clone(), name) {
                None => Ok(fitted),
                Some(other) => Err(Error::config(format!(
                    "the columns {other:?} and {name:?} both become {fitted:?}"
                ))
                .advice("rename one of them in a transform")),
            }
        })
        .collect()
}

/// A short stable word for something longer.
pub(super) fn mark(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))[..12].to_owned()
}
