//! What several tests need.

pub(crate) mod fault_store;
pub(crate) mod vault_builder;
