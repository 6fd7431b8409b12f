//! deltavault: an immutable backup vault for Delta Lake tables, one layer below Delta.

mod count;
pub mod delta;
pub mod demo;
pub mod error;
mod exit_code;
pub mod format;
pub mod iam;
pub mod ids;
mod lock_mode;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod reader;
pub mod shell;
pub mod sort;
pub mod source;
pub mod spool;
pub mod store;
pub mod vault;
pub mod visible;
pub mod wall;

pub use error::Error;
pub use exit_code::ExitCode;
