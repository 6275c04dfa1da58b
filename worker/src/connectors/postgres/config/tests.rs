use serde_json::json;

use super::PostgresConfig;
use crate::connectors::misfit;

#[test]
fn what_is_wrong_with_settings_tells_no_value() {
    for (settings, expected) in [
        (
            json!({ "port": "canary" }),
            "a value does not fit: expected a `port` between 1 and 65535",
        ),
        (
            json!({ "lookback": ["canary"] }),
            "a value does not fit: expected text or a number",
        ),
        (
            json!({ "host": { "canary": ", expected canary" } }),
            "a value does not fit: expected a string",
        ),
        (
            json!({ "connectTimeout": "canary, expected" }),
            "a value has not the right form",
        ),
        (
            json!({ "hots": "canary" }),
            "unknown field `hots`, expected one of",
        ),
    ] {
        let error = serde_json::from_value::<PostgresConfig>(settings).unwrap_err();
        assert!(misfit(&error).starts_with(expected), "{error}");
        assert!(!misfit(&error).contains("canary"), "{error}");
    }
}
