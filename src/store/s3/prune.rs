//! Deleting object versions, a thousand a call, and legal holds.
//!
//! Every deletion names a version, in a bucket without versions `null`: a call that names none would put a delete
//! marker on top. What a server says of a refusal differs (AWS: `AccessDenied`, others: `InvalidRequest`); what is left
//! of the object does not, so each that was refused is looked at. One that
//! neither a lock nor a hold keeps is asked for once more alone: a server may want `s3:DeleteObject` for a batch, also
//! where it names versions, and nobody has that.

use std::collections::HashMap;

use aws_sdk_s3::types::{
    Delete, ObjectIdentifier, ObjectLockLegalHold, ObjectLockLegalHoldStatus as Status,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{S3Store, answer};
use crate::ids::{ObjectKey, ObjectVersion, Timestamp};
use crate::store::prune::{DeleteTarget, Deletion};
use crate::store::{ReadStore as _, StoreError, StoreErrorKind};

/// The most that one `DeleteObjects` takes ("`DeleteObjects`", Amazon S3 API Reference).
const BATCH: usize = 1000;

/// Refused ones that are looked at at a time.
const LOOKS_AHEAD: usize = 16;

pub(super) async fn delete_versions(
    store: &S3Store,
    objects: &[DeleteTarget],
) -> Result<Vec<Deletion>, StoreError> {
    let mut outcomes = Vec::with_capacity(objects.len());
    for batch in objects.chunks(BATCH) {
        let refused = delete_batch(store, batch).await?;
        let mut said = Vec::with_capacity(batch.len());
        for (key, version) in batch {
            let detail = refused.detail(store.full(key), id_of(version.as_ref()));
            said.push((key.clone(), version.clone(), detail));
        }
        let batch: Vec<Deletion> = stream::iter(said)
            .map(|(key, version, said)| async move {
                match said {
                    None => Ok(Deletion::Deleted),
                    Some(detail) => what_is_left(store, &key, version.as_ref(), &detail).await,
                }
            })
            .buffered(LOOKS_AHEAD)
            .try_collect()
            .await?;
        outcomes.extend(batch);
    }
    Ok(outcomes)
}

fn id_of(version: Option<&ObjectVersion>) -> String {
    version
        .map_or(answer::NULL_VERSION, |version| &version.0)
        .to_owned()
}

/// By full key and version: what the server said of those that it did not delete. Where it names no version, any of the
/// key may be the one.
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
            .version_id(id_of(version.as_ref()));
        named.push(object.build().map_err(unsent)?);
    }
    let delete = Delete::builder().set_objects(Some(named)).quiet(true);
    let delete = delete.build().map_err(unsent)?;
    let call = || {
        store
            .client
            .s3()
            .delete_objects()
            .bucket(&*store.bucket)
            .delete(delete.clone())
            .set_request_payer(store.payer())
            .send()
    };
    let answer = match store.client.call(call).await {
        Ok(answer) => answer,
        // The whole batch, for a right that every one of it would need.
        Err(kind @ StoreErrorKind::Denied { .. }) => {
            let all = batch.iter().map(|(key, version)| {
                let named = (store.full(key), Some(id_of(version.as_ref())));
                (named, kind.to_string())
            });
            return Ok(Refused(all.collect()));
        }
        Err(kind) => return Err(failed(kind)),
    };
    Ok(Refused::by(answer.errors()))
}

async fn what_is_left(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    detail: &str,
) -> Result<Deletion, StoreError> {
    let failed = |kind| store.failed("look at", key.as_str(), kind);
    let full = store.full(key);
    let call = || {
        store
            .client
            .s3()
            .head_object()
            .bucket(&*store.bucket)
            .key(&full)
            .version_id(id_of(version))
            .set_request_payer(store.payer())
            .send()
    };
    let until = match store.client.call(call).await {
        Ok(head) if head.object_lock_legal_hold_status() == Some(&Status::On) => {
            return Ok(Deletion::Held);
        }
        Ok(head) => head.object_lock_retain_until_date().copied(),
        Err(StoreErrorKind::NotFound) => return Ok(Deletion::Deleted),
        // Who may delete but not look still learns that it was refused.
        Err(StoreErrorKind::Denied { .. }) => None,
        Err(kind) => return Err(failed(kind)),
    };
    let until = until.and_then(|until| answer::time(Some(&until)).ok());
    let now = store.client.server_time();
    if until.is_some() && now.is_none_or(|now| until > Some(now)) {
        return Ok(Deletion::Locked { until });
    }
    delete_alone(store, key, version, detail).await
}

async fn delete_alone(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    detail: &str,
) -> Result<Deletion, StoreError> {
    let full = store.full(key);
    let call = || {
        store
            .client
            .s3()
            .delete_object()
            .bucket(&*store.bucket)
            .key(&full)
            .version_id(id_of(version))
            .set_request_payer(store.payer())
            .send()
    };
    match store.client.call(call).await {
        Ok(_) | Err(StoreErrorKind::NotFound) => Ok(Deletion::Deleted),
        Err(StoreErrorKind::Denied { .. } | StoreErrorKind::Unsupported { .. }) => {
            Ok(Deletion::Refused {
                detail: detail.to_owned(),
            })
        }
        Err(kind) => Err(store.failed("delete", key.as_str(), kind)),
    }
}

pub(super) async fn set_hold(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
    held: bool,
) -> Result<(), StoreError> {
    let failed = |kind| store.failed("hold", key.as_str(), kind);
    let full = store.full(key);
    let status = if held { Status::On } else { Status::Off };
    let wanted = ObjectLockLegalHold::builder().status(status).build();
    let call = || {
        store
            .client
            .s3()
            .put_object_legal_hold()
            .bucket(&*store.bucket)
            .key(&full)
            .set_version_id(version.map(|version| version.0.clone()))
            .legal_hold(wanted.clone())
            .set_request_payer(store.payer())
            .send()
    };
    store.client.call(call).await.map_err(failed)?;
    // A success that changed nothing would be a hold that nobody has.
    if is_held(store, key, version).await? == held {
        return Ok(());
    }
    let reason = "the server took the legal hold and does not show it".to_owned();
    Err(failed(StoreErrorKind::Unsupported { reason }))
}

/// The time that an object version is locked until, by a right of its own; `None` where that is refused as well.
pub(super) async fn retained_until(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Option<Result<Option<Timestamp>, StoreError>> {
    let full = store.full(key);
    let call = || {
        store
            .client
            .s3()
            .get_object_retention()
            .bucket(&*store.bucket)
            .key(&full)
            .set_version_id(version.map(|version| version.0.clone()))
            .set_request_payer(store.payer())
            .send()
    };
    match store.client.call(call).await {
        Ok(answer) => {
            let until = answer.retention().and_then(|it| it.retain_until_date());
            Some(Ok(until.and_then(|until| answer::time(Some(until)).ok())))
        }
        // Of a version that is gone a listing tells; what is there and never had a lock is said in the same way.
        Err(kind) if is_never_held(&kind) => Some(Ok(None)),
        Err(StoreErrorKind::Denied { .. }) => None,
        Err(kind) => Some(Err(store.failed("look at", key.as_str(), kind))),
    }
}

/// AWS says so with a 404, `MinIO` with a 400.
fn is_never_held(kind: &StoreErrorKind) -> bool {
    if let StoreErrorKind::Unsupported { reason } = kind {
        return reason.starts_with("NoSuchObjectLockConfiguration");
    }
    matches!(kind, StoreErrorKind::NotFound)
}

pub(super) async fn is_held(
    store: &S3Store,
    key: &ObjectKey,
    version: Option<&ObjectVersion>,
) -> Result<bool, StoreError> {
    let full = store.full(key);
    let call = || {
        store
            .client
            .s3()
            .get_object_legal_hold()
            .bucket(&*store.bucket)
            .key(&full)
            .set_version_id(version.map(|version| version.0.clone()))
            .set_request_payer(store.payer())
            .send()
    };
    let hold = match store.client.call(call).await {
        Ok(hold) => hold,
        // An object that never had one has no such configuration.
        Err(kind) if is_never_held(&kind) => {
            store.attributes(key, version).await?;
            return Ok(false);
        }
        Err(kind) => return Err(store.failed("look at", key.as_str(), kind)),
    };
    let status = hold.legal_hold().and_then(|hold| hold.status());
    Ok(status == Some(&Status::On))
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
