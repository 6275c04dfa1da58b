//! What the server does: get, list, create, replace, patch, delete.
//!
//! In: a request. Out: an answer, and a change in the log where something has changed.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::merge::{merge, merge_patch, withdraw};
use super::request::{Asked, conflict, failure};
use super::{Place, State};

impl State {
    pub(super) fn act(&mut self, asked: &Asked) -> (u16, Value) {
        match (&asked.method, &asked.name) {
            (&Method::GET, Some(name)) => match self.objects.get(&(asked.collection.clone(), name.clone())) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound", &format!("{name} not found")),
            },
            (&Method::GET, None) => (200, self.list(asked)),
            (&Method::POST, _) => self.create(asked),
            (&Method::PUT, Some(name)) => self.replace(asked, name),
            (&Method::PATCH, Some(name)) => self.patch(asked, name),
            (&Method::DELETE, Some(name)) => self.delete(asked, name),
            _ => failure(405, "MethodNotAllowed", "no such request"),
        }
    }

    fn list(&self, asked: &Asked) -> Value {
        let fits = |object: &&Value| asked.selects(object);
        let found = self
            .objects
            .iter()
            .filter(|((collection, _), _)| *collection == asked.collection);
        let items: Vec<&Value> = found.map(|(_, object)| object).filter(fits).collect();
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": self.version.to_string() }, "items": items })
    }

    fn create(&mut self, asked: &Asked) -> (u16, Value) {
        let mut object = asked.body.clone();
        let name = match object["metadata"]["name"].as_str() {
            Some(name) => name.to_owned(),
            None => format!(
                "{}{}",
                object["metadata"]["generateName"].as_str().unwrap_or("x"),
                self.uid
            ),
        };
        let place = (asked.collection.clone(), name.clone());
        if self.objects.contains_key(&place) {
            return failure(409, "AlreadyExists", &format!("{name} exists"));
        }
        self.uid += 1;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(format!("uid-{}", self.uid));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        if let Some(namespace) = asked
            .collection
            .split('/')
            .skip_while(|part| *part != "namespaces")
            .nth(1)
        {
            object["metadata"]["namespace"] = json!(namespace);
        }
        (201, self.store(place, object))
    }

    fn store(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if is_gone(&object) {
            self.objects.remove(&place);
            self.log(place, "DELETED", object.clone());
            self.collect(&object["metadata"]["uid"]);
        } else {
            let before = self.objects.insert(place.clone(), object.clone());
            let type_ = if before.is_some() { "MODIFIED" } else { "ADDED" };
            self.log(place, type_, object.clone());
        }
        object
    }

    fn replace(&mut self, asked: &Asked, name: &str) -> (u16, Value) {
        let place = (asked.collection.clone(), name.to_owned());
        let Some(old) = self.objects.get(&place).cloned() else {
            return failure(404, "NotFound", name);
        };
        for field in ["uid", "resourceVersion"] {
            if asked.body["metadata"][field] != old["metadata"][field] {
                return conflict(field);
            }
        }
        (200, self.update(place, &old, asked.body.clone()))
    }

    /// Stores what has changed, and nothing where nothing has.
    fn update(&mut self, place: Place, old: &Value, mut new: Value) -> Value {
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "resourceVersion",
        ] {
            match old["metadata"].get(field) {
                Some(value) => new["metadata"][field] = value.clone(),
                None => drop(new["metadata"].as_object_mut().map(|meta| meta.remove(field))),
            }
        }
        if new == *old {
            return new;
        }
        if new.get("spec") != old.get("spec") {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
        self.store(place, new)
    }

    fn patch(&mut self, asked: &Asked, name: &str) -> (u16, Value) {
        let place = (asked.collection.clone(), name.to_owned());
        let old = self.objects.get(&place).cloned();
        let given = &asked.body["metadata"];
        let Some(old) = old else {
            return match asked.apply && !asked.status && given.get("uid").is_none() {
                true => self.apply_new(asked, place),
                false => failure(404, "NotFound", name),
            };
        };
        for field in ["uid", "resourceVersion"] {
            if given
                .get(field)
                .is_some_and(|value| !value.is_null() && *value != old["metadata"][field])
            {
                return conflict(field);
            }
        }
        if asked.query.contains_key("dryRun") {
            return (200, old);
        }
        let mut new = old.clone();
        let owners = (controller(&old), controller(&asked.body));
        if asked.apply && owners.0.is_some() && owners.1.is_some() && owners.0 != owners.1 {
            return failure(
                422,
                "Invalid",
                "Only one reference can have Controller set to true",
            );
        }
        if asked.apply {
            let manager = asked.query.get("fieldManager").cloned().unwrap_or_default();
            let before = self.applied.insert((place.clone(), manager), asked.body.clone());
            if let Some(before) = before {
                withdraw(&mut new, &before, &asked.body);
            }
            merge(&mut new, &asked.body, asked.status);
        } else {
            merge_patch(&mut new, &asked.body);
        }
        (200, self.update(place, &old, new))
    }

    fn apply_new(&mut self, asked: &Asked, place: Place) -> (u16, Value) {
        let manager = asked.query.get("fieldManager").cloned().unwrap_or_default();
        self.applied.insert((place, manager), asked.body.clone());
        self.create(asked)
    }

    fn delete(&mut self, asked: &Asked, name: &str) -> (u16, Value) {
        let place = (asked.collection.clone(), name.to_owned());
        let Some(mut object) = self.objects.get(&place).cloned() else {
            return failure(404, "NotFound", name);
        };
        for (field, wanted) in asked.body["preconditions"].as_object().into_iter().flatten() {
            if *wanted != object["metadata"][field] {
                return conflict(field);
            }
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        (200, self.store(place, object))
    }

    /// Children go with their owner.
    fn collect(&mut self, uid: &Value) {
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
        };
        let children: Vec<Place> = self
            .objects
            .iter()
            .filter(|(_, object)| owned(object))
            .map(|(place, _)| place.clone())
            .collect();
        for place in children {
            self.remove(&place);
        }
    }

    fn remove(&mut self, place: &Place) {
        if let Some(object) = self.objects.remove(place) {
            self.version += 1;
            self.log(place.clone(), "DELETED", object.clone());
            self.collect(&object["metadata"]["uid"]);
        }
    }

    pub(super) fn collect_orphans(&mut self) {
        let uids: BTreeSet<String> = self
            .objects
            .values()
            .map(|object| object["metadata"]["uid"].to_string())
            .collect();
        let lost = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners
                    .iter()
                    .any(|owner| uids.contains(&owner["uid"].to_string()))
            })
        };
        let orphans: Vec<Place> = self
            .objects
            .iter()
            .filter(|(_, object)| lost(object))
            .map(|(place, _)| place.clone())
            .collect();
        orphans.iter().for_each(|place| self.remove(place));
    }
}

/// The owner that controls an object.
fn controller(object: &Value) -> Option<&Value> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let controls = |owner: &&Value| owner["controller"] == true;
    owners.iter().find(controls).map(|owner| &owner["uid"])
}

/// Deleted, and nothing holds it back.
fn is_gone(object: &Value) -> bool {
    let meta = &object["metadata"];
    meta.get("deletionTimestamp").is_some_and(|time| !time.is_null())
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
}
