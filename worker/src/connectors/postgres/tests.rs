//! Against a real server: `MILLRACE_TEST_POSTGRES`, the address of a superuser.

mod destination_faults;
mod destination_tables;
mod destination_types;
pub(crate) mod ground;
mod source_bounds;
mod source_types;
