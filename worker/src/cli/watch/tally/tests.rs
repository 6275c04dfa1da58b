//! What streams have come to over several loads.

use millrace_crds::flow::DeliveryGuarantee;

use super::{Tally, is_fenced};
use crate::{
    cli::closing::{Ended, Output},
    engine::{
        counts::Counts,
        flow::{Report, StreamReport},
    },
    error::{Error, Result},
};

fn inserted(rows: u64) -> Counts {
    Counts {
        read: rows,
        inserted: rows,
        ..Counts::default()
    }
}

fn report(streams: Vec<(&str, Result<Counts>)>) -> Report {
    let stream = |(name, outcome): (&str, _)| StreamReport {
        name: name.to_owned(),
        load: "delta",
        outcome,
    };
    Report {
        flow: "default/lake".to_owned(),
        guarantee: DeliveryGuarantee::ExactlyOnce,
        streams: streams.into_iter().map(stream).collect(),
        left: Vec::new(),
        gone: Vec::new(),
    }
}

fn load(flow: &str, result: Result<Report>) -> Ended {
    Ended {
        namespace: "default".to_owned(),
        flow: flow.to_owned(),
        job: Some("again".to_owned()),
        skipped: None,
        result: Some(result),
    }
}

fn tally() -> Tally {
    Tally::new(Output::Text, false)
}

fn streams(ended: &Ended) -> &[StreamReport] {
    &ended.result.as_ref().unwrap().as_ref().unwrap().streams
}

#[test]
fn what_is_delivered_adds_up_stream_by_stream() {
    let tally = tally();
    tally.add(load("lake", Ok(report(vec![("orders", Ok(inserted(3)))]))));
    tally.add(load("pond", Ok(report(vec![("orders", Ok(inserted(100)))]))));
    tally.add(load(
        "lake",
        Ok(report(vec![
            ("users", Ok(inserted(5))),
            ("orders", Ok(inserted(4))),
        ])),
    ));
    let closing = tally.close();
    let lake = &closing.ended[0];
    assert_eq!((lake.flow.as_str(), lake.job.as_deref()), ("lake", None));
    let rows: Vec<_> = streams(lake)
        .iter()
        .map(|stream| (stream.name.as_str(), stream.outcome.as_ref().unwrap().inserted))
        .collect();
    assert_eq!(rows, [("orders", 7), ("users", 5)]);
    assert_eq!(closing.ended.len(), 2);
}

#[test]
fn the_last_word_on_a_stream_counts() {
    let tally = tally();
    tally.add(load("lake", Ok(report(vec![("orders", Ok(inserted(3)))]))));
    tally.add(load(
        "lake",
        Ok(report(vec![("orders", Err(Error::data("torn")))])),
    ));
    let closing = tally.close();
    assert_eq!(
        streams(&closing.ended[0])[0]
            .outcome
            .as_ref()
            .unwrap_err()
            .message,
        "torn"
    );
    assert!(closing.errors.is_empty());
}

#[test]
fn a_load_that_did_not_begin_is_told_until_one_does_and_takes_no_count_away() {
    let tally = tally();
    tally.add(load("lake", Ok(report(vec![("orders", Ok(inserted(3)))]))));
    tally.add(load("lake", Err(Error::transient("out of reach"))));
    tally.add(load("pond", Err(Error::transient("out of reach"))));
    tally.add(load("pond", Ok(report(Vec::new()))));
    let closing = tally.close();
    let names: Vec<_> = closing.errors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["default/lake"]);
    assert_eq!(
        streams(&closing.ended[0])[0].outcome.as_ref().unwrap().inserted,
        3
    );
}

#[test]
fn one_stream_that_a_newer_worker_holds_ends_the_flow() {
    let fenced = || Error::fenced("epoch 7");
    assert!(is_fenced(&Err(fenced())));
    assert!(is_fenced(&Ok(report(vec![
        ("a", Ok(inserted(1))),
        ("b", Err(fenced()))
    ]))));
    assert!(!is_fenced(&Ok(report(vec![("a", Err(Error::data("torn")))]))));
}
