//! The clock by itself: what the world of the other tests does not show.

use jiff::{SignedDuration, Timestamp};
use millrace_crds::{Plan, ledger::Ledger};
use serde_json::json;

use super::{Clock, Failed, Given, notes};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(schedule: Option<&str>, zone: &str) -> Plan {
    let plan = json!({
        "flow": { "namespace": "n", "name": "f", "uid": "u", "labels": {} },
        "source": {
            "name": "s", "connector": "c", "recipe": "BuiltIn", "type": "t", "engine": "native", "engineConfig": {},
            "connection": {}, "options": {}, "credentials": [], "plugin": null, "rateLimit": null, "baseDir": null,
            "streams": [], "fullLoadInterval": null, "deltaLoadInterval": null, "concurrency": null, "bufferLength": 1,
        },
        "destination": {
            "connector": "c", "recipe": "BuiltIn", "type": "t", "engine": "native", "engineConfig": {}, "connection": {},
            "options": {}, "credentials": [], "plugin": null, "rateLimit": null, "baseDir": null, "writeMode": "append",
        },
        "streams": [], "transforms": [], "contract": { "tables": "evolve", "columns": "evolve", "dataType": "freeze" },
        "run": {
            "mode": "Batch", "schedule": schedule, "scheduleLoad": null, "timeZone": zone,
            "concurrencyPolicy": "Forbid", "suspend": false,
        },
        "state": { "id": "n/f", "store": "default", "deletionPolicy": "Retain" },
        "require": null, "maxDeleteFraction": 0.5, "deadLetter": null,
    });
    serde_json::from_value(plan).unwrap()
}

/// The moments at which a schedule ticks, looked at every so often.
fn moments(schedule: &str, zone: &str, from: &str, every: SignedDuration, times: usize) -> Vec<String> {
    let plan = plan(Some(schedule), zone);
    let (mut ledger, mut now) = (Ledger::default(), at(from));
    let clock = notes(&plan, None, now, now);
    let mut found = Vec::new();
    for _ in 0..times {
        now = now.saturating_add(every).unwrap();
        let given = Given {
            plan: &plan,
            hash: "h",
            ledger: &ledger,
            clock: &clock,
            failed: Failed::MayPass,
            now,
        };
        let ticks = given.ticks().unwrap();
        assert!(ticks.next.is_none_or(|next| next > now));
        if let Some(due) = ticks.due {
            ledger.tick("Flow/f", due.name, due.load, due.at, now);
            found.push(due.at.to_string());
        }
    }
    found
}

#[test]
fn each_tick_is_due_once_however_often_it_is_looked_at() {
    let found = moments(
        "*/15 * * * *",
        "UTC",
        "2026-01-01T00:00:00Z",
        SignedDuration::from_secs(7),
        600,
    );
    assert_eq!(
        found,
        [
            "2026-01-01T00:15:00Z",
            "2026-01-01T00:30:00Z",
            "2026-01-01T00:45:00Z",
            "2026-01-01T01:00:00Z"
        ]
    );
}

#[test]
fn an_hour_that_comes_twice_ticks_once() {
    let found = moments(
        "30 2 * * *",
        "Europe/Stockholm",
        "2026-10-24T12:00:00Z",
        SignedDuration::from_mins(5),
        400,
    );
    assert_eq!(found, ["2026-10-25T00:30:00Z"]);
}

#[test]
fn very_many_missed_ticks_are_one() {
    let month = SignedDuration::from_hours(24 * 30);
    let found = moments("* * * * *", "UTC", "2026-01-01T00:00:00Z", month, 1);
    assert_eq!(found, ["2026-01-31T00:00:00Z"]);
    let found = moments("* * * * *", "UTC", "2026-01-01T00:00:00Z", month, 3);
    assert_eq!(found.len(), 3);
}

#[test]
fn notes_begin_anew_when_the_schedule_changes_and_after_a_suspension() {
    let (then, now) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
    let first = notes(&plan(Some("0 3 * * *"), "UTC"), None, then, now);
    assert_eq!(first.since, then);
    let same = notes(&plan(Some("0 3 * * *"), "UTC"), Some(&first), then, now);
    assert_eq!(same, first);
    let other = notes(&plan(Some("0 4 * * *"), "UTC"), Some(&first), then, now);
    assert_eq!(other.since, now);
    let mut suspended = plan(Some("0 3 * * *"), "UTC");
    suspended.run.suspend = true;
    let suspended = notes(&suspended, Some(&first), then, now);
    assert_eq!(suspended.since, now);
    let clock = Clock {
        first: Some("h".to_owned()),
        ..suspended
    };
    assert_eq!(
        notes(&plan(None, "UTC"), Some(&clock), then, now)
            .first
            .as_deref(),
        Some("h")
    );
}
