//! State stores: one small record per shard, changed only by compare-and-swap.
//!
//! In: a [`StatePlan`](millrace_crds::plan::StatePlan). Out: [`Store`], the same for a directory and for S3; the
//! canonical [`Record`] with a digest (a hand edit is seen) and its last revisions. The rules of acquiring and
//! committing are in [`crate::protocol`]; nothing here decides from a list, a cache, a clock or a lease.

mod directory;
mod record;
mod s3;
mod store;

pub use self::{
    record::{Record, Revision, Run},
    store::{Cas, Store, Version, open},
};
