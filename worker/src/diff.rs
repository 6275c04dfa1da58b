//! The difference between what a load reads and what was delivered, out of core.
//!
//! In: batches with a key, and the index that the destination keeps ([`segment`]). Out: the winners, each with its
//! operation, and the positions of index entries that are no longer delivered. Memory is bounded by buckets;
//! what is larger goes to a scratch directory.

pub mod hash;
pub mod segment;
