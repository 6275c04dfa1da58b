//! Against a real server: `MILLRACE_TEST_POSTGRES`, the address of a superuser.

pub(crate) mod ground;
mod source_bounds;
mod source_types;
