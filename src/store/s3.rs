//! A store in a bucket of S3, or of a server that speaks its protocol.
//!
//! This module hides the SDK and everything that can go wrong between a call and its answer: it retries passing failures,
//! and nothing else does; it continues a body where it broke off; after a lost answer to a write it looks at the object.
//! Callers see a network without faults, or a [`StoreError`].
//!
//! Servers differ. Where the answer to a copy has no SHA-256, one look at the object asks for it; a digest of digests
//! never counts as one of the content. `tests/s3-servers.md` has what was measured of each server.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::{ChecksumMode, ObjectLockMode, RequestPayer, StorageClass};
use futures::stream::{self, BoxStream, StreamExt};

use self::request::{id, object_request};
use super::{
    Attributes, CopyAddress, ListedVersion, ObjectReader, ReadStore, StoreError, StoreErrorKind,
};
use crate::ids::{ObjectKey, ObjectVersion, Timestamp};
use crate::lock_mode::LockMode;

mod answer;
mod answer_limit;
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
            .ok_or_else(|| refused("it is not an s3:// URI"))?;
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

    /// The same store, with a storage class for new objects.
    #[must_use]
    pub fn with_storage_class(mut self, class: &str) -> Self {
        self.storage_class = Some(StorageClass::from(class));
        self
    }

    /// The same store, with a mode for locks; without one no lock is ever sent.
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

    /// The whole key in the bucket.
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
            // A server that keeps objects as files walks its folders for each listing from its start to the last key,
            // not only to the end of the range: n ranges cost (n + 1) / 2 walks.
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
        let request = object_request!(self, head_object, key)
            .set_version_id(id(version))
            .checksum_mode(ChecksumMode::Enabled);
        let head = match self.client.call(|| request.clone().send()).await {
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
        let error = match self.attributes(key, version).await {
            Ok(attributes) => return Ok(attributes.locked_until),
            Err(error) => error,
        };
        if !matches!(error.kind, StoreErrorKind::Denied { .. }) {
            return Err(error);
        }
        // An auditor may read the locks of objects that it may not read.
        match prune::retained_until(self, key, version).await {
            Err(StoreErrorKind::Denied { .. }) => Err(error),
            until => until.map_err(|kind| self.failed("look at", key.as_str(), kind)),
        }
    }

    async fn is_held(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
    ) -> Result<bool, StoreError> {
        prune::is_held(self, key, version).await
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
