//! The operator against an API server in memory: what a person sees, and that a crash at any write changes nothing of it.

mod api;
mod batch;
mod continuous;
mod crashes;
mod deletion;
mod jobs;
mod refusals;
mod sources;
mod stale;
mod two;
mod watches;
pub(crate) mod world;
mod wrong;
