//! Writing: puts under a precondition, copies by the server, locks, removals.
//!
//! Every put carries its SHA-256 as a header that was known before the call, so that the server checks what it stored.
//! The payload is not signed as well. A put whose answer was lost is sent again under the same condition; when it is
//! then refused because something is there, one look decides whether that is ours.

use async_trait::async_trait;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{
    AnnotationDirective, ChecksumAlgorithm, MetadataDirective, ObjectLockRetention,
    ObjectLockRetentionMode, TaggingDirective,
};
use bytes::Bytes;
use futures::stream::{BoxStream, TryStreamExt};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::failure::is_bad_bytes;
use super::parts::{put_in_parts, upload};
use super::request::{
    Condition, LARGEST_PUT, base64, copy_source, date, id, lock, object_request, too_large,
    with_time_for,
};
use super::{S3Store, answer};
use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{
    Copied, CopyAddress, CopySource, Payload, PayloadData, ReadStore as _, RestoreStore,
    StoreError, StoreErrorKind, WriteStore, Written,
};

/// Buffer for reading a file, bytes.
const FILE_BUFFER: usize = 1024 * 1024;
/// The error of the server's times, which have whole seconds.
const TICKS: SignedDuration = SignedDuration::from_secs(2);

#[async_trait]
impl WriteStore for S3Store {
    async fn put_new(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        put(self, key, payload, lock_until, &Condition::Absent).await
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
        let copied = copy(self, key, source, lock_until, None).await;
        copied.map_err(|kind| self.failed("copy to", key.as_str(), kind))
    }

    async fn put_parts(
        &self,
        key: &ObjectKey,
        parts: BoxStream<'_, Result<Bytes, StoreError>>,
        lock_until: Option<Timestamp>,
    ) -> Result<Written, StoreError> {
        upload(self, key, parts, lock_until, &Condition::Absent).await
    }

    async fn extend_lock(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(mode) = &self.lock_mode else {
            return self.attributes(key, version).await.map(|_| None);
        };
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(mode.as_str()))
            .retain_until_date(date(until))
            .build();
        let request = object_request!(self, put_object_retention, key)
            .set_version_id(id(version))
            .retention(retention);
        let Err(kind) = self.client.call(|| request.clone().send()).await else {
            return Ok(Some(until));
        };
        if let StoreErrorKind::Denied { .. }
        | StoreErrorKind::Unsupported { .. }
        | StoreErrorKind::Io { .. } = &kind
        {
            // S3 refuses to shorten a longer lock, which serves; so does a lock whose answer was lost.
            let there = self.attributes(key, version).await?;
            if let Some(locked) = there.locked_until.filter(|locked| *locked >= until) {
                return Ok(Some(locked));
            }
        }
        Err(self.failed("lock", key.as_str(), kind))
    }
}

#[async_trait]
impl RestoreStore for S3Store {
    fn refuses(&self, key: &ObjectKey) -> Option<&'static str> {
        (self.full(key).len() > 1024)
            .then_some("a key on S3 has 1,024 bytes at most, its prefix included")
    }

    async fn copy_back(&self, key: &ObjectKey, source: &CopySource) -> Result<Copied, StoreError> {
        let copied = copy(self, key, source, None, Some(&Condition::Absent)).await;
        copied.map_err(|kind| {
            // Its own precondition, or that of the source: the server does not say.
            let is_taken = matches!(kind, StoreErrorKind::Changed);
            let kind = if is_taken {
                StoreErrorKind::AlreadyExists
            } else {
                kind
            };
            self.failed("copy to", key.as_str(), kind)
        })
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        seen: &ETag,
    ) -> Result<Written, StoreError> {
        put(self, key, payload, None, &Condition::Seen(seen)).await
    }

    async fn remove(&self, key: &ObjectKey, seen: &ETag) -> Result<(), StoreError> {
        let failed = |kind| self.failed("remove", key.as_str(), kind);
        // Looked at first: not every server knows the condition, and S3 answers the removal of nothing with success.
        match self.attributes(key, None).await {
            Ok(there) if there.etag == *seen => {}
            Ok(_) => return Err(failed(StoreErrorKind::Changed)),
            Err(error) if error.is_not_found() => return Err(failed(StoreErrorKind::Changed)),
            Err(error) => return Err(error),
        }
        let request = object_request!(self, delete_object, key).if_match(&seen.0);
        let attempted = self.client.call_noting(|| request.clone().send()).await;
        match attempted.result {
            Ok(_) => Ok(()),
            // An earlier attempt removed it, and its answer was lost.
            Err(StoreErrorKind::NotFound) if attempted.perhaps_done => Ok(()),
            Err(StoreErrorKind::NotFound) => Err(failed(StoreErrorKind::Changed)),
            Err(kind) => Err(failed(kind)),
        }
    }
}

/// Lets the server copy an object, once. What lies beside its bytes (tags, metadata, annotations, a lock, the storage class)
/// does not go with it.
async fn copy(
    store: &S3Store,
    key: &ObjectKey,
    source: &CopySource,
    lock_until: Option<Timestamp>,
    condition: Option<&Condition<'_>>,
) -> Result<Copied, StoreErrorKind> {
    let address = &source.address;
    let from = copy_source(&address.bucket, &address.key, source.version.as_ref());
    let (mode, until) = lock(store, lock_until);
    let request = object_request!(store, copy_object, key)
        .copy_source(from)
        .copy_source_if_match(&source.etag.0)
        .set_if_none_match(condition.and_then(Condition::if_none_match))
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .metadata_directive(MetadataDirective::Replace)
        .tagging_directive(TaggingDirective::Replace)
        // Otherwise S3 copies up to a gigabyte of them, and asks for rights that no role has.
        .annotation_directive(AnnotationDirective::Exclude)
        .set_object_lock_mode(mode)
        .set_object_lock_retain_until_date(until)
        .set_storage_class(store.storage_class.clone());
    let call = || {
        let mut copy = request.clone().customize();
        if let Some(config) = with_time_for(store, source.size) {
            copy = copy.config_override(config);
        }
        copy.send()
    };
    let copied = store.client.call_once(call).await?;
    let result = copied.copy_object_result();
    let etag = result.and_then(|result| result.e_tag());
    let sha256 =
        result.and_then(|result| answer::sha256(result.checksum_sha256(), result.checksum_type()));
    Ok(Copied {
        written: answer::written(copied.version_id(), etag)?,
        sha256,
        size: source.size,
    })
}

/// Puts a payload, whole or not at all.
async fn put(
    store: &S3Store,
    key: &ObjectKey,
    payload: &Payload,
    lock_until: Option<Timestamp>,
    condition: &Condition<'_>,
) -> Result<Written, StoreError> {
    if payload.size > LARGEST_PUT {
        return put_in_parts(store, key, payload, lock_until, condition).await;
    }
    let failed = |kind| store.failed(condition.action(), key.as_str(), kind);
    let (mode, until) = lock(store, lock_until);
    let size = i64::try_from(payload.size).map_err(|_| failed(too_large(payload.size)))?;
    let checksum = base64(payload.sha256);
    let call = || async {
        let body = body(payload).await;
        let body = body.map_err(aws_sdk_s3::error::SdkError::construction_failure)?;
        let mut put = object_request!(store, put_object, key)
            .body(body)
            .content_length(size)
            .checksum_sha256(&checksum)
            .set_if_none_match(condition.if_none_match())
            .set_if_match(condition.if_match())
            .set_object_lock_mode(mode.clone())
            .set_object_lock_retain_until_date(until)
            .set_storage_class(store.storage_class.clone())
            .customize()
            .disable_payload_signing();
        if let Some(config) = with_time_for(store, payload.size) {
            put = put.config_override(config);
        }
        put.send().await
    };
    let begun = Instant::now();
    let attempted = store.client.call_noting(call).await;
    match attempted.result {
        Ok(put) => answer::written(put.version_id(), put.e_tag()).map_err(failed),
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) if attempted.perhaps_done => {
            let ours = settled(store, key, payload, lock_until, begun).await?;
            ours.ok_or_else(|| failed(condition.broken()))
        }
        // Not found: the object that was to be replaced is gone.
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) => Err(failed(condition.broken())),
        Err(kind) => Err(failed(refused_bytes(payload, kind).await)),
    }
}

/// Decides after a lost answer whether the object that is there is ours: its content has our digest, it has our lock, and
/// the server took it after the put was `begun`. The same content may have been there before, about to be deleted.
async fn settled(
    store: &S3Store,
    key: &ObjectKey,
    payload: &Payload,
    lock_until: Option<Timestamp>,
    begun: Instant,
) -> Result<Option<Written>, StoreError> {
    let there = match store.attributes(key, None).await {
        Ok(there) => there,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let age = store.client.server_time();
    let age = age.map(|now| now.duration_since(there.last_modified));
    let since = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX);
    let is_new = age.is_some_and(|age| age <= since.saturating_add(TICKS));
    if there.size != payload.size || there.locked_until < lock_until || !is_new {
        return Ok(None);
    }
    let sha256 = match there.sha256 {
        Some(sha256) => sha256,
        None => digest_of(store, key, there.version.as_ref()).await?,
    };
    Ok((sha256 == payload.sha256).then_some(Written {
        version: there.version,
        etag: there.etag,
    }))
}

/// Reads an object to hash it, where the server attests no digest.
async fn digest_of(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Result<Digest, StoreError> {
    let mut reader = store.open(key, version, None).await?;
    let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
    while let Some(chunk) = reader.body.try_next().await? {
        sha2::Digest::update(&mut hasher, &chunk);
    }
    Ok(Digest::from_hasher(hasher))
}

/// Finds out why a put was refused for its bytes: the payload is not what it claims, or it did not arrive whole.
async fn refused_bytes(payload: &Payload, kind: StoreErrorKind) -> StoreErrorKind {
    if !is_bad_bytes(&kind) {
        return kind;
    }
    let Ok(mut body) = body(payload).await else {
        return kind;
    };
    let mut hasher = <sha2::Sha256 as sha2::Digest>::new();
    let mut size = 0;
    while let Some(Ok(chunk)) = body.next().await {
        size += chunk.len() as u64;
        sha2::Digest::update(&mut hasher, &chunk);
    }
    match payload.check(Digest::from_hasher(hasher), size) {
        Ok(()) => kind,
        Err(wrong) => wrong,
    }
}

async fn body(payload: &Payload) -> Result<ByteStream, String> {
    match &payload.data {
        PayloadData::Bytes(bytes) => Ok(ByteStream::from(bytes.clone())),
        PayloadData::File(path) => ByteStream::read_from()
            .path(path.as_ref())
            .buffer_size(FILE_BUFFER)
            .length(Length::Exact(payload.size))
            .build()
            .await
            .map_err(|error| format!("temporary copy: {error}")),
    }
}
