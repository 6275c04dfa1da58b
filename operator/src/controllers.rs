//! The controllers of the four kinds: what each of them listens to.
//!
//! In: the context. Out: nothing; they run until they are dropped. An object is looked at when it changes, when what it
//! refers to does, and when its children do.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job as Run,
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, CustomResourceExt, Resource, ResourceExt,
    api::ListParams,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, reflector::ObjectRef, watcher},
};
use millrace_crds::{
    Connector, Flow, Job, Source,
    channel::{FLOW_LABEL, JOB_LABEL, SOURCE_LABEL},
};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tracing::{info, warn};

use crate::children::{heard, of_owners, owner_key};
use crate::context::Context;
use crate::error::chain;
use crate::index::Key;
use crate::run::{changed, control};
use crate::serve::Missing;
use crate::watch::watching;

/// How often what is missing is looked for.
const LOOK: Duration = Duration::from_secs(3);

/// Waits until the API server knows all kinds and lets this operator list them. An operator that may not read Connectors
/// goes on without: the built-in recipes apply.
pub async fn wait_for_kinds(context: &Context, missing: &Missing) {
    loop {
        let mut all = look::<Connector>(Api::all(context.client.clone()), missing, true).await;
        for place in places(context) {
            let place = place.as_ref();
            all &= look::<Source>(of_place(context, place), missing, false).await;
            all &= look::<Flow>(of_place(context, place), missing, false).await;
            all &= look::<Job>(of_place(context, place), missing, false).await;
        }
        if all {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look<K>(api: Api<PartialObjectMeta<K>>, missing: &Missing, may_fail: bool) -> bool
where
    K: Resource<DynamicType = ()> + CustomResourceExt + Clone + Debug + DeserializeOwned,
{
    let name = K::crd_name();
    let why = match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.is_forbidden() && may_fail => {
            info!(kind = name, "may not be listed: the built-in recipes apply");
            None
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            Some(format!("custom resource definition {name}"))
        }
        Err(kube::Error::Api(status)) if status.is_forbidden() => Some(format!("the right to list {name}")),
        Err(error) => {
            warn!(
                kind = name,
                error = chain(&error),
                "the API server does not answer"
            );
            Some(format!("an answer of the API server about {name}"))
        }
    };
    let kinds = [
        format!("custom resource definition {name}"),
        format!("the right to list {name}"),
        format!("an answer of the API server about {name}"),
    ];
    kinds
        .iter()
        .filter(|kind| Some(*kind) != why.as_ref())
        .for_each(|kind| missing.remove(kind));
    why.iter().for_each(|why| missing.add(why));
    why.is_none()
}

/// The namespaces that are looked at; `None`: all of them.
fn places(context: &Context) -> Vec<Option<String>> {
    match context.settings.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    }
}

/// Runs all controllers.
pub async fn run(context: Arc<Context>) {
    let mut all: Vec<BoxFuture<'static, ()>> = vec![connectors(context.clone()).boxed()];
    for place in places(&context) {
        all.push(sources(context.clone(), place.clone()).boxed());
        all.push(flows(context.clone(), place.clone()).boxed());
        all.push(jobs(context.clone(), place).boxed());
    }
    join_all(all).await;
}

/// The objects of a namespace, or of all.
fn of_place<K>(context: &Context, place: Option<&String>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match place {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

/// The children of one kind of owner, as they change, and as they go.
fn children<K>(
    context: &Arc<Context>,
    place: Option<&String>,
    label: &'static str,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    heard(context, of_place(context, place), label, place)
}

/// Objects of a kind, by their keys.
fn refs<K: Resource<DynamicType = ()> + Clone>(keys: Vec<Key>) -> Vec<ObjectRef<PartialObjectMeta<K>>> {
    keys.iter()
        .map(|key| ObjectRef::new(&key.name).within(&key.namespace))
        .collect()
}

async fn connectors(context: Arc<Context>) {
    let api: Api<PartialObjectMeta<Connector>> = Api::all(context.client.clone());
    // Who uses a Connector shows when its users are reconciled: so often its counts are looked at.
    let every = tokio::time::interval(Duration::from_mins(1));
    let ticks = futures::stream::unfold(every, |mut every| async {
        every.tick().await;
        Some(((), every))
    });
    control(context, api, |controller| controller.reconcile_all_on(ticks)).await;
}

async fn sources(context: Arc<Context>, place: Option<String>) {
    let place = place.as_ref();
    let api = of_place(&context, place);
    let connectors = changed::<Connector>(Api::all(context.client.clone()));
    // What was missed because too much changed at once is told by the next change.
    let read = futures::stream::unfold(context.index.changed_sources(), |mut changes| async {
        loop {
            match changes.recv().await {
                Ok(key) => return Some((key.reference(), changes)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let of_connector = context.clone();
    let maps = children::<ConfigMap>(&context, place, SOURCE_LABEL);
    let runs = children::<Run>(&context, place, SOURCE_LABEL);
    control::<Source>(context, api, |controller| {
        controller
            .watches_stream(connectors, move |connector| {
                refs(of_connector.index.sources_of_connector(&connector.name_any()))
            })
            .reconcile_on(read)
            .watches_stream(maps, |child| refs(vec![owner_key(&child)]))
            .watches_stream(runs, |child| refs(vec![owner_key(&child)]))
    })
    .await;
}

async fn flows(context: Arc<Context>, place: Option<String>) {
    let place = place.as_ref();
    let api = of_place(&context, place);
    let connectors = changed::<Connector>(Api::all(context.client.clone()));
    let sources = changed::<Source>(of_place(&context, place));
    let jobs = changed::<Job>(of_place(&context, place));
    let maps = children::<ConfigMap>(&context, place, FLOW_LABEL);
    let (of_connector, of_source, of_job) = (context.clone(), context.clone(), context.clone());
    let runs = children::<Run>(&context, place, FLOW_LABEL);
    let sets = children::<StatefulSet>(&context, place, FLOW_LABEL);
    let accounts = children::<ServiceAccount>(&context, place, FLOW_LABEL);
    let roles = children::<Role>(&context, place, FLOW_LABEL);
    let bindings = children::<RoleBinding>(&context, place, FLOW_LABEL);
    control::<Flow>(context, api, |controller| {
        controller
            .watches_stream(connectors, move |connector| {
                refs(of_connector.index.flows_of_connector(&connector.name_any()))
            })
            .watches_stream(sources, move |source| {
                refs(of_source.index.flows_of_source(&Key::of(&source)))
            })
            .watches_stream(jobs, move |job: PartialObjectMeta<Job>| {
                refs(of_job.index.flow_of_job(&Key::of(&job)).into_iter().collect())
            })
            .watches_stream(maps, |child| refs(vec![owner_key(&child)]))
            .watches_stream(runs, |child| refs(vec![owner_key(&child)]))
            .watches_stream(sets, |child| refs(vec![owner_key(&child)]))
            .watches_stream(accounts, |child| refs(vec![owner_key(&child)]))
            .watches_stream(roles, |child| refs(vec![owner_key(&child)]))
            .watches_stream(bindings, |child| refs(vec![owner_key(&child)]))
    })
    .await;
}

async fn jobs(context: Arc<Context>, place: Option<String>) {
    let place = place.as_ref();
    let api = of_place(&context, place);
    let flows = changed::<Flow>(of_place(&context, place));
    // The ledger and the report of a Flow tell how far its Jobs are.
    let channels: Api<PartialObjectMeta<ConfigMap>> = of_place(&context, place);
    let channels = watching(channels, of_owners(FLOW_LABEL))
        .touched_objects()
        .map_ok(|map| owner_key(&map));
    let (of_flow, of_channel) = (context.clone(), context.clone());
    let told = channels.filter_map(move |key| {
        let jobs = key
            .map(|key| of_channel.index.jobs_of_flow(&key))
            .unwrap_or_default();
        futures::future::ready(Some(futures::stream::iter(refs::<Job>(jobs))))
    });
    let maps = children::<ConfigMap>(&context, place, JOB_LABEL);
    let runs = children::<Run>(&context, place, JOB_LABEL);
    control::<Job>(context, api, |controller| {
        controller
            .watches_stream(flows, move |flow: PartialObjectMeta<Flow>| {
                refs(of_flow.index.jobs_of_flow(&Key::of(&flow)))
            })
            .reconcile_on(told.flatten())
            .watches_stream(maps, |child| refs(vec![owner_key(&child)]))
            .watches_stream(runs, |child| refs(vec![owner_key(&child)]))
    })
    .await;
}
