//! deltavault: an immutable backup vault for Delta Lake tables, one layer below Delta.

pub mod delta;
pub mod format;
pub mod ids;
pub mod sort;
pub mod store;
