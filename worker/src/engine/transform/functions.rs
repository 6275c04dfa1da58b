//! The functions that a transform can call: those of one row.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use datafusion_expr::{ScalarUDF, Volatility};
use millrace_crds::suggest;

use crate::error::{Error, Result};

/// By name and alias.
static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut functions = HashMap::new();
    for function in datafusion_functions::all_default_functions() {
        for alias in function.aliases() {
            functions.insert(alias.clone(), function.clone());
        }
        functions.insert(function.name().to_owned(), function);
    }
    functions
});

/// Functions over many rows, which people will try.
const AGGREGATES: [&str; 26] = [
    "any_value",
    "approx_distinct",
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "first_value",
    "group_concat",
    "lag",
    "last_value",
    "lead",
    "max",
    "mean",
    "median",
    "min",
    "rank",
    "dense_rank",
    "row_number",
    "ntile",
    "stddev",
    "string_agg",
    "sum",
    "total",
    "var",
];

/// Functions that some databases have and that give another value at each call.
const UNSTEADY: [&str; 6] = [
    "clock_timestamp",
    "gen_random_uuid",
    "localtime",
    "localtimestamp",
    "newid",
    "transaction_timestamp",
];

/// The function of a name, in any case.
pub(super) fn find(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.get(&name.to_ascii_lowercase()).cloned()
}

/// All names, for the planner's own advice.
pub(super) fn all() -> Vec<String> {
    FUNCTIONS.keys().cloned().collect()
}

/// A function that gives the same for the same row, each time.
///
/// # Errors
/// `config` where it does not, looks at many rows, or is not known.
pub(super) fn check(name: &str) -> Result<()> {
    let lower = name.to_ascii_lowercase();
    if AGGREGATES.contains(&lower.as_str()) {
        return Err(Error::config(format!(
            "`{name}` looks at many rows, and a transform sees one row at a time"
        ))
        .advice("aggregate at the source (a view) or after the load"));
    }
    let unsteady = |name: &str| {
        Error::config(format!(
            "`{name}` gives another value at each call, so that every load would find every row changed"
        ))
        .advice("use a column of the source; the time of the load is in `_millrace_loaded_at`")
    };
    if UNSTEADY.contains(&lower.as_str()) {
        return Err(unsteady(name));
    }
    match FUNCTIONS.get(&lower) {
        Some(function) if function.signature().volatility == Volatility::Immutable => Ok(()),
        Some(_) => Err(unsteady(name)),
        None => Err(
            Error::config(format!("there is no function `{name}`")).advice(suggest::advice(
                &lower,
                FUNCTIONS.keys().map(String::as_str),
                "there are",
            )),
        ),
    }
}
