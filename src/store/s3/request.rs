//! What requests have in common: conditions, locks, the source of a copy, and how long an answer may take.

use std::time::Duration;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ObjectLockMode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::S3Store;
use crate::ids::{Digest, ETag, ObjectVersion, Timestamp};
use crate::store::StoreErrorKind;

/// A request for an operation on one key of a store's bucket.
macro_rules! object_request {
    ($store:expr, $operation:ident, $key:expr) => {
        $store
            .client
            .s3()
            .$operation()
            .bucket(&*$store.bucket)
            .key($store.full($key))
            .set_request_payer($store.payer())
    };
}
pub(super) use object_request;

/// The most that one PUT or one copy may carry ("Amazon S3 multipart upload limits", S3 User Guide).
pub(super) const LARGEST_PUT: u64 = 5 * 1024 * 1024 * 1024;
/// The slowest rate at which a body may be sent, bytes a second; a slower call counts as lost.
const SLOWEST: u64 = 256 * 1024;
/// Characters to encode in the header that names the source of a copy: all but the unreserved ones and the slash.
const COPY_SOURCE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The precondition of a put.
#[derive(Debug)]
pub(super) enum Condition<'a> {
    /// The key has no object.
    Absent,
    /// The object still has this `ETag`.
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

    /// The situation when the precondition failed.
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

/// A configuration that gives a body of `size` bytes the time to be sent or copied, where that takes long. The SDK counts
/// the time to an answer from the first byte sent.
pub(super) fn with_time_for(store: &S3Store, size: u64) -> Option<Builder> {
    let sending = Duration::from_secs(size / SLOWEST);
    (sending > Duration::from_secs(10)).then(|| {
        let timeout = TimeoutConfig::builder().read_timeout(store.client.patience() + sending);
        Builder::new().timeout_config(timeout.build())
    })
}

pub(super) fn base64(digest: Digest) -> String {
    STANDARD.encode(digest.as_bytes())
}

/// The headers of a lock, where one is wanted and the store has a lock mode.
pub(super) fn lock(
    store: &S3Store,
    until: Option<Timestamp>,
) -> (Option<ObjectLockMode>, Option<DateTime>) {
    match (&store.lock_mode, until) {
        (Some(mode), Some(until)) => (Some(mode.clone()), Some(date(until))),
        (None, _) | (_, None) => (None, None),
    }
}

/// The end of a lock. S3 keeps whole seconds: a fraction is rounded up, so that no lock is shorter than asked for.
pub(crate) fn date(time: Timestamp) -> DateTime {
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    DateTime::from_secs(seconds)
}

/// An object version as a request names it; `None` is the newest.
pub(crate) fn id(version: Option<&ObjectVersion>) -> Option<String> {
    version.map(|version| version.0.clone())
}

pub(super) fn too_large(size: u64) -> StoreErrorKind {
    StoreErrorKind::TooLarge {
        size,
        limit: LARGEST_PUT,
    }
}

/// The header that names the source of a copy.
pub(crate) fn copy_source(bucket: &str, key: &str, version: Option<&ObjectVersion>) -> String {
    let mut source = utf8_percent_encode(&format!("{bucket}/{key}"), COPY_SOURCE).to_string();
    if let Some(version) = version {
        source.push_str("?versionId=");
        source.extend(utf8_percent_encode(&version.0, COPY_SOURCE));
    }
    source
}
