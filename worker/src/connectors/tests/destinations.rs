//! What every destination that is its own authority must do. Each check is given a subject: a place of its own.

mod checks;
mod subjects;

use self::subjects::{Files, Memory, Postgres, S3};

/// Runs every check on one subject.
macro_rules! behaves {
    ($subject:ident: $make:expr) => {
        behaves!($subject: $make;
            an_older_epoch_cannot_fence,
            a_fence_says_what_was_committed_and_changes_nothing_when_repeated,
            an_older_permit_is_refused_and_changes_nothing,
            staged_rows_are_invisible_until_they_are_committed,
            an_append_that_is_sent_twice_counts_once,
            an_upsert_that_is_sent_twice_counts_once,
            an_overwrite_that_is_sent_twice_counts_once,
            a_commit_out_of_order_is_not_applied,
            what_was_committed_is_told_after_a_restart,
            appended_rows_are_added,
            an_overwrite_swaps_the_whole_table_at_once,
            an_overwrite_with_no_rows_leaves_an_empty_table,
            an_upsert_keeps_one_row_a_key,
            a_key_that_one_row_leaves_and_another_takes_is_there,
            several_stages_are_one_commit,
            a_commit_without_rows_moves_the_offset_alone,
            new_columns_are_added,
            the_index_is_what_was_delivered,
            many_rows_in_many_batches_are_all_there,
            a_check_leaves_nothing_behind,
        );
    };
    ($subject:ident: $make:expr; $($check:ident,)+) => {
        mod $subject {
            use super::*;
            $(
                #[tokio::test]
                async fn $check() {
                    if let Some(subject) = $make {
                        checks::$check(&subject).await;
                    }
                }
            )+
        }
    };
}

behaves!(memory: Some(Memory::new()));
behaves!(files: Some(Files::new()));
behaves!(s3: S3::new().await);
behaves!(postgres: Postgres::new().await);
