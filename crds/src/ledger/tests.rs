//! The promises about triggers.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Annotated, Batch, End, KEPT, Ledger, REMEMBERED, Terms, WAITING, run_id};
use crate::{
    flow::{ScheduleLoad, TriggerState},
    job::Load,
    plan::{BackfillPlan, JobPlan},
};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn flow(annotations: &[(&str, &str)]) -> Vec<Annotated> {
    let annotations = annotations
        .iter()
        .map(|(name, value)| (format!("millrace.dev/{name}"), (*value).to_owned()));
    vec![Annotated {
        object: "Flow/lake".to_owned(),
        uid: "uid-1".to_owned(),
        annotations: annotations.collect(),
    }]
}

fn states(ledger: &Ledger) -> Vec<(&str, TriggerState)> {
    ledger
        .entries
        .iter()
        .map(|entry| (entry.token.as_str(), entry.state))
        .collect()
}

fn job() -> JobPlan {
    let text = "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: { name: s }\nspec: { connector: { name: generator }, connection: { rows: 10 } }\n\
         ---\napiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: { name: f }\nspec: { source: { name: s }, destination: { connector: { name: memory } } }\n\
         ---\napiVersion: millrace.dev/v1alpha1\nkind: Job\nmetadata: { name: again }\nspec: { flow: { name: f }, load: Full }\n";
    let resources = crate::manifest::parse("test.yaml", text).unwrap();
    let setting = crate::Setting::Local {
        environment: BTreeMap::new(),
    };
    crate::resolve(&resources, crate::builtin(), &setting)
        .jobs
        .remove(0)
}

#[test]
fn a_token_that_is_there_at_birth_is_not_run() {
    let mut ledger = Ledger::born(&flow(&[("full_load", "1")]), now());
    assert_eq!(states(&ledger), [("1", TriggerState::Initial)]);
    ledger.look(&flow(&[("full_load", "1")]), now());
    assert_eq!(ledger.begin(), None);
}

#[test]
fn each_new_value_fires_once_and_an_equal_one_never() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    for value in ["1", "1", "2", "2", "1"] {
        ledger.look(&flow(&[("full_load", value)]), now());
    }
    assert_eq!(
        states(&ledger),
        [
            ("1", TriggerState::Waiting),
            ("2", TriggerState::Waiting),
            ("1", TriggerState::Waiting)
        ]
    );
    ledger.look(&flow(&[]), now());
    ledger.look(&flow(&[("full_load", "1")]), now());
    assert_eq!(
        ledger.entries.len(),
        3,
        "taken away and put back, it is still the value that was seen last"
    );
}

#[test]
fn all_four_names_and_the_form_in_the_value_are_understood() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look(
        &flow(&[
            ("full_load", "1"),
            ("delta_load", "1"),
            ("full_load_public.orders", "1"),
            ("delta_load_users", "1;"),
            ("x", "1"),
        ]),
        now(),
    );
    ledger.look(&flow(&[("full_load", "2;tables=a,b;allow-deletes")]), now());
    let waiting: Vec<_> = ledger
        .entries
        .iter()
        .filter(|entry| entry.state == TriggerState::Waiting)
        .collect();
    let asked: Vec<(Option<Load>, Vec<&str>)> = waiting
        .iter()
        .map(|entry| (entry.load, entry.streams.iter().map(String::as_str).collect()))
        .collect();
    assert!(asked.contains(&(Some(Load::Full), vec![])), "{asked:?}");
    assert!(asked.contains(&(Some(Load::Delta), vec![])));
    assert!(asked.contains(&(Some(Load::Full), vec!["public.orders"])));
    assert!(asked.contains(&(Some(Load::Full), vec!["a", "b"])));
    assert!(waiting.iter().any(|entry| entry.allow_deletes));
}

#[test]
fn what_is_not_understood_is_told_once_and_kept_as_failed() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    let wrong = flow(&[("full_laod", "1"), ("delta_load", "1;allow-deletes")]);
    let told = ledger.look(&wrong, now());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter()
            .all(|text| text.starts_with("Flow/lake: annotation millrace.dev/"))
    );
    assert!(
        ledger
            .entries
            .iter()
            .all(|entry| entry.state == TriggerState::Failed && entry.message.is_some())
    );
    assert!(ledger.look(&wrong, now()).is_empty());
}

#[test]
fn tokens_that_wait_for_the_same_share_one_run_and_each_gets_its_entry() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look(&flow(&[("full_load", "1")]), now());
    ledger.look(&flow(&[("full_load_orders", "1")]), now());
    ledger.look(&flow(&[("full_load", "2;allow-deletes")]), now());
    let batch = ledger.begin().unwrap();
    assert_eq!(
        batch,
        Batch {
            run: 1,
            objects: vec!["Flow/lake".to_owned(); 2],
            load: Some(Load::Full),
            job: None,
            terms: Terms::default(),
            streams: Vec::new(),
            allow_deletes: true,
            resumed: false
        }
    );
    ledger.end(1, &End::Done(7), now());
    let ended: Vec<_> = ledger
        .entries
        .iter()
        .map(|entry| (entry.state, entry.run, entry.rows))
        .collect();
    let done = (TriggerState::Succeeded, Some(1), Some(7));
    assert_eq!(ended, [done, (TriggerState::Waiting, None, None), done]);
    assert_eq!(ledger.begin().unwrap().streams, ["orders"]);
}

#[test]
fn a_token_that_comes_during_a_run_waits_for_another() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look(&flow(&[("full_load", "1")]), now());
    ledger.begin().unwrap();
    ledger.look(&flow(&[("full_load", "2")]), now());
    ledger.end(1, &End::Done(0), now());
    assert_eq!(ledger.begin().unwrap().run, 2);
}

#[test]
fn a_crash_goes_on_under_the_same_number() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look(&flow(&[("delta_load", "1")]), now());
    let begun = ledger.begin().unwrap();
    assert_eq!(ledger.at_work(), [1]);
    assert_eq!(ledger.running(1, false).unwrap(), begun);
    assert_eq!(ledger.running(2, false), None);
    let after = ledger.begin().unwrap();
    assert_eq!(
        after,
        Batch {
            resumed: true,
            ..begun
        }
    );
    ledger.end(1, &End::Failed("broken".to_owned()), now());
    assert_eq!(states(&ledger), [("1", TriggerState::Failed)]);
    assert_eq!(ledger.begin(), None);
}

#[test]
fn a_job_runs_once_and_again_when_it_asks_for_something_else() {
    let mut jobs = vec![job()];
    let mut ledger = Ledger::born(&flow(&[("full_load", "1")]), now());
    for _ in 0..2 {
        ledger.look_at_jobs(&jobs, now());
    }
    let batch = ledger.begin().unwrap();
    assert_eq!(
        (batch.job.as_deref(), batch.load),
        (Some("again"), Some(Load::Full))
    );
    ledger.end(1, &End::Done(3), now());
    assert_eq!(ledger.begin(), None);
    jobs[0].streams = vec!["other".to_owned()];
    ledger.look_at_jobs(&jobs, now());
    assert_eq!(ledger.begin().unwrap().run, 2);
}

#[test]
fn what_was_stopped_waits_on() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look(&flow(&[("full_load", "1")]), now());
    ledger.begin().unwrap();
    ledger.end(1, &End::Stopped, now());
    assert!(ledger.waits());
    assert_eq!(ledger.begin().unwrap().run, 2);
}

#[test]
fn the_ledger_does_not_grow_without_end() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    for round in 0..3 * KEPT {
        ledger.look(&flow(&[("full_load", &round.to_string())]), now());
        let run = ledger.begin().unwrap().run;
        ledger.end(run, &End::Done(0), now());
    }
    assert_eq!(ledger.entries.len(), KEPT);
    assert_eq!(ledger.entries[KEPT - 1].token, (3 * KEPT - 1).to_string());
}

#[test]
fn a_run_has_a_name_of_its_own() {
    let names: std::collections::HashSet<String> = (0..100).map(|run| run_id("lake", "uid", run)).collect();
    assert_eq!(names.len(), 100);
    assert_eq!(run_id("lake", "uid", 1), run_id("lake", "uid", 1));
    assert!(run_id(&"x".repeat(300), "uid", 1).len() <= 63);
}

#[test]
fn each_tick_of_the_clock_is_taken_once() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    let hour = |hours: i64| now() + jiff::SignedDuration::from_hours(hours);
    for at in [hour(1), hour(1), hour(0), hour(2)] {
        ledger.tick("Flow/lake", "schedule", None, at, hour(2));
    }
    ledger.tick(
        "Flow/lake",
        "delta_interval",
        Some(ScheduleLoad::Delta),
        hour(1),
        hour(2),
    );
    let asked: Vec<_> = ledger
        .entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.load))
        .collect();
    assert_eq!(
        asked,
        [
            ("schedule", None),
            ("schedule", None),
            ("delta_interval", Some(Load::Delta))
        ]
    );
    let batch = ledger.begin().unwrap();
    assert_eq!(
        (batch.load, batch.objects.len()),
        (None, 2),
        "equal ticks that wait are one run"
    );
}

#[test]
fn a_job_of_a_cluster_runs_once_by_its_uid_with_its_terms() {
    let mut job = job();
    job.load = Load::Backfill;
    job.backfill = Some(BackfillPlan {
        from: "1".to_owned(),
        to: "2".to_owned(),
    });
    let mut ledger = Ledger::born(&flow(&[]), now());
    ledger.look_at_job("uid-7", &job, now());
    job.streams = vec!["other".to_owned()];
    ledger.look_at_job("uid-7", &job, now());
    assert_eq!(ledger.entries.len(), 1);
    let batch = ledger.begin().unwrap();
    assert_eq!(batch.terms.backfill, job.backfill);
    assert_eq!(batch.terms.retries, job.retries);
    ledger.look_at_job("uid-8", &job, now());
    assert_eq!(ledger.entries.len(), 2, "made again, it is another");
    ledger.keep(&["uid-1"]);
    assert!(ledger.seen.keys().all(|key| !key.starts_with("uid-7")));
}

#[test]
fn a_long_value_is_known_by_its_hash() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    let long = format!("1;tables={}", "x".repeat(900));
    for _ in 0..2 {
        ledger.look(&flow(&[("full_load", &long)]), now());
    }
    assert_eq!(ledger.entries.len(), 1);
    assert!(ledger.seen.values().all(|value| value.len() <= REMEMBERED + 8));
}

#[test]
fn more_tokens_than_can_wait_fail_aloud() {
    let mut ledger = Ledger::born(&flow(&[]), now());
    for round in 0..=WAITING {
        ledger.look(&flow(&[("full_load", &round.to_string())]), now());
    }
    assert_eq!(ledger.entries.len(), WAITING + 1);
    let last = ledger.entries.last().unwrap();
    assert_eq!(last.state, TriggerState::Failed);
    assert!(last.message.as_ref().unwrap().contains("wait already"));
}
