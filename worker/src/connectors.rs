//! The systems that this worker can read and write by itself, one file each.

pub mod file;
