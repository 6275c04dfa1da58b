//! One row of the generator, column by column.
//!
//! In: ids and the versions in which they changed. Out: a batch. What a person is (name, street) stays the same in all
//! versions; what happens to them (amount, tags, note, whether they are active) is new in each.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, ListArray, StringArray,
        StringBuilder, StructArray, TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
    record_batch::RecordBatch,
};

use super::history::mixed;
use crate::error::Result;

/// The column that grows with each version.
pub(super) const CURSOR: &str = "updated_at";

/// Version 0 begins at 2024-01-01; each version is one day.
const BEGIN: i64 = 1_704_067_200_000_000;
const DAY: i64 = 86_400_000_000;

const FIRST: [&str; 16] = [
    "Ada", "Björn", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Hana", "Ivan", "José", "Kwame", "Lina",
    "Mei", "Nils", "Olga", "Priya",
];
const LAST: [&str; 16] = [
    "Andersson",
    "Baker",
    "Castro",
    "Dubois",
    "Eze",
    "Fischer",
    "García",
    "Haddad",
    "Ito",
    "Jensen",
    "Kowalski",
    "Larsen",
    "Müller",
    "Novák",
    "O'Brien",
    "Petrov",
];
const STREETS: [&str; 16] = [
    "Mill Lane",
    "Storgatan",
    "Rue du Moulin",
    "Mühlweg",
    "Calle Mayor",
    "High Street",
    "Via Roma",
    "Kungsgatan",
    "Station Road",
    "Bahnhofstraße",
    "Avenue Foch",
    "Church Street",
    "Ringvägen",
    "Park Avenue",
    "Main Street",
    "Quai 7",
];
const TAGS: [&str; 8] = ["new", "loyal", "late", "b2b", "export", "vip", "trial", "blocked"];
const NOTES: [&str; 8] = [
    "",
    "called twice",
    "prefers e-mail",
    "said \"later\", then paid",
    "moved; address checked",
    "pays in €",
    "asks for an invoice, by post",
    "do not call",
];

static ADDRESS: LazyLock<Fields> = LazyLock::new(|| {
    Fields::from(vec![
        Field::new("street", DataType::Utf8, false),
        Field::new("number", DataType::Int32, false),
    ])
});

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        Field::new("created_at", time.clone(), false),
        Field::new(CURSOR, time, false),
        Field::new("active", DataType::Boolean, false),
        Field::new("tags", DataType::List(tag_field()), false),
        Field::new("address", DataType::Struct(ADDRESS.clone()), false),
        Field::new("note", DataType::Utf8, true),
    ]))
});

fn tag_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Utf8, false))
}

/// The columns of a generated stream.
pub(super) fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: u64,
    /// The version that inserted it.
    pub(super) born: u64,
    /// The version whose values it has.
    pub(super) version: u64,
    /// The version that its cursor tells; of a delete, the one that deleted it.
    pub(super) changed: u64,
}

impl Row {
    /// Microseconds since 1970 of its cursor.
    pub(super) fn updated_at(&self, seed: u64) -> i64 {
        moment(self.person(seed), self.changed)
    }

    /// What stays the same in all versions.
    #[inline]
    fn person(&self, seed: u64) -> u64 {
        mixed(seed ^ mixed(self.id))
    }

    /// What is new in each.
    #[inline]
    fn event(&self, seed: u64) -> u64 {
        mixed(self.person(seed) ^ mixed(self.version ^ 0x5851_f42d_4c95_7f2d))
    }
}

/// Somewhere in the day of a version; at the same time of day for all versions of one row.
#[inline]
fn moment(person: u64, version: u64) -> i64 {
    let within = (person >> 8).cast_signed().rem_euclid(DAY);
    BEGIN.saturating_add(version.cast_signed().saturating_mul(DAY)) + within
}

/// Four bits of `value`, from `shift` on.
#[inline]
fn pick<T: Copy, const N: usize>(from: &[T; N], value: u64, shift: u32) -> T {
    from[usize::try_from(value >> shift & 15).unwrap_or_default() % N]
}

/// A batch of rows.
pub(super) fn build(rows: &[Row], seed: u64) -> Result<RecordBatch> {
    let persons: Vec<u64> = rows.iter().map(|row| row.person(seed)).collect();
    let events: Vec<u64> = rows.iter().map(|row| row.event(seed)).collect();
    let both = || rows.iter().zip(&persons);
    let created = both().map(|(row, person)| moment(*person, row.born));
    let updated = both().map(|(row, person)| moment(*person, row.changed));
    let amounts = events
        .iter()
        .map(|event| i128::from(event % 1_000_000_000) - 10_000_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| row.id.cast_signed()),
        )),
        Arc::new(names(&persons)),
        Arc::new(Decimal128Array::from_iter_values(amounts).with_precision_and_scale(12, 2)?),
        Arc::new(TimestampMicrosecondArray::from_iter_values(created)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(updated)),
        Arc::new(
            events
                .iter()
                .map(|event| Some(event & 7 != 0))
                .collect::<BooleanArray>(),
        ),
        Arc::new(tags(&events)?),
        Arc::new(addresses(&persons)?),
        Arc::new(notes(&events)),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

fn names(persons: &[u64]) -> StringArray {
    let mut names = StringBuilder::with_capacity(persons.len(), persons.len() * 14);
    let mut name = String::new();
    for person in persons {
        name.clear();
        name.push_str(pick(&FIRST, *person, 20));
        name.push(' ');
        name.push_str(pick(&LAST, *person, 26));
        names.append_value(&name);
    }
    names.finish()
}

/// None, one or two, never the same twice.
fn tags(events: &[u64]) -> Result<ListArray> {
    let mut tags = StringBuilder::with_capacity(events.len(), events.len() * 6);
    let lengths = events.iter().map(|event| (event >> 30) as usize % 3);
    for (event, length) in events.iter().zip(lengths.clone()) {
        if length > 0 {
            tags.append_value(pick(&TAGS, *event, 33));
        }
        if length > 1 {
            tags.append_value(pick(&TAGS, (*event >> 33) + 1 + (*event >> 40) % 7, 0));
        }
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(ListArray::try_new(
        tag_field(),
        offsets,
        Arc::new(tags.finish()),
        None,
    )?)
}

fn addresses(persons: &[u64]) -> Result<StructArray> {
    let mut streets = StringBuilder::with_capacity(persons.len(), persons.len() * 12);
    for person in persons {
        streets.append_value(pick(&STREETS, *person, 32));
    }
    let numbers = persons
        .iter()
        .map(|person| i32::from((person >> 40).to_le_bytes()[0]) + 1);
    let numbers = Int32Array::from_iter_values(numbers);
    let columns: Vec<ArrayRef> = vec![Arc::new(streets.finish()), Arc::new(numbers)];
    Ok(StructArray::try_new(ADDRESS.clone(), columns, None)?)
}

/// Null in a quarter of the rows; an empty text is not null.
fn notes(events: &[u64]) -> StringArray {
    let mut notes = StringBuilder::with_capacity(events.len(), events.len() * 12);
    for event in events {
        notes.append_option((event >> 50 & 3 != 0).then(|| pick(&NOTES, *event, 53)));
    }
    notes.finish()
}
