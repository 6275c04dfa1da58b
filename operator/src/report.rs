//! Telling people: the status of an object, and events.
//!
//! In: a status as it is to be. Out: a write, only where it says something else than what is there. Statuses have a
//! field manager of their own, so that applying an object never touches them.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use crate::apply::{called, short_hash};
use crate::conditions::OURS;
use crate::context::Context;
use crate::error::{Doing, Error, Result, chain, is_going};
use crate::index::Key;

/// The field manager of statuses.
pub const STATUS_MANAGER: &str = "millrace-operator-status";

/// Writes the status of an object where it says something new; says whether it did.
///
/// # Errors
/// Where the API server does not answer.
pub async fn status<K, S>(api: &Api<K>, manager: &str, object: &K, old: Option<&S>, new: &S) -> Result<bool>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    S: Serialize + PartialEq,
{
    let wanted = ours(new)?;
    if old.map(ours).transpose()?.as_ref() == Some(&wanted) {
        return Ok(false);
    }
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // The status of another object of this name would be somebody else's.
        "metadata": { "name": object.name_any(), "uid": object.uid() },
        "status": wanted,
    });
    let params = PatchParams::apply(manager).force();
    let Some(written) = write(api, object, &params, &Patch::Apply(patch)).await? else {
        return Ok(false);
    };
    // What another has written in our place is not taken away by applying what we say.
    if let Some(correction) = correction(&written, &wanted)? {
        let patch = json!({
            "metadata": { "uid": written.uid(), "resourceVersion": written.resource_version() },
            "status": correction,
        });
        write(api, object, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(true)
}

/// `None`: it is not there any more.
async fn write<K>(api: &Api<K>, object: &K, params: &PatchParams, patch: &Patch<Value>) -> Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    match api.patch_status(&object.name_any(), params, patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::Changed(called(object))),
        other => other
            .doing(|| format!("write the status of {}", called(object)))
            .map(Some),
    }
}

/// A status without the conditions that are none of ours.
fn ours(status: &impl Serialize) -> Result<Value> {
    let mut status = serde_json::to_value(status).map_err(|error| Error::content("a status", error))?;
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(is_ours);
    }
    Ok(status)
}

fn is_ours(condition: &Value) -> bool {
    condition["type"]
        .as_str()
        .is_some_and(|type_| OURS.contains(&type_))
}

/// What is to be changed in a status that was just applied, as a merge patch; `None`: it is as it is to be. Conditions of
/// other types are others', and so are the entries of other operators in `uses`.
fn correction(written: &impl Serialize, wanted: &Value) -> Result<Option<Value>> {
    let written = serde_json::to_value(written).map_err(|error| Error::content("a status", error))?;
    let mut patch = Map::new();
    for (key, there) in written["status"].as_object().into_iter().flatten() {
        match (key.as_str(), wanted.get(key)) {
            ("uses", _) => {}
            ("conditions", wanted) => {
                let theirs = there.as_array().into_iter().flatten().filter(|one| !is_ours(one));
                let ours = wanted.and_then(Value::as_array).into_iter().flatten();
                let all: Vec<&Value> = ours.chain(theirs).collect();
                if there.as_array().is_some_and(|there| there.len() != all.len()) {
                    patch.insert(key.clone(), json!(all));
                }
            }
            (_, wanted) if wanted != Some(there) => {
                patch.insert(key.clone(), wanted.cloned().unwrap_or_default());
            }
            _ => {}
        }
    }
    Ok((!patch.is_empty()).then_some(Value::Object(patch)))
}

/// Tells of something that went well.
pub async fn tell<K: Resource<DynamicType = ()>>(context: &Context, object: &K, reason: &str, note: &str) {
    publish(context, &object.object_ref(&()), EventType::Normal, reason, note).await;
}

/// Tells of something that a person should look at.
pub async fn warn_of<K: Resource<DynamicType = ()>>(context: &Context, object: &K, reason: &str, note: &str) {
    publish(context, &object.object_ref(&()), EventType::Warning, reason, note).await;
}

/// Tells of an object that could not be read.
pub async fn warn_of_key<K: Resource<DynamicType = ()>>(
    context: &Context,
    key: &Key,
    reason: &str,
    note: &str,
) {
    let reference = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        ..ObjectReference::default()
    };
    publish(context, &reference, EventType::Warning, reason, note).await;
}

/// An event that cannot be written is no reason to stop.
async fn publish(context: &Context, object: &ObjectReference, type_: EventType, reason: &str, note: &str) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        // A note holds at most 1 kB.
        note: Some(note.chars().take(240).collect()),
        // Events that differ in their note alone are counted as one by the recorder, which keeps the first note.
        action: format!("Reconcile-{}", short_hash(note)),
        secondary: None,
    };
    match context.recorder.publish(&event, object).await {
        Ok(()) => {}
        Err(error) if is_going(&error) => {
            debug!(object = object.name, reason, "no event: its namespace goes");
        }
        Err(error) => warn!(
            object = object.name,
            reason,
            error = chain(&error),
            "an event could not be written"
        ),
    }
}
