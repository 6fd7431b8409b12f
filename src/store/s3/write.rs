//! Writing: put when absent or unchanged, copies by the store, uploads in parts, locks.
//!
//! Every put carries its SHA-256 as a header that was known before the call, so that the store proves what it took. The
//! payload is not signed a second time. A put whose answer was lost is sent again under the same condition; when it is
//! then refused because something is there, one look decides whether that is ours.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime, Length};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, MetadataDirective,
    ObjectLockRetention, ObjectLockRetentionMode, TaggingDirective,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncReadExt as _;

use super::{S3Store, answer};
use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{
    Copied, CopySource, Payload, PayloadData, ReadStore as _, StoreError, StoreErrorKind, Written,
};

/// The most that one PUT or one copy may carry ("Amazon S3 multipart upload limits", S3 User Guide).
pub(super) const LARGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;
/// The parts that a payload above it is sent in; 10,000 of them are allowed, and 5 TiB an object.
const PART: u64 = 512 * 1024 * 1024;
/// Parts of one object on their way at a time.
const PARTS_IN_FLIGHT: usize = 3;
/// How fast a body may be sent at the slowest, bytes a second; below, the call counts as lost.
const SLOWEST: u64 = 256 * 1024;
/// What a file is read in.
const FILE_BUFFER: usize = 1024 * 1024;
/// The source of a copy is a header: everything but what is never special is encoded.
const COPY_SOURCE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What has to be true of a key for a put to be done.
#[derive(Debug)]
pub(super) enum Condition<'a> {
    /// There is no object.
    Absent,
    /// The object has this tag.
    Seen(&'a ETag),
}

impl Condition<'_> {
    fn if_none_match(&self) -> Option<String> {
        matches!(self, Self::Absent).then(|| "*".to_owned())
    }

    fn if_match(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Seen(etag) => Some(etag.0.clone()),
        }
    }

    /// What it means that the condition was not met.
    fn broken(&self) -> StoreErrorKind {
        match self {
            Self::Absent => StoreErrorKind::AlreadyExists,
            Self::Seen(_) => StoreErrorKind::Changed,
        }
    }

    fn action(&self) -> &'static str {
        match self {
            Self::Absent => "create",
            Self::Seen(_) => "replace",
        }
    }
}

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
    let lock = lock_until.and_then(|until| Some((store.lock_mode.clone()?, until)));
    let size = i64::try_from(payload.size).map_err(|_| failed(too_large(payload.size)))?;
    let call = || async {
        let body = match body(payload).await {
            Ok(body) => body,
            Err(detail) => {
                return Err(aws_sdk_s3::error::SdkError::construction_failure(detail));
            }
        };
        let mut put = store
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
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer());
        if let Some((mode, until)) = &lock {
            put = put
                .object_lock_mode(mode.clone())
                .object_lock_retain_until_date(date(*until));
        }
        let mut put = put.customize().disable_payload_signing();
        if let Some(timeout) = timeout(store, payload.size) {
            put = put.config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeout));
        }
        put.send().await
    };
    let attempted = store.client.call_noting(call).await;
    match attempted.result {
        Ok(put) => written(&put).map_err(failed),
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) if attempted.perhaps_done => {
            let ours = settled(store, key, payload).await?;
            ours.ok_or_else(|| failed(condition.broken()))
        }
        // Not found: nothing is there to be replaced any more.
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) => Err(failed(condition.broken())),
        Err(kind) => Err(failed(refused_bytes(payload, kind).await)),
    }
}

/// After a lost answer, something is there: it is what was sent when its whole content has the digest.
async fn settled(
    store: &S3Store,
    key: &ObjectKey,
    payload: &Payload,
) -> Result<Option<Written>, StoreError> {
    let there = match store.attributes(key, None).await {
        Ok(there) => there,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    if there.size != payload.size {
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
    let StoreErrorKind::Io { detail } = &kind else {
        return kind;
    };
    if ![
        "BadDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    ]
    .iter()
    .any(|code| detail.starts_with(code))
    {
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

/// The SDK counts the time to an answer from the first byte sent.
fn timeout(store: &S3Store, size: u64) -> Option<TimeoutConfig> {
    let sending = Duration::from_secs(size / SLOWEST);
    (sending > Duration::from_secs(10)).then(|| {
        TimeoutConfig::builder()
            .read_timeout(store.client.patience() + sending)
            .build()
    })
}

fn base64(digest: Digest) -> String {
    STANDARD.encode(digest.as_bytes())
}

fn date(time: Timestamp) -> DateTime {
    // A lock is to the second; a fraction is rounded up, never cut off.
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    DateTime::from_secs(seconds)
}

fn too_large(size: u64) -> StoreErrorKind {
    StoreErrorKind::TooLarge {
        size,
        limit: LARGEST_PUT,
    }
}

/// Sends a payload above one PUT's limit in parts.
async fn put_in_parts(
    store: &S3Store,
    key: &ObjectKey,
    payload: &Payload,
    lock_until: Option<Timestamp>,
    condition: &Condition<'_>,
) -> Result<Written, StoreError> {
    let failed = |detail: String| {
        store.failed(
            condition.action(),
            key.as_str(),
            StoreErrorKind::Io { detail },
        )
    };
    let cut: BoxStream<'_, Result<Bytes, StoreError>> = match &payload.data {
        PayloadData::Bytes(bytes) => {
            let part = usize::try_from(PART).unwrap_or(usize::MAX);
            let parts: Vec<_> = bytes
                .chunks(part)
                .map(|part| Ok(bytes.slice_ref(part)))
                .collect();
            stream::iter(parts).boxed()
        }
        PayloadData::File(path) => {
            let file = tokio::fs::File::open(path.as_ref()).await;
            let file = file.map_err(|error| failed(format!("temporary copy: {error}")))?;
            stream::try_unfold(file, move |mut file| async move {
                let mut part = BytesMut::new();
                let mut taken = (&mut file).take(PART);
                while taken
                    .read_buf(&mut part)
                    .await
                    .map_err(|error| failed(format!("temporary copy: {error}")))?
                    > 0
                {}
                Ok((!part.is_empty()).then(|| (part.freeze(), file)))
            })
            .boxed()
        }
    };
    parts(store, key, cut, lock_until, condition).await
}

/// Creates an object from parts. An upload that fails is left for the bucket's lifecycle rule: nobody who writes may
/// abort.
pub(super) async fn parts(
    store: &S3Store,
    key: &ObjectKey,
    parts: BoxStream<'_, Result<Bytes, StoreError>>,
    lock_until: Option<Timestamp>,
    condition: &Condition<'_>,
) -> Result<Written, StoreError> {
    let failed = |kind| store.failed(condition.action(), key.as_str(), kind);
    let full = store.full(key);
    let upload = &Upload {
        store,
        key,
        id: begin(store, &full, lock_until).await.map_err(failed)?,
        full,
    };
    let mut sent: Vec<CompletedPart> = parts
        .enumerate()
        .map(|(index, part)| async move {
            let number = i32::try_from(index + 1).map_err(|_| failed(too_large(u64::MAX)))?;
            upload.send(number, part?).await.map_err(failed)
        })
        .buffer_unordered(PARTS_IN_FLIGHT)
        .try_collect()
        .await?;
    sent.sort_by_key(CompletedPart::part_number);
    upload.complete(sent, condition).await
}

async fn begin(
    store: &S3Store,
    full: &str,
    lock_until: Option<Timestamp>,
) -> Result<String, StoreErrorKind> {
    let lock = lock_until.and_then(|until| Some((store.lock_mode.clone()?, until)));
    let call = || {
        let mut create = store
            .client
            .s3()
            .create_multipart_upload()
            .bucket(&*store.bucket)
            .key(full)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer());
        if let Some((mode, until)) = &lock {
            create = create
                .object_lock_mode(mode.clone())
                .object_lock_retain_until_date(date(*until));
        }
        create.send()
    };
    let created = store.client.call(call).await?;
    created
        .upload_id()
        .map(str::to_owned)
        .ok_or_else(|| StoreErrorKind::Unsupported {
            reason: "the server began an upload and did not name it".to_owned(),
        })
}

/// An object on its way in parts.
struct Upload<'a> {
    store: &'a S3Store,
    key: &'a ObjectKey,
    full: String,
    id: String,
}

impl Upload<'_> {
    async fn send(&self, number: i32, part: Bytes) -> Result<CompletedPart, StoreErrorKind> {
        let store = self.store;
        let checksum = base64(Digest::of(&part));
        let size = part.len() as u64;
        let call = || {
            let mut send = store
                .client
                .s3()
                .upload_part()
                .bucket(&*store.bucket)
                .key(&self.full)
                .upload_id(&self.id)
                .part_number(number)
                .checksum_sha256(&checksum)
                .body(ByteStream::from(part.clone()))
                .set_request_payer(store.payer())
                .customize()
                .disable_payload_signing();
            if let Some(timeout) = timeout(store, size) {
                send = send
                    .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeout));
            }
            send.send()
        };
        let sent = store.client.call(call).await?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .e_tag(answer::etag(sent.e_tag())?.0)
            .checksum_sha256(&checksum)
            .build())
    }

    async fn complete(
        &self,
        parts: Vec<CompletedPart>,
        condition: &Condition<'_>,
    ) -> Result<Written, StoreError> {
        let store = self.store;
        let failed = |kind| store.failed(condition.action(), self.key.as_str(), kind);
        let whole = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let call = || {
            store
                .client
                .s3()
                .complete_multipart_upload()
                .bucket(&*store.bucket)
                .key(&self.full)
                .upload_id(&self.id)
                .multipart_upload(whole.clone())
                .set_if_none_match(condition.if_none_match())
                .set_if_match(condition.if_match())
                .set_request_payer(store.payer())
                .send()
        };
        let attempted = store.client.call_noting(call).await;
        match attempted.result {
            Ok(done) => Ok(Written {
                version: answer::version(done.version_id()),
                etag: answer::etag(done.e_tag()).map_err(failed)?,
            }),
            Err(StoreErrorKind::Changed) if !attempted.perhaps_done => {
                Err(failed(condition.broken()))
            }
            Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) if attempted.perhaps_done => {
                self.settled(&whole)
                    .await?
                    .ok_or_else(|| failed(condition.broken()))
            }
            Err(kind) => Err(failed(kind)),
        }
    }

    /// After a lost answer the upload is over: ours is there when it has the digest of our parts' digests.
    async fn settled(
        &self,
        whole: &CompletedMultipartUpload,
    ) -> Result<Option<Written>, StoreError> {
        let store = self.store;
        let call = || {
            store
                .client
                .s3()
                .head_object()
                .bucket(&*store.bucket)
                .key(&self.full)
                .checksum_mode(ChecksumMode::Enabled)
                .set_request_payer(store.payer())
                .send()
        };
        let failed = |kind| store.failed("look at", self.key.as_str(), kind);
        let there = match store.client.call(call).await {
            Ok(there) => there,
            Err(StoreErrorKind::NotFound) => return Ok(None),
            Err(kind) => return Err(failed(kind)),
        };
        let ours = there.checksum_sha256() == Some(composite(whole.parts()).as_str());
        Ok(ours.then_some(Written {
            version: answer::version(there.version_id()),
            etag: answer::etag(there.e_tag()).map_err(failed)?,
        }))
    }
}

/// The checksum that S3 gives to an upload in parts: the SHA-256 of the parts' SHA-256, and how many they are
/// ("Checking object integrity", S3 User Guide).
fn composite(parts: &[CompletedPart]) -> String {
    let digests: Vec<u8> = parts
        .iter()
        .filter_map(|part| STANDARD.decode(part.checksum_sha256()?).ok())
        .flatten()
        .collect();
    format!("{}-{}", base64(Digest::of(&digests)), parts.len())
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
    let mut from = utf8_percent_encode(&format!("{}/{}", address.bucket, address.key), COPY_SOURCE)
        .to_string();
    if let Some(version) = &source.version {
        from.push_str("?versionId=");
        from.extend(utf8_percent_encode(&version.0, COPY_SOURCE));
    }
    let full = store.full(key);
    let lock = lock_until.and_then(|until| Some((store.lock_mode.clone()?, until)));
    // A copy of 5 GiB may take its time before the answer begins.
    let patience = timeout(store, source.size);
    let call = || {
        let mut copy = store
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
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer());
        if let Some((mode, until)) = &lock {
            copy = copy
                .object_lock_mode(mode.clone())
                .object_lock_retain_until_date(date(*until));
        }
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
        Err(kind @ (StoreErrorKind::Denied { .. } | StoreErrorKind::Unsupported { .. })) => {
            // A longer lock refuses to become shorter, and serves.
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
