//! Tests a bucket: reads its settings, tries what its locks are worth, and makes every call that a role might try.
//! [`crate::wall`] decides what is tried and what an answer means.
//!
//! This is an attacker's client. It is outside of the store, so that nothing that takes a backup can reach it.

/// Asks a bucket for one of its settings.
macro_rules! setting {
    ($client:expr, $bucket:expr, $operation:ident) => {
        crate::store::s3::ask::ask($client, || $client.s3().$operation().bucket($bucket).send())
    };
}

mod bucket;
pub mod prober;
pub mod walls;
