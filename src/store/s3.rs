//! A store in a bucket of S3, or of a server that speaks its protocol.
//!
//! All of the SDK is behind this file: its clients, its errors, its retries.

use crate::format::LockMode;
use crate::store::{StoreError, StoreErrorKind};

/// How to reach a bucket. What is not said comes from the SDK's own environment variables and profile files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// A profile of the SDK's configuration files.
    pub profile: Option<String>,
    /// A role to assume, by ARN.
    pub role: Option<String>,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// The endpoint of another server than AWS.
    pub endpoint: Option<String>,
    /// Whether buckets are named in the path; by itself for addresses and localhost.
    pub path_style: Option<bool>,
    /// Whether the caller pays for requests (`x-amz-request-payer`).
    pub requester_pays: bool,
    /// The storage class of new objects; the bucket's own where it is not said.
    pub storage_class: Option<String>,
}

/// A connection to one service under one identity. Clones are cheap and share connections and pace.
#[derive(Debug, Clone)]
pub struct S3Client {}

/// A bucket, or what is below a prefix of it.
#[derive(Debug, Clone)]
pub struct S3Store {}

impl S3Client {
    /// Finds out credentials and region and makes a client; no call to S3 yet.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] for settings that cannot be meant.
    pub async fn connect(_settings: &S3Settings) -> Result<Self, StoreError> {
        Err(not_yet())
    }
}

impl S3Store {
    /// The store at `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unsupported`] for another URI.
    pub fn open(_client: &S3Client, _uri: &str) -> Result<Self, StoreError> {
        Err(not_yet())
    }

    /// The same place, where new objects get a storage class.
    #[must_use]
    pub fn with_storage_class(self, _class: &str) -> Self {
        self
    }

    /// The same place, where locks are of a mode; without it no lock is ever sent.
    #[must_use]
    pub fn with_lock_mode(self, _mode: LockMode) -> Self {
        self
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        ""
    }

    /// What the keys of the bucket begin with: empty, or ending in a slash.
    pub fn prefix(&self) -> &str {
        ""
    }

    /// Creates the bucket with versioning and Object Lock; `false` when it is there already.
    ///
    /// # Errors
    /// What S3 says.
    pub async fn create_bucket(&self) -> Result<bool, StoreError> {
        Err(not_yet())
    }
}

fn not_yet() -> StoreError {
    StoreError {
        action: "open",
        uri: "s3://".to_owned(),
        kind: StoreErrorKind::Unsupported {
            reason: "S3 comes with the next commit".to_owned(),
        },
    }
}
