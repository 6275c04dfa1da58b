//! When a load is begun, and what it holds.

use arrow::{
    array::{ArrayRef, Int64Array},
    datatypes::Schema,
    record_batch::RecordBatch,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

/// Sends what it is given.
struct Wire(mpsc::Receiver<Payload>);

#[async_trait]
impl Reader for Wire {
    async fn next(&mut self) -> Result<Option<Payload>> {
        Ok(self.0.recv().await)
    }
}

#[async_trait]
impl PushReader for Wire {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::empty())
    }
    async fn pause(&mut self) -> Result<()> {
        Ok(())
    }
    async fn rewind(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }
    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

fn payload(rows: i64, position: i64) -> Payload {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    Payload {
        position: Some(json!(position)),
        ..Payload::new(batch)
    }
}

struct Bench {
    wire: mpsc::Sender<Payload>,
    stop: watch::Sender<bool>,
    window: Window,
}

fn bench() -> Bench {
    let ((wire, reader), (stop, stopped)) = (mpsc::channel(10), watch::channel(false));
    let window = Window::new(Box::new(Wire(reader)), 100, stopped);
    Bench { wire, stop, window }
}

async fn waits(window: &Window) -> bool {
    tokio::time::timeout(MOMENT / 10, window.wait()).await.is_err()
}

#[tokio::test]
async fn no_load_is_begun_before_something_comes() {
    let bench = bench();
    assert!(waits(&bench.window).await);
    // A position without rows is known to the next load, and is no reason for one.
    bench.wire.send(payload(0, 5)).await.unwrap();
    assert!(waits(&bench.window).await);
    assert_eq!(bench.window.watermark(), Some(json!(5)));
    bench.wire.send(payload(3, 8)).await.unwrap();
    assert!(bench.window.wait().await.unwrap());
    assert_eq!(bench.window.watermark(), Some(json!(5)), "not read yet");
    bench.wire.send(payload(2, 10)).await.unwrap();
    let (began, mut moment) = (Instant::now(), bench.window.read(0).await.unwrap());
    let mut rows = Vec::new();
    while let Some(payload) = moment.next().await.unwrap() {
        rows.push(payload.batch.num_rows());
    }
    assert_eq!((rows, bench.window.watermark()), (vec![3, 2], Some(json!(10))));
    assert!(began.elapsed() >= MOMENT);
}

#[tokio::test]
async fn a_wait_ends_with_the_stream_or_when_it_is_told() {
    let stopped = bench();
    stopped.stop.send_replace(true);
    assert!(!stopped.window.wait().await.unwrap());
    assert!(!stopped.window.has_ended());
    let ended = bench();
    drop(ended.wire);
    assert!(!ended.window.wait().await.unwrap());
    assert!(ended.window.has_ended());
}

#[tokio::test]
async fn what_came_is_loaded_although_the_end_is_asked_for_and_forgotten_after_a_failure() {
    let bench = bench();
    bench.wire.send(payload(3, 8)).await.unwrap();
    assert!(bench.window.wait().await.unwrap());
    bench.stop.send_replace(true);
    let mut moment = bench.window.read(0).await.unwrap();
    assert_eq!(moment.next().await.unwrap().unwrap().batch.num_rows(), 3);
    assert!(moment.next().await.unwrap().is_none());
    bench.stop.send_replace(false);
    bench.wire.send(payload(3, 8)).await.unwrap();
    assert!(bench.window.wait().await.unwrap());
    bench.window.rewind(None).await.unwrap();
    assert!(waits(&bench.window).await, "it is sent again");
}
