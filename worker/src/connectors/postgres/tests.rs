//! Against a real server: `MILLRACE_TEST_POSTGRES`, the address of a superuser.

mod destination_emptied;
mod destination_faults;
mod destination_rights;
mod destination_tables;
mod destination_types;
pub(crate) mod ground;
mod source_bounds;
mod source_tables;
mod source_types;
mod values;
