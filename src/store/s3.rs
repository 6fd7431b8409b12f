//! A store in a bucket of S3, or of a server that speaks its protocol.
//!
//! All of the SDK is behind this module, and all of what can go wrong between a call and its answer: what is passing is
//! tried again here and nowhere else, a body that breaks off is read on from where it broke, and a write whose answer
//! was lost is settled by looking. What callers see is as if the network were whole, or a [`StoreError`].
//!
//! Servers differ. Where the answer to a copy has no SHA-256, one look at the object asks for it; a digest of digests
//! is never taken for one of the content. Which server does what was measured: `tests/s3-servers.md`.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::{ChecksumMode, ObjectLockMode, RequestPayer, StorageClass};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use self::request::{Condition, LARGEST_PUT};
use super::{
    Attributes, Copied, CopyAddress, CopySource, DeleteTarget, Deletion, HoldStore, ListedVersion,
    ObjectReader, Payload, PruneStore, ReadStore, RestoreStore, StoreError, StoreErrorKind,
    WriteStore, Written,
};
use crate::ids::{ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::lock_mode::LockMode;

mod answer;
pub(crate) mod ask;
mod body;
mod bucket;
pub(crate) mod client;
mod clock;
mod failure;
mod list;
mod parts;
mod prune;
pub(crate) mod request;
mod retry;
mod write;

pub use client::{Keys, S3Client, S3Settings};

/// A bucket, or what is below a prefix of it. Clones are cheap.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: S3Client,
    uri: Arc<str>,
    bucket: Arc<str>,
    /// Empty, or ending in a slash.
    prefix: Arc<str>,
    storage_class: Option<StorageClass>,
    lock_mode: Option<ObjectLockMode>,
}

impl S3Store {
    /// The store at `s3://bucket` or `s3://bucket/prefix`; everything after the bucket is taken literally.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] for another URI, or a bucket that S3 cannot name.
    pub fn open(client: &S3Client, uri: &str) -> Result<Self, StoreError> {
        let refused = |reason: &str| StoreError {
            action: "open",
            uri: uri.to_owned(),
            kind: StoreErrorKind::Unsupported {
                reason: reason.to_owned(),
            },
        };
        let rest = uri
            .strip_prefix("s3://")
            .ok_or_else(|| refused("it is no s3:// URI"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !bucket::is_name(bucket) {
            return Err(refused(
                "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens",
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let (uri, prefix) = if prefix.is_empty() {
            (format!("s3://{bucket}"), String::new())
        } else {
            (format!("s3://{bucket}/{prefix}"), format!("{prefix}/"))
        };
        Ok(Self {
            client: client.clone(),
            uri: uri.into(),
            bucket: bucket.into(),
            prefix: prefix.into(),
            storage_class: None,
            lock_mode: None,
        })
    }

    /// The same place, where new objects get a storage class.
    #[must_use]
    pub fn with_storage_class(mut self, class: &str) -> Self {
        self.storage_class = Some(StorageClass::from(class));
        self
    }

    /// The same place, where locks are of a mode; without it no lock is ever sent.
    #[must_use]
    pub fn with_lock_mode(mut self, mode: LockMode) -> Self {
        self.lock_mode = match mode {
            LockMode::None => None,
            LockMode::Governance => Some(ObjectLockMode::Governance),
            LockMode::Compliance => Some(ObjectLockMode::Compliance),
        };
        self
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What the keys of the bucket begin with: empty, or ending in a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The connection.
    pub fn client(&self) -> &S3Client {
        &self.client
    }

    /// A key as the bucket knows it.
    fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    fn failed(&self, action: &'static str, key: &str, kind: StoreErrorKind) -> StoreError {
        StoreError::below(action, &self.uri, key, kind)
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.client
            .requester_pays()
            .then_some(RequestPayer::Requester)
    }
}

#[async_trait]
impl ReadStore for S3Store {
    fn uri(&self) -> &str {
        &self.uri
    }

    fn copy_address(&self, key: &ObjectKey) -> Option<CopyAddress> {
        Some(CopyAddress {
            service: self.client.service().to_owned(),
            bucket: self.bucket.to_string(),
            key: self.full(key),
        })
    }

    fn listings_at_once(&self) -> usize {
        if self.client.has_own_endpoint() {
            // A server that keeps objects as files walks its folders for each listing, from where it begins to the end
            // of all keys, not only to the end of the range: n ranges cost (n + 1) / 2 walks.
            2
        } else {
            usize::MAX
        }
    }

    async fn open(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Option<Range<u64>>,
    ) -> Result<ObjectReader, StoreError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            // HTTP has no empty range.
            let attributes = self.attributes(key, version).await?;
            if range.is_some_and(|range| range.start > attributes.size) {
                return Err(self.failed("read", key.as_str(), StoreErrorKind::InvalidRange));
            }
            let body = stream::empty().boxed();
            return Ok(ObjectReader { attributes, body });
        }
        body::open(self, key, version, range).await
    }

    async fn attributes(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Attributes, StoreError> {
        let full = self.full(key);
        let call = || {
            self.client
                .s3()
                .head_object()
                .bucket(&*self.bucket)
                .key(&full)
                .set_version_id(version.map(|version| version.0.clone()))
                .checksum_mode(ChecksumMode::Enabled)
                .set_request_payer(self.payer())
                .send()
        };
        let head = match self.client.call(call).await {
            Ok(head) => head,
            Err(kind) => {
                let kind = body::reason(self, key, version, kind).await;
                return Err(self.failed("look at", key.as_str(), kind));
            }
        };
        answer::head(key, &head).map_err(|kind| self.failed("look at", key.as_str(), kind))
    }

    async fn locked_until(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<Option<Timestamp>, StoreError> {
        match self.attributes(key, version).await {
            Err(error) if matches!(error.kind, StoreErrorKind::Denied { .. }) => {
                // An auditor proves locks of objects that are not for its eyes.
                prune::retained_until(self, key, version)
                    .await
                    .unwrap_or(Err(error))
            }
            looked => Ok(looked?.locked_until),
        }
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<Attributes, StoreError>> {
        list::objects(self, prefix, start_after)
    }

    fn list_versions<'a>(
        &'a self,
        prefix: &'a str,
        start_after: Option<&'a str>,
    ) -> BoxStream<'a, Result<ListedVersion, StoreError>> {
        list::versions(self, prefix, start_after)
    }
}

#[async_trait]
impl WriteStore for S3Store {
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        write::put(self, key, payload, lock_until, &Condition::Absent).await
    }

    fn largest_put(&self) -> u64 {
        LARGEST_PUT
    }

    fn can_copy_from(&self, source: &CopyAddress) -> bool {
        source.service == self.client.service()
    }

    async fn copy_new(
        &self,
        key: &ObjectKey,
        source: &CopySource,
        lock_until: Option<Timestamp>,
    ) -> Result<Copied, StoreError> {
        write::copy(self, key, source, lock_until).await
    }

    async fn put_parts(
        &self,
        key: &ObjectKey,
        parts: BoxStream<'_, Result<Bytes, StoreError>>,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        parts::parts(self, key, parts, lock_until, &Condition::Absent).await
    }

    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        write::extend_lock(self, key, version, until).await
    }
}

#[async_trait]
impl RestoreStore for S3Store {
    fn refuses(&self, key: &ObjectKey) -> Option<&'static str> {
        (self.full(key).len() > 1024)
            .then_some("a key on S3 has 1,024 bytes at most, its prefix included")
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError> {
        write::put(self, key, payload, None, &Condition::Seen(seen)).await
    }

    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError> {
        write::remove(self, key, seen).await
    }
}

#[async_trait]
impl HoldStore for S3Store {
    async fn set_hold(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        held: bool,
    ) -> Result<(), StoreError> {
        prune::set_hold(self, key, version, held).await
    }

    async fn is_held(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        prune::is_held(self, key, version).await
    }
}

#[async_trait]
impl PruneStore for S3Store {
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError> {
        prune::delete_versions(self, objects).await
    }
}
