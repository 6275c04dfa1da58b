//! One operator leads, others wait.
//!
//! In: a Lease in the operator's own namespace. Out: the moment from which it is ours, and the one from which it is not.
//! A lease is no fence: two operators for a moment do no harm, since every write names what it was made from.

use std::sync::Arc;
use std::time::Duration;

use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::context::Context;

/// The name of the Lease.
const LEASE: &str = "millrace-operator";
/// How long it holds without being renewed, in seconds.
const DURATION: u64 = 15;
/// How long before its end it is renewed, in seconds.
const GRACE: u64 = 5;

/// How long to wait after an answer that settles nothing.
const AGAIN: Duration = Duration::from_secs(1);
/// How long giving it back may take.
const RELEASE: Duration = Duration::from_secs(3);

/// A Lease that is held.
#[derive(Debug)]
pub(crate) struct Lease {
    holds: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
}

/// Waits until the Lease is ours.
///
/// # Errors
/// Where the Lease cannot be read or written at first.
pub(crate) async fn acquire(context: &Arc<Context>) -> Result<Lease, Box<dyn std::error::Error>> {
    loop {
        // Makes the Lease where there is none, also where somebody deletes it while this one waits.
        let manager = LeaseManagerBuilder::new(context.client.clone(), LEASE)
            .with_namespace(&context.settings.namespace)
            .with_identity(&context.settings.pod)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await?;
        info!(lease = LEASE, "waiting to lead");
        if until(&manager, true).await {
            info!(lease = LEASE, pod = context.settings.pod, "leads");
            let (sender, holds) = watch::channel(true);
            let keeper = tokio::spawn(keep(manager, sender));
            return Ok(Lease { holds, keeper });
        }
    }
}

/// Renews the Lease until it is lost, or nobody needs it any more.
async fn keep(manager: LeaseManager, holds: watch::Sender<bool>) {
    tokio::select! {
        () = holds.closed() => {}
        _ = until(&manager, false) => drop(holds.send_replace(false)),
    }
    if let Err(error) = manager.release().await {
        warn!(lease = LEASE, %error, "could not be given back; it runs out by itself");
    }
}

/// Asks for the Lease, and renews it, until it is ours, or not ours. `false`: somebody has deleted it.
async fn until(manager: &LeaseManager, ours: bool) -> bool {
    loop {
        match manager.changed().await {
            Ok(holds) if holds == ours => return true,
            Ok(_) => {}
            Err(LeaseManagerError::NonexistentLease(_)) => return false,
            Err(error) => {
                warn!(lease = LEASE, %error, "who leads cannot be told; asking again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Lease {
    /// Waits until the Lease is no longer ours.
    pub(crate) async fn lost(&mut self) {
        // That the other end is gone means that nobody renews it.
        let _ = self.holds.wait_for(|holds| !*holds).await;
    }

    /// Gives the Lease back, so that the next operator need not wait until it has run out.
    pub(crate) async fn release(self) {
        drop(self.holds);
        let _ = tokio::time::timeout(RELEASE, self.keeper).await;
    }
}
