//! The seam to object storage: what a vault or a table can be asked for, and nothing that its user may not do.
//!
//! Walls, as types: [`ReadStore`] < [`WriteStore`] (the snapshotter: creates, extends locks) and
//! [`RestoreStore`] (the restorer: also replaces and removes, each under a condition). Code that holds a
//! `dyn WriteStore` has no way to overwrite or to delete. Who holds and who prunes has walls of his own: `prune.rs`.
//!
//! Everything a store returns is hostile until the caller has checked it: a digest decides, never a name,
//! a size or an `ETag`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, TryStreamExt};

pub use self::obstacle::Obstacle;
pub use self::part_size::part_size;
pub use self::prune::{DeleteTarget, Deletion, HoldStore, NoteStore, PruneStore};
pub use self::restore::{Had, RestoreStore};
use crate::ids::{Digest, ETag, FileMode, ObjectKey, ObjectVersion, Timestamp};

pub mod local;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod obstacle;
mod part_size;
pub mod prune;
pub mod restore;
pub mod s3;

/// What a store says of one object, or of one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// The key below the store's root.
    pub key: ObjectKey,
    /// Bytes.
    pub size: u64,
    /// When the store took it.
    pub last_modified: Timestamp,
    /// The store's tag of the content.
    pub etag: ETag,
    /// The id of this write, where the store keeps versions.
    pub version: Option<ObjectVersion>,
    /// The SHA-256 of the whole content, where the store itself computed or checked it.
    pub sha256: Option<Digest>,
    /// Until when the store refuses to delete it, as far as the store told.
    pub locked_until: Option<Timestamp>,
    /// The permissions of the file, in a folder.
    pub mode: Option<FileMode>,
}

/// One row of a listing of object versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedVersion {
    /// Bytes that were put.
    Object(Attributes),
    /// A marker that hides what is below it.
    DeleteMarker {
        /// The key it hides.
        key: ObjectKey,
    },
}

impl ListedVersion {
    /// The key that the row is about.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Object(object) => &object.key,
            Self::DeleteMarker { key } => key,
        }
    }
}

/// An object that is being read: its attributes at once, its bytes as they come.
pub struct ObjectReader {
    /// What the store says of the object that the bytes belong to. `size` is that of the whole object.
    pub attributes: Attributes,
    /// The bytes asked for, in order.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader")
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

/// Bytes on their way into a store, with the digest and size that the store has to end up with.
#[derive(Debug, Clone)]
pub struct Payload {
    /// SHA-256 of all the bytes.
    pub sha256: Digest,
    /// How many bytes.
    pub size: u64,
    /// The bytes themselves.
    pub data: PayloadData,
}

/// Where a payload's bytes are until they are sent. A retry sends them again; it never reads the source again.
#[derive(Debug, Clone)]
pub enum PayloadData {
    /// In memory.
    Bytes(Bytes),
    /// In a temporary file, removed when the last clone is dropped.
    File(Arc<tempfile::TempPath>),
}

impl Payload {
    /// Hashes `bytes` and makes them a payload.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            sha256: Digest::of(&bytes),
            size: bytes.len() as u64,
            data: PayloadData::Bytes(bytes),
        }
    }

    /// Compares what came out of the bytes on their way with what they were announced as.
    pub(crate) fn check(&self, actual: Digest, size: u64) -> Result<(), StoreErrorKind> {
        if actual != self.sha256 {
            return Err(StoreErrorKind::WrongDigest {
                expected: self.sha256,
                actual,
            });
        }
        if size != self.size {
            return Err(StoreErrorKind::Unsupported {
                reason: format!("the payload has {size} bytes and says {}", self.size),
            });
        }
        Ok(())
    }
}

/// What a store says of a write that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The id of this write, where the store keeps versions.
    pub version: Option<ObjectVersion>,
    /// The store's tag of the content.
    pub etag: ETag,
}

/// Where an object is, for a store that could copy it without its bytes passing through this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyAddress {
    /// The service that holds it: an endpoint, or what stands for the provider's own.
    pub service: String,
    /// The bucket there.
    pub bucket: String,
    /// The whole key in that bucket.
    pub key: String,
}

/// One object as it was seen, to be copied only while it is still that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Where it is.
    pub address: CopyAddress,
    /// The version that was seen, where the source keeps versions.
    pub version: Option<ObjectVersion>,
    /// Its tag.
    pub etag: ETag,
    /// Its bytes.
    pub size: u64,
}

/// What a store says of a copy that it made itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The object that came into being.
    pub written: Written,
    /// The SHA-256 of its whole content as the store attests it; never a digest of digests.
    pub sha256: Option<Digest>,
    /// Its bytes.
    pub size: u64,
}

/// Reads and lists below one root.
#[async_trait]
pub trait ReadStore: fmt::Debug + Send + Sync {
    /// The root as a normalised URI without a trailing slash: `file:///backup/vault`, `s3://bucket/prefix`.
    fn uri(&self) -> &str;

    /// Where an object is for a store that may be able to copy it itself; `None` where only bytes can be had.
    fn copy_address(&self, _key: &ObjectKey) -> Option<CopyAddress> {
        None
    }

    /// How many listings of different ranges of keys are quicker side by side than one after the other.
    fn listings_at_once(&self) -> usize {
        1
    }

    /// Opens an object, or one version of it, for reading; `range` in bytes, end exclusive.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] when there is none, also when a delete marker is newest and no version was
    /// named. A range that reaches past the end is [`StoreErrorKind::InvalidRange`].
    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError>;

    /// Asks for an object's attributes without its bytes.
    ///
    /// # Errors
    /// As [`ReadStore::open`].
    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError>;

    /// Asks until when an object version is locked, which some may know who may not read it.
    ///
    /// # Errors
    /// As [`ReadStore::open`].
    async fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.attributes(key, version).await?.locked_until)
    }

    /// Asks whether a legal hold is on an object version, which some may know who may not read it. A store without legal
    /// holds has none on.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] when it is gone.
    async fn is_held(
        &self,
        _key: &ObjectKey,
        _version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Lists the newest versions of the keys that begin with `prefix` and sort after `start_after`, in the byte
    /// order of their keys. A prefix is a string, as on S3, not a folder. An absent root lists as empty.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>>;

    /// Lists every version of the keys that begin with `prefix` and sort after `start_after`: by key, and each
    /// key's **oldest first**. A store without versions lists each object once.
    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>>;
}

/// Also creates objects under new names and extends their locks. Cannot overwrite, cannot delete.
#[async_trait]
pub trait WriteStore: ReadStore {
    /// Creates an object whole or not at all, durably, and only where the key has none. `lock_until` is the
    /// Object Lock's time where the store has locks.
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] when the key is taken; nothing was changed then.
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError>;

    /// The most bytes that one object can be put with, in one call of [`WriteStore::put_new`] or of
    /// [`WriteStore::copy_new`]; larger ones need [`WriteStore::put_parts`].
    fn largest_put(&self) -> u64 {
        u64::MAX
    }

    /// Whether [`WriteStore::copy_new`] may work from there: the same service, as far as can be told without a call.
    fn can_copy_from(&self, _source: &CopyAddress) -> bool {
        false
    }

    /// Lets the store copy an object itself, to a key that was never used before: the store may not look whether it
    /// is taken. Sent once: where the answer is lost, [`StoreErrorKind::Interrupted`], and the key is given up.
    ///
    /// # Errors
    /// [`StoreErrorKind::Changed`] when the source is another object than the one seen, [`StoreErrorKind::NotFound`]
    /// when it is gone, [`StoreErrorKind::Denied`] and [`StoreErrorKind::Unsupported`] when this pair of places cannot
    /// do it.
    async fn copy_new(
        &self,
        key: &ObjectKey,
        _source: &CopySource,
        _lock_until: Option<Timestamp>,
    ) -> Result<Copied, StoreError> {
        let reason = "this store makes no copies by itself".to_owned();
        let kind = StoreErrorKind::Unsupported { reason };
        Err(StoreError::below("copy to", self.uri(), key.as_str(), kind))
    }

    /// Creates an object from parts that come in order, each but the last of one size of at least 5 MiB, under a key
    /// that was never used before. Whoever calls it hashes the parts on their way.
    ///
    /// # Errors
    /// What a part fails with; [`StoreErrorKind::AlreadyExists`]; [`StoreErrorKind::Unsupported`] where objects of any
    /// size are put whole.
    async fn put_parts(
        &self,
        key: &ObjectKey,
        _parts: BoxStream<'_, Result<Bytes, StoreError>>,
        _lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let reason = "this store takes objects whole".to_owned();
        let kind = StoreErrorKind::Unsupported { reason };
        Err(StoreError::below("create", self.uri(), key.as_str(), kind))
    }

    /// Makes sure that the object version exists and is locked until `until` or longer, where the store has
    /// locks; elsewhere that it exists. Returns the time that was proven, `None` without locks.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] when it is gone.
    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;
}

/// A call to a store that failed: what was tried, on what, and the situation.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{action} {uri}")]
pub struct StoreError {
    /// Present-tense phrase: `read`, `list`, `create`.
    pub action: &'static str,
    /// The object, as a full URI.
    pub uri: String,
    /// The situation. Printed as the cause.
    #[source]
    pub kind: StoreErrorKind,
}

impl StoreErrorKind {
    /// Whether the object itself is the cause: every caller gets this answer for it, while other objects can be read.
    pub fn is_of_the_object(&self) -> bool {
        matches!(
            self,
            Self::Unsupported { .. } | Self::InvalidKey { .. } | Self::InTheWay { .. }
        )
    }
}

impl StoreError {
    /// A failure on `key` (or a prefix of keys) below the root `uri`.
    pub(crate) fn below(action: &'static str, uri: &str, key: &str, kind: StoreErrorKind) -> Self {
        Self {
            action,
            uri: format!("{uri}/{key}"),
            kind,
        }
    }

    /// Whether trying again cannot help.
    pub fn is_permanent(&self) -> bool {
        !matches!(
            self.kind,
            StoreErrorKind::Io { .. }
                | StoreErrorKind::Unreachable { .. }
                | StoreErrorKind::Interrupted
        )
    }

    /// Whether the object is not there, or cannot be anywhere: a forged reference may name any key.
    pub fn is_nowhere(&self) -> bool {
        self.is_not_found() || matches!(self.kind, StoreErrorKind::InvalidKey { .. })
    }

    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NotFound)
    }
}

/// The situations that a caller can act on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreErrorKind {
    /// There is no such object, or not that version of it.
    #[error("no such object")]
    NotFound,
    /// A put-if-absent found the key taken.
    #[error("the object exists already")]
    AlreadyExists,
    /// The object is not what the caller saw before.
    #[error("the object has changed since it was looked at")]
    Changed,
    /// There is no such bucket.
    #[error("there is no such bucket")]
    NoBucket,
    /// The object is in archive storage and has to be thawed before it can be read.
    #[error("the object is in archive storage and cannot be read until it is restored from there")]
    Archived,
    /// The bucket is in another region than the calls were made for.
    #[error("the bucket is in another region{}", of_region(region.as_deref()))]
    WrongRegion {
        /// The right one, where the server said it.
        region: Option<String>,
    },
    /// The store's clock and this machine's are too far apart for a signature to count.
    #[error("the clock of this machine and that of the store differ too much")]
    ClockSkew,
    /// The service did not answer at all.
    #[error("{service} cannot be reached: {detail}")]
    Unreachable {
        /// Its endpoint.
        service: String,
        /// What the operating system said.
        detail: String,
    },
    /// There are no credentials, or they count no more.
    #[error("the credentials do not serve: {detail}")]
    Credentials {
        /// What is wrong with them.
        detail: String,
    },
    /// The caller may not do this.
    #[error("permission denied: {detail}")]
    Denied {
        /// What the store said.
        detail: String,
    },
    /// The store is mounted or configured read-only.
    #[error("the store is read-only")]
    ReadOnly,
    /// There is no room left.
    #[error("no space left on the device")]
    NoSpace,
    /// The range asked for reaches past the object's end, or the object became shorter.
    #[error("the object is shorter than the range asked for")]
    InvalidRange,
    /// The temporary folder has no room for the bytes that were read.
    #[error("no space left in the temporary folder")]
    NoScratchSpace,
    /// The object has more bytes than its reader is ready to take.
    #[error("the object has {size} bytes, more than the {limit} expected at most")]
    TooLarge {
        /// What it has, in bytes, as far as it was read or as the store says.
        size: u64,
        /// What was expected at most, in bytes.
        limit: u64,
    },
    /// The bytes sent or received do not have the digest they should have.
    #[error("the bytes have SHA-256 {actual}, not {expected}")]
    WrongDigest {
        /// What they should have.
        expected: Digest,
        /// What they have.
        actual: Digest,
    },
    /// This store cannot express that key (a folder and `..`, an object below another object).
    #[error("the key cannot be used here: {reason}")]
    InvalidKey {
        /// Why.
        reason: &'static str,
    },
    /// In a folder, something stands in the place of the object or on the way to it.
    #[error("{obstacle}: {path}")]
    InTheWay {
        /// What stands there.
        obstacle: Obstacle,
        /// Where.
        path: String,
    },
    /// The store lacks something that the vault cannot do without.
    #[error("not possible here: {reason}")]
    Unsupported {
        /// What is lacking.
        reason: String,
    },
    /// The answer was lost; whether the call took effect is not known.
    #[error("interrupted before an answer came")]
    Interrupted,
    /// Anything else that the operating system reports.
    #[error("{detail}")]
    Io {
        /// What it said.
        detail: String,
    },
}

fn of_region(region: Option<&str>) -> String {
    region.map_or_else(String::new, |region| format!(": {region}"))
}

/// Splits off where on this machine a `file://` root is; `None` for other schemes.
pub fn local_path(uri: &str) -> Option<PathBuf> {
    uri.strip_prefix("file://").map(PathBuf::from)
}

/// Reads an object, or one version of it, whole into memory.
///
/// # Errors
/// [`StoreErrorKind::TooLarge`] above `limit` bytes, and nothing is read then.
pub async fn read_all(
    store: &dyn ReadStore,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    limit: u64,
) -> Result<(Attributes, Bytes), StoreError> {
    let reader = store.open(key, version, None).await?;
    let size = reader.attributes.size;
    if size > limit {
        let kind = StoreErrorKind::TooLarge { size, limit };
        return Err(StoreError::below("read", store.uri(), key.as_str(), kind));
    }
    let bytes = collect(store, key, reader.body, size).await?;
    Ok((reader.attributes, bytes))
}

/// Reads a part of an object, or of one version of it, into memory; `range` in bytes, end exclusive.
///
/// # Errors
/// As [`ReadStore::open`].
pub async fn read_range(
    store: &dyn ReadStore,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let wanted = range.end.saturating_sub(range.start);
    let reader = store.open(key, version, Some(range)).await?;
    collect(store, key, reader.body, wanted).await
}

/// Takes exactly `wanted` bytes from a body: a store that sends fewer or more is not believed.
async fn collect(
    store: &dyn ReadStore,
    key: &ObjectKey,
    mut body: BoxStream<'static, Result<Bytes, StoreError>>,
    wanted: u64,
) -> Result<Bytes, StoreError> {
    let failed = |kind| StoreError::below("read", store.uri(), key.as_str(), kind);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.try_next().await? {
        let size = (bytes.len() as u64).saturating_add(chunk.len() as u64);
        if size > wanted {
            let limit = wanted;
            return Err(failed(StoreErrorKind::TooLarge { size, limit }));
        }
        bytes.extend_from_slice(&chunk);
    }
    if (bytes.len() as u64) < wanted {
        return Err(failed(StoreErrorKind::InvalidRange));
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, StreamExt};

    use super::memory::MemoryStore;
    use super::*;

    #[tokio::test]
    async fn a_body_that_is_shorter_or_longer_than_promised_is_not_believed() {
        let store = MemoryStore::new("s3://bucket/vault");
        let key: ObjectKey = "a".parse().unwrap();
        let body = |chunks| stream::iter(vec![Ok(Bytes::from("ab")); chunks]).boxed();
        let exact = collect(&store, &key, body(2), 4).await.unwrap();
        assert_eq!(exact, "abab");
        let short = collect(&store, &key, body(1), 4).await.unwrap_err();
        assert!(matches!(short.kind, StoreErrorKind::InvalidRange));
        let long = collect(&store, &key, body(3), 4).await.unwrap_err();
        assert!(matches!(
            long.kind,
            StoreErrorKind::TooLarge { size: 6, limit: 4 }
        ));
    }
}
