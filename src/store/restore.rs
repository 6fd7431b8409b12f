//! The capabilities of a restore; `store.rs` has those of a snapshot.

use async_trait::async_trait;

use super::{Copied, CopySource, Payload, StoreError, StoreErrorKind, WriteStore, Written};
use crate::ids::{ETag, FileMode, ObjectKey, Timestamp};

/// What a file had beside its bytes, where the store can give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Had {
    /// When it was last written.
    pub modified: Option<Timestamp>,
    /// Its permissions.
    pub mode: Option<FileMode>,
}

/// Also replaces and removes objects of a live table, each only while it is still what the caller saw.
#[async_trait]
pub trait RestoreStore: WriteStore {
    /// Why this store cannot have an object of that key; `None` if it can. Asked before anything is put.
    fn refuses(&self, _key: &ObjectKey) -> Option<&'static str> {
        None
    }

    /// Whether an object can lie below another one, `a/b` beside `a`. In a folder it cannot.
    fn can_nest(&self) -> bool {
        true
    }

    /// Whether [`RestoreStore::put_back`] keeps the time that it is given. Object storage sets its own.
    fn keeps_times(&self) -> bool {
        false
    }

    /// Puts an object that was there before, as [`WriteStore::put_new`], or as [`RestoreStore::replace`] where an object
    /// with the `ETag` `seen` is in its place. A folder gives it back what it had.
    ///
    /// # Errors
    /// As [`WriteStore::put_new`] or [`RestoreStore::replace`].
    async fn put_back(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: Option<&ETag>,
        _had: Had,
    ) -> Result<Written, StoreError> {
        match seen {
            Some(seen) => self.replace(key, payload, seen).await,
            None => self.put_new(key, payload, None).await,
        }
    }

    /// Lets the store copy an object into the place of a missing one. It is asked to do so only where nothing is, and **not
    /// every server heeds that**: a caller that may not rely on the place being empty finds out first. Sent once, as
    /// [`WriteStore::copy_new`].
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] when something is there, or the source is another object than the one seen; else as
    /// [`WriteStore::copy_new`].
    async fn copy_back(&self, key: &ObjectKey, _source: &CopySource) -> Result<Copied, StoreError> {
        let reason = "this store makes no copies by itself".to_owned();
        let kind = StoreErrorKind::Unsupported { reason };
        Err(StoreError::below("copy to", self.uri(), key.as_str(), kind))
    }

    /// Replaces an object whose `ETag` is still `seen`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Changed`] when it has another `ETag` or is gone; nothing was
    /// changed.
    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError>;

    /// Removes an object whose `ETag` is still `seen`.
    ///
    /// # Errors
    /// As [`RestoreStore::replace`].
    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError>;
}
