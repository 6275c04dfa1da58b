//! The operator of Millrace: it makes the resources of a cluster into running workers.
//!
//! ```text
//! watches -> run -> connector | source | flow | job
//!                     resolve -> build -> apply -> report
//! ```
//!
//! In: Connectors, Sources, Flows and Jobs, as the API server has them. Out: plans, rights, pods, and statuses that tell
//! the truth. The four kinds are one file each; the steps that they share are the verbs beside them.

pub mod apply;
pub mod backoff;
pub mod build;
mod children;
pub mod conditions;
mod connector;
pub mod context;
pub mod controllers;
pub mod error;
mod flow;
pub mod index;
mod job;
mod known;
mod last_word;
mod leader;
pub mod ledger;
pub mod metrics;
pub mod owner;
pub mod program;
pub mod reasons;
pub mod report;
pub mod resolve;
pub mod run;
pub mod serve;
pub mod settings;
mod source;
pub mod stand;
pub mod trial;
pub mod watch;

#[cfg(test)]
mod tests;
