//! Where bytes lie that are not rows: objects that change only by compare-and-swap.

pub mod cas;
