//! Whether an object is what it is to be: all that is wanted is there; what the API server or others add is theirs.
//!
//! In: the object as it is and as it is wanted, as JSON. Out: yes or no.

use serde_json::Value;

/// Whether everything that is wanted is there.
pub(super) fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::Null) => true,
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let empty = || matches!(wanted, Value::Null) || is_empty(wanted);
            found.get(key).map_or_else(empty, |found| covers(found, wanted))
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| covers(found, wanted))
        }
        (Value::String(found), Value::String(wanted)) => found == wanted || same_quantity(found, wanted),
        _ => found == wanted,
    }
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The API server writes quantities in its own way: `1000m` is `1` there.
fn same_quantity(left: &str, right: &str) -> bool {
    let both = quantity(left).zip(quantity(right));
    both.is_some_and(|(left, right)| (left - right).abs() <= left.abs() * 1e-12)
}

fn quantity(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        _ => return text.parse().ok(),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_theirs() {
        let wanted = json!({"a": {"b": 1}, "list": [{"x": 1}], "none": null, "empty": {}});
        assert!(covers(
            &json!({"a": {"b": 1, "c": 2}, "list": [{"x": 1, "y": 2}]}),
            &wanted
        ));
        assert!(!covers(&json!({"a": {"b": 2}, "list": [{"x": 1}]}), &wanted));
        assert!(!covers(
            &json!({"a": {"b": 1}, "list": [{"x": 1}, {"x": 2}]}),
            &wanted
        ));
        assert!(!covers(&json!({"a": {"b": 1}}), &wanted));
    }

    #[test]
    fn a_quantity_is_the_same_however_it_is_written() {
        for (left, right) in [("1000m", "1"), ("1Gi", "1024Mi"), ("1e3", "1k"), ("0.5", "500m")] {
            assert!(covers(&json!(left), &json!(right)), "{left} {right}");
        }
        assert!(!covers(&json!("1Gi"), &json!("1G")));
        assert!(!covers(&json!("abc"), &json!("abd")));
    }
}
