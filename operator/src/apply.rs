//! Making things so: objects are applied, made once, or deleted, and only where that changes something.
//!
//! In: objects as they are to be. Out: objects as they are. What belongs to another owner is left alone, what is
//! deleted is named by UID and resourceVersion, and what is there already costs a read and no write.

mod covers;

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
};
use millrace_crds::channel::MANAGER;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::known::Place;
use crate::owner::Owner;

/// The annotation that holds the hash of what was applied: what is wanted no longer shows only there.
const APPLIED: &str = "millrace.dev/applied";

/// A kind whose objects can be children.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The kind and name of an object, for messages.
pub(crate) fn called<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

/// Whether an object can have this name at all: what cannot be a name is not put into an address.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    (1..=253).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('.')
        && !name.contains("..")
}

/// The object of a name, if it is there.
///
/// # Errors
/// Where the API server does not answer.
pub async fn read<K: Child>(context: &Context, namespace: &str, name: &str) -> Result<Option<K>> {
    if !is_name(name) {
        return Ok(None);
    }
    let api = context.api::<K>(namespace);
    api.get_opt(name)
        .await
        .doing(|| format!("read {} {name}", K::kind(&())))
}

/// Makes an object what it is to be, unless it is so already; gives it back as it is.
///
/// # Errors
/// Where the object belongs to somebody else, or the API server does not take it.
pub async fn apply<K: Child>(context: &Context, wanted: K) -> Result<K> {
    let found = read::<K>(
        context,
        &wanted.namespace().unwrap_or_default(),
        &wanted.name_any(),
    )
    .await?;
    apply_to(context, found, wanted).await
}

/// The same, of an object that was just read.
///
/// # Errors
/// As [`apply`].
pub async fn apply_to<K: Child>(context: &Context, found: Option<K>, mut wanted: K) -> Result<K> {
    let namespace = wanted.namespace().unwrap_or_default();
    let hash = hash(&wanted)?;
    wanted.annotations_mut().insert(APPLIED.to_owned(), hash);
    if let Some(found) = found {
        refuse_foreign(&found, &wanted)?;
        if covers::covers(&json(&found)?, &json(&wanted)?) {
            return Ok(found);
        }
        // Another object of this name would not be the one that was looked at.
        wanted.meta_mut().uid = found.uid();
    }
    let params = PatchParams::apply(MANAGER).force();
    context
        .api::<K>(&namespace)
        .patch(&wanted.name_any(), &params, &Patch::Apply(&wanted))
        .await
        .doing(|| format!("apply {}", called(&wanted)))
}

/// Makes an object what it is to be, where nobody asks how it is: one that is known to be so costs no request.
///
/// # Errors
/// As [`apply`].
pub async fn keep<K: Child>(context: &Context, wanted: K) -> Result<()> {
    let place = Place::new::<K>(&wanted.namespace().unwrap_or_default(), &wanted.name_any());
    let hash = hash(&wanted)?;
    if context.known.is(&place, &hash) {
        return Ok(());
    }
    let kept = apply(context, wanted).await?;
    context.known.compared(place, &kept, hash);
    Ok(())
}

/// Makes an object that is never changed afterwards, unless it is there; gives it back as it is.
///
/// # Errors
/// Where one of that name belongs to somebody else, or the API server does not take it.
pub async fn make<K: Child>(context: &Context, wanted: &K) -> Result<K> {
    let found = read::<K>(
        context,
        &wanted.namespace().unwrap_or_default(),
        &wanted.name_any(),
    )
    .await?;
    make_unless(context, found, wanted).await
}

/// The same, where it was just read whether it is there.
///
/// # Errors
/// As [`make`].
pub async fn make_unless<K: Child>(context: &Context, found: Option<K>, wanted: &K) -> Result<K> {
    if let Some(found) = found {
        refuse_foreign(&found, wanted)?;
        return Ok(found);
    }
    let namespace = wanted.namespace().unwrap_or_default();
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let made = context.api::<K>(&namespace).create(&params, wanted).await;
    made.doing(|| format!("make {}", called(wanted)))
}

/// Replaces an object that was read before, if nobody has changed it meanwhile.
///
/// # Errors
/// [`Error::Changed`] where somebody has, and where the API server does not answer.
pub async fn replace<K: Child>(context: &Context, changed: &K) -> Result<K> {
    // Without these a ConfigMap would be replaced whatever it is now.
    if changed.uid().is_none() || changed.resource_version().is_none() {
        return Err(Error::content(
            called(changed),
            "has no UID and resourceVersion to go by",
        ));
    }
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = context.api::<K>(&changed.namespace().unwrap_or_default());
    match api.replace(&changed.name_any(), &params, changed).await {
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            Err(Error::Changed(called(changed)))
        }
        other => other.doing(|| format!("replace {}", called(changed))),
    }
}

/// Deletes an object that was read before; that it is gone, or another by now, is no error.
///
/// # Errors
/// [`Error::Changed`] where it was changed meanwhile, and where the API server does not answer.
pub async fn delete<K: Child>(context: &Context, object: &K) -> Result<()> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let (Some(uid), Some(version)) = (object.uid(), object.resource_version()) else {
        return Err(Error::content(
            called(object),
            "has no UID and resourceVersion to go by",
        ));
    };
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid),
            resource_version: Some(version),
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let api = context.api::<K>(&object.namespace().unwrap_or_default());
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::Changed(called(object))),
        Err(error) => Err(error).doing(|| format!("delete {}", called(object))),
    }
}

/// Deletes the object of a name, if it is there and belongs to this owner; says whether it was.
///
/// # Errors
/// Where the API server does not answer.
pub async fn prune<K: Child>(context: &Context, owner: &Owner, name: &str) -> Result<bool> {
    match read::<K>(context, &owner.namespace, name).await? {
        Some(found) if controller(&found) == Some(&owner.uid) => {
            delete(context, &found).await?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// [`prune`] of what is seldom there, and does no harm for as long as a watch may lag: where none has shown it, nothing
/// is asked.
///
/// # Errors
/// As [`prune`].
pub async fn prune_known<K: Child>(context: &Context, owner: &Owner, name: &str) -> Result<bool> {
    let place = Place::new::<K>(&owner.namespace, name);
    match context.known.is_absent(&place, owner.label) {
        true => Ok(false),
        false => prune::<K>(context, owner, name).await,
    }
}

/// The UID of the owner that controls an object.
pub(crate) fn controller<K: Resource>(object: &K) -> Option<&str> {
    let owners = object.owner_references().iter();
    owners
        .clone()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

/// What is there may be of an owner of the same name that is gone, or somebody's own.
fn refuse_foreign<K: Child>(found: &K, wanted: &K) -> Result<()> {
    let foreign = |owner: String| Error::Foreign {
        kind: K::kind(&()).into_owned(),
        name: found.name_any(),
        owner,
    };
    if found.meta().deletion_timestamp.is_some() {
        return Err(foreign("nobody: it is being deleted".to_owned()));
    }
    let owner = found
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    match owner {
        Some(owner) if Some(owner.uid.as_str()) != controller(wanted) => {
            Err(foreign(format!("{} {}", owner.kind, owner.name)))
        }
        None if found
            .labels()
            .get("app.kubernetes.io/managed-by")
            .map(String::as_str)
            != Some(MANAGER) =>
        {
            Err(foreign("somebody else".to_owned()))
        }
        _ => Ok(()),
    }
}

fn json<K: Child>(object: &K) -> Result<Value> {
    serde_json::to_value(object).map_err(|error| Error::content(called(object), error))
}

fn hash<K: Child>(object: &K) -> Result<String> {
    Ok(short_hash(&json(object)?.to_string()))
}

/// The first digits of a text's SHA-256.
#[must_use]
pub fn short_hash(text: &str) -> String {
    let mut hash = format!("{:x}", Sha256::digest(text));
    hash.truncate(16);
    hash
}
