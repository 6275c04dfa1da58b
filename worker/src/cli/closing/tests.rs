//! The closing report.

use millrace_crds::flow::DeliveryGuarantee;

use super::{Ended, INTERRUPTED, as_json, text};
use crate::{
    engine::{
        counts::Counts,
        flow::{Report, StreamReport},
    },
    error::{Error, Result},
};

fn stream(name: &str, outcome: Result<Counts>) -> StreamReport {
    StreamReport {
        name: name.to_owned(),
        load: "full",
        outcome,
    }
}

fn ended(streams: Vec<StreamReport>) -> Ended {
    let report = Report {
        flow: "default/lake".to_owned(),
        guarantee: DeliveryGuarantee::ExactlyOnce,
        streams,
        left: Vec::new(),
        gone: Vec::new(),
    };
    Ended {
        namespace: "default".to_owned(),
        flow: "lake".to_owned(),
        job: None,
        skipped: None,
        result: Some(Ok(report)),
    }
}

fn counts() -> Counts {
    Counts {
        read: 12_345,
        inserted: 12_000,
        unchanged: 345,
        files: 2,
        bytes: 4096,
        seconds: 1.25,
        ..Counts::default()
    }
}

#[test]
fn json_has_the_shape_that_programs_rely_on() {
    let value = as_json(&[ended(vec![stream("orders", Ok(counts()))])], false);
    let flow = &value["flows"][0];
    assert_eq!(
        (flow["name"].as_str(), flow["deliveryGuarantee"].as_str()),
        (Some("lake"), Some("ExactlyOnce"))
    );
    let names = [
        "read",
        "inserted",
        "updated",
        "deleted",
        "unchanged",
        "superseded",
        "filtered",
        "refused",
        "files",
        "bytes",
    ];
    for name in names {
        assert!(flow["streams"][0][name].is_u64(), "{name}");
    }
    assert_eq!(flow["streams"][0]["outcome"], "loaded");
    assert_eq!(value.get("dryRun"), None);
    assert_eq!(as_json(&[], true)["dryRun"], true);
}

#[test]
fn a_failure_has_no_counts_but_a_reason_and_advice() {
    let error = Error::state("StateLost", "there is no state").advice("bring it back");
    let value = as_json(&[ended(vec![stream("orders", Err(error))])], false);
    let stream = &value["flows"][0]["streams"][0];
    assert_eq!(stream["outcome"], "failed");
    assert_eq!(stream["error"]["kind"], "state");
    assert_eq!(stream["error"]["reason"], "StateLost");
    assert_eq!(stream["error"]["advice"], "bring it back");
    assert!(stream.get("read").is_none());
}

#[test]
fn no_rows_at_all_is_an_outcome_of_its_own() {
    let ended = [ended(vec![
        stream("orders", Ok(Counts::default())),
        stream(
            "users",
            Ok(Counts {
                read: 3,
                unchanged: 3,
                ..Counts::default()
            }),
        ),
    ])];
    let value = as_json(&ended, false);
    assert_eq!(value["flows"][0]["streams"][0]["outcome"], "empty");
    assert_eq!(value["flows"][0]["streams"][1]["outcome"], "unchanged");
    let text = text(&ended, false);
    assert!(
        text.contains("lake, stream orders: the source has no rows."),
        "{text}"
    );
    assert!(!text.contains("stream users:"), "{text}");
}

#[test]
fn the_table_has_every_count() {
    let text = text(&[ended(vec![stream("orders", Ok(counts()))])], true);
    for word in [
        "flow",
        "stream",
        "superseded",
        "refused",
        "seconds",
        "12,345",
        "12,000",
        "4.1 kB",
        "Nothing was written",
    ] {
        assert!(text.contains(word), "{word}\n{text}");
    }
}

#[test]
fn what_was_not_begun_is_named() {
    let mut one = ended(Vec::new());
    if let Some(Ok(report)) = &mut one.result {
        report.left = vec!["orders".to_owned()];
    }
    assert!(one.interrupted());
    assert!(text(std::slice::from_ref(&one), false).contains("not begun: orders"));
    let skipped = Ended {
        skipped: Some(INTERRUPTED),
        result: None,
        ..ended(Vec::new())
    };
    assert!(skipped.interrupted());
}
