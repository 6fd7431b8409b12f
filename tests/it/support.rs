//! What several tests need.

pub(crate) mod fault_store;
