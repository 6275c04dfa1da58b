use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::Schema;
use serde_json::{Value, json};

use super::{MOST_HELD, Start};
use crate::engines::frame::Frame;

fn frame(kind: &str, header: Value) -> Frame {
    Frame {
        kind: kind.to_owned(),
        header,
        body: bytes::Bytes::new(),
    }
}

/// How often each frame is held.
fn held(start: &Start) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for frame in &start.held {
        *found
            .entry(format!("{} {}", frame.kind, frame.header))
            .or_default() += 1;
    }
    found
}

#[test]
fn any_number_of_positions_may_come_before_the_first_columns() {
    let mut start = Start::new(&Arc::new(Schema::empty()));
    for page in 0..=2 * MOST_HELD {
        assert!(start.hold(frame("batch", json!({ "position": page }))).unwrap());
    }
    assert!(start.hold(frame("refused", json!({}))).unwrap());
    assert!(start.hold(frame("batch", json!({}))).unwrap());

    let last = format!("batch {}", json!({ "position": 2 * MOST_HELD }));
    let expected = [
        (last, 1),
        ("batch {}".to_owned(), 1),
        ("refused {}".to_owned(), 1),
    ];
    assert_eq!(held(&start), expected.into());

    let columns = json!({ "format": "json", "columns": [{ "name": "id", "logicalType": "integer" }] });
    let mut first = frame("batch", columns);
    first.body = "{}".into();
    assert!(!start.hold(first).unwrap());
    assert_eq!(start.schema.field(0).name(), "id");
}

#[test]
fn refused_rows_wait_for_columns_with_an_end() {
    let mut start = Start::new(&Arc::new(Schema::empty()));
    let waited = (0..).take_while(|_| start.hold(frame("refused", json!({}))).unwrap());
    assert_eq!(waited.count(), MOST_HELD);
}
