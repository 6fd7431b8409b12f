//! Reads the attributes of objects from S3's answers. A missing field is an error, never guessed.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ChecksumType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ids::{Digest, ETag, ObjectKey, ObjectVersion, Timestamp};
use crate::store::{Attributes, StoreErrorKind, Written};

/// The version id of an object that was put while the bucket kept no versions.
pub(super) const NULL_VERSION: &str = "null";

/// The attributes in the answer to a HEAD or a GET, which have the same fields; `$size` is that of the whole object.
macro_rules! attributes {
    ($key:expr, $answer:expr, $size:expr) => {
        Ok(Attributes {
            key: $key.clone(),
            size: $size,
            last_modified: time($answer.last_modified())?,
            etag: etag($answer.e_tag())?,
            version: version($answer.version_id()),
            sha256: sha256($answer.checksum_sha256(), $answer.checksum_type()),
            locked_until: $answer
                .object_lock_retain_until_date()
                .and_then(|until| time(Some(until)).ok()),
            mode: None,
        })
    };
}

/// The attributes in the answer to a HEAD.
pub(super) fn head(key: &ObjectKey, head: &HeadObjectOutput) -> Result<Attributes, StoreErrorKind> {
    attributes!(key, head, size(head.content_length())?)
}

/// The attributes in the answer to a GET of all or a part of an object.
pub(super) fn get(key: &ObjectKey, get: &GetObjectOutput) -> Result<Attributes, StoreErrorKind> {
    attributes!(key, get, whole_size(get)?)
}

/// An object of a listing, whose page names no digest and no lock.
pub(super) fn listed(
    key: ObjectKey,
    length: Option<i64>,
    last_modified: Option<&DateTime>,
    tag: Option<&str>,
    version: Option<ObjectVersion>,
) -> Result<Attributes, StoreErrorKind> {
    Ok(Attributes {
        key,
        size: size(length)?,
        last_modified: listed_time(last_modified)?,
        etag: etag(tag)?,
        version,
        sha256: None,
        locked_until: None,
        mode: None,
    })
}

/// What a server said of an object that it stored.
pub(super) fn written(id: Option<&str>, tag: Option<&str>) -> Result<Written, StoreErrorKind> {
    Ok(Written {
        version: version(id),
        etag: etag(tag)?,
    })
}

/// The size of the whole object, from the answer to a GET of all or a part of it.
fn whole_size(get: &GetObjectOutput) -> Result<u64, StoreErrorKind> {
    match get.content_range() {
        // bytes 0-9/1234
        Some(range) => range
            .rsplit_once('/')
            .and_then(|(_, whole)| whole.parse().ok())
            .ok_or_else(|| missing("Content-Range")),
        None => size(get.content_length()),
    }
}

fn size(length: Option<i64>) -> Result<u64, StoreErrorKind> {
    length
        .and_then(|length| u64::try_from(length).ok())
        .ok_or_else(|| missing("the size"))
}

/// A time in a listing: AWS has whole seconds, MinIO milliseconds.
fn listed_time(time: Option<&DateTime>) -> Result<Timestamp, StoreErrorKind> {
    time.and_then(|time| {
        let nanoseconds = i32::try_from(time.subsec_nanos()).ok()?;
        Timestamp::new(time.secs(), nanoseconds).ok()
    })
    .ok_or_else(|| missing("the time of last change"))
}

/// A time in an HTTP header, which has whole seconds.
pub(super) fn time(time: Option<&DateTime>) -> Result<Timestamp, StoreErrorKind> {
    time.and_then(|time| Timestamp::new(time.secs(), 0).ok())
        .ok_or_else(|| missing("the time of last change"))
}

pub(super) fn etag(etag: Option<&str>) -> Result<ETag, StoreErrorKind> {
    etag.map(|etag| ETag(etag.to_owned()))
        .ok_or_else(|| missing("the ETag"))
}

/// The id of an object version; a bucket without versions has none.
pub(super) fn version(id: Option<&str>) -> Option<ObjectVersion> {
    id.filter(|id| !id.is_empty() && *id != NULL_VERSION)
        .map(|id| ObjectVersion(id.to_owned()))
}

/// The SHA-256 of the whole content. That of an upload in parts is a digest of digests, which does not count; where the
/// type is missing, it ends in `-N`.
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
    fn a_digest_of_digests_is_not_one_of_the_content() {
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
