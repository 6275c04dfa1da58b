//! The loop: one controller for each kind, which reads an object anew and reconciles it.
//!
//! In: watches. Out: reconciles, counted and timed, again after a while where they fail. A watch says only that there
//! is something to look at: what is done is decided by what is read then.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        Config, Controller, WatchStreamExt,
        controller::{Action, Error as Stop},
        reflector, watcher,
    },
};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use crate::context::Context;
use crate::error::{Doing, Error, Result, chain};
use crate::index::Key;
use crate::watch::{NoPause, news, watching};
use crate::{reasons, report};

/// The longest that a reconcile may take.
const LIMIT: Duration = Duration::from_secs(90);
/// When an object that this version cannot read is looked at again.
const UNREADABLE: Duration = Duration::from_mins(10);
/// The longest wait before what failed for want of an answer is tried again.
const OUT_OF_REACH: Duration = Duration::from_secs(10);
/// Reconciles of one kind at one time.
const CONCURRENCY: u16 = 16;

/// A kind that this operator reconciles.
pub trait Reconcile:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its name, for metrics and log lines.
    const KIND: &'static str;

    /// The objects of a namespace; all of them where the kind has none.
    fn api(context: &Context, namespace: &str) -> Api<Self>;

    /// Makes things as the object says.
    fn reconcile(self, context: &Context) -> impl Future<Output = Result<Action>> + Send;

    /// The object is gone.
    fn gone(context: &Context, key: &Key);
}

/// Reads an object and reconciles it.
///
/// # Errors
/// Where it could not be done; it is to be tried again.
pub async fn reconcile<K: Reconcile>(context: &Context, key: &Key) -> Result<Action> {
    let started = Instant::now();
    let work = async {
        let found = K::api(context, &key.namespace).get_opt(&key.name).await;
        match found.doing(|| format!("read {} {}", K::KIND, key.name))? {
            // On the heap: the objects of Kubernetes are large.
            Some(object) => Box::pin(object.reconcile(context)).await,
            None => {
                K::gone(context, key);
                Ok(Action::await_change())
            }
        }
    };
    let done = tokio::time::timeout(LIMIT, work).await;
    let mut done = done.unwrap_or(Err(Error::Late(LIMIT.as_secs())));
    if let Err(error) = &done
        && error.category() == "unreadable"
    {
        // No status can be written of what cannot be read, and to try at once again would change nothing.
        warn!(
            kind = K::KIND,
            object = key.name,
            error = chain(error),
            "cannot be read by this version"
        );
        context.index.pass_over(K::KIND, key);
        report::warn_of_key::<K>(context, key, reasons::UNPARSABLE, &error.to_string()).await;
        done = Ok(Action::requeue(UNREADABLE));
    }
    if let Err(error) = &done
        && error.is_going()
    {
        // The object goes with its namespace: there is nothing to do and nobody to tell.
        debug!(
            kind = K::KIND,
            object = key.name,
            error = chain(error),
            "left alone"
        );
        context
            .metrics
            .reconciled(K::KIND, error.category(), started.elapsed());
        return Ok(Action::await_change());
    }
    let result = done.as_ref().map_or_else(Error::category, |_| "ok");
    context.metrics.reconciled(K::KIND, result, started.elapsed());
    done
}

/// Runs the controller of a kind over one namespace, or over all; `triggers` adds what else it listens to.
pub async fn control<K: Reconcile>(
    context: Arc<Context>,
    api: Api<PartialObjectMeta<K>>,
    triggers: impl FnOnce(Controller<PartialObjectMeta<K>>) -> Controller<PartialObjectMeta<K>>,
) {
    let (store, writer) = reflector::store();
    let events = watching(api, watcher::Config::default())
        .inspect(listing::<K>(context.clone()))
        .reflect(writer);
    let of_gone = context.clone();
    let objects = news(events).map(move |news| {
        news.map(|news| {
            if news.gone {
                K::gone(&of_gone, &Key::of(&news.object));
            }
            news.object
        })
    });
    triggers(Controller::for_stream(objects, store))
        .trigger_backoff(NoPause)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .run(attempt::<K>, again::<K>, context)
        .for_each(|result| async { log::<K>(result.map(|_| ())) })
        .await;
}

/// Tells the index what the first list holds.
fn listing<K: Reconcile>(
    context: Arc<Context>,
) -> impl FnMut(&std::result::Result<watcher::Event<PartialObjectMeta<K>>, watcher::Error>) {
    context.index.await_list(K::KIND);
    let mut keys = Some(Vec::new());
    move |event| match event {
        Ok(watcher::Event::Init) => keys.iter_mut().for_each(Vec::clear),
        Ok(watcher::Event::InitApply(object)) => keys.iter_mut().for_each(|keys| keys.push(Key::of(object))),
        Ok(watcher::Event::InitDone) => keys
            .take()
            .into_iter()
            .for_each(|keys| context.index.listed(K::KIND, keys)),
        _ => {}
    }
}

async fn attempt<K: Reconcile>(object: Arc<PartialObjectMeta<K>>, context: Arc<Context>) -> Result<Action> {
    let action = reconcile::<K>(&context, &Key::of(&*object)).await?;
    context.backoff.forget(&object.uid().unwrap_or_default());
    Ok(action)
}

/// What failed is tried again, later each time; what was only changed meanwhile, at once.
fn again<K: Reconcile>(object: Arc<PartialObjectMeta<K>>, error: &Error, context: Arc<Context>) -> Action {
    let delay = context.backoff.failed(&object.uid().unwrap_or_default());
    Action::requeue(match error {
        Error::Changed(_) => delay.min(Duration::from_millis(500)),
        // When the API server is back nobody says so.
        _ if error.category() == "network" => delay.min(OUT_OF_REACH),
        _ => delay,
    })
}

fn log<K: Reconcile>(result: std::result::Result<(), Stop<Error, watcher::Error>>) {
    match result {
        Ok(()) => {}
        // A child that outlives its parent, and a parent that has just been deleted.
        Err(Stop::ObjectNotFound(_)) => {}
        Err(Stop::ReconcilerFailed(error @ Error::Changed(_), object)) => {
            debug!(kind = K::KIND, object = %object, error = chain(&error), "tried again");
        }
        Err(Stop::ReconcilerFailed(error, object)) => {
            warn!(kind = K::KIND, object = %object, category = error.category(), error = chain(&error), "failed; tried again");
        }
        Err(error) => warn!(
            kind = K::KIND,
            error = chain(&error),
            "a watch failed; tried again"
        ),
    }
}

/// The objects of a kind that changed, were made or are gone.
pub fn changed<K>(
    api: Api<PartialObjectMeta<K>>,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watching(api, watcher::Config::default());
    news(events).map(|news| news.map(|news| news.object))
}
