//! deltavault: an immutable backup vault for Delta Lake tables, one layer below Delta.

pub mod delta;
pub mod demo;
pub mod error;
pub mod format;
pub mod ids;
pub mod sort;
pub mod progress;
pub mod store;

pub use error::{Error, ExitCode};
