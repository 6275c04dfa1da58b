use super::*;

fn candidate(identity: u128, row: u128, cursor: &[u8], number: u64, kind: Kind) -> Candidate {
    Candidate {
        identity,
        delivered: identity,
        row,
        cursor: cursor.into(),
        place: number,
        number,
        kind,
    }
}

fn delivered(identity: u128, row: u128, position: u64, seen: bool) -> Delivered {
    Delivered {
        identity,
        delivered: identity,
        row,
        position,
        seen,
    }
}

fn decided(scope: Scope, candidates: Vec<Candidate>, index: Vec<Delivered>) -> Decisions {
    let mut decisions = Decisions::default();
    bucket(scope, candidates, index, &mut decisions);
    decisions
}

#[test]
fn the_greatest_cursor_wins_whatever_came_last() {
    let candidates = vec![
        candidate(1, 10, b"b", 0, Kind::Upsert),
        candidate(1, 11, b"a", 1, Kind::Upsert),
    ];
    let decisions = decided(Scope::Delta, candidates, vec![]);
    assert_eq!(decisions.drops.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(
        decisions.counts,
        Decided {
            inserted: 1,
            superseded: 1,
            ..Decided::default()
        }
    );
}

#[test]
fn insert_delete_insert_leaves_one_live_row() {
    let candidates = vec![
        candidate(1, 10, b"", 0, Kind::Upsert),
        candidate(1, 0, b"", 1, Kind::Delete),
        candidate(1, 12, b"", 2, Kind::Upsert),
    ];
    let decisions = decided(Scope::Delta, candidates, vec![]);
    assert_eq!(decisions.drops.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(
        decisions.counts,
        Decided {
            inserted: 1,
            superseded: 2,
            ..Decided::default()
        }
    );
}

#[test]
fn a_delete_of_an_unknown_key_does_nothing() {
    let decisions = decided(Scope::Delta, vec![candidate(1, 0, b"", 0, Kind::Delete)], vec![]);
    assert_eq!(
        decisions.counts,
        Decided {
            unchanged: 1,
            ..Decided::default()
        }
    );
    assert!(decisions.dead.is_empty() && decisions.drops.contains(0));
}

#[test]
fn a_refused_row_keeps_what_is_delivered_and_a_filtered_one_removes_it() {
    let candidates = vec![
        candidate(1, 0, b"", 0, Kind::Keep),
        candidate(2, 0, b"", 1, Kind::Filtered),
    ];
    let decisions = decided(
        Scope::Full,
        candidates,
        vec![delivered(1, 10, 0, false), delivered(2, 20, 1, false)],
    );
    assert_eq!(decisions.dead.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(
        decisions.counts,
        Decided {
            deleted: 1,
            ..Decided::default()
        }
    );
}

#[test]
fn only_a_full_load_deletes_what_it_did_not_see() {
    let index = vec![delivered(1, 10, 0, true), delivered(2, 20, 1, false)];
    assert_eq!(
        decided(Scope::Delta, vec![], index.clone()).counts,
        Decided::default()
    );
    let decisions = decided(Scope::Full, vec![], index);
    assert_eq!(decisions.gone.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(decisions.counts.absent, 1);
}

#[test]
fn a_row_that_only_moved_is_unchanged_and_a_second_version_of_a_seen_one_is_ambiguous() {
    let moved = decided(
        Scope::Full,
        vec![candidate(1, 10, b"", 0, Kind::Upsert)],
        vec![delivered(1, 10, 0, false)],
    );
    assert_eq!(
        (moved.counts.unchanged, moved.dead.len(), moved.ambiguous),
        (1, 0, false)
    );
    let twice = decided(
        Scope::Full,
        vec![candidate(1, 11, b"", 0, Kind::Upsert)],
        vec![delivered(1, 10, 0, true)],
    );
    assert!(twice.ambiguous);
}

#[test]
fn a_changed_delivered_key_is_a_delete_and_an_insert() {
    let mut new = candidate(1, 11, b"", 0, Kind::Upsert);
    new.delivered = 99;
    let decisions = decided(Scope::Delta, vec![new], vec![delivered(1, 10, 7, false)]);
    assert!(decisions.gone.contains(7) && decisions.updates.is_empty());
}

#[test]
fn of_rows_without_a_key_each_one_counts() {
    let candidates: Vec<_> = (0..5)
        .map(|number| {
            candidate(
                u128::from(number % 2),
                u128::from(number % 2),
                b"",
                number,
                Kind::Upsert,
            )
        })
        .collect();
    // Three times 0 and two times 1 were read; delivered are two times 0, one of which serves another row, and 1.
    let index = vec![
        delivered(0, 0, 0, false),
        delivered(0, 0, 1, true),
        delivered(1, 1, 2, false),
    ];
    let mut decisions = Decisions::default();
    rows(&candidates, index, &mut decisions);
    assert_eq!(decisions.drops.iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!((decisions.counts.inserted, decisions.counts.unchanged), (3, 2));
    assert!(decisions.dead.is_empty());
}
