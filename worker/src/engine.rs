//! The engine: what every connector has in common.
//!
//! In: a plan. Out: streams loaded, side by side, each within its memory, compared, committed and counted.
//!
//! ```text
//! flow -> load -> lane: reader thread -> channel -> prepare (contract, transforms) -> deliver (plain | keyed) -> stage
//!                   '-- compare, commit                       '-- dead letters
//! ```

pub mod channel;
mod continuous;
pub mod contract;
pub mod counts;
pub mod dead_letter;
pub mod deliver;
pub mod drain;
pub mod flow;
mod held;
pub mod history;
mod indexed;
pub mod job;
pub mod lane;
pub mod ledger;
pub mod load;
pub mod offset;
pub mod pipeline;
pub mod portions;
pub mod prepare;
pub mod progress;
pub mod rows;
pub mod shared;
pub mod streams;
pub mod task;
pub mod transform;
pub mod trial;

pub use self::deliver::{LOADED_AT_COLUMN, OP_COLUMN};
