//! What a bucket says of itself, setting it up, and what its locks are worth.

mod locks;
mod set_up;
mod state;
