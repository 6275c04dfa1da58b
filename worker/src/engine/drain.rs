//! A wish to end well: no new stream or load begins, and what runs is finished and committed.

use std::sync::Arc;

use tokio::sync::watch;

/// The wish; clones share it.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<bool>>);

impl Default for Drain {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Drain {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// For whoever listens by itself: true once the end is asked for.
    #[must_use]
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }

    /// Waits until the end is asked for.
    pub async fn wait(&self) {
        // The sender lives as long as this does, so that the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}
