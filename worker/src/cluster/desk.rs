//! A Flow of a cluster, from a desk: with the rights of the person whose kubeconfig it is.
//!
//! In: a namespace and a name. Out: the plan that its workers have, its state store, its ledger and its reports. Secrets are
//! read only where the store or the destination needs them, and never leave this process.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use millrace_crds::{
    Connector, Flow as FlowObject, Source,
    channel::{
        FLOW_LABEL, LEDGER_KEY, PLAN, PLAN_KEY, PlanDoc, REPORT, Report, TRIGGERS, child, report_ordinal,
    },
    ledger::Ledger,
    plan::{Credential, CredentialPlace, StateStorePlan},
};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    Share,
    api::{Maps, failure},
    channel::{Channel, parse},
    open,
};
use crate::{
    engine::flow::Flow,
    error::{Context, Error, Result},
    secrets::LocalSecrets,
    state::Store,
};

/// A Flow of a cluster.
pub struct Desk {
    client: Client,
    maps: Maps,
    /// The Flow itself.
    pub object: FlowObject,
    /// What its workers work by.
    pub doc: PlanDoc,
}

impl Desk {
    /// Finds a Flow and its plan.
    ///
    /// # Errors
    /// `config` where the cluster has no such Flow, or the operator has made no plan of it.
    pub async fn open(client: Client, namespace: &str, name: &str) -> Result<Self> {
        let maps = Maps::new(client.clone(), namespace);
        let flows: Api<FlowObject> = Api::namespaced(client.clone(), namespace);
        let found = flows.get_opt(name).await.map_err(failure)?;
        let object = found.ok_or_else(|| {
            Error::config(format!("the cluster has no Flow {namespace}/{name}"))
                .reason("NotFound")
                .advice("`kubectl get flows --all-namespaces` lists them")
        })?;
        let channel = Channel::new(maps.clone(), FLOW_LABEL, name, Share::ALONE);
        let doc = channel.document(PLAN, PLAN_KEY).await.map_err(|error| {
            error.advice(format!(
                "the operator has made no plan of it: `kubectl describe flow {name} --namespace {namespace}` says why"
            ))
        })?;
        Ok(Self {
            client,
            maps,
            object,
            doc,
        })
    }

    /// Its state store.
    ///
    /// # Errors
    /// `config` where a Secret that it needs cannot be read.
    pub async fn store(&self) -> Result<Arc<dyn Store>> {
        let credentials = match &self.doc.plan.state.store {
            StateStorePlan::S3(place) => place.credentials.as_slice(),
            _ => &[],
        };
        let secrets = self.secrets(credentials).await?;
        open::store(&self.maps, &self.doc.plan, self.doc.adopt.as_deref(), &secrets).await
    }

    /// The Flow, opened as its workers open it; its systems must be in reach from here.
    ///
    /// # Errors
    /// `config` where a Secret that it needs cannot be read.
    pub async fn flow(&self) -> Result<Flow> {
        let plan = &self.doc.plan;
        let mut credentials = plan.source.system.credentials.clone();
        credentials.extend(plan.destination.system.credentials.iter().cloned());
        if let StateStorePlan::S3(place) = &plan.state.store {
            credentials.extend(place.credentials.iter().cloned());
        }
        let secrets = self.secrets(&credentials).await?;
        open::flow(&self.maps, plan.clone(), self.doc.adopt.as_deref(), &secrets).await
    }

    /// Its ledger; empty where it has none yet.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn ledger(&self) -> Result<Ledger> {
        Ok(self.parsed(TRIGGERS, LEDGER_KEY).await?.unwrap_or_default())
    }

    /// What its workers have reported, by ordinal.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn reports(&self) -> Result<Vec<Report>> {
        let name = child(&self.object.name_any(), REPORT);
        let Some(map) = self.maps.get(&name).await? else {
            return Ok(Vec::new());
        };
        let mut keys: Vec<(u32, &String)> = map
            .data
            .iter()
            .flatten()
            .filter_map(|(key, _)| Some((report_ordinal(key)?, key)))
            .collect();
        keys.sort_unstable();
        let reports: Result<Vec<_>> = keys.into_iter().map(|(_, key)| parse(&map, key)).collect();
        Ok(reports?.into_iter().flatten().collect())
    }

    async fn parsed<T: DeserializeOwned>(&self, suffix: &str, key: &str) -> Result<Option<T>> {
        let map = self.maps.get(&child(&self.object.name_any(), suffix)).await?;
        map.map_or(Ok(None), |map| parse(&map, key))
    }

    /// The values of credentials.
    async fn secrets(&self, credentials: &[Credential]) -> Result<Arc<LocalSecrets>> {
        let names: BTreeSet<&String> = credentials
            .iter()
            .filter_map(|credential| match &credential.from {
                CredentialPlace::Secret { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.maps.namespace());
        let mut values = LocalSecrets::new();
        for name in names {
            let found = api
                .get_opt(name)
                .await
                .map_err(failure)
                .context(format!("Secret {name}"))?;
            for (key, bytes) in found.and_then(|secret| secret.data).into_iter().flatten() {
                let text = String::from_utf8_lossy(&bytes.0).into_owned();
                values.insert((name.clone(), key), SecretString::from(text));
            }
        }
        Ok(Arc::new(values))
    }
}

/// Sets an annotation of an object of a cluster: `flow`, `source` or `connector`.
///
/// # Errors
/// `config` where there is no such object, or it may not be changed.
pub async fn annotate(
    client: Client,
    namespace: &str,
    object: (&str, &str),
    key: &str,
    value: &str,
) -> Result<()> {
    let (kind, name) = object;
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
    let params = PatchParams::default();
    let patched = match kind {
        "flow" => Api::<FlowObject>::namespaced(client, namespace)
            .patch(name, &params, &patch)
            .await
            .map(drop),
        "source" => Api::<Source>::namespaced(client, namespace)
            .patch(name, &params, &patch)
            .await
            .map(drop),
        "connector" => Api::<Connector>::all(client)
            .patch(name, &params, &patch)
            .await
            .map(drop),
        _ => {
            return Err(Error::config(format!("`{kind}/{name}` names no object"))
                .advice("write connector/NAME, source/NAME or flow/NAME"));
        }
    };
    patched.map_err(failure)
}

#[cfg(test)]
mod tests;
