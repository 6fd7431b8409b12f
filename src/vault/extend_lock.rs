//! Extends the lock of one object version, and believes only a lock that the store shows.

use crate::ids::{ObjectKey, ObjectVersion, Timestamp};
use crate::store::{StoreError, StoreErrorKind, WriteStore};

/// Makes sure that an object version is locked for so long; returns until when it is.
///
/// # Errors
/// What the store says, and `Unsupported` when that does not show the lock.
pub(super) async fn extend_lock(
    store: &dyn WriteStore,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    until: Timestamp,
) -> Result<Timestamp, StoreError> {
    match store.extend_lock(key, version, until).await? {
        Some(proven) if proven >= until => Ok(proven),
        Some(_) | None => {
            let reason = "the store does not say that it locked the object".to_owned();
            let kind = StoreErrorKind::Unsupported { reason };
            Err(StoreError::below("lock", store.uri(), key.as_str(), kind))
        }
    }
}
