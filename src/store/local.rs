//! A store in a folder, which does what object storage does as far as a file system can.
//!
//! An object is a file, its key the path below the root. Objects appear whole, durable and never in the place of
//! another (`place.rs`). `root.rs` decides which path a key is and which symbolic links are followed. There are no object
//! versions (a named version is never found), no locks and no attested SHA-256; the `ETag` is made from inode, size and
//! time of writing. The files of a vault are read-only: that guards against slips, not against malice.
//!
//! A folder has no keys with empty, `.` or `..` segments, no names above 255 bytes, no object below another object (`a`
//! and `a/b`), and no names that begin with `.deltavault-`. They are refused as [`StoreErrorKind::InvalidKey`].

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use self::place::{CHUNK, New, etag_of};
use self::root::{RESERVED, Root};
use self::walk::Walk;
use super::{
    Attributes, DeleteTarget, Deletion, Had, HoldStore, ListedVersion, ObjectReader, Payload,
    PruneStore, ReadStore, RestoreStore, StoreError, StoreErrorKind, WriteStore, Written,
};
use crate::ids::{ETag, FileMode, ObjectKey, ObjectVersion, Timestamp};

mod mode;
mod place;
mod root;
mod situation;
mod walk;

/// A store in a folder. Clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Arc<Root>,
    read_only_files: bool,
}

/// A lock on a whole local store, held until it is dropped or the process ends.
#[derive(Debug)]
#[must_use = "the lock ends when this is dropped"]
pub struct StoreLock {
    file: File,
    path: PathBuf,
}

impl StoreLock {
    /// Writes down in the lock file when whoever has the exclusive lock was done: [`LocalStore::last_done`].
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_done(&self, at: Timestamp) -> Result<(), StoreError> {
        let write = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.write_all_at(format!("{at}\n").as_bytes(), 0)?;
            self.file.sync_all()
        };
        write().map_err(|error| at_path("write", &self.path, error.into()))
    }
}

impl LocalStore {
    /// Opens the store at `root` and makes nothing: an absent folder reads as empty and cannot be written to.
    ///
    /// # Errors
    /// When the path cannot be resolved, is not UTF-8, or is not a folder.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let found = Root::find(root).map_err(|kind| at_path("open", root, kind))?;
        Ok(Self {
            root: Arc::new(found),
            read_only_files: false,
        })
    }

    /// Opens the store at `root` and makes the folder, durably, where it is absent.
    ///
    /// # Errors
    /// As [`LocalStore::open`], and when the folder cannot be made.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let store = Self::open(root)?;
        store.make()?;
        Ok(store)
    }

    /// Makes the folder, durably, where it is absent. The folder of a table gets the mode of the one above it, that of a
    /// vault is its owner's alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self) -> Result<(), StoreError> {
        self.root
            .create(self.read_only_files)
            .map_err(|kind| at_path("create", self.path(), kind))
    }

    /// Makes new files read-only, as those of a vault are.
    #[must_use]
    pub fn with_read_only_files(mut self) -> Self {
        self.read_only_files = true;
        self
    }

    /// The real path of the root folder.
    pub fn path(&self) -> &Path {
        &self.root.path
    }

    /// Takes a shared lock of the store, as snapshots do. `None` while another process has an exclusive one.
    ///
    /// # Errors
    /// When the lock file cannot be made or the file system has no locks.
    pub fn try_lock_shared(&self) -> Result<Option<StoreLock>, StoreError> {
        self.try_lock(File::try_lock_shared)
    }

    /// Takes an exclusive lock of the store, as prune does. `None` while another process has a lock.
    ///
    /// # Errors
    /// As [`LocalStore::try_lock_shared`].
    pub fn try_lock_exclusive(&self) -> Result<Option<StoreLock>, StoreError> {
        self.try_lock(File::try_lock)
    }

    /// When whoever had the exclusive lock last was done, where that can be read. It is only what the lock file says: a
    /// folder does not protect against its own writers.
    pub fn last_done(&self) -> Option<Timestamp> {
        let file = place::open_file(&self.lock_path()).ok()?;
        let mut text = String::new();
        file.take(64).read_to_string(&mut text).ok()?;
        text.trim_end().parse().ok()
    }

    fn lock_path(&self) -> PathBuf {
        self.root.path.join(format!("{RESERVED}lock"))
    }

    /// Locks a file of its own and not the folder, because network file systems lock only files, and because whoever may
    /// read a folder can lock it.
    fn try_lock(
        &self,
        lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<StoreLock>, StoreError> {
        let failed = |kind| at_path("lock", &self.root.path, kind);
        let path = self.lock_path();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(error.into()))?;
        mode::restrict_lock(&file, &self.root.path);
        match lock(&file) {
            Ok(()) => Ok(Some(StoreLock { file, path })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error.into())),
        }
    }

    /// Runs file work off the runtime's threads; its errors get the action and the object. A named version is never found.
    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        work: impl FnOnce(&Root, &ObjectKey) -> Result<T, StoreErrorKind> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |kind| StoreError::below(action, self.uri(), key.as_str(), kind);
        if version.is_some() {
            return Err(failed(StoreErrorKind::NotFound));
        }
        let (root, owned_key) = (Arc::clone(&self.root), key.clone());
        let done = off_runtime(move || work(&root, &owned_key)).await;
        done.map_err(failed)
    }
}

#[async_trait]
impl ReadStore for LocalStore {
    fn uri(&self) -> &str {
        &self.root.uri
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        let (attributes, file, range) = self
            .blocking("read", key, version, move |root, key| {
                let mut file = place::open_file(&root.real(key)?)?;
                let attributes = attributes_of(key.clone(), &file.metadata()?)?;
                let range = range.unwrap_or(0..attributes.size);
                if range.start > range.end || range.end > attributes.size {
                    return Err(StoreErrorKind::InvalidRange);
                }
                file.seek(SeekFrom::Start(range.start))?;
                Ok((attributes, file, range))
            })
            .await?;
        let (uri, key) = (self.uri().to_owned(), key.clone());
        let left = range.end.saturating_sub(range.start);
        let body = stream::try_unfold((file, left), |(file, left)| {
            off_runtime(move || read_chunk(file, left))
        })
        .map_err(move |kind| StoreError::below("read", &uri, key.as_str(), kind))
        .boxed();
        Ok(ObjectReader { attributes, body })
    }

    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError> {
        self.blocking("look at", key, version, object_attributes)
            .await
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>> {
        let walk = Walk::new(
            Arc::clone(&self.root),
            self.read_only_files,
            prefix,
            start_after,
        );
        stream::try_unfold(walk, |mut walk| {
            off_runtime(move || {
                let batch = walk.next_batch()?;
                Ok((!batch.is_empty()).then(|| (stream::iter(batch).map(Ok), walk)))
            })
        })
        .try_flatten()
        .map_err(|kind| StoreError::below("list", self.uri(), prefix, kind))
        .boxed()
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
        self.list(prefix, start_after)
            .map_ok(ListedVersion::Object)
            .boxed()
    }
}

#[async_trait]
impl WriteStore for LocalStore {
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        _lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        self.put_back(key, payload, None, Had::default()).await
    }

    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        _until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.blocking("lock", key, version, object_attributes)
            .await?;
        Ok(None)
    }
}

#[async_trait]
impl RestoreStore for LocalStore {
    fn refuses(&self, key: &ObjectKey) -> Option<&'static str> {
        root::refuses(&self.root.path, key)
    }

    fn can_nest(&self) -> bool {
        false
    }

    fn keeps_times(&self) -> bool {
        true
    }

    async fn put_back(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: Option<&ETag>,
        had: Had,
    ) -> Result<Written, StoreError> {
        let (payload, read_only) = (payload.clone(), self.read_only_files);
        if let Some(seen) = seen.cloned() {
            let replaced = self.blocking("replace", key, None, move |root, key| {
                place::replace(root, key, &payload, &seen, had)
            });
            return replaced.await;
        }
        self.blocking("create", key, None, move |root, key| {
            place::put_new(root, key, &payload, New { read_only, had })
        })
        .await
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError> {
        self.put_back(key, payload, Some(seen), Had::default())
            .await
    }

    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError> {
        let seen = seen.clone();
        self.blocking("remove", key, None, move |root, key| {
            place::remove(root, key, &seen)
        })
        .await
    }
}

/// A folder has no legal holds: only the events of a hold protect a snapshot.
#[async_trait]
impl HoldStore for LocalStore {
    async fn set_hold(
        &self,
        key: &ObjectKey,
        _version: Option<&ObjectVersion>,
        _held: bool,
    ) -> Result<(), StoreError> {
        self.no_holds(key)
    }
}

#[async_trait]
impl PruneStore for LocalStore {
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError> {
        let mut outcomes = Vec::with_capacity(objects.len());
        for (key, version) in objects {
            // A folder has no versions: one that is named is gone.
            if version.is_none() {
                self.blocking("delete", key, None, place::delete).await?;
            }
            outcomes.push(Deletion::Deleted);
        }
        Ok(outcomes)
    }
}

impl LocalStore {
    fn no_holds<T>(&self, key: &ObjectKey) -> Result<T, StoreError> {
        let reason = "a folder has no legal holds".to_owned();
        let kind = StoreErrorKind::Unsupported { reason };
        Err(StoreError::below("hold", self.uri(), key.as_str(), kind))
    }
}

/// The attributes of a file.
fn attributes_of(key: ObjectKey, metadata: &fs::Metadata) -> Result<Attributes, StoreErrorKind> {
    let last_modified = i32::try_from(metadata.mtime_nsec())
        .ok()
        .and_then(|nanoseconds| Timestamp::new(metadata.mtime(), nanoseconds).ok())
        .ok_or_else(|| StoreErrorKind::Unsupported {
            reason: format!("{key} has a time of writing that cannot be expressed"),
        })?;
    Ok(Attributes {
        key,
        size: metadata.len(),
        last_modified,
        etag: etag_of(metadata),
        version: None,
        sha256: None,
        locked_until: None,
        mode: Some(FileMode::of(metadata.mode())),
    })
}

fn object_attributes(root: &Root, key: &ObjectKey) -> Result<Attributes, StoreErrorKind> {
    let place = root.real(key)?;
    let found = fs::symlink_metadata(&place)?;
    place::refuse_non_file(&place, found.file_type())?;
    attributes_of(key.clone(), &found)
}

/// One step of a body: a chunk and what is left to be read, or the end.
#[expect(
    clippy::type_complexity,
    reason = "the item and the state of an unfold"
)]
fn read_chunk(mut file: File, left: u64) -> Result<Option<(Bytes, (File, u64))>, StoreErrorKind> {
    if left == 0 {
        return Ok(None);
    }
    let wanted = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
    let mut chunk = Vec::with_capacity(wanted);
    (&mut file).take(wanted as u64).read_to_end(&mut chunk)?;
    if chunk.len() < wanted {
        return Err(StoreErrorKind::InvalidRange);
    }
    Ok(Some((
        chunk.into(),
        (file, left.saturating_sub(wanted as u64)),
    )))
}

async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreErrorKind> + Send + 'static,
) -> Result<T, StoreErrorKind> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(StoreErrorKind::Io {
                detail: format!("the thread that did the work ended early: {error}"),
            })
        })
}

fn at_path(action: &'static str, path: &Path, kind: StoreErrorKind) -> StoreError {
    StoreError {
        action,
        uri: format!("file://{}", path.display()),
        kind,
    }
}
