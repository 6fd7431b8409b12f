//! Uploads in parts: what is larger than one PUT may be.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt as _;

use super::request::{Condition, base64, lock, timeout, too_large};
use super::{S3Store, answer};
use crate::ids::{Digest, ObjectKey, Timestamp};
use crate::store::part_size;
use crate::store::{Payload, PayloadData, StoreError, StoreErrorKind, Written};

/// Parts of one object on their way at a time, each in memory.
const PARTS_IN_FLIGHT: usize = 2;

/// Sends a payload above one PUT's limit in parts.
pub(super) async fn put_in_parts(
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
    let part_size = part_size(payload.size);
    let cut: BoxStream<'_, Result<Bytes, StoreError>> = match &payload.data {
        PayloadData::Bytes(bytes) => {
            let part = usize::try_from(part_size).unwrap_or(usize::MAX);
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
                let mut taken = (&mut file).take(part_size);
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
    let (mode, until) = lock(store, lock_until);
    let call = || {
        store
            .client
            .s3()
            .create_multipart_upload()
            .bucket(&*store.bucket)
            .key(full)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_object_lock_mode(mode.clone())
            .set_object_lock_retain_until_date(until)
            .set_storage_class(store.storage_class.clone())
            .set_request_payer(store.payer())
            .send()
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
