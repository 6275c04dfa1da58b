//! What one process of a pod has: its place in the cluster, and what all of its work shares.

use kube::Client;
use millrace_crds::channel::{FLOW_LABEL, JOB_LABEL, SOURCE_LABEL};

use super::{Share, api::Maps, channel::Channel, metrics::Metrics, serve::Health};
use crate::engine::{channel::Budget, drain::Drain, flow::Request};

/// One worker.
#[derive(Clone)]
pub struct Pod {
    /// The API server.
    pub client: Client,
    /// The namespace of what it works for.
    pub namespace: String,
    /// The pod's name, for people.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Which of the pods that share a run this is, from 0.
    pub index: u32,
    /// The wish to end well.
    pub drain: Drain,
    /// What it counts.
    pub metrics: Metrics,
    /// Whether it is at work.
    pub health: Health,
}

impl Pod {
    /// The name of this pod, as the system has it.
    #[must_use]
    pub fn own_name() -> String {
        let named = ["POD_NAME", "HOSTNAME"];
        let mut names = named.iter().filter_map(|name| std::env::var(name).ok());
        names.find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// The number that Kubernetes gives a pod of an Indexed Job; 0 where it gives none.
    #[must_use]
    pub fn own_index() -> u32 {
        let index = std::env::var("JOB_COMPLETION_INDEX").ok();
        index.and_then(|index| index.parse().ok()).unwrap_or(0)
    }

    /// The ordinal at the end of a pod's name; 0 where it has none.
    #[must_use]
    pub fn ordinal(name: &str) -> u32 {
        let last = name.rsplit_once('-').map(|(_, last)| last);
        last.and_then(|last| last.parse().ok()).unwrap_or(0)
    }

    /// The channel of a Flow.
    #[must_use]
    pub fn of_flow(&self, flow: &str, share: Share) -> Channel {
        Channel::new(self.maps(), FLOW_LABEL, flow, share)
    }

    /// The channel of a Source.
    #[must_use]
    pub fn of_source(&self, source: &str) -> Channel {
        Channel::new(self.maps(), SOURCE_LABEL, source, Share::ALONE)
    }

    /// The channel of a Job of ours.
    #[must_use]
    pub fn of_job(&self, job: &str, share: Share) -> Channel {
        Channel::new(self.maps(), JOB_LABEL, job, share)
    }

    /// The `ConfigMap`s of its namespace.
    #[must_use]
    pub fn maps(&self) -> Maps {
        Maps::new(self.client.clone(), &self.namespace)
    }

    /// What every load of this process has in common.
    #[must_use]
    pub fn request(&self, adopt: Option<&str>) -> Request {
        Request {
            adopt: adopt.map(str::to_owned),
            drain: self.drain.clone(),
            budget: Budget::from_container(),
            ..Request::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pod;

    #[test]
    fn the_ordinal_is_at_the_end_of_the_name() {
        assert_eq!(Pod::ordinal("lake-0123456789-12"), 12);
        assert_eq!(Pod::ordinal("lake-x7k2p"), 0);
        assert_eq!(Pod::ordinal(""), 0);
    }
}
