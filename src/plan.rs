//! Decisions, as values with a reason each.
//!
//! Pure: no async, no clock, no environment, no I/O. What a plan says is carried out by `vault`.

pub mod choose;
pub mod keep;
pub mod mend;
pub mod pause;
pub mod price;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod snapshot;
pub mod streams;
pub mod suspect;
pub mod transfer;
pub mod unheld;
pub mod verify;
pub mod window;
