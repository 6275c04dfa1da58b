//! Acquire and commit against stores and destinations that behave: what each answer leads to.
