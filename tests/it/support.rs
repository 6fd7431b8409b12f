//! What several tests need.

pub(crate) mod attempts;
pub(crate) mod cases;
pub(crate) mod corpus;
pub(crate) mod evaluate;
pub(crate) mod fault_store;
pub(crate) mod forge;
pub(crate) mod ministack;
pub(crate) mod parquet;
pub(crate) mod proxy;
pub(crate) mod repairs;
pub(crate) mod s3;
pub(crate) mod s3_scene;
pub(crate) mod scene;
pub(crate) mod table;
pub(crate) mod vault_builder;
pub(crate) mod verified;
pub(crate) mod world;
