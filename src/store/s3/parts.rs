//! Uploads in parts, for objects larger than one PUT may be.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt as _;

use super::request::{Condition, base64, lock, object_request, too_large, with_time_for};
use super::{S3Store, answer};
use crate::ids::{Digest, ObjectKey, Timestamp};
use crate::store::{Payload, PayloadData, StoreError, StoreErrorKind, Written, part_size};

/// Parts of one object in flight; each is in memory.
const PARTS_IN_FLIGHT: usize = 2;

/// Puts a payload larger than one PUT may be.
pub(super) async fn put_in_parts(
    store: &S3Store,
    key: &ObjectKey,
    payload: &Payload,
    lock_until: Option<Timestamp>,
    condition: &Condition<'_>,
) -> Result<Written, StoreError> {
    let failed = |error: std::io::Error| {
        let detail = format!("temporary copy: {error}");
        let kind = StoreErrorKind::Io { detail };
        store.failed(condition.action(), key.as_str(), kind)
    };
    let part_size = part_size(payload.size);
    let parts: BoxStream<'_, Result<Bytes, StoreError>> = match &payload.data {
        PayloadData::Bytes(bytes) => {
            let parts = bytes.chunks(usize::try_from(part_size).unwrap_or(usize::MAX));
            stream::iter(parts.map(|part| Ok(bytes.slice_ref(part)))).boxed()
        }
        PayloadData::File(path) => {
            let file = tokio::fs::File::open(path.as_ref()).await;
            stream::try_unfold(file.map_err(failed)?, move |mut file| async move {
                let mut part = BytesMut::new();
                let mut taken = (&mut file).take(part_size);
                while taken.read_buf(&mut part).await.map_err(failed)? > 0 {}
                Ok((!part.is_empty()).then(|| (part.freeze(), file)))
            })
            .boxed()
        }
    };
    upload(store, key, parts, lock_until, condition).await
}

/// Creates an object from parts. A failed upload is left to the bucket's lifecycle rule: no role that writes may abort
/// one.
pub(super) async fn upload(
    store: &S3Store,
    key: &ObjectKey,
    parts: BoxStream<'_, Result<Bytes, StoreError>>,
    lock_until: Option<Timestamp>,
    condition: &Condition<'_>,
) -> Result<Written, StoreError> {
    let failed = |kind| store.failed(condition.action(), key.as_str(), kind);
    let id = &begin(store, key, lock_until).await.map_err(failed)?;
    let mut sent: Vec<CompletedPart> = parts
        .enumerate()
        .map(|(index, part)| async move {
            let number = i32::try_from(index + 1).map_err(|_| failed(too_large(u64::MAX)))?;
            let sent = send(store, key, id, number, part?).await;
            sent.map_err(failed)
        })
        .buffer_unordered(PARTS_IN_FLIGHT)
        .try_collect()
        .await?;
    sent.sort_by_key(CompletedPart::part_number);
    let checksum = composite(&sent);
    let request = object_request!(store, complete_multipart_upload, key)
        .upload_id(id)
        .multipart_upload(
            CompletedMultipartUpload::builder()
                .set_parts(Some(sent))
                .build(),
        )
        .set_if_none_match(condition.if_none_match())
        .set_if_match(condition.if_match());
    let attempted = store.client.call_noting(|| request.clone().send()).await;
    match attempted.result {
        Ok(done) => answer::written(done.version_id(), done.e_tag()).map_err(failed),
        Err(StoreErrorKind::Changed) if !attempted.perhaps_done => Err(failed(condition.broken())),
        Err(StoreErrorKind::Changed | StoreErrorKind::NotFound) if attempted.perhaps_done => {
            let ours = settled(store, key, &checksum).await?;
            ours.ok_or_else(|| failed(condition.broken()))
        }
        Err(kind) => Err(failed(kind)),
    }
}

/// Begins an upload, and returns its id.
async fn begin(
    store: &S3Store,
    key: &ObjectKey,
    lock_until: Option<Timestamp>,
) -> Result<String, StoreErrorKind> {
    let (mode, until) = lock(store, lock_until);
    let request = object_request!(store, create_multipart_upload, key)
        .checksum_algorithm(ChecksumAlgorithm::Sha256)
        .set_object_lock_mode(mode)
        .set_object_lock_retain_until_date(until)
        .set_storage_class(store.storage_class.clone());
    let created = store.client.call(|| request.clone().send()).await?;
    created
        .upload_id
        .ok_or_else(|| StoreErrorKind::Unsupported {
            reason: "the server began an upload and did not name it".to_owned(),
        })
}

async fn send(
    store: &S3Store,
    key: &ObjectKey,
    upload: &str,
    number: i32,
    part: Bytes,
) -> Result<CompletedPart, StoreErrorKind> {
    let checksum = base64(Digest::of(&part));
    let call = || {
        let mut send = object_request!(store, upload_part, key)
            .upload_id(upload)
            .part_number(number)
            .checksum_sha256(&checksum)
            .body(ByteStream::from(part.clone()))
            .customize()
            .disable_payload_signing();
        if let Some(config) = with_time_for(store, part.len() as u64) {
            send = send.config_override(config);
        }
        send.send()
    };
    let sent = store.client.call(call).await?;
    Ok(CompletedPart::builder()
        .part_number(number)
        .e_tag(answer::etag(sent.e_tag())?.0)
        .checksum_sha256(checksum)
        .build())
}

/// Decides after a lost answer whether the object that is there is ours: it has the checksum of our parts.
async fn settled(
    store: &S3Store,
    key: &ObjectKey,
    checksum: &str,
) -> Result<Option<Written>, StoreError> {
    let failed = |kind| store.failed("look at", key.as_str(), kind);
    let request = object_request!(store, head_object, key).checksum_mode(ChecksumMode::Enabled);
    let there = match store.client.call(|| request.clone().send()).await {
        Ok(there) => there,
        Err(StoreErrorKind::NotFound) => return Ok(None),
        Err(kind) => return Err(failed(kind)),
    };
    let written = answer::written(there.version_id(), there.e_tag()).map_err(failed)?;
    Ok((there.checksum_sha256() == Some(checksum)).then_some(written))
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
