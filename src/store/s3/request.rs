//! What requests have in common: conditions, locks, the source of a copy, and how long an answer may take.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ObjectLockMode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::S3Store;
use crate::ids::{Digest, ETag, ObjectVersion, Timestamp};
use crate::store::StoreErrorKind;

/// The most that one PUT or one copy may carry ("Amazon S3 multipart upload limits", S3 User Guide).
pub(super) const LARGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;
/// How fast a body may be sent at the slowest, bytes a second; below, the call counts as lost.
const SLOWEST: u64 = 256 * 1024;
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
    pub(super) fn if_none_match(&self) -> Option<String> {
        matches!(self, Self::Absent).then(|| "*".to_owned())
    }

    pub(super) fn if_match(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Seen(etag) => Some(etag.0.clone()),
        }
    }

    /// What it means that the condition was not met.
    pub(super) fn broken(&self) -> StoreErrorKind {
        match self {
            Self::Absent => StoreErrorKind::AlreadyExists,
            Self::Seen(_) => StoreErrorKind::Changed,
        }
    }

    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::Absent => "create",
            Self::Seen(_) => "replace",
        }
    }
}

/// The SDK counts the time to an answer from the first byte sent.
pub(super) fn timeout(store: &S3Store, size: u64) -> Option<TimeoutConfig> {
    let sending = Duration::from_secs(size / SLOWEST);
    (sending > Duration::from_secs(10)).then(|| {
        TimeoutConfig::builder()
            .read_timeout(store.client.patience() + sending)
            .build()
    })
}

pub(super) fn base64(digest: Digest) -> String {
    STANDARD.encode(digest.as_bytes())
}

/// The headers of a lock, where one is wanted and the store has a mode for it.
pub(super) fn lock(
    store: &S3Store,
    until: Option<Timestamp>,
) -> (Option<ObjectLockMode>, Option<DateTime>) {
    match (&store.lock_mode, until) {
        (Some(mode), Some(until)) => (Some(mode.clone()), Some(date(until))),
        (None, _) | (_, None) => (None, None),
    }
}

pub(crate) fn date(time: Timestamp) -> DateTime {
    // A lock is to the second; a fraction is rounded up, never cut off.
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    DateTime::from_secs(seconds)
}

pub(super) fn too_large(size: u64) -> StoreErrorKind {
    StoreErrorKind::TooLarge {
        size,
        limit: LARGEST_PUT,
    }
}

/// The header that says what is copied.
pub(crate) fn copy_source(bucket: &str, key: &str, version: Option<&ObjectVersion>) -> String {
    let mut source = utf8_percent_encode(&format!("{bucket}/{key}"), COPY_SOURCE).to_string();
    if let Some(version) = version {
        source.push_str("?versionId=");
        source.extend(utf8_percent_encode(&version.0, COPY_SOURCE));
    }
    source
}
