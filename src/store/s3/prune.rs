//! Deleting object versions, a thousand a call, and legal holds.
//!
//! Every deletion names a version, `null` in a bucket without versions: a call without one would put a delete marker on
//! top. Servers word a refusal differently (AWS: `AccessDenied`, others: `InvalidRequest`), so each object version that
//! was not deleted is looked at. One without a lock and without a hold is deleted once more by a call of its own: some
//! servers want `s3:DeleteObject` for a batch, also where it names versions, and no role has that.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_s3::types::{
    Delete, ObjectIdentifier, ObjectLockLegalHold, ObjectLockLegalHoldStatus as Status,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::request::{id, object_request};
use super::{S3Store, answer};
use crate::ids::{ObjectKey, ObjectVersion, Timestamp};
use crate::store::prune::{DeleteTarget, Deletion, HoldStore, PruneStore};
use crate::store::{ReadStore as _, StoreError, StoreErrorKind};

/// The most that one `DeleteObjects` takes ("`DeleteObjects`", Amazon S3 API Reference).
const BATCH: usize = 1000;

/// Refused deletions that are looked into at a time.
const LOOKS_AHEAD: usize = 16;

#[async_trait]
impl HoldStore for S3Store {
    async fn set_hold(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        held: bool,
    ) -> Result<(), StoreError> {
        let failed = |kind| self.failed("hold", key.as_str(), kind);
        let status = if held { Status::On } else { Status::Off };
        let request = object_request!(self, put_object_legal_hold, key)
            .set_version_id(id(version))
            .legal_hold(ObjectLockLegalHold::builder().status(status).build());
        let call = self.client.call(|| request.clone().send());
        call.await.map_err(failed)?;
        // Not every server that answers with success has put the hold on.
        if self.is_held(key, version).await? == held {
            return Ok(());
        }
        let reason = "the server took the legal hold and does not show it".to_owned();
        Err(failed(StoreErrorKind::Unsupported { reason }))
    }
}

#[async_trait]
impl PruneStore for S3Store {
    async fn delete_versions(&self, objects: &[DeleteTarget]) -> Result<Vec<Deletion>, StoreError> {
        let mut outcomes = Vec::with_capacity(objects.len());
        for batch in objects.chunks(BATCH) {
            let refused = &delete_batch(self, batch).await?;
            let batch: Vec<Deletion> = stream::iter(batch.iter().cloned())
                .map(|(key, version)| async move {
                    match refused.detail(self.full(&key), version_id(version.as_ref())) {
                        None => Ok(Deletion::Deleted),
                        Some(detail) => what_is_left(self, &key, version.as_ref(), detail).await,
                    }
                })
                .buffered(LOOKS_AHEAD)
                .try_collect()
                .await?;
            outcomes.extend(batch);
        }
        Ok(outcomes)
    }
}

/// The id to delete by; an object without versions has `null`.
fn version_id(version: Option<&ObjectVersion>) -> String {
    version
        .map_or(answer::NULL_VERSION, |version| &version.0)
        .to_owned()
}

/// What the server said of the object versions that it did not delete, by full key and version id. An entry without an id
/// is about every version of its key.
#[derive(Debug)]
struct Refused(HashMap<(String, Option<String>), String>);

impl Refused {
    fn by(errors: &[aws_sdk_s3::types::Error]) -> Self {
        let refused = errors.iter().map(|error| {
            let key = error.key().unwrap_or_default().to_owned();
            let version = error.version_id().filter(|id| !id.is_empty());
            let code = error.code().unwrap_or("refused without a reason");
            let detail = match error.message() {
                Some(message) => format!("{code}: {}", message.trim_end_matches('.')),
                None => code.to_owned(),
            };
            ((key, version.map(str::to_owned)), detail)
        });
        Self(refused.collect())
    }

    fn detail(&self, key: String, version: String) -> Option<String> {
        let of_version = (key, Some(version));
        let detail = self.0.get(&of_version);
        let of_key = || self.0.get(&(of_version.0.clone(), None));
        detail.or_else(of_key).cloned()
    }
}

async fn delete_batch(store: &S3Store, batch: &[DeleteTarget]) -> Result<Refused, StoreError> {
    let failed = |kind| match batch.first() {
        Some((key, _)) => store.failed("delete", key.as_str(), kind),
        None => store.failed("delete", "", kind),
    };
    let unsent = |error: aws_sdk_s3::error::BuildError| {
        let reason = error.to_string();
        failed(StoreErrorKind::Unsupported { reason })
    };
    let mut named = Vec::with_capacity(batch.len());
    for (key, version) in batch {
        let object = ObjectIdentifier::builder()
            .key(store.full(key))
            .version_id(version_id(version.as_ref()));
        named.push(object.build().map_err(unsent)?);
    }
    let delete = Delete::builder().set_objects(Some(named)).quiet(true);
    let request = store
        .client
        .s3()
        .delete_objects()
        .bucket(&*store.bucket)
        .delete(delete.build().map_err(unsent)?)
        .set_request_payer(store.payer());
    match store.client.call(|| request.clone().send()).await {
        Ok(answer) => Ok(Refused::by(answer.errors())),
        // The whole batch, for a right that every deletion in it needs.
        Err(kind @ StoreErrorKind::Denied { .. }) => {
            let all = batch.iter().map(|(key, version)| {
                let named = (store.full(key), Some(version_id(version.as_ref())));
                (named, kind.to_string())
            });
            Ok(Refused(all.collect()))
        }
        Err(kind) => Err(failed(kind)),
    }
}

/// Finds out what became of an object version that was not deleted.
async fn what_is_left(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    detail: String,
) -> Result<Deletion, StoreError> {
    let request = object_request!(store, head_object, key).version_id(version_id(version));
    let until = match store.client.call(|| request.clone().send()).await {
        Ok(head) if head.object_lock_legal_hold_status() == Some(&Status::On) => {
            return Ok(Deletion::Held);
        }
        Ok(head) => {
            let until = head.object_lock_retain_until_date();
            until.and_then(|until| answer::time(Some(until)).ok())
        }
        Err(StoreErrorKind::NotFound) => return Ok(Deletion::Deleted),
        // The pruner may read the locks of objects that it may not read. An identity that may read neither still learns
        // that the deletion was refused.
        Err(StoreErrorKind::Denied { .. }) => {
            if store.is_held(key, version).await.unwrap_or(false) {
                return Ok(Deletion::Held);
            }
            let until = retained_until(store, key, version).await;
            until.ok().flatten()
        }
        Err(kind) => return Err(store.failed("look at", key.as_str(), kind)),
    };
    let now = store.client.server_time();
    if until.is_some() && now.is_none_or(|now| until > Some(now)) {
        return Ok(Deletion::Locked { until });
    }
    let alone = object_request!(store, delete_object, key).version_id(version_id(version));
    match store.client.call(|| alone.clone().send()).await {
        Ok(_) | Err(StoreErrorKind::NotFound) => Ok(Deletion::Deleted),
        Err(StoreErrorKind::Denied { .. } | StoreErrorKind::Unsupported { .. }) => {
            Ok(Deletion::Refused { detail })
        }
        Err(kind) => Err(store.failed("delete", key.as_str(), kind)),
    }
}

/// Whether a legal hold is on an object version, by `s3:GetObjectLegalHold` alone.
pub(super) async fn is_held(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Result<bool, StoreError> {
    let request = object_request!(store, get_object_legal_hold, key).set_version_id(id(version));
    match store.client.call(|| request.clone().send()).await {
        Ok(hold) => {
            let status = hold.legal_hold().and_then(|hold| hold.status());
            Ok(status == Some(&Status::On))
        }
        // The object never had a hold, or it is gone. An auditor, who may not look, has seen it in a listing.
        Err(kind) if is_never_held(&kind) => match store.attributes(key, version).await {
            Err(error) if !matches!(error.kind, StoreErrorKind::Denied { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(false),
        },
        Err(kind) => Err(store.failed("look at", key.as_str(), kind)),
    }
}

/// The time that an object version is locked until, by `s3:GetObjectRetention` alone.
pub(super) async fn retained_until(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Result<Option<Timestamp>, StoreErrorKind> {
    let request = object_request!(store, get_object_retention, key).set_version_id(id(version));
    match store.client.call(|| request.clone().send()).await {
        Ok(answer) => {
            let until = answer.retention().and_then(|it| it.retain_until_date());
            Ok(until.and_then(|until| answer::time(Some(until)).ok()))
        }
        // A version that is gone gets the same answer as one that never had a lock; a listing tells them apart.
        Err(kind) if is_never_held(&kind) => Ok(None),
        Err(kind) => Err(kind),
    }
}

/// Whether the object version never had a lock or a hold: a 404 on AWS, a 400 on `MinIO`.
fn is_never_held(kind: &StoreErrorKind) -> bool {
    if let StoreErrorKind::Unsupported { reason } = kind {
        return reason.starts_with("NoSuchObjectLockConfiguration");
    }
    matches!(kind, StoreErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_names_no_version_is_about_every_version_of_its_key() {
        let error = |key: &str, version: Option<&str>| {
            let error = aws_sdk_s3::types::Error::builder().key(key).code("No");
            error.set_version_id(version.map(str::to_owned)).build()
        };
        let refused = Refused::by(&[
            error("a", None),
            error("b", Some("1")),
            error("c", Some("")),
        ]);
        let said = |key: &str, version: &str| {
            let detail = refused.detail(key.to_owned(), version.to_owned());
            detail.is_some()
        };
        for (key, version, expected) in [
            ("a", "1", true),
            ("a", answer::NULL_VERSION, true),
            ("b", "1", true),
            ("b", "2", false),
            ("c", "1", true),
            ("d", "1", false),
        ] {
            assert_eq!(said(key, version), expected, "{key} {version}");
        }
    }
}
