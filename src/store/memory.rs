//! A store in memory that keeps to S3's rules: a bucket with versions and Object Lock, or without.
//!
//! It exists for tests, and so it can also do what a vault has to survive: planted bytes, delete markers, deleted
//! versions, flipped bits, short objects. It follows S3: a put if absent looks at the newest version only, and a delete
//! marker counts as absence; a lock only ever grows; a locked version cannot be deleted; version ids do not show the
//! order of writes; equal bytes have equal `ETag`s; a damaged object keeps its attested SHA-256. Its clock stands still
//! until it is set. Buckets of one [`MemoryService`] copy from each other.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

pub use self::copies::{CopyMode, MemoryService};
use super::{
    Attributes, Copied, CopyAddress, CopySource, Deletion, ListedVersion, ObjectReader, Payload,
    PayloadData, ReadStore, RestoreStore, StoreError, StoreErrorKind, WriteStore, Written,
};
use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};

mod copies;
mod damage;
mod prune;

/// How many keys one page of a listing has. Changes between two pages are seen, as on S3.
const PAGE: usize = 1000;

/// How many bytes a body hands out at a time.
const CHUNK: usize = 1024 * 1024;

/// A store in memory. Clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    uri: Arc<str>,
    versions: bool,
    locks: bool,
    service: Option<MemoryService>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
struct State {
    now: Timestamp,
    attests_sha256: bool,
    copy_mode: CopyMode,
    /// Whether a copy back goes on top of what is there, as on `MinIO`.
    copies_over: bool,
    /// How many copies from now on take effect without an answer.
    lost_copies: usize,
    largest_put: u64,
    /// How many versions were ever made.
    made: u64,
    /// Each key's versions, oldest first; never an empty list.
    objects: BTreeMap<String, Vec<Kept>>,
}

/// One version of a key.
#[derive(Debug, Clone)]
struct Kept {
    key: ObjectKey,
    version: ObjectVersion,
    /// `None`: a delete marker.
    object: Option<Object>,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    etag: ETag,
    /// Of the bytes as they were put, also after damage.
    sha256: Digest,
    attested: bool,
    last_modified: Timestamp,
    locked_until: Option<Timestamp>,
    held: bool,
}

impl MemoryStore {
    /// Makes an empty store with object versions and Object Lock. It attests SHA-256, and its clock is at the epoch.
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.trim_end_matches('/').into(),
            versions: true,
            locks: true,
            service: None,
            state: Arc::new(Mutex::new(State {
                now: Timestamp::UNIX_EPOCH,
                attests_sha256: true,
                copy_mode: CopyMode::default(),
                copies_over: false,
                lost_copies: 0,
                largest_put: u64::MAX,
                made: 0,
                objects: BTreeMap::new(),
            })),
        }
    }

    /// Makes an empty store that keeps versions and has no Object Lock.
    pub fn without_locks(uri: &str) -> Self {
        Self {
            locks: false,
            ..Self::new(uri)
        }
    }

    /// Makes an empty store that keeps one version of each key and has no Object Lock.
    pub fn without_versions(uri: &str) -> Self {
        Self {
            versions: false,
            locks: false,
            ..Self::new(uri)
        }
    }

    /// Makes a store that is as this one is now, and from now on another one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state().clone())),
            ..self.clone()
        }
    }

    /// Chooses whether the store attests the SHA-256 of its objects.
    pub fn attest_sha256(&self, attests: bool) {
        self.state().attests_sha256 = attests;
    }

    /// Sets the store's clock.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// The time on the store's clock.
    pub fn now(&self) -> Timestamp {
        self.state().now
    }

    /// Puts bytes as the newest version, whatever is there, as an attacker with `PutObject` can. Without versions the old
    /// bytes are gone.
    pub fn plant(&self, key: &ObjectKey, bytes: impl Into<Bytes>) -> Written {
        let bytes = bytes.into();
        let sha256 = Digest::of(&bytes);
        self.add(&mut self.state(), key, bytes, sha256, None)
    }

    /// Deletes without naming a version, as S3 does: with versions a delete marker becomes the newest version, and its id
    /// is returned; without versions the object is removed.
    pub fn delete_marker(&self, key: &ObjectKey) -> Option<ObjectVersion> {
        self.hide(&mut self.state(), key)
    }

    /// Deletes one version, or one delete marker, for good.
    ///
    /// # Errors
    /// [`StoreErrorKind::Denied`] while it is locked or held, [`StoreErrorKind::NotFound`] when it is not there.
    pub fn delete_version(
        &self,
        key: &ObjectKey,
        version: &ObjectVersion,
    ) -> Result<(), StoreError> {
        let failed = |kind| self.failed("delete", key, kind);
        let is_there = |kept: &Vec<Kept>| kept.iter().any(|kept| kept.version == *version);
        if !self.state().objects.get(key.as_str()).is_some_and(is_there) {
            return Err(failed(StoreErrorKind::NotFound));
        }
        match self.delete_one(key, Some(version)) {
            Deletion::Deleted => Ok(()),
            kept @ (Deletion::Locked { .. } | Deletion::Held | Deletion::Refused { .. }) => {
                let detail = format!("the object version is {kept}");
                Err(failed(StoreErrorKind::Denied { detail }))
            }
        }
    }

    fn add(
        &self,
        state: &mut State,
        key: &ObjectKey,
        bytes: Bytes,
        sha256: Digest,
        locked_until: Option<Timestamp>,
    ) -> Written {
        let version = state.next_version();
        let etag = ETag(sha256.to_string().chars().take(32).collect());
        let object = Object {
            bytes,
            etag: etag.clone(),
            sha256,
            attested: true,
            last_modified: state.now,
            locked_until,
            held: false,
        };
        let kept = state.objects.entry(key.to_string()).or_default();
        if !self.versions {
            kept.clear();
        }
        kept.push(Kept {
            key: key.clone(),
            version: version.clone(),
            object: Some(object),
        });
        Written {
            version: self.versions.then_some(version),
            etag,
        }
    }

    /// Adds an object under a key that has none.
    fn create(
        &self,
        state: &mut State,
        key: &ObjectKey,
        bytes: Bytes,
        sha256: Digest,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let failed = |kind| self.failed("create", key, kind);
        if newest(state, key).is_some() {
            return Err(failed(StoreErrorKind::AlreadyExists));
        }
        let lock_until = lock_until.filter(|_| self.locks);
        if let Some(until) = lock_until {
            state.check_lock(until).map_err(failed)?;
        }
        Ok(self.add(state, key, bytes, sha256, lock_until))
    }

    fn hide(&self, state: &mut State, key: &ObjectKey) -> Option<ObjectVersion> {
        if !self.versions {
            state.objects.remove(key.as_str());
            return None;
        }
        let version = state.next_version();
        state
            .objects
            .entry(key.to_string())
            .or_default()
            .push(Kept {
                key: key.clone(),
                version: version.clone(),
                object: None,
            });
        Some(version)
    }

    fn attributes_of(&self, state: &State, kept: &Kept) -> Option<Attributes> {
        let object = kept.object.as_ref()?;
        Some(Attributes {
            key: kept.key.clone(),
            size: object.bytes.len() as u64,
            last_modified: object.last_modified,
            etag: object.etag.clone(),
            version: self.versions.then(|| kept.version.clone()),
            sha256: (state.attests_sha256 && object.attested).then_some(object.sha256),
            locked_until: object.locked_until,
            mode: None,
        })
    }

    /// Looks a version (`None`: the newest) up: its attributes and bytes.
    fn find(
        &self,
        action: &'static str,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<(Attributes, Bytes), StoreError> {
        let state = self.state();
        let kept = state
            .objects
            .get(key.as_str())
            .map_or(&[][..], Vec::as_slice);
        let kept = match version {
            None => kept.last(),
            // A store without versions has none to name.
            Some(_) if !self.versions => None,
            Some(version) => kept.iter().find(|kept| kept.version == *version),
        };
        kept.and_then(|kept| {
            let attributes = self.attributes_of(&state, kept)?;
            Some((attributes, kept.object.as_ref()?.bytes.clone()))
        })
        .ok_or_else(|| self.failed(action, key, StoreErrorKind::NotFound))
    }

    /// Whether the newest version is an object with that `ETag`.
    fn is_still(state: &State, key: &ObjectKey, seen: &ETag) -> bool {
        newest(state, key).is_some_and(|object| object.etag == *seen)
    }

    /// One page of versions, and the key at which the next page begins to look.
    fn page(&self, prefix: &str, after: &Bound<String>) -> (Vec<Row>, Option<Bound<String>>) {
        let state = self.state();
        let mut rows = Vec::new();
        let wanted = state
            .objects
            .range::<str, _>((after.as_ref().map(String::as_str), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix));
        for (position, (_, versions)) in wanted.enumerate() {
            if position == PAGE {
                let next = rows.last().map(|row: &Row| row.key.to_string());
                return (rows, next.map(Bound::Excluded));
            }
            rows.extend(versions.iter().enumerate().map(|(age, kept)| Row {
                key: kept.key.clone(),
                attributes: self.attributes_of(&state, kept),
                is_newest: age + 1 == versions.len(),
            }));
        }
        (rows, None)
    }

    fn rows(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'static, Result<Row, StoreError>> {
        let begin = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
        };
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::unfold(Some(begin), move |after| {
            let page = after.map(|after| store.page(&prefix, &after));
            async { page.map(|(rows, next)| (stream::iter(rows), next)) }
        })
        .flatten()
        .map(Ok)
        .boxed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, action: &'static str, key: &ObjectKey, kind: StoreErrorKind) -> StoreError {
        StoreError::below(action, &self.uri, key.as_str(), kind)
    }
}

impl State {
    /// Opaque as S3's: ids do not show the order of writes.
    fn next_version(&mut self) -> ObjectVersion {
        self.made = self.made.wrapping_add(1);
        ObjectVersion(format!(
            "{:016x}",
            self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ))
    }

    fn check_lock(&self, until: Timestamp) -> Result<(), StoreErrorKind> {
        if until > self.now {
            Ok(())
        } else {
            Err(StoreErrorKind::Unsupported {
                reason: format!("a lock until {until} would be over already"),
            })
        }
    }
}

/// One version in a listing; a delete marker has no attributes.
#[derive(Debug)]
struct Row {
    key: ObjectKey,
    attributes: Option<Attributes>,
    is_newest: bool,
}

fn newest<'a>(state: &'a State, key: &ObjectKey) -> Option<&'a Object> {
    state.objects.get(key.as_str())?.last()?.object.as_ref()
}

fn find_mut<'a>(
    state: &'a mut State,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Option<&'a mut Object> {
    let kept = state.objects.get_mut(key.as_str())?;
    match version {
        None => kept.last_mut(),
        Some(version) => kept.iter_mut().find(|kept| kept.version == *version),
    }?
    .object
    .as_mut()
}

/// The payload's bytes, checked against its digest and size.
fn load(payload: &Payload) -> Result<Bytes, StoreErrorKind> {
    let bytes = match &payload.data {
        PayloadData::Bytes(bytes) => bytes.clone(),
        PayloadData::File(path) => fs::read(path.as_ref())?.into(),
    };
    payload.check(Digest::of(&bytes), bytes.len() as u64)?;
    Ok(bytes)
}

#[async_trait]
impl ReadStore for MemoryStore {
    fn listings_at_once(&self) -> usize {
        usize::MAX
    }

    fn uri(&self) -> &str {
        &self.uri
    }

    fn copy_address(&self, key: &ObjectKey) -> Option<CopyAddress> {
        let service = self.service.as_ref()?;
        Some(CopyAddress {
            service: service.name.to_string(),
            bucket: self.uri.to_string(),
            key: key.to_string(),
        })
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        let (attributes, mut bytes) = self.find("read", key, version)?;
        if let Some(range) = range {
            let position = |at: u64| usize::try_from(at).ok().filter(|at| *at <= bytes.len());
            bytes = match (position(range.start), position(range.end)) {
                (Some(start), Some(end)) if start <= end => bytes.slice(start..end),
                _ => return Err(self.failed("read", key, StoreErrorKind::InvalidRange)),
            };
        }
        let body = stream::unfold(bytes, |mut left| async move {
            let chunk = left.split_to(left.len().min(CHUNK));
            (!chunk.is_empty()).then_some((Ok(chunk), left))
        })
        .boxed();
        Ok(ObjectReader { attributes, body })
    }

    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError> {
        let (attributes, _) = self.find("look at", key, version)?;
        Ok(attributes)
    }

    async fn is_held(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        if !self.locks {
            return Ok(false);
        }
        self.with_hold("look at", key, version, |hold| *hold)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>> {
        self.rows(prefix, start_after)
            .try_filter_map(|row| async move { Ok(row.attributes.filter(|_| row.is_newest)) })
            .boxed()
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
        self.rows(prefix, start_after)
            .map_ok(|row| match row.attributes {
                Some(attributes) => ListedVersion::Object(attributes),
                None => ListedVersion::DeleteMarker { key: row.key },
            })
            .boxed()
    }
}

#[async_trait]
impl WriteStore for MemoryStore {
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        let failed = |kind| self.failed("create", key, kind);
        let bytes = load(payload).map_err(failed)?;
        let mut state = self.state();
        if payload.size > state.largest_put {
            let reason = format!("one put takes {} bytes at most", state.largest_put);
            return Err(failed(StoreErrorKind::Unsupported { reason }));
        }
        self.create(&mut state, key, bytes, payload.sha256, lock_until)
    }

    fn largest_put(&self) -> u64 {
        self.state().largest_put
    }

    fn can_copy_from(&self, source: &CopyAddress) -> bool {
        let own = self.service.as_ref();
        own.is_some_and(|service| *service.name == *source.service)
    }

    async fn copy_new(
        &self,
        key: &ObjectKey,
        source: &CopySource,
        lock_until: Option<Timestamp>,
    ) -> Result<Copied, StoreError> {
        self.copy(key, source, lock_until)
    }

    async fn put_parts(
        &self,
        key: &ObjectKey,
        parts: BoxStream<'_, Result<Bytes, StoreError>>,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        self.join_parts(key, parts, lock_until).await
    }

    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let failed = |kind| self.failed("lock", key, kind);
        self.find("lock", key, version)?;
        if !self.locks {
            return Ok(None);
        }
        let mut state = self.state();
        state.check_lock(until).map_err(failed)?;
        let object =
            find_mut(&mut state, key, version).ok_or_else(|| failed(StoreErrorKind::NotFound))?;
        // A longer lock stays, and is what was proven.
        let proven = object
            .locked_until
            .map_or(until, |locked| locked.max(until));
        object.locked_until = Some(proven);
        Ok(Some(proven))
    }
}

#[async_trait]
impl RestoreStore for MemoryStore {
    async fn copy_back(&self, key: &ObjectKey, source: &CopySource) -> Result<Copied, StoreError> {
        let state = self.state();
        let is_free = state.copies_over || newest(&state, key).is_none();
        drop(state);
        if !is_free {
            return Err(self.failed("copy to", key, StoreErrorKind::AlreadyExists));
        }
        self.copy(key, source, None)
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError> {
        let failed = |kind| self.failed("replace", key, kind);
        let bytes = load(payload).map_err(failed)?;
        let mut state = self.state();
        if !Self::is_still(&state, key, seen) {
            return Err(failed(StoreErrorKind::Changed));
        }
        Ok(self.add(&mut state, key, bytes, payload.sha256, None))
    }

    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError> {
        let mut state = self.state();
        if !Self::is_still(&state, key, seen) {
            return Err(self.failed("remove", key, StoreErrorKind::Changed));
        }
        self.hide(&mut state, key);
        Ok(())
    }
}
