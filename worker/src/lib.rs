//! The worker of Millrace.
