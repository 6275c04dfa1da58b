//! The worker in a pod: what it is told by its operator, what it tells, and what it does in between.
//!
//! In: `ConfigMap`s that the operator makes and this worker may read by name. Out: loads, by the same engine as the local
//! program; a report; metrics and probes. A worker never makes an object, and never lists what is not its own.
//!
//! ```text
//! NAME-plan, NAME-triggers -> channel -> run | follow | job | discover | preflight | forget -> engine
//!                                               '-> report (channel), metrics, probes
//! ```

pub mod api;
pub mod channel;
pub mod desk;
mod discover;
mod end;
mod follow;
mod forget;
mod job;
pub mod metrics;
mod note;
pub mod open;
pub mod pod;
mod preflight;
mod report;
mod run;
pub mod serve;
mod share;
mod sharing;

pub use self::{
    discover::discover,
    end::{Ended, tell_kubelet},
    follow::follow,
    forget::forget,
    job::job,
    preflight::preflight,
    run::run,
    share::Share,
};
