use super::*;

#[test]
fn text_and_duration_go_both_ways() {
    for (text, ms) in [
        ("30s", 30_000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("1m2s3ms", 62_003),
    ] {
        let parsed: Duration = text.parse().unwrap();
        assert_eq!(parsed.get(), std::time::Duration::from_millis(ms));
        assert_eq!(parsed.to_string(), text);
    }
    assert_eq!("90s".parse::<Duration>().unwrap().to_string(), "1m30s");
    assert_eq!("0s".parse::<Duration>().unwrap().to_string(), "0s");
}

#[test]
fn what_is_not_a_duration_is_refused_with_advice() {
    for text in [
        "",
        "1",
        "-1s",
        "1ns",
        "P1D",
        "1d",
        "1.5h",
        "30m1h",
        "1h1h",
        "s",
        "1 h",
        "99999999999999999999h",
    ] {
        let error = text.parse::<Duration>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("\"{text}\" is not a duration; write hours")),
            "{error}"
        );
    }
}

#[test]
fn schema_pattern_and_parser_agree() {
    let pattern = regex::Regex::new(PATTERN).unwrap();
    for text in [
        "30s", "1h30m", "500ms", "24h", "1m2s3ms", "1d", "30m1h", "-1s", "1ns", "1.5h", "1",
    ] {
        assert_eq!(pattern.is_match(text), text.parse::<Duration>().is_ok(), "{text}");
    }
}
