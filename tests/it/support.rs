//! What several tests need.

pub(crate) mod corpus;
pub(crate) mod fault_store;
pub(crate) mod world;
//! What several integration tests share.

pub(crate) mod corpus;
