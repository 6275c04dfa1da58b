//! The ledger as it is, watched by the name of its `ConfigMap`.

use std::time::Duration;

use futures::StreamExt;
use kube::runtime::{
    WatchStreamExt,
    utils::Backoff,
    watcher::{DefaultBackoff, watch_object},
};
use millrace_crds::{channel::LEDGER_KEY, ledger::Ledger};
use tokio::{sync::watch, task::JoinHandle};

use crate::cluster::{api::Maps, channel::parse};

/// The longest wait before a watch that broke is made again: so late may a trigger be seen after the API server was away.
const LONGEST: Duration = Duration::from_secs(10);

/// A watch, which ends as this is dropped.
pub(super) struct Watching {
    ledger: watch::Receiver<Ledger>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Begins to watch. Until the first answer the ledger is empty. Connections that break are made again.
    pub(super) fn begin(maps: &Maps, name: &str) -> Self {
        let (sender, ledger) = watch::channel(Ledger::default());
        let changes = watch_object(maps.api(), name).backoff(Pause::default());
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            let mut changes = std::pin::pin!(changes);
            while let Some(change) = changes.next().await {
                match change {
                    Ok(Some(map)) => match parse::<Ledger>(&map, LEDGER_KEY) {
                        Ok(found) => {
                            let found = found.unwrap_or_default();
                            sender.send_if_modified(|ledger| {
                                let is_new = *ledger != found;
                                *ledger = found;
                                is_new
                            });
                        }
                        Err(error) => tracing::error!("{error}"),
                    },
                    Ok(None) => tracing::warn!(name, "the ledger is gone; the operator makes it again"),
                    Err(error) => tracing::warn!(name, "the ledger cannot be watched: {error}; trying again"),
                }
            }
        });
        Self { ledger, task }
    }

    /// The ledger, as it changes.
    pub(super) fn ledger(&self) -> watch::Receiver<Ledger> {
        self.ledger.clone()
    }
}

/// The waits between attempts to make the watch again.
#[derive(Default)]
struct Pause(DefaultBackoff);

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST))
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        self.0.reset();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}
