//! How a run ended: each stream's counts, or why there are none.

use millrace_crds::flow::DeliveryGuarantee;

use crate::{
    engine::counts::Counts,
    error::{Context, Error, Result},
};

/// The target of the log line that tells of a stream which failed: whoever shows the report says the same.
pub const OUTCOME: &str = "millrace::outcome";

/// In place of the load of a stream that is new, and that `schemaContract.tables` leaves out.
pub const LEFT_OUT: &str = "left out";

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The Flow, `namespace/name`.
    pub flow: String,
    /// The guarantee that the Flow has.
    pub guarantee: DeliveryGuarantee,
    /// Each stream that was begun, in the order of discovery.
    pub streams: Vec<StreamReport>,
    /// The others: the end was asked for before their turn.
    pub left: Vec<String>,
    /// Streams that were delivered before, and that the source no longer has.
    pub gone: Vec<String>,
}

/// How one stream's part of a run ended.
#[derive(Debug)]
pub struct StreamReport {
    /// The stream.
    pub name: String,
    /// `full`, `delta`, `backfill` or `continuous`; [`LEFT_OUT`] where there was none.
    pub load: &'static str,
    /// The counts, or why there are none.
    pub outcome: Result<Counts>,
}

impl Report {
    /// The first error, with the Flow's and the stream's name.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let failed = self
            .streams
            .iter()
            .find_map(|stream| Some((stream, stream.outcome.as_ref().err()?)))?;
        let (stream, error) = failed;
        Err::<(), _>(error.clone())
            .context(format!("{}, stream {}", self.flow, stream.name))
            .err()
    }
}

impl StreamReport {
    /// Logs what was done, where it went well; a failure was logged as it came.
    pub fn log(&self, flow: &str) {
        let Ok(counts) = &self.outcome else { return };
        tracing::info!(
            flow,
            stream = self.name,
            load = self.load,
            read = counts.read,
            inserted = counts.inserted,
            updated = counts.updated,
            deleted = counts.deleted,
            unchanged = counts.unchanged,
            superseded = counts.superseded,
            filtered = counts.filtered,
            refused = counts.refused,
            files = counts.files,
            bytes = counts.bytes,
            seconds = counts.seconds,
            "done"
        );
    }
}
