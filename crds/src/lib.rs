//! The resource types of Millrace.
