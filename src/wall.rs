//! The walls around a vault: what its bucket has to be, and what each role must not be able to do there.
//!
//! Pure: what a bucket says of itself and what a server answered come in as values, and findings with their remedy go
//! out. The calls are made by `probe`.

pub mod call;
pub mod judge;
pub mod lint;
pub mod locks;
pub mod matrix;
pub mod policy;
pub mod state;
