//! The walls around a vault: the settings that its bucket needs, and the calls that each role must not be able to make.
//!
//! Pure: a bucket's settings and a server's answers come in as values, findings with their remedies go out. `probe` makes
//! the calls.

pub mod call;
pub mod judge;
pub mod lint;
pub mod locks;
pub mod matrix;
pub mod policy;
pub mod state;
