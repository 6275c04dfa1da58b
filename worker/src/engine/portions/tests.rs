//! Where portions end, what they leave, and which loads have none.

use arrow::{
    array::{ArrayRef, Int64Array},
    record_batch::RecordBatch,
};
use serde_json::json;

use super::*;

fn spec(key: &[&str]) -> StreamSpec {
    let key: Vec<String> = key.iter().map(|&column| column.to_owned()).collect();
    StreamSpec {
        name: "rows".into(),
        primary_key: key.clone(),
        cursor: Vec::new(),
        declared: None,
        discovered: None,
        partitions: None,
        write_mode: WriteMode::Upsert,
        delivered_key: key,
    }
}

/// Yields these payloads once.
struct Given {
    payloads: Mutex<Option<Vec<Payload>>>,
    parts: usize,
}

#[async_trait]
impl Load for Given {
    fn schema(&self) -> SchemaRef {
        payload(0, None).batch.schema()
    }
    fn partitions(&self) -> usize {
        self.parts
    }
    fn watermark(&self) -> Option<Position> {
        Some(json!("end"))
    }
    async fn read(&self, _: usize) -> Result<Box<dyn Reader>> {
        let payloads = self.payloads.lock().unwrap().take().expect("it is read once");
        Ok(Box::new(List(payloads.into_iter())))
    }
}

struct List(std::vec::IntoIter<Payload>);

#[async_trait]
impl Reader for List {
    async fn next(&mut self) -> Result<Option<Payload>> {
        Ok(self.0.next())
    }
}

fn payload(rows: i64, position: Option<i64>) -> Payload {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    Payload {
        position: position.map(|position| json!(position)),
        ..Payload::new(RecordBatch::try_from_iter([("id", ids)]).unwrap())
    }
}

fn load(payloads: Vec<Payload>, parts: usize) -> Arc<dyn Load> {
    Arc::new(Given {
        payloads: Mutex::new(Some(payloads)),
        parts,
    })
}

fn delta() -> Range {
    Range::Delta { after: None }
}

fn of(load: &Arc<dyn Load>, interval: Duration) -> Portions {
    let portions = Portions::of(load, &spec(&["id"]), &delta(), false).unwrap();
    Portions { interval, ..portions }
}

/// The rows of each payload of the next portion, where it left off, and whether it goes on.
async fn next(portions: &Portions) -> (Vec<usize>, Option<Position>, bool) {
    let mut reader = portions.read(0).await.unwrap();
    let mut rows = Vec::new();
    while let Some(payload) = reader.next().await.unwrap() {
        rows.push(payload.batch.num_rows());
    }
    (rows, portions.watermark(), portions.goes_on())
}

#[tokio::test]
async fn a_portion_ends_at_the_first_position_after_its_time() {
    let load = load(
        vec![
            payload(1, None),
            payload(2, Some(1)),
            payload(3, Some(2)),
            payload(4, None),
        ],
        1,
    );
    let portions = of(&load, Duration::ZERO);
    assert_eq!(next(&portions).await, (vec![1, 2], Some(json!(1)), true));
    assert_eq!(next(&portions).await, (vec![3], Some(json!(2)), true));
    assert_eq!(next(&portions).await, (vec![4], Some(json!("end")), false));
}

#[tokio::test]
async fn a_short_load_is_one_portion() {
    let load = load(vec![payload(1, Some(1)), payload(2, Some(2))], 1);
    let portions = of(&load, Duration::from_mins(1));
    assert_eq!(next(&portions).await, (vec![1, 2], Some(json!("end")), false));
}

#[test]
fn what_must_be_seen_whole_has_no_portions() {
    let whole = load(Vec::new(), 1);
    let of = |load, range: &Range, first| Portions::of(load, &spec(&["id"]), range, first).is_some();
    assert!(of(&whole, &delta(), false));
    assert!(of(&whole, &Range::Full, true));
    assert!(!of(&whole, &Range::Full, false));
    assert!(!of(&load(Vec::new(), 2), &delta(), false));
    assert!(Portions::of(&whole, &spec(&[]), &delta(), false).is_none());
    let overwrite = StreamSpec {
        write_mode: WriteMode::Overwrite,
        ..spec(&["id"])
    };
    assert!(Portions::of(&whole, &overwrite, &Range::Full, true).is_none());
}
