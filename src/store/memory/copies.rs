//! Objects that are not made by one put: copies that the store makes itself, and uploads in parts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, TryStreamExt};

use super::{MemoryStore, State};
use crate::ids::{Digest, ETag, ObjectKey, Timestamp};
use crate::store::{Copied, CopySource, StoreError, StoreErrorKind, Written};

/// All parts but the last have at least this many bytes, as on S3.
const SMALLEST_PART: usize = 5 * 1024 * 1024;

/// Buckets in memory that can copy from each other. Clones share them.
#[derive(Clone)]
pub struct MemoryService {
    pub(super) name: Arc<str>,
    buckets: Arc<Mutex<BTreeMap<String, MemoryStore>>>,
}

impl MemoryService {
    /// A service without buckets.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            buckets: Arc::default(),
        }
    }
}

impl fmt::Debug for MemoryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryService").field(&self.name).finish()
    }
}

/// How a store answers when it is asked to copy.
#[derive(Debug, Clone, Default)]
pub enum CopyMode {
    /// With the SHA-256 of the whole content, as AWS.
    #[default]
    Attests,
    /// Without it; a look at the copy returns it, as on `MinIO`.
    AttestsWhenAsked,
    /// Without it, and a look at the copy has none either.
    Silent,
    /// Not at all.
    Refuses(StoreErrorKind),
}

impl MemoryStore {
    /// Makes the store a bucket of a service.
    #[must_use]
    pub fn in_service(mut self, service: &MemoryService) -> Self {
        self.service = Some(service.clone());
        let buckets = service.buckets.lock();
        let mut buckets = buckets.unwrap_or_else(PoisonError::into_inner);
        buckets.insert(self.uri.to_string(), self.clone());
        drop(buckets);
        self
    }

    /// Chooses how the store answers when it is asked to copy.
    pub fn set_copy_mode(&self, mode: CopyMode) {
        self.state().copy_mode = mode;
    }

    /// Lets copies back go on top of what is there.
    pub fn set_copies_over(&self) {
        self.state().copies_over = true;
    }

    /// Lets the next `count` copies take effect without an answer.
    pub fn lose_copy_answers(&self, count: usize) {
        self.state().lost_copies = count;
    }

    /// Sets the most bytes that one put or copy may have.
    pub fn set_largest_put(&self, bytes: u64) {
        self.state().largest_put = bytes;
    }

    pub(super) fn copy(
        &self,
        key: &ObjectKey,
        source: &CopySource,
        lock_until: Option<Timestamp>,
    ) -> Result<Copied, StoreError> {
        let failed = |kind| self.failed("copy to", key, kind);
        let (found, bytes) = self.source_of(source).map_err(failed)?;
        let sha256 = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let mut state = self.state();
        let mode = state.copy_mode.clone();
        if let CopyMode::Refuses(kind) = mode {
            return Err(failed(kind));
        }
        if found != source.etag {
            return Err(failed(StoreErrorKind::Changed));
        }
        if size > state.largest_put {
            let reason = format!("one copy takes {} bytes at most", state.largest_put);
            return Err(failed(StoreErrorKind::Unsupported { reason }));
        }
        // A copy has no precondition: it goes on top of whatever has that key.
        let lock_until = lock_until.filter(|_| self.locks);
        if let Some(until) = lock_until {
            state.check_lock(until).map_err(failed)?;
        }
        let written = self.add(&mut state, key, bytes, sha256, lock_until);
        if matches!(mode, CopyMode::Silent) {
            forget_digest(&mut state, key);
        }
        if state.lost_copies > 0 {
            state.lost_copies -= 1;
            return Err(failed(StoreErrorKind::Interrupted));
        }
        Ok(Copied {
            written,
            sha256: matches!(mode, CopyMode::Attests).then_some(sha256),
            size,
        })
    }

    /// The `ETag` and the bytes of the source of a copy.
    fn source_of(&self, source: &CopySource) -> Result<(ETag, Bytes), StoreErrorKind> {
        let from = self.service.as_ref().and_then(|service| {
            let buckets = service.buckets.lock();
            let buckets = buckets.unwrap_or_else(PoisonError::into_inner);
            buckets.get(&source.address.bucket).cloned()
        });
        let (Some(from), Ok(key)) = (from, source.address.key.parse()) else {
            return Err(StoreErrorKind::NotFound);
        };
        let found = from.find("copy", &key, source.version.as_ref());
        let (attributes, bytes) = found.map_err(|error| error.kind)?;
        Ok((attributes.etag, bytes))
    }

    pub(super) async fn join_parts(
        &self,
        key: &ObjectKey,
        mut parts: BoxStream<'_, Result<Bytes, StoreError>>,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let mut whole = BytesMut::new();
        let mut first: Option<usize> = None;
        let mut last_was_short = false;
        while let Some(part) = parts.try_next().await? {
            let size = *first.get_or_insert(part.len());
            if last_was_short || part.len() > size {
                let reason = "the parts are not of one size".to_owned();
                return Err(self.failed("create", key, StoreErrorKind::Unsupported { reason }));
            }
            last_was_short = part.len() < size || part.len() < SMALLEST_PART;
            whole.extend_from_slice(&part);
        }
        let whole = whole.freeze();
        let sha256 = Digest::of(&whole);
        self.create(&mut self.state(), key, whole, sha256, lock_until)
    }
}

fn forget_digest(state: &mut State, key: &ObjectKey) {
    let newest = state.objects.get_mut(key.as_str());
    if let Some(object) = newest.and_then(|kept| kept.last_mut()?.object.as_mut()) {
        object.attested = false;
    }
}
