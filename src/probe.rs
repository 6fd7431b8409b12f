//! Asks a bucket what it really does: what it says of itself, what its locks are worth, and how it answers every call that
//! a role might try. [`crate::wall`] decides what is tried and what an answer means.
//!
//! This is an attacker's client. It stands beside the store, so that nothing that takes a backup can reach it.

mod bucket;
pub mod prober;
pub mod walls;
