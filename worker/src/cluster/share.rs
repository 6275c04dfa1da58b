//! The streams of one pod among several.
//!
//! In: its ordinal and their number. Out: the names that are dealt to it: of a Flow, and of what a batch asks for.

use millrace_crds::{channel::dealt, ledger::Batch};

use crate::{engine::flow::Flow, error::Result};

/// One of so many pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which one, from 0.
    pub ordinal: u32,
    /// How many there are.
    pub workers: u32,
}

impl Share {
    /// The only pod that there is.
    pub const ALONE: Self = Self {
        ordinal: 0,
        workers: 1,
    };

    /// The streams of this pod by name; empty: all, since it is alone. `None`: it has none.
    ///
    /// # Errors
    /// What the source says.
    pub(super) async fn streams(self, flow: &Flow) -> Result<Option<Vec<String>>> {
        if self.workers < 2 {
            return Ok(Some(Vec::new()));
        }
        let all = flow.streams(&[]).await?;
        let mine = all.into_iter().map(|stream| stream.name);
        let mine: Vec<String> = mine.filter(|name| self.has(name)).collect();
        Ok(Some(mine).filter(|mine| !mine.is_empty()))
    }

    /// Leaves a batch the streams of this pod, by name; `false`: it has none of them.
    ///
    /// # Errors
    /// What the source says.
    pub(super) async fn deal(self, flow: &Flow, batch: &mut Batch) -> Result<bool> {
        if self.workers < 2 {
            return Ok(true);
        }
        if batch.streams.is_empty() {
            let all = flow.streams(&[]).await?;
            batch.streams = all.into_iter().map(|stream| stream.name).collect();
        }
        batch.streams.retain(|name| self.has(name));
        Ok(!batch.streams.is_empty())
    }

    /// Whether a stream is dealt to this pod.
    pub(super) fn has(self, stream: &str) -> bool {
        dealt(stream, self.workers) == self.ordinal
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn each_stream_is_dealt_to_one_pod() {
        let pods: Vec<Share> = (0..3).map(|ordinal| Share { ordinal, workers: 3 }).collect();
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(pods.iter().filter(|pod| pod.has(name)).count(), 1, "{name}");
            assert!(Share::ALONE.has(name));
        }
    }
}
