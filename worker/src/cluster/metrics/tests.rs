//! The promises about metrics.

use jiff::Timestamp;
use millrace_crds::channel::StreamStand;

use super::{Metrics, Seen};
use crate::{
    cluster::run::tests::plan,
    engine::{progress::Progress, task::Done},
};

#[test]
fn what_loads_do_is_counted_once() {
    let (metrics, plan) = (Metrics::default(), plan("nothing", ""));
    let seen = Seen::new(&metrics, &plan);
    let progress = Progress::default();
    seen.observer()("users", &progress);
    progress.read(10, 100);
    let labels = r#"{namespace="default",flow="f",stream="users"}"#;
    for _ in 0..2 {
        assert!(
            metrics
                .text()
                .contains(&format!("millrace_rows_read_total{labels} 10\n"))
        );
    }
    progress.read(5, 50);
    progress.loaded(7, 2);
    seen.ended(&Ok(Done::default()));
    progress.read(1000, 0);
    let text = metrics.text();
    for line in [
        format!("millrace_rows_read_total{labels} 15\n"),
        format!("millrace_rows_written_total{labels} 7\n"),
        format!("millrace_rows_refused_total{labels} 2\n"),
        format!("millrace_stream_lag_seconds{labels} 0\n"),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn lag_and_state_are_known_from_the_start() {
    let (metrics, plan) = (Metrics::default(), plan("nothing", ""));
    let seen = Seen::new(&metrics, &plan);
    let hour_ago = Timestamp::now() - jiff::SignedDuration::from_hours(1);
    seen.stand(&[StreamStand {
        name: "users".to_owned(),
        last_delta_load: Some(hour_ago),
        state_bytes: Some(345),
        ..StreamStand::default()
    }]);
    metrics.run(&plan, true);
    metrics.run(&plan, false);
    let text = metrics.text();
    assert!(text.contains("stream=\"users\"} 36"), "{text}");
    assert!(
        text.contains("millrace_stream_state_bytes{namespace=\"default\",flow=\"f\",stream=\"users\"} 345\n")
    );
    assert!(text.contains("millrace_runs_total{namespace=\"default\",flow=\"f\",result=\"failed\"} 1\n"));
}

#[test]
fn every_name_is_in_the_docs() {
    let (metrics, plan) = (Metrics::default(), plan("nothing", ""));
    metrics.run(&plan, true);
    let seen = Seen::new(&metrics, &plan);
    let progress = Progress::default();
    seen.observer()("users", &progress);
    progress.loaded(1, 1);
    seen.stand(&[StreamStand {
        name: "users".to_owned(),
        state_bytes: Some(1),
        ..StreamStand::default()
    }]);
    let docs = include_str!("../../../../docs/metrics.md");
    let text = metrics.text();
    let names = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = if kind == "counter" { "_total" } else { "" };
        Some(format!("`{name}{suffix}`"))
    });
    let mut count = 0;
    for name in names {
        assert!(docs.contains(&name), "{name}");
        count += 1;
    }
    assert_eq!(count, 7);
}
