//! What S3 says of an object, made into our own words. A field that is missing is never guessed.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{Attributes, StoreErrorKind};

/// The id of an object in a bucket, or in a time of it, without versions.
pub(super) const NULL_VERSION: &str = "null";

/// The answer to a HEAD.
pub(super) fn head(key: &ObjectKey, head: &HeadObjectOutput) -> Result<Attributes, StoreErrorKind> {
    Ok(Attributes {
        key: key.clone(),
        size: size(head.content_length())?,
        last_modified: time(head.last_modified())?,
        etag: etag(head.e_tag())?,
        version: version(head.version_id()),
        sha256: sha256(head.checksum_sha256(), head.checksum_type()),
        locked_until: head
            .object_lock_retain_until_date()
            .and_then(|until| time(Some(until)).ok()),
    })
}

/// The headers of a GET; `size` is that of the whole object, also where only a part of it was asked for.
pub(super) fn get(
    key: &ObjectKey,
    get: &GetObjectOutput,
    size: u64,
) -> Result<Attributes, StoreErrorKind> {
    Ok(Attributes {
        key: key.clone(),
        size,
        last_modified: time(get.last_modified())?,
        etag: etag(get.e_tag())?,
        version: version(get.version_id()),
        sha256: sha256(get.checksum_sha256(), get.checksum_type()),
        locked_until: get
            .object_lock_retain_until_date()
            .and_then(|until| time(Some(until)).ok()),
    })
}

/// The size of the whole object, from the answer to a GET of all or a part of it.
pub(super) fn whole_size(get: &GetObjectOutput) -> Result<u64, StoreErrorKind> {
    match get.content_range() {
        // bytes 0-9/1234
        Some(range) => range
            .rsplit_once('/')
            .and_then(|(_, whole)| whole.parse().ok())
            .ok_or_else(|| missing("Content-Range")),
        None => size(get.content_length()),
    }
}

/// A size; a negative one is none.
pub(super) fn size(length: Option<i64>) -> Result<u64, StoreErrorKind> {
    length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| missing("the size"))
}

/// A time to the millisecond, where a listing knows that: AWS tells whole seconds, MinIO milliseconds.
pub(super) fn listed_time(time: Option<&DateTime>) -> Result<Timestamp, StoreErrorKind> {
    time.and_then(|time| {
        let nanoseconds = i32::try_from(time.subsec_nanos()).ok()?;
        Timestamp::new(time.secs(), nanoseconds).ok()
    })
    .ok_or_else(|| missing("the time of last change"))
}

/// A time to the second: the answer to a HEAD or a GET knows no more.
pub(super) fn time(time: Option<&DateTime>) -> Result<Timestamp, StoreErrorKind> {
    time.and_then(|time| Timestamp::new(time.secs(), 0).ok())
        .ok_or_else(|| missing("the time of last change"))
}

/// The tag, as the server writes it.
pub(super) fn etag(etag: Option<&str>) -> Result<ETag, StoreErrorKind> {
    etag.map(|etag| ETag(etag.to_owned()))
        .ok_or_else(|| missing("the ETag"))
}

/// The id of an object version; a bucket without versions has none.
pub(super) fn version(id: Option<&str>) -> Option<ObjectVersion> {
    id.filter(|id| !id.is_empty() && *id != NULL_VERSION)
        .map(|id| ObjectVersion(id.to_owned()))
}

/// The SHA-256 of the whole content. That of an upload in parts is a digest of digests, ends in `-N` where the type is
/// not said, and is none.
pub(super) fn sha256(text: Option<&str>, kind: Option<&ChecksumType>) -> Option<Digest> {
    if kind == Some(&ChecksumType::Composite) {
        return None;
    }
    let bytes: [u8; 32] = STANDARD.decode(text?).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

fn missing(what: &str) -> StoreErrorKind {
    StoreErrorKind::Unsupported {
        reason: format!("the server's answer lacks {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_digests_is_none_of_the_content() {
        let digest = Digest::of(b"x");
        let text = STANDARD.encode(digest.as_bytes());
        assert_eq!(sha256(Some(&text), None), Some(digest));
        assert_eq!(
            sha256(Some(&text), Some(&ChecksumType::FullObject)),
            Some(digest)
        );
        assert_eq!(sha256(Some(&text), Some(&ChecksumType::Composite)), None);
        assert_eq!(sha256(Some(&format!("{text}-2")), None), None);
        assert_eq!(sha256(Some("AAAA"), None), None);
        assert_eq!(sha256(None, None), None);
    }

    #[test]
    fn an_object_without_a_version_has_no_id() {
        assert_eq!(version(Some("null")), None);
        assert_eq!(version(None), None);
        assert_eq!(version(Some("v1")), Some(ObjectVersion("v1".to_owned())));
    }

    #[test]
    fn the_size_of_a_part_is_that_of_the_whole() {
        let part = GetObjectOutput::builder()
            .content_range("bytes 3-6/10")
            .content_length(4)
            .build();
        assert_eq!(whole_size(&part).unwrap(), 10);
        let odd = GetObjectOutput::builder()
            .content_range("bytes 3-6/*")
            .build();
        assert!(whole_size(&odd).is_err());
    }
}
