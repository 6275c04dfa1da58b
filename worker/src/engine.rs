//! The engine: what happens to rows between a reader and a commit.

pub mod contract;
pub mod rows;
