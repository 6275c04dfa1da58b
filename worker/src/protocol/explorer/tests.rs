use super::{Defect, Setting, Violation, exhaustive, sampled, setting};
use crate::connector::Authority;

/// A sample, or everything where `MILLRACE_FULL` asks for it.
fn full() -> bool {
    std::env::var_os("MILLRACE_FULL").is_some()
}

fn holds(setting: &Setting, deviations: usize, seeds: u64) {
    let (courses, found) = exhaustive(setting, deviations);
    unbroken(setting, found);
    let (seeds, found) = sampled(setting, 0..if full() { 20 * seeds } else { seeds });
    unbroken(setting, found);
    println!(
        "{:?}, {} workers: {courses} courses and {seeds} seeds hold",
        setting.authority, setting.workers
    );
}

fn unbroken(setting: &Setting, found: Option<Violation>) {
    if let Some(Violation { course, what }) = found {
        panic!("{what}\n{setting:?}\n{course}");
    }
}

#[test]
fn two_workers_deliver_each_row_once_whatever_happens() {
    holds(
        &setting(Authority::Destination, 2),
        if full() { 3 } else { 2 },
        3_000,
    );
}

#[test]
fn three_workers_deliver_each_row_once_whatever_happens() {
    let setting = Setting {
        rows: 3,
        ..setting(Authority::Destination, 3)
    };
    holds(&setting, if full() { 2 } else { 1 }, 3_000);
}

#[test]
fn a_destination_with_keys_shows_each_row_once() {
    holds(&setting(Authority::StoreKeyed, 2), 2, 2_000);
}

#[test]
fn a_destination_that_keeps_nothing_misses_no_row() {
    holds(&setting(Authority::Store, 2), 2, 2_000);
}

#[test]
fn a_flow_that_lost_its_state_stops_and_repeats_nothing() {
    holds(
        &Setting {
            loses_state: true,
            ..setting(Authority::Destination, 2)
        },
        2,
        2_000,
    );
}

/// The checker must find each defect: in few deviations, or by some seed.
fn caught(defect: Defect) {
    let setting = Setting {
        defect,
        loses_state: defect == Defect::MissingIsEmpty,
        ..setting(Authority::Destination, 2)
    };
    let (courses, found) = exhaustive(&setting, 2);
    let (courses, found) = match found {
        Some(found) => (courses, Some(found)),
        None => sampled(&setting, 0..20_000),
    };
    let found = found.unwrap_or_else(|| panic!("{defect:?} goes unseen in {courses} courses"));
    println!("{defect:?}: found after {courses} courses: {}", found.what);
}

#[test]
fn m1_no_epoch_check_is_caught() {
    caught(Defect::NoEpochCheck);
}

#[test]
fn m2_a_swap_without_a_version_is_caught() {
    caught(Defect::NoVersionCheck);
}

#[test]
fn m3_a_refusal_as_success_is_caught() {
    caught(Defect::RefusalIsSuccess);
}

#[test]
fn m4_a_refusal_without_reading_back_is_caught() {
    caught(Defect::NoReadBack);
}

#[test]
fn m5_an_acknowledgement_before_the_commit_is_caught() {
    caught(Defect::AcknowledgeFirst);
}

#[test]
fn m12_a_missing_state_taken_for_empty_is_caught() {
    caught(Defect::MissingIsEmpty);
}

#[test]
fn a_fence_that_does_not_reach_the_destination_is_caught() {
    caught(Defect::NoFence);
}

#[test]
fn an_unknown_outcome_as_success_is_caught() {
    caught(Defect::UnknownIsSuccess);
}

#[test]
fn a_commit_that_is_no_transaction_is_caught() {
    caught(Defect::TornCommit);
}

#[test]
fn a_repeated_fence_that_rewrites_is_caught() {
    caught(Defect::FenceRewrites);
}
