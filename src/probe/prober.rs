//! Calls that are made to see what becomes of them, on objects that exist for nothing else. Refusals are kept.
//!
//! [`crate::wall`] decides what may be tried and what an answer means. A call is repeated only until it is answered.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    AnnotationDirective, ObjectCannedAcl, ObjectLockEventHold, ObjectLockLegalHoldStatus,
    ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, StorageClass,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::format::LockMode;
use crate::ids::{ObjectVersion, Timestamp};
use crate::store::s3::S3Store;
use crate::store::s3::ask::{SdkCall, ask, clip};
use crate::store::s3::client::S3Client;
use crate::store::s3::request::{copy_source, date, id};
use crate::store::{StoreError, StoreErrorKind};
use crate::wall::lint::spelled;
use crate::wall::state::Asked;

/// Sends a request about a key in this bucket until it is answered, and takes what is wanted of the answer.
macro_rules! send {
    ($prober:expr, $key:expr, $request:expr, $take:expr) => {{
        let request = $request.bucket(&$prober.bucket);
        let answer = $prober.ask($key, || request.clone().send()).await;
        answer.map(|answer| answer.map($take))
    }};
}

/// A request for an operation on an object version.
macro_rules! request {
    ($prober:expr, $operation:ident, $target:expr) => {
        $prober
            .client
            .s3()
            .$operation()
            .key($target.key)
            .set_version_id(id($target.version))
    };
}

mod bucket;
mod objects;

pub(super) use self::bucket::{Config, Settings};
pub(super) use crate::store::s3::ask::Refusal;

/// Makes calls in one bucket under one identity.
#[derive(Debug, Clone)]
pub struct Prober {
    pub(super) client: S3Client,
    pub(super) bucket: String,
}

/// What came of a call.
pub(super) type Probed<T> = Result<T, Refusal>;

/// What came of a call; the error is that no answer came.
type Answer<T> = Result<Probed<T>, StoreError>;

/// The object version that a call is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// Its whole key.
    pub(super) key: &'a str,
    /// Its version; `None` is the newest.
    pub(super) version: Option<&'a ObjectVersion>,
}

impl<'a> Target<'a> {
    /// The newest version of a key.
    pub(super) fn newest(key: &'a str) -> Self {
        Self { key, version: None }
    }
}

/// A lock to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    /// Its mode.
    pub(super) mode: LockMode,
    /// Its end.
    pub(super) until: Timestamp,
}

/// The terms of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Put {
    /// The lock to ask for.
    pub(super) lock: Option<Lock>,
    /// Whether the key may be taken.
    pub(super) over_others: bool,
    /// What else the put asks for.
    pub(super) also: Option<Extra>,
}

/// What else a put can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// A legal hold.
    Hold,
    /// An event hold.
    EventHold,
    /// Another storage class.
    Class,
    /// An ACL.
    Acl,
    /// Tags.
    Tags,
    /// To be encrypted with a key that only the caller has.
    CustomerKey,
    /// To be taken for a replica, as `MinIO` replicates.
    Replica,
}

/// An object as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// Its tag.
    pub(super) etag: String,
    /// Its lock.
    pub(super) lock: Option<Lock>,
    /// Whether it is under a legal hold.
    pub(super) held: bool,
}

impl S3Store {
    /// Makes calls in this store's bucket, with this store's identity.
    pub fn prober(&self) -> Prober {
        Prober {
            client: self.client().clone(),
            bucket: self.bucket().to_owned(),
        }
    }
}

impl Prober {
    /// Whether the server is another one than AWS.
    pub fn has_own_endpoint(&self) -> bool {
        self.client.has_own_endpoint()
    }

    /// Whether calls go by TLS.
    pub fn has_tls(&self) -> bool {
        !self.client.service().starts_with("http://")
    }

    fn s3(&self) -> &Client {
        self.client.s3()
    }

    pub(super) fn unanswered(&self, key: &str, kind: StoreErrorKind) -> StoreError {
        StoreError {
            action: "probe",
            uri: format!("s3://{}/{key}", self.bucket),
            kind,
        }
    }

    /// Makes a call about a key until it is answered, whatever the answer is.
    pub(super) async fn ask<'a, F: SdkCall + 'a>(
        &'a self,
        key: &str,
        call: impl FnMut() -> F + Send + 'a,
    ) -> Answer<F::Answer>
    where
        F::Answer: Send,
    {
        let answer = ask(&self.client, call).await;
        answer.map_err(|kind| self.unanswered(key, kind))
    }

    /// Puts an object where none is, with a lock or without.
    pub(super) async fn put(
        &self,
        key: &str,
        body: &[u8],
        lock: Option<Lock>,
    ) -> Answer<Option<ObjectVersion>> {
        let put = Put {
            lock,
            ..Put::default()
        };
        self.put_with(key, body, &put).await
    }

    /// Puts an object on the terms of `put`.
    pub(super) async fn put_with(
        &self,
        key: &str,
        body: &[u8],
        put: &Put,
    ) -> Answer<Option<ObjectVersion>> {
        let (mode, until) = headers(put.lock);
        let put = *put;
        let call = || {
            let call = self
                .s3()
                .put_object()
                .bucket(&self.bucket)
                .key(key)
                .body(ByteStream::from(body.to_vec()))
                .set_if_none_match((!put.over_others).then(|| "*".to_owned()))
                .set_object_lock_mode(mode.clone())
                .set_object_lock_retain_until_date(until);
            match put.also {
                None | Some(Extra::Replica) => call,
                Some(Extra::Hold) => {
                    call.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On)
                }
                Some(Extra::EventHold) => call.object_lock_event_hold(ObjectLockEventHold::On),
                // A class that every server has, and that no vault is written in.
                Some(Extra::Class) => call.storage_class(StorageClass::ReducedRedundancy),
                // It gives nothing to anybody.
                Some(Extra::Acl) => call.acl(ObjectCannedAcl::Private),
                Some(Extra::Tags) => call.tagging("probe=1"),
                Some(Extra::CustomerKey) => call
                    .sse_customer_algorithm("AES256")
                    .sse_customer_key(STANDARD.encode([7; 32]))
                    .sse_customer_key_md5("y4HAEFCYWuvAXWFTtA1Qpg=="),
            }
            .customize()
            .mutate_request(move |request| {
                if put.also == Some(Extra::Replica) {
                    request
                        .headers_mut()
                        .insert("x-amz-replication-status", "REPLICA");
                }
            })
            .send()
        };
        let answer = self.ask(key, call).await?;
        Ok(answer.map(|put| put.version_id.map(ObjectVersion)))
    }

    /// Lets the server copy an object version under another key, with a lock.
    pub(super) async fn copy(
        &self,
        key: &str,
        from: Target<'_>,
        lock: Option<Lock>,
    ) -> Answer<Option<ObjectVersion>> {
        let (mode, until) = headers(lock);
        let source = copy_source(&self.bucket, from.key, from.version);
        let request = self.s3().copy_object().key(key).copy_source(source);
        let request = request
            .annotation_directive(AnnotationDirective::Exclude)
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until);
        send!(self, key, request, |copied| copied
            .version_id
            .map(ObjectVersion))
    }

    /// Looks at an object version.
    pub(super) async fn look(&self, target: Target<'_>) -> Answer<Look> {
        let request = request!(self, head_object, target);
        send!(self, target.key, request, |head| {
            Look {
                etag: head.e_tag.unwrap_or_default(),
                lock: found(
                    head.object_lock_mode.as_ref(),
                    head.object_lock_retain_until_date,
                ),
                held: head.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::On),
            }
        })
    }

    /// Sets the lock of an object version, or with none asks for it to be removed.
    pub(super) async fn set_lock(
        &self,
        target: Target<'_>,
        lock: Option<Lock>,
        bypass: bool,
    ) -> Answer<()> {
        let (mode, until) = headers(lock);
        let mode = mode.map(|mode| ObjectLockRetentionMode::from(mode.as_str()));
        let retention = ObjectLockRetention::builder()
            .set_mode(mode)
            .set_retain_until_date(until)
            .build();
        let request = request!(self, put_object_retention, target)
            .retention(retention)
            .set_bypass_governance_retention(bypass.then_some(true));
        send!(self, target.key, request, drop)
    }

    /// Deletes an object version; without one, puts a delete marker.
    pub(super) async fn delete(&self, target: Target<'_>, bypass: bool) -> Answer<()> {
        let request = request!(self, delete_object, target)
            .set_bypass_governance_retention(bypass.then_some(true));
        send!(self, target.key, request, drop)
    }
}

/// The headers of a lock.
fn headers(lock: Option<Lock>) -> (Option<ObjectLockMode>, Option<DateTime>) {
    match lock.filter(|lock| lock.mode != LockMode::None) {
        Some(Lock { mode, until }) => (Some(spelled(mode).into()), Some(date(until))),
        None => (None, None),
    }
}

fn found(mode: Option<&ObjectLockMode>, until: Option<DateTime>) -> Option<Lock> {
    let mode = mode_of(mode?.as_str());
    let until = Timestamp::from_second(until?.secs()).ok()?;
    Some(Lock { mode, until })
}

/// A setting of the bucket, from the answer to the call that asks for it.
pub(super) fn known<A, T>(answer: Probed<A>, read: impl FnOnce(A) -> Option<T>) -> Asked<T> {
    match answer {
        Ok(answer) => read(answer).map_or(Asked::Absent, Asked::Known),
        Err(refusal) if refusal.is_not_offered() => Asked::NotOffered,
        Err(refusal) if refusal.status == 404 => Asked::Absent,
        Err(refusal) => Asked::Refused(refusal.to_string()),
    }
}

/// A lock mode as servers spell it; `None` for an unknown one.
pub(super) fn mode_of(text: &str) -> LockMode {
    match text {
        "GOVERNANCE" => LockMode::Governance,
        "COMPLIANCE" => LockMode::Compliance,
        _ => LockMode::None,
    }
}
