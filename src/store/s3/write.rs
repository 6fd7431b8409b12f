//! Writing: put when absent or unchanged, copies by the store, locks.
//!
//! Every put carries its SHA-256 as a header that was known before the call, so that the store proves what it took. The
//! payload is not signed a second time. A put whose answer was lost is sent again under the same condition; when it is
//! then refused because something is there, one look decides whether that is ours.

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{
    AnnotationDirective, ChecksumAlgorithm, MetadataDirective, ObjectLockRetention,
    ObjectLockRetentionMode, TaggingDirective,
};
use futures::stream::TryStreamExt;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::failure::is_bad_bytes;
use super::parts::put_in_parts;
use super::request::{Condition, LARGEST_PUT, base64, copy_source, date, lock, timeout, too_large};
use super::{S3Store, answer};
use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{
    Copied, CopySource, Payload, PayloadData, ReadStore as _, StoreError, StoreErrorKind, Written,
};

/// What a file is read in.
const FILE_BUFFER: usize = 1024 * 1024;
/// By how much the server's times may be off that it tells in whole seconds.
const TICKS: SignedDuration = SignedDuration::from_secs(2);

/// Puts a payload, whole or not at all.
pub(super) async fn put(
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
    let full = store.full(key);
    let checksum = base64(payload.sha256);
    let (mode, until) = lock(store, lock_until);
    let size = i64::try_from(payload.size).map_err(|_| failed(too_large(payload.size)))?;
    let call = || async {
        let body = match body(payload).await {
            Ok(body) => body,
            Err(detail) => {
                return Err(aws_sdk_s3::error::SdkError::construction_failure(detail));
            }
        };
        let put = store
            .client
            .s3()
            .put_object()
            .bucket(&*store.bucket)
            .key(&full)
            .body(body)
            .content_length(size)
            .checksum_sha256(&checksum)
            .set_if_none_match(condition.if_none_match())
            .set_if_match(condition.if_match())
            .set_object_lock_mode(mode.clone())
            .set_object_lock_retain_until_date(until)
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer());
        let mut put = put.customize().disable_payload_signing();
        if let Some(timeout) = timeout(store, payload.size) {
            put = put.config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeout));
        }
        put.send().await
    };
    let begun = Instant::now();
    let attempted = store.client.call_noting(call).await;
    match attempted.result {
        Ok(put) => written(&put).map_err(failed),
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) if attempted.perhaps_done => {
            let ours = settled(store, key, payload, lock_until, begun).await?;
            ours.ok_or_else(|| failed(condition.broken()))
        }
        // Not found: nothing is there to be replaced any more.
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) => Err(failed(condition.broken())),
        Err(kind) => Err(failed(refused_bytes(payload, kind).await)),
    }
}

/// After a lost answer, something is there: it is what was sent when its whole content has the digest, it has the lock,
/// and the server took it since the put was `begun`. The same content may have lain there before, about to be deleted.
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

/// Reads an object for its digest, where the server attests none.
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

/// A put that was refused for its bytes: either they are not what the payload says, or they do not arrive whole.
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

fn written(put: &PutObjectOutput) -> Result<Written, StoreErrorKind> {
    Ok(Written {
        version: answer::version(put.version_id()),
        etag: answer::etag(put.e_tag())?,
    })
}

/// Lets S3 copy an object under a key that was never used.
pub(super) async fn copy(
    store: &S3Store,
    key: &ObjectKey,
    source: &CopySource,
    lock_until: Option<Timestamp>,
) -> Result<Copied, StoreError> {
    let failed = |kind| store.failed("copy to", key.as_str(), kind);
    let address = &source.address;
    let from = copy_source(&address.bucket, &address.key, source.version.as_ref());
    let full = store.full(key);
    let (mode, until) = lock(store, lock_until);
    // A copy of 5 GiB may take its time before the answer begins.
    let patience = timeout(store, source.size);
    let call = || {
        let copy = store
            .client
            .s3()
            .copy_object()
            .bucket(&*store.bucket)
            .key(&full)
            .copy_source(&from)
            .copy_source_if_match(&source.etag.0)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            // Else S3 takes up to a gigabyte of them along, and asks for rights that no role has.
            .annotation_directive(AnnotationDirective::Exclude)
            .set_object_lock_mode(mode.clone())
            .set_object_lock_retain_until_date(until)
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer());
        let mut copy = copy.customize();
        if let Some(patience) = &patience {
            let config = aws_sdk_s3::config::Builder::new().timeout_config(patience.clone());
            copy = copy.config_override(config);
        }
        copy.send()
    };
    let copied = store.client.call_once(call).await.map_err(failed)?;
    let result = copied.copy_object_result();
    let etag = result.and_then(|result| result.e_tag());
    Ok(Copied {
        written: Written {
            version: answer::version(copied.version_id()),
            etag: answer::etag(etag).map_err(failed)?,
        },
        sha256: result
            .and_then(|result| answer::sha256(result.checksum_sha256(), result.checksum_type())),
        size: source.size,
    })
}

/// Locks an object version until a time, or finds that it is locked for longer.
pub(super) async fn extend_lock(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    until: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let failed = |kind| store.failed("lock", key.as_str(), kind);
    let Some(mode) = &store.lock_mode else {
        return store.attributes(key, version).await.map(|_| None);
    };
    let full = store.full(key);
    let retention = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::from(mode.as_str()))
        .retain_until_date(date(until))
        .build();
    let call = || {
        store
            .client
            .s3()
            .put_object_retention()
            .bucket(&*store.bucket)
            .key(&full)
            .set_version_id(version.map(|version| version.0.clone()))
            .retention(retention.clone())
            .set_request_payer(store.payer())
            .send()
    };
    match store.client.call(call).await {
        Ok(_) => Ok(Some(until)),
        Err(
            kind @ (StoreErrorKind::Denied { .. }
            | StoreErrorKind::Unsupported { .. }
            | StoreErrorKind::Io { .. }),
        ) => {
            // A longer lock refuses to become shorter, and serves; so does one whose answer was lost.
            let there = store.attributes(key, version).await?;
            match there.locked_until {
                Some(locked) if locked >= until => Ok(Some(locked)),
                Some(_) | None => Err(failed(kind)),
            }
        }
        Err(kind) => Err(failed(kind)),
    }
}

/// Removes an object while it has the tag that was seen.
pub(super) async fn remove(
    store: &S3Store,
    key: &ObjectKey,
    seen: &ETag,
) -> Result<(), StoreError> {
    let failed = |kind| store.failed("remove", key.as_str(), kind);
    // Looked at first: not every server knows the condition, and S3 takes the removal of nothing for a success.
    match store.attributes(key, None).await {
        Ok(there) if there.etag == *seen => {}
        Ok(_) => return Err(failed(StoreErrorKind::Changed)),
        Err(error) if error.is_not_found() => return Err(failed(StoreErrorKind::Changed)),
        Err(error) => return Err(error),
    }
    let full = store.full(key);
    let call = || {
        store
            .client
            .s3()
            .delete_object()
            .bucket(&*store.bucket)
            .key(&full)
            .if_match(&seen.0)
            .set_request_payer(store.payer())
            .send()
    };
    let attempted = store.client.call_noting(call).await;
    match attempted.result {
        Ok(_) => Ok(()),
        // Ours, whose answer was lost.
        Err(StoreErrorKind::NotFound) if attempted.perhaps_done => Ok(()),
        Err(StoreErrorKind::NotFound) => Err(failed(StoreErrorKind::Changed)),
        Err(kind) => Err(failed(kind)),
    }
}
