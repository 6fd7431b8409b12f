//! A bucket's configuration, as far as a vault depends on it.
//!
//! Each setting is [`Asked`]: servers differ in the settings that they have, and an identity may not be allowed to read all
//! of them. None of that is an error; [`super::lint`] judges it.

use serde_json::Value;

use crate::format::LockMode;

/// The answer to the call for one setting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Asked<T> {
    /// This is what is set.
    Known(T),
    /// Nothing is set.
    #[default]
    Absent,
    /// This identity may not read it; what the server said.
    Refused(String),
    /// The server has no such setting.
    NotOffered,
}

impl<T> Asked<T> {
    /// The value, where it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Refused(_) | Self::NotOffered => None,
        }
    }
}

/// A bucket's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BucketState {
    /// Whether object versions are kept; absent where that was never switched on.
    pub versioning: Asked<Versioning>,
    /// Object Lock; absent where the bucket has none.
    pub object_lock: Asked<ObjectLock>,
    /// The public access block, which overrides policies.
    pub public_access: Asked<PublicAccess>,
    /// Who owns uploads of others, as the server spells it: `BucketOwnerEnforced` switches ACLs off.
    pub ownership: Asked<String>,
    /// The default encryption.
    pub encryption: Asked<Encryption>,
    /// What the server does to objects by itself.
    pub lifecycle: Asked<Vec<LifecycleRule>>,
    /// Where the server copies objects to.
    pub replication: Asked<Vec<ReplicationRule>>,
    /// The bucket policy.
    pub policy: Asked<Value>,
    /// The region, as the server spells it.
    pub location: Asked<String>,
}

/// Whether a bucket keeps object versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It does.
    Enabled,
    /// It did once: a put now replaces the object version `null`.
    Suspended,
}

/// Object Lock of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// The lock of objects that are put without one.
    pub default: Option<DefaultRetention>,
}

/// The lock of objects that are put without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// Its mode.
    pub mode: LockMode,
    /// How long from the put on, days; a year counts 365.
    pub days: u32,
    /// Whether each such object is held until it is released; the end of its lock is postponed until then.
    pub event_hold: bool,
}

/// A bucket's public access block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches, as the service has them"
)]
pub struct PublicAccess {
    /// New public ACLs are refused.
    pub block_acls: bool,
    /// Public ACLs count for nothing.
    pub ignore_acls: bool,
    /// New public policies are refused.
    pub block_policy: bool,
    /// A public policy lets only the account's own identities in.
    pub restrict: bool,
}

impl PublicAccess {
    /// All public access is blocked.
    pub const BLOCKED: Self = Self {
        block_acls: true,
        ignore_acls: true,
        block_policy: true,
        restrict: true,
    };
}

/// A default encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// As the server spells it: `AES256`, `aws:kms`.
    pub algorithm: String,
    /// The key, where it is one of the owner's.
    pub key: Option<String>,
}

/// One rule of what the server does to objects by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a rule"
)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// The prefix of the keys that it applies to.
    pub prefix: String,
    /// Whether it applies only to some of those, by tag or size.
    pub narrowed: bool,
    /// It puts delete markers on objects.
    pub expires: bool,
    /// It deletes noncurrent object versions.
    pub expires_noncurrent: bool,
    /// The storage classes that it moves objects into.
    pub transitions: Vec<String>,
    /// After how many days it drops unfinished uploads.
    pub aborts_uploads_after: Option<u32>,
}

/// One rule of where the server copies objects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRule {
    /// Its name.
    pub id: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// The bucket that the copies go to.
    pub destination: String,
    /// Whether delete markers go along.
    pub delete_markers: bool,
}
