//! Texts of reports.

use serde_json::json;

use super::*;

#[test]
fn a_position_has_one_text_whatever_order_its_keys_came_in() {
    let one = json!({ "columns": ["id"], "before": { "b": 1, "a": 2 } });
    let other = json!({ "before": { "a": 2, "b": 1 }, "columns": ["id"] });
    assert_ne!(one.to_string(), other.to_string());
    assert_eq!(text(one), text(other));
    assert_eq!(text(json!("2026-01-01")), "2026-01-01");
}
