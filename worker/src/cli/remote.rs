//! A Flow of a cluster on the command line: `--flow NAMESPACE/NAME`, found by the kubeconfig.

use clap::Args;

use crate::{
    cluster::{api, desk::Desk},
    error::Result,
};

/// The choice of a Flow of a cluster.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct RemoteArgs {
    /// A Flow of the cluster that the kubeconfig names, in place of manifests; NAME alone is meant in its namespace
    #[arg(long = "flow", id = "remote", value_name = "NAMESPACE/NAME", conflicts_with_all = ["manifests", "place"])]
    remote: Option<String>,
}

impl RemoteArgs {
    /// The Flow, where one is named.
    ///
    /// # Errors
    /// `config` where there is no kubeconfig, or the cluster has no such Flow.
    pub(super) async fn open(&self) -> Result<Option<Desk>> {
        let Some(name) = &self.remote else { return Ok(None) };
        let client = api::of_person().await?;
        let own = client.default_namespace().to_owned();
        let (namespace, name) = name.split_once('/').unwrap_or((&own, name));
        Desk::open(client, namespace, name).await.map(Some)
    }
}
