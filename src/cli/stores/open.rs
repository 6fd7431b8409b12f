//! A place that is open: a folder of this machine, or a prefix of a bucket.

use std::sync::Arc;

use deltavault::format::LockMode;
use deltavault::store::local::LocalStore;
use deltavault::store::s3::S3Store;
use deltavault::store::{HoldStore, NoteStore, PruneStore, ReadStore, RestoreStore, WriteStore};

use crate::cli::error::CommandError;

/// A folder or a prefix, with the store behind it.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A folder of this machine.
    Folder(LocalStore),
    /// A bucket, or what is below a prefix of it.
    Bucket(S3Store),
}

impl Place {
    /// Its URI.
    pub(crate) fn uri(&self) -> &str {
        match self {
            Self::Folder(store) => store.uri(),
            Self::Bucket(store) => store.uri(),
        }
    }

    /// The same place, where new objects of a bucket get locks of a mode.
    #[must_use]
    pub(crate) fn with_lock_mode(self, mode: LockMode) -> Self {
        match self {
            Self::Bucket(store) => Self::Bucket(store.with_lock_mode(mode)),
            folder @ Self::Folder(_) => folder,
        }
    }

    /// For reading.
    pub(crate) fn read(&self) -> Arc<dyn ReadStore> {
        self.restore()
    }

    /// For creating.
    pub(crate) fn write(&self) -> Arc<dyn WriteStore> {
        self.restore()
    }

    /// For putting back.
    pub(crate) fn restore(&self) -> Arc<dyn RestoreStore> {
        match self {
            Self::Folder(store) => Arc::new(store.clone()),
            Self::Bucket(store) => Arc::new(store.clone()),
        }
    }

    /// For notes beside the snapshots: events.
    pub(crate) fn note(&self) -> Arc<dyn NoteStore> {
        match self {
            Self::Folder(store) => Arc::new(store.clone()),
            Self::Bucket(store) => Arc::new(store.clone()),
        }
    }

    /// For holding, by locks of a mode.
    pub(crate) fn hold(&self, mode: LockMode) -> Arc<dyn HoldStore> {
        match self {
            Self::Folder(store) => Arc::new(store.clone()),
            Self::Bucket(store) => Arc::new(store.clone().with_lock_mode(mode)),
        }
    }

    /// For pruning; its plans get locks of a mode.
    pub(crate) fn prune(&self, mode: LockMode) -> Arc<dyn PruneStore> {
        match self {
            Self::Folder(store) => Arc::new(store.clone()),
            Self::Bucket(store) => Arc::new(store.clone().with_lock_mode(mode)),
        }
    }

    /// Makes the folder of a place that was opened before it was there. A bucket is not made in passing.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn make(&self) -> Result<(), CommandError> {
        if let Self::Folder(store) = self {
            store.make()?;
        }
        Ok(())
    }

    /// Whether a folder holds anything: its store shows neither an empty folder nor what it cannot name, and both may
    /// be somebody's.
    pub(crate) fn has_entry(&self) -> bool {
        let Self::Folder(store) = self else {
            return false;
        };
        std::fs::read_dir(store.path()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether something could be there; of a bucket only a call would tell.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Folder(store) => store.path().is_dir(),
            Self::Bucket(_) => true,
        }
    }

    /// Whether the other place is this one or lies in it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Folder(outer), Self::Folder(inner)) => inner.path().starts_with(outer.path()),
            (Self::Bucket(outer), Self::Bucket(inner)) => {
                service(outer) == service(inner)
                    && outer.bucket() == inner.bucket()
                    && inner.prefix().starts_with(outer.prefix())
            }
            (Self::Folder(_), Self::Bucket(_)) | (Self::Bucket(_), Self::Folder(_)) => false,
        }
    }
}

/// The service that a bucket is reached at: its endpoint, or `aws`.
pub(super) fn service(store: &S3Store) -> String {
    store.client().service().to_owned()
}
