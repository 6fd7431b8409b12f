//! The capabilities of roles that do not take snapshots: to write events, to hold, to prune.
//!
//! [`NoteStore`] creates small objects and nothing else; [`HoldStore`] also puts legal holds on and takes them off;
//! [`PruneStore`] also deletes, each object by its version and never by a delete marker. None of them can overwrite, and
//! none can shorten a lock.

use std::fmt;

use async_trait::async_trait;

use super::{Payload, ReadStore, StoreError, WriteStore, Written};
use crate::ids::{ObjectKey, ObjectVersion, Timestamp};

/// Also creates objects under new names: events and plans.
#[async_trait]
pub trait NoteStore: ReadStore {
    /// Creates an object, as [`WriteStore::put_new`] does.
    ///
    /// # Errors
    /// As [`WriteStore::put_new`].
    async fn put_note(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError>;
}

#[async_trait]
impl<S: WriteStore + ?Sized> NoteStore for S {
    async fn put_note(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        self.put_new(key, payload, lock_until).await
    }
}

/// Also puts legal holds on object versions and takes them off.
#[async_trait]
pub trait HoldStore: NoteStore {
    /// Puts a legal hold on an object version, or takes it off, and checks that the store has done so.
    ///
    /// # Errors
    /// [`super::StoreErrorKind::NotFound`] when it is gone, [`super::StoreErrorKind::Unsupported`] where there are no
    /// legal holds.
    async fn set_hold(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        held: bool,
    ) -> Result<(), StoreError>;
}

/// Also deletes object versions whose lock is over.
#[async_trait]
pub trait PruneStore: NoteStore {
    /// Deletes object versions for good; objects, where the store keeps no versions. Returns one outcome for each, in
    /// order. Never makes a delete marker.
    ///
    /// # Errors
    /// When a call fails as a whole. Some objects may be deleted then; the call can be repeated.
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError>;
}

/// An object version that is to be deleted.
pub type DeleteTarget = (ObjectKey, Option<ObjectVersion>);

/// The outcome of a deletion, as the object version was found afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone, by this call or one before.
    Deleted,
    /// It is locked.
    Locked {
        /// Until when, where the store says so.
        until: Option<Timestamp>,
    },
    /// A legal hold is on it.
    Held,
    /// It is still there, without a lock or a hold that could be seen.
    Refused {
        /// What the store said.
        detail: String,
    },
}

impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("deleted"),
            Self::Locked { until: Some(until) } => write!(f, "locked until {until}"),
            Self::Locked { until: None } => f.write_str("locked"),
            Self::Held => f.write_str("under a legal hold"),
            Self::Refused { detail } => write!(f, "refused: {detail}"),
        }
    }
}
