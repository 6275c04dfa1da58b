//! The objects that a Flow, a Source or a Job needs: pure functions from what was resolved to what is to be there.
//!
//! In: plans, settings, the owner. Out: objects of Kubernetes. No client and no clock.

pub mod channel;
pub mod guests;
pub mod pod;
pub mod rights;
pub mod run;
pub mod secrets;
pub mod stateful;

#[cfg(test)]
mod tests;
