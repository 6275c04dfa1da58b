//! The promises about names and sizes.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Discovered, Discovery, FLOW_LABEL, Failure, JOB_LABEL, LIMIT, Report, RunReport, RunState, SOURCE_LABEL,
    StreamStand, child, child_of, dealt, label, labels, report_key, report_ordinal, to_text,
};
use crate::job::{Counts, StreamCounts};

fn is_dns_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[test]
fn every_name_has_children_of_its_own() {
    let long = "x".repeat(253);
    let dotted = format!("{}.b", "a".repeat(39));
    let same_start = ["y".repeat(50), "y".repeat(51)];
    let names = [
        "a",
        "a.b",
        "a-b",
        "a.b.c",
        "0",
        &long,
        &dotted,
        &same_start[0],
        &same_start[1],
    ];
    let mut seen = BTreeSet::new();
    for name in names {
        for suffix in ["plan", "triggers", "report", "state", "preflight"] {
            let child = child(name, suffix);
            assert!(is_dns_label(&child), "{child}");
            assert!(seen.insert(child.clone()), "{child} twice");
        }
        assert!(label(name).len() <= 63);
        assert!(is_dns_label(&crate::ledger::run_id(name, "uid", 1)));
    }
    assert_eq!(child("lake", "plan"), child("lake", "plan"));
    let kinds = [FLOW_LABEL, SOURCE_LABEL, JOB_LABEL];
    let plans: BTreeSet<String> = kinds.map(|kind| child_of(kind, "shop", "plan")).into();
    assert_eq!(plans.len(), 3);
    assert!(plans.contains(&child("shop", "plan")) && plans.iter().all(|name| is_dns_label(name)));
    assert!(child("lake", "plan").starts_with("lake-"));
}

#[test]
fn each_stream_is_dealt_to_one_worker() {
    let names: Vec<String> = (0..1000).map(|number| format!("public.t{number}")).collect();
    assert!(names.iter().all(|name| dealt(name, 1) == 0));
    for ordinal in 0..3 {
        let share = names.iter().filter(|name| dealt(name, 3) == ordinal).count();
        assert!((250..420).contains(&share), "{share}");
    }
}

#[test]
fn labels_name_the_owner() {
    let labels = labels(FLOW_LABEL, "lake", "worker");
    assert_eq!(labels["millrace.dev/flow"], "lake");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "millrace-operator");
    assert_eq!(labels.len(), 4);
}

#[test]
fn a_report_belongs_to_an_ordinal() {
    assert_eq!(report_ordinal(&report_key(12)), Some(12));
    assert_eq!(report_ordinal("report-x.json"), None);
    assert_eq!(report_ordinal("plan.json"), None);
}

fn large() -> Report {
    let now = Timestamp::UNIX_EPOCH;
    let counts = |number: usize| StreamCounts {
        name: format!("public.a_table_with_a_long_name_{number}"),
        counts: Counts::default(),
    };
    let run = RunReport {
        streams: (0..3000).map(counts).collect(),
        ..RunReport::begun(now, 1)
    };
    Report {
        runs: (1..=80).map(|number| (number, run.clone())).collect(),
        streams: (0..3000)
            .map(|number| StreamStand {
                name: format!("public.a_table_with_a_long_name_{number}"),
                watermark: Some("2026-01-01T00:00:00Z".repeat(3)),
                ..StreamStand::default()
            })
            .collect(),
        problem: Some(Failure::new("data", "X", &"m".repeat(100_000), "")),
        ..Report::default()
    }
}

#[test]
fn a_report_that_is_too_long_sheds_and_says_how_many_there_were() {
    let report = large();
    let text = report.to_text(LIMIT);
    assert!(text.len() <= LIMIT, "{}", text.len());
    let kept: Report = serde_json::from_str(&text).unwrap();
    assert!(kept.runs.contains_key(&80), "the last run is kept");
    assert!(kept.runs.len() <= 50);
    assert_eq!(kept.runs[&80].stream_count, Some(3000));
    let text = report.to_text(20_000);
    assert!(text.len() <= 20_000, "{}", text.len());
    let kept: Report = serde_json::from_str(&text).unwrap();
    assert!(kept.runs.contains_key(&80));
    assert_eq!(kept.stream_count, Some(3000));
}

#[test]
fn a_long_discovery_loses_columns_before_streams() {
    let field = |number: usize| crate::schema::Field {
        name: format!("column_{number}"),
        ..serde_json::from_str("{}").unwrap()
    };
    let stream = |number: usize| Discovered {
        name: format!("table_{number}"),
        primary_key: vec!["id".to_owned()],
        fields: (0..50).map(field).collect(),
    };
    let discovery = Discovery {
        streams: (0..5000).map(stream).collect(),
        total: 5000,
        truncated: false,
        at: None,
    };
    let report = Report {
        discovery: Some(discovery),
        ..Report::default()
    };
    let text = report.to_text(LIMIT);
    assert!(text.len() <= LIMIT);
    let kept = serde_json::from_str::<Report>(&text).unwrap().discovery.unwrap();
    assert_eq!(
        (kept.streams.len(), kept.total, kept.truncated),
        (5000, 5000, true)
    );
    assert!(kept.streams[0].fields.is_empty());
}

#[test]
fn a_document_that_does_not_fit_is_refused() {
    let error = to_text(&"x".repeat(LIMIT)).unwrap_err();
    assert!(error.to_string().contains("use several Flows"), "{error}");
    assert!(to_text(&"x").is_ok());
}

#[test]
fn an_empty_report_can_be_read() {
    let report: Report = serde_json::from_str("{}").unwrap();
    assert_eq!(report, Report::default());
}

#[test]
fn a_shared_run_is_over_when_each_part_is() {
    let now = Timestamp::UNIX_EPOCH;
    let begun = RunReport::begun(now, 2);
    let done = RunReport {
        state: RunState::Succeeded,
        rows: 10,
        finished_at: Some(now),
        ..begun.clone()
    };
    let failed = RunReport {
        state: RunState::Failed,
        error: Some(Failure::new("data", "X", "m", "")),
        ..done.clone()
    };
    assert_eq!(RunReport::shared(&[None, None]), None);
    let of = |told: &[Option<&RunReport>]| RunReport::shared(told).unwrap();
    assert_eq!(of(&[Some(&done), None]).state, RunState::Running);
    let half = of(&[Some(&failed), Some(&begun)]);
    assert_eq!((half.state, half.finished_at), (RunState::Running, None));
    let whole = of(&[Some(&done), Some(&done)]);
    assert_eq!(
        (whole.state, whole.rows, whole.finished_at),
        (RunState::Succeeded, 20, Some(now))
    );
    let whole = of(&[Some(&done), Some(&failed)]);
    assert_eq!(
        (whole.state, whole.error.unwrap().reason.as_str()),
        (RunState::Failed, "X")
    );
    let mut anew = failed.clone();
    anew.deal(2);
    assert_eq!(anew, failed, "nothing has changed");
    anew.deal(3);
    assert!(
        !anew.is_over() && anew.error.is_none(),
        "its streams are dealt anew"
    );
    let alone = RunReport {
        workers: 1,
        ..done.clone()
    };
    assert_eq!(
        of(&[Some(&done), Some(&alone)]).state,
        RunState::Running,
        "what one did alone is not what two share"
    );
}
