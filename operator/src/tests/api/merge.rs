//! Server-side apply and merge patches, as far as the operator uses them.
//!
//! In: an object and a patch. Out: the object as it is then.

use serde_json::{Map, Value};

/// Takes away what a manager applied before and applies no more.
pub(super) fn withdraw(object: &mut Value, before: &Value, now: &Value) {
    let (Value::Object(object), Value::Object(before)) = (object, before) else {
        return;
    };
    for (key, old) in before {
        match now.get(key) {
            None if !["apiVersion", "kind", "metadata"].contains(&key.as_str()) => drop(object.remove(key)),
            Some(new) => match object.get_mut(key) {
                Some(Value::Array(there)) if key == "conditions" => {
                    there.retain(|one| !has_type(old, &one["type"]) || has_type(new, &one["type"]));
                }
                Some(inner) => withdraw(inner, old, new),
                None => {}
            },
            None => {}
        }
    }
}

pub(super) fn merge(object: &mut Value, patch: &Value, status: bool) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch
                .iter()
                .filter(|(key, value)| !value.is_null() && (!status || *key == "status"))
            {
                let there = object.entry(key.clone()).or_insert(Value::Object(Map::new()));
                match (there, value) {
                    // A list that is a map, by its types.
                    (Value::Array(there), Value::Array(conditions)) if key == "conditions" => {
                        for one in conditions {
                            match there.iter_mut().find(|old| old["type"] == one["type"]) {
                                Some(old) => old.clone_from(one),
                                None => there.push(one.clone()),
                            }
                        }
                    }
                    (there, value) => merge(there, value, false),
                }
            }
        }
        (object, patch) => *object = patch.clone(),
    }
}

pub(super) fn merge_patch(object: &mut Value, patch: &Value) {
    let (Value::Object(object), Value::Object(patch)) = (&mut *object, patch) else {
        *object = patch.clone();
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => drop(object.remove(key)),
            value => merge_patch(
                object.entry(key.clone()).or_insert(Value::Object(Map::new())),
                value,
            ),
        }
    }
}

fn has_type(conditions: &Value, type_: &Value) -> bool {
    let all = conditions.as_array();
    all.is_some_and(|all| all.iter().any(|one| one["type"] == *type_))
}
