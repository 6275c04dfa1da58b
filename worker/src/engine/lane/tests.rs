//! Many lanes at once, and lanes that nobody waits for.

use std::time::Duration;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use async_trait::async_trait;
use tokio::sync::{Barrier, mpsc};

use super::*;
use crate::connector::Reader;

/// Parts that end once all of them have been begun.
struct Crowd(usize, Arc<Barrier>);

#[async_trait]
impl Load for Crowd {
    fn schema(&self) -> SchemaRef {
        RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())).schema()
    }
    fn partitions(&self) -> usize {
        self.0
    }
    async fn read(&self, _: usize) -> Result<Box<dyn Reader>> {
        self.1.wait().await;
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

#[async_trait]
impl Reader for Nothing {
    async fn next(&mut self) -> Result<Option<Payload>> {
        Ok(None)
    }
}

/// Tells when it is gone.
struct Witness(#[expect(dead_code, reason = "is dropped, and that is all")] mpsc::Sender<()>);

impl Work for Witness {
    fn take(&mut self, _: usize, _: Payload, _: &Handle) -> Result<()> {
        Ok(())
    }
}

fn limits() -> Limits {
    Limits {
        buffer_rows: 10,
        budget: Budget::new(1 << 20),
    }
}

#[tokio::test]
async fn as_many_lanes_as_are_allowed_are_at_work_at_once() {
    let lanes = 1024;
    let load = Arc::new(Crowd(lanes, Arc::new(Barrier::new(lanes))));
    let (sender, _gone) = mpsc::channel(1);
    let works = (0..lanes).map(|_| Witness(sender.clone())).collect();
    let (limits, progress) = (limits(), Progress::default());
    let ended = tokio::time::timeout(
        Duration::from_mins(1),
        run(
            load.clone(),
            InOrder::all(load.as_ref()),
            works,
            &limits,
            &progress,
        ),
    )
    .await;
    assert_eq!(ended.unwrap().unwrap().len(), lanes);
}

#[tokio::test]
async fn a_load_that_is_given_up_ends_its_lanes() {
    let load = Arc::new(Crowd(1, Arc::new(Barrier::new(2))));
    let (sender, mut gone) = mpsc::channel(1);
    let (limits, progress) = (limits(), Progress::default());
    let lanes = run(
        load.clone(),
        InOrder::all(load.as_ref()),
        vec![Witness(sender)],
        &limits,
        &progress,
    );
    tokio::time::timeout(Duration::from_millis(50), lanes)
        .await
        .map(drop)
        .unwrap_err();
    let ended = tokio::time::timeout(Duration::from_mins(1), gone.recv()).await;
    assert_eq!(ended.unwrap(), None);
}
