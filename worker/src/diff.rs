//! The difference between what a load reads and what was delivered, out of core.
//!
//! In: batches with a key, and the index that the destination keeps ([`segment`]). Out: the winners, each with its
//! operation, and the positions of index entries that are no longer delivered.
//!
//! ```text
//! rows -> hash -> matcher: found in the index? ---- yes: unchanged
//!                    | no
//!                candidates: set aside on disk
//!                    |  end of load
//!                 decide: bucket by bucket, hashes only -> insert, update, delete, drop; dead index entries
//! ```
//!
//! Memory is bounded by buckets; what is larger goes to a scratch directory.

pub mod buckets;
pub mod candidates;
pub mod decide;
pub mod hash;
pub mod index;
pub mod matcher;
pub mod merge;
pub mod segment;
pub mod stored;
