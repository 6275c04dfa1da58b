//! State stores: one small record per shard, changed only by compare-and-swap.
//!
//! In: a [`StatePlan`](millrace_crds::plan::StatePlan). Out: [`Store`], the same for a directory and for S3 (records
//! over [`crate::storage::cas`]); the [`Record`] with a digest (a hand edit is seen) and its last revisions; what a
//! person does to it ([`admin`]). The rules of acquiring and committing are in [`crate::protocol`]; nothing here
//! decides from a list, a cache, a clock or a lease.

pub mod admin;
mod codec;
mod key;
mod objects;
mod open;
mod record;
mod settle;
mod store;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::{
    codec::encode,
    key::encode as component,
    record::ACQUIRE,
    settle::{Written, write},
};
pub use self::{
    codec::{HARD_LIMIT, SOFT_LIMIT},
    objects::Objects,
    open::{default_directory, open},
    record::{Edit, HISTORY, Record, Revision, Run},
    store::Store,
};
pub use crate::storage::cas::{Cas, Version};
