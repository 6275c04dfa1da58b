//! The promises about intervals and schedules, with a clock of our own.

use jiff::{SignedDuration, Timestamp};

use super::{Due, Last, Schedule};
use crate::{Plan, Setting, builtin, flow::ScheduleLoad, manifest, resolve};

const START: &str = "2026-03-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plus(seconds: i64) -> Timestamp {
    at(START) + SignedDuration::from_secs(seconds)
}

fn plan(source: &str, flow: &str) -> Plan {
    let text = format!(
        "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: {{ name: s }}\nspec:\n  connector: {{ name: generator }}\n  connection: {{ rows: 10 }}\n{source}\
         ---\napiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: {{ name: f }}\nspec:\n  source: {{ name: s }}\n  destination: {{ connector: {{ name: memory }} }}\n{flow}"
    );
    let resources = manifest::parse("test.yaml", &text).unwrap();
    let setting = Setting::Local {
        environment: std::collections::BTreeMap::new(),
    };
    let mut found = resolve(&resources, builtin(), &setting);
    assert!(found.is_sound(), "{:?}", found.problems);
    found.plans.remove(0)
}

fn both() -> Plan {
    plan("  fullLoadInterval: 24h\n  deltaLoadInterval: 30s\n", "")
}

fn loaded(full: i64, any: i64) -> Last {
    Last {
        complete: true,
        full: Some(plus(full)),
        any: Some(plus(any)),
    }
}

#[test]
fn what_was_never_loaded_is_due_at_once() {
    let schedule = Schedule::new(&both(), Last::default(), plus(0)).unwrap();
    assert_eq!(schedule.due(plus(0)), Some(Due::First));
    assert_eq!(schedule.load(Due::First), None);
}

#[test]
fn after_a_restart_there_is_no_full_load_and_one_delta_within_an_interval() {
    for (full, any) in [(-10, -10), (-7 * 86_400, -3 * 86_400), (-86_400, -86_400)] {
        let mut schedule = Schedule::new(&both(), loaded(full, any), plus(0)).unwrap();
        let mut seen = Vec::new();
        for second in 0..=30 {
            if let Some(due) = schedule.due(plus(second)) {
                schedule.began(due, plus(second));
                schedule.ended(due, plus(second), plus(second), true);
                seen.push(due);
            }
        }
        assert!(
            !seen.contains(&Due::Full) && !seen.contains(&Due::First),
            "{full}: {seen:?}"
        );
        assert!(!seen.is_empty() && seen.len() <= 2, "{full}: {seen:?}");
    }
}

#[test]
fn a_full_load_keeps_its_time_of_day_across_restarts() {
    let schedule = Schedule::new(
        &plan("  fullLoadInterval: 24h\n", ""),
        loaded(-90_000, -90_000),
        plus(0),
    )
    .unwrap();
    assert_eq!(schedule.due(plus(0)), None);
    assert_eq!(schedule.next(), Some(plus(-90_000 + 2 * 86_400)));
}

#[test]
fn a_full_load_serves_as_the_delta_that_is_due_with_it() {
    let plan = plan("  fullLoadInterval: 60s\n  deltaLoadInterval: 30s\n", "");
    let mut schedule = Schedule::new(&plan, loaded(0, 30), plus(30)).unwrap();
    assert_eq!(schedule.due(plus(60)), Some(Due::Full));
    schedule.began(Due::Full, plus(60));
    schedule.ended(Due::Full, plus(60), plus(61), true);
    assert_eq!(schedule.due(plus(61)), None);
    assert_eq!(schedule.next(), Some(plus(90)));
}

#[test]
fn missed_ticks_do_not_pile_up() {
    let plan = plan("  deltaLoadInterval: 10s\n", "");
    let mut schedule = Schedule::new(&plan, loaded(-5, -5), plus(0)).unwrap();
    assert_eq!(schedule.next(), Some(plus(5)));
    schedule.began(Due::Delta, plus(5));
    schedule.ended(Due::Delta, plus(5), plus(100), true);
    assert_eq!(
        schedule.due(plus(100)),
        Some(Due::Delta),
        "one of the nine that were missed"
    );
    schedule.began(Due::Delta, plus(100));
    schedule.ended(Due::Delta, plus(100), plus(101), true);
    assert_eq!(schedule.due(plus(101)), None);
    assert_eq!(schedule.next(), Some(plus(110)));
}

#[test]
fn ticks_do_not_drift() {
    let plan = plan("  deltaLoadInterval: 10s\n", "");
    let mut schedule = Schedule::new(&plan, loaded(-10, -10), plus(0)).unwrap();
    for tick in 0..5 {
        let began = plus(tick * 10) + SignedDuration::from_millis(200);
        assert_eq!(schedule.next(), Some(plus(tick * 10)));
        schedule.began(Due::Delta, began);
        schedule.ended(Due::Delta, began, began + SignedDuration::from_secs(1), true);
    }
}

#[test]
fn after_any_failure_the_next_tick_is_an_interval_away() {
    let mut schedule = Schedule::new(&both(), loaded(0, 0), plus(0)).unwrap();
    schedule.ended(Due::Delta, plus(30), plus(75), false);
    assert_eq!(schedule.next(), Some(plus(105)));
    let mut first = Schedule::new(&both(), Last::default(), plus(0)).unwrap();
    first.ended(Due::First, plus(0), plus(7), false);
    assert_eq!((first.next(), first.due(plus(36))), (Some(plus(37)), None));
    assert_eq!(
        first.due(plus(37)),
        Some(Due::First),
        "it has not been loaded yet"
    );
}

#[test]
fn a_failed_full_load_does_not_stop_the_deltas() {
    let mut schedule = Schedule::new(&both(), loaded(-86_390, 0), plus(0)).unwrap();
    assert_eq!(schedule.due(plus(10)), Some(Due::Full));
    schedule.ended(Due::Full, plus(10), plus(12), false);
    assert_eq!(schedule.due(plus(30)), Some(Due::Delta));
}

#[test]
fn without_intervals_it_runs_once() {
    let mut schedule = Schedule::new(&plan("", ""), loaded(-5, -5), plus(0)).unwrap();
    assert_eq!(schedule.due(plus(0)), Some(Due::First));
    schedule.ended(Due::First, plus(0), plus(3), true);
    assert_eq!(schedule.next(), None);
    let mut failed = Schedule::new(&plan("", ""), Last::default(), plus(0)).unwrap();
    failed.ended(Due::First, plus(0), plus(3), false);
    assert_eq!(
        failed.next(),
        None,
        "a person, or a change of the manifest, starts it again"
    );
}

#[test]
fn a_table_that_is_replaced_has_no_deltas() {
    let mut plan = both();
    plan.destination.write_mode = crate::flow::WriteMode::Overwrite;
    let schedule = Schedule::new(&plan, loaded(-10, -10), plus(0)).unwrap();
    assert_eq!(schedule.next(), Some(plus(86_390)));
}

#[test]
fn a_schedule_alone_starts_its_flow() {
    let plan = plan(
        "  fullLoadInterval: 10s\n",
        "  schedule: \"0 3 * * *\"\n  timeZone: Europe/Stockholm\n",
    );
    let mut schedule = Schedule::new(&plan, Last::default(), plus(0)).unwrap();
    assert_eq!(
        schedule.due(plus(60)),
        None,
        "neither the first load nor the interval counts"
    );
    let three = at("2026-03-02T02:00:00Z");
    assert_eq!(schedule.next(), Some(three));
    assert_eq!(
        (schedule.due(three), schedule.load(Due::Scheduled)),
        (Some(Due::Scheduled), None)
    );
    schedule.began(Due::Scheduled, three);
    schedule.ended(Due::Scheduled, three, three, true);
    assert_eq!(schedule.next(), Some(at("2026-03-03T02:00:00Z")));
}

#[test]
fn the_schedule_says_what_it_loads() {
    let load = |word: &str| {
        let flow = format!("  schedule: \"* * * * *\"\n  scheduleLoad: {word}\n");
        Schedule::new(&plan("", &flow), Last::default(), plus(0))
            .unwrap()
            .load(Due::Scheduled)
    };
    assert_eq!(
        (load("Full"), load("Delta")),
        (Some(ScheduleLoad::Full), Some(ScheduleLoad::Delta))
    );
}

#[test]
fn a_tick_during_a_load_is_left_out_waits_or_replaces_it() {
    let with = |policy: &str| {
        let flow = format!("  schedule: \"* * * * *\"\n  concurrencyPolicy: {policy}\n");
        let mut schedule = Schedule::new(&plan("", &flow), Last::default(), plus(0)).unwrap();
        schedule.began(Due::Scheduled, plus(60));
        let replaces = schedule.replaces_at();
        schedule.ended(Due::Scheduled, plus(60), plus(200), true);
        (replaces, schedule.due(plus(200)))
    };
    assert_eq!(with("Forbid"), (None, None));
    assert_eq!(with("Allow"), (None, Some(Due::Scheduled)));
    assert_eq!(with("Replace"), (Some(plus(120)), Some(Due::Scheduled)));
}

#[test]
fn clocks_that_go_back_fire_a_time_of_day_once() {
    let plan = plan("", "  schedule: \"30 2 * * *\"\n  timeZone: Europe/Stockholm\n");
    let mut now = at("2026-10-24T12:00:00Z");
    let mut fired = Vec::new();
    let mut schedule = Schedule::new(&plan, Last::default(), now).unwrap();
    while fired.len() < 3 {
        now = schedule.next().unwrap();
        schedule.began(Due::Scheduled, now);
        schedule.ended(Due::Scheduled, now, now, true);
        fired.push(now.to_string());
    }
    // On the 25th the hour from two to three comes twice; the first one counts.
    assert_eq!(
        fired,
        [
            "2026-10-25T00:30:00Z",
            "2026-10-26T01:30:00Z",
            "2026-10-27T01:30:00Z"
        ]
    );
}

#[test]
fn clocks_that_go_forward_lose_no_day_and_fire_no_time_twice() {
    let plan = plan("", "  schedule: \"30 2 * * *\"\n  timeZone: Europe/Stockholm\n");
    let mut schedule = Schedule::new(&plan, Last::default(), at("2026-03-27T12:00:00Z")).unwrap();
    let mut fired = Vec::new();
    for _ in 0..3 {
        let now = schedule.next().unwrap();
        schedule.began(Due::Scheduled, now);
        schedule.ended(Due::Scheduled, now, now, true);
        fired.push(now);
    }
    let (first, last) = (fired[0], fired[2]);
    assert_eq!(first, at("2026-03-28T01:30:00Z"));
    assert!(fired.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(last <= at("2026-03-31T00:30:00Z"), "{fired:?}");
}

#[test]
fn every_hour_fires_in_both_hours() {
    let plan = plan("", "  schedule: \"0 * * * *\"\n  timeZone: Europe/Stockholm\n");
    let mut schedule = Schedule::new(&plan, Last::default(), at("2026-10-24T23:30:00Z")).unwrap();
    for expected in [
        "2026-10-25T00:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-25T02:00:00Z",
    ] {
        let now = schedule.next().unwrap();
        assert_eq!(now, at(expected));
        schedule.began(Due::Scheduled, now);
        schedule.ended(Due::Scheduled, now, now, true);
    }
}
