//! One stream of a Flow as the engine sees it: name, key, cursor, declared schema and settings.
//!
//! In: the plan's rules and what discovery found. Out: the list of [`StreamSpec`] to run, or an error that names
//! the stream and what exists instead.

use arrow::datatypes::SchemaRef;
use millrace_crds::{flow::WriteMode, schema::Field};

/// A stream, settled.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// The exact name.
    pub name: String,
    /// The key columns at the source, in order; empty: none.
    pub primary_key: Vec<String>,
    /// The cursor columns, in order; empty: no delta loads.
    pub cursor: Vec<String>,
    /// The schema as the manifest declares it.
    pub declared: Option<Vec<Field>>,
    /// The columns that discovery found; `None`: the source was not asked.
    pub discovered: Option<SchemaRef>,
    /// Parts to read a full load in, where the manifest says so.
    pub partitions: Option<usize>,
    /// How rows are written.
    pub write_mode: WriteMode,
    /// The key columns by which the destination holds rows (after transforms); empty: none.
    pub delivered_key: Vec<String>,
}
