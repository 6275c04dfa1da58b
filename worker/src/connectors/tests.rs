//! The behaviour of every connector, by what it says it can do.
//!
//! [`table`] goes over [`super::CONNECTORS`]; [`destinations`] and [`sources`] hold the checks, each run for every
//! subject. To put a connector through them: implement `Subject` for it, and add its line at the end of the file.

mod destinations;
pub(super) mod ground;
mod sources;
mod table;
