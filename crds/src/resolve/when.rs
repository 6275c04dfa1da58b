//! When a Flow runs: schedules, time zones, intervals.

use cronexpr::{FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::duration::Duration;
use crate::flow::{FlowSpec, Mode};
use crate::plan::{RunPlan, SourcePlan};
use crate::problem::{Reason, Report, below};

use super::Resolver;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn plan(spec: &FlowSpec, root: &str, report: &mut Report<'_>) -> RunPlan {
    if let Some(schedule) = &spec.schedule {
        check_schedule(schedule, &below(root, "schedule"), report);
    }
    let time_zone = spec.time_zone.clone().unwrap_or_else(|| "UTC".to_owned());
    if TimeZone::get(&time_zone).is_err() {
        let message = format!("\"{time_zone}\" is not a time zone");
        report.error(
            Reason::InvalidSpec,
            &below(root, "timeZone"),
            message,
            "write a name such as Europe/Stockholm",
        );
    }
    RunPlan {
        mode: spec.mode,
        schedule: spec.schedule.clone(),
        schedule_load: spec.schedule_load,
        time_zone,
        concurrency_policy: spec.concurrency_policy,
        suspend: spec.suspend,
    }
}

fn check_schedule(schedule: &str, field: &str, report: &mut Report<'_>) {
    let example = "write minute, hour, day of month, month and day of week, as in \"0 3 * * *\"";
    let fields = schedule.split_whitespace().count();
    if fields != 5 {
        let message = format!("\"{schedule}\" has {fields} fields in place of 5");
        return report.error(Reason::InvalidSpec, field, message, example);
    }
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    match parse_crontab_with(schedule, options) {
        Err(_) => report.error(
            Reason::InvalidSpec,
            field,
            format!("\"{schedule}\" is not a cron expression"),
            example,
        ),
        // Any moment does: what never comes after one never comes at all.
        Ok(crontab) if crontab.find_next(MakeTimestamp(Timestamp::UNIX_EPOCH)).is_err() => {
            let message = format!("\"{schedule}\" never comes");
            report.warn(
                Reason::InvalidSpec,
                field,
                message,
                "choose a day that its month has",
            );
        }
        Ok(_) => {}
    }
}

/// In a cluster a Batch flow starts a pod a run, which is too slow for intervals under a minute.
pub(super) fn check_intervals(
    resolver: &Resolver<'_>,
    spec: &FlowSpec,
    source: &SourcePlan,
    root: &str,
    report: &mut Report<'_>,
) {
    if resolver.environment().is_some() || spec.mode == Mode::Continuous {
        return;
    }
    let field = below(root, "mode");
    let intervals = [
        ("fullLoadInterval", source.full_load_interval),
        ("deltaLoadInterval", source.delta_load_interval),
    ];
    for (name, interval) in intervals {
        let Some(interval) = interval.filter(|interval| *interval < MINUTE) else {
            continue;
        };
        let message = format!(
            "{name} {interval} of Source {} is too short for mode Batch",
            source.name
        );
        if spec.schedule.is_some() {
            report.warn(
                Reason::InvalidSpec,
                &field,
                message,
                "the schedule alone starts this flow; write mode: Continuous to follow the interval",
            );
        } else {
            report.error(
                Reason::InvalidSpec,
                &field,
                message,
                "write mode: Continuous, or an interval of 1m or more",
            );
        }
    }
}
