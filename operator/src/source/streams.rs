//! The streams of a Source, as its status tells them.
//!
//! In: what a Source declares, or what its discovery has found. Out: streams with their schemas, as many as a status holds.

use jiff::Timestamp;
use millrace_crds::{
    channel::Discovery,
    plan::{SourcePlan, StreamSelect},
    schema::Field,
    source::{ColumnStatus, SourceStreamStatus},
};

/// The most streams that a status lists.
const LISTED: usize = 100;
/// The most columns that a status lists, of all streams.
const COLUMNS: usize = 1000;

/// What is known of the streams of a Source.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// The first of them.
    pub(super) listed: Vec<SourceStreamStatus>,
    /// How many there are; `None`: nobody knows.
    pub(super) total: Option<u32>,
    /// When the source was asked.
    pub(super) at: Option<Timestamp>,
}

/// One of them: its name, key and columns.
type Stream<'a> = (&'a String, &'a [String], &'a [Field]);

impl Streams {
    /// The streams, where every one is declared by name and with a schema.
    pub(super) fn declared(plan: &SourcePlan) -> Option<Self> {
        let streams = plan
            .streams
            .iter()
            .map(|rule| match (&rule.select, &rule.schema) {
                (StreamSelect::Name(name), Some(schema)) => {
                    Some((name, rule.primary_key.as_slice(), schema.as_slice()))
                }
                _ => None,
            });
        let streams: Vec<Stream<'_>> = streams.collect::<Option<_>>()?;
        (!streams.is_empty()).then(|| Self::of(&streams, streams.len(), None))
    }

    /// The streams that discovery has found.
    pub(super) fn found(found: &Discovery) -> Self {
        let streams = found.streams.iter();
        let streams: Vec<Stream<'_>> = streams
            .map(|stream| (&stream.name, &*stream.primary_key, &*stream.fields))
            .collect();
        Self::of(&streams, found.total, found.at)
    }

    fn of(streams: &[Stream<'_>], total: usize, at: Option<Timestamp>) -> Self {
        let mut left = COLUMNS;
        let listed = streams.iter().take(LISTED).map(|(name, key, fields)| {
            let columns = if fields.len() <= left { *fields } else { &[] };
            left -= columns.len();
            SourceStreamStatus {
                name: (*name).clone(),
                primary_key: match key.is_empty() {
                    true => declared_key(fields),
                    false => key.to_vec(),
                },
                column_count: u32::try_from(fields.len()).ok().filter(|count| *count > 0),
                columns: columns.iter().map(column).collect(),
            }
        });
        Self {
            listed: listed.collect(),
            total: u32::try_from(total).ok(),
            at,
        }
    }
}

/// The columns that the schema calls the key, in its order.
fn declared_key(fields: &[Field]) -> Vec<String> {
    let mut key: Vec<&Field> = fields.iter().filter(|field| field.primary_key).collect();
    key.sort_by_key(|field| field.primary_key_position);
    key.iter().map(|field| field.name.clone()).collect()
}

fn column(field: &Field) -> ColumnStatus {
    let logical = field
        .logical_type
        .and_then(|logical| serde_json::to_value(logical).ok());
    let logical = logical.and_then(|logical| logical.as_str().map(str::to_owned));
    ColumnStatus {
        name: field.name.clone(),
        type_: field.physical_type.clone().or(logical).unwrap_or_default(),
    }
}
