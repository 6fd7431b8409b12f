//! Deleting by version, and what locks and legal holds do about it.

use deltavault::store::{DeleteTarget, Deletion, ListedVersion, Payload, StoreErrorKind};
use futures::stream::TryStreamExt;

use super::{Subject, assert_fails, content, key, put};

async fn listed(subject: &Subject) -> Vec<ListedVersion> {
    let listing = subject.store.list_versions("", None);
    listing.try_collect().await.unwrap()
}

/// The object versions that are there, oldest first within a key.
async fn targets(subject: &Subject) -> Vec<DeleteTarget> {
    let targets = listed(subject)
        .await
        .into_iter()
        .filter_map(|row| match row {
            ListedVersion::Object(object) => Some((object.key, object.version)),
            ListedVersion::DeleteMarker { .. } => None,
        });
    targets.collect()
}

pub(super) async fn what_is_deleted_is_gone_and_nothing_hides_the_rest(subject: &Subject) {
    let store = &subject.store;
    for name in ["a/1", "a/2", "b/odd ü&<", "c"] {
        put(store.as_ref(), name, name.to_owned()).await;
    }
    if subject.versions {
        // A second version on top, which stays.
        let seen = store.attributes(&key("a/1"), None).await.unwrap().etag;
        let payload = Payload::from_bytes("newer");
        store.replace(&key("a/1"), &payload, &seen).await.unwrap();
    }
    let all = targets(subject).await;
    let (kept, targets): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, version)| {
        key.as_str() == "a/2" || (version.is_some() && key.as_str() == "a/1")
    });
    let mut targets = targets;
    if subject.versions {
        // The oldest of a/1 goes, the newer one stays.
        targets.push(
            kept.iter()
                .find(|it| it.0.as_str() == "a/1")
                .unwrap()
                .clone(),
        );
    }
    let outcomes = subject.pruner.delete_versions(&targets).await.unwrap();
    assert_eq!(outcomes, vec![Deletion::Deleted; targets.len()]);
    let left = listed(subject).await;
    let objects: Vec<&str> = left.iter().map(|row| row.key().as_str()).collect();
    let markers = left
        .iter()
        .filter(|row| matches!(row, ListedVersion::DeleteMarker { .. }));
    assert_eq!(markers.count(), 0, "{left:?}");
    if subject.versions {
        assert_eq!(objects, ["a/1", "a/2"]);
        assert_eq!(content(store.as_ref(), "a/1").await, "newer");
    } else {
        assert_eq!(objects, ["a/2"]);
    }
    // Once more: what is gone is gone.
    let outcomes = subject.pruner.delete_versions(&targets).await.unwrap();
    assert_eq!(outcomes, vec![Deletion::Deleted; targets.len()]);
    assert_eq!(listed(subject).await, left);
    put(store.as_ref(), "c", "again").await;
    assert!(
        subject
            .pruner
            .delete_versions(&[])
            .await
            .unwrap()
            .is_empty()
    );
}

pub(super) async fn a_locked_version_is_not_deleted(subject: &Subject) {
    let store = &subject.store;
    let payload = Payload::from_bytes("locked");
    store
        .put_new(&key("a"), &payload, Some(subject.later))
        .await
        .unwrap();
    put(store.as_ref(), "b", "free").await;
    let outcomes = subject
        .pruner
        .delete_versions(&targets(subject).await)
        .await
        .unwrap();
    if subject.locks {
        let until = Some(subject.later);
        assert_eq!(outcomes, [Deletion::Locked { until }, Deletion::Deleted]);
        assert_eq!(content(store.as_ref(), "a").await, "locked");
        assert_eq!(listed(subject).await.len(), 1);
    } else {
        assert_eq!(outcomes, [Deletion::Deleted, Deletion::Deleted]);
        assert_eq!(listed(subject).await, []);
    }
}

pub(super) async fn a_held_version_is_not_deleted_until_it_is_released(subject: &Subject) {
    let (store, holder) = (&subject.store, &subject.holder);
    put(store.as_ref(), "a", "held").await;
    let targets = targets(subject).await;
    let version = targets[0].1.as_ref();
    if !subject.locks {
        let refused = holder.set_hold(&key("a"), version, true).await;
        assert_fails!(
            refused,
            StoreErrorKind::Unsupported { .. } | StoreErrorKind::Io { .. }
        );
        if !subject.remote {
            assert!(!store.is_held(&key("a"), version).await.unwrap());
        }
        return;
    }
    assert!(!holder.is_held(&key("a"), version).await.unwrap());
    holder.set_hold(&key("a"), version, true).await.unwrap();
    assert!(holder.is_held(&key("a"), version).await.unwrap());
    let outcome = subject.pruner.delete_versions(&targets).await.unwrap();
    assert_eq!(outcome, [Deletion::Held]);
    assert_eq!(content(store.as_ref(), "a").await, "held");
    assert_fails!(
        holder.set_hold(&key("none"), None, true).await,
        StoreErrorKind::NotFound
    );
    holder.set_hold(&key("a"), version, false).await.unwrap();
    assert!(!holder.is_held(&key("a"), version).await.unwrap());
    let outcome = subject.pruner.delete_versions(&targets).await.unwrap();
    assert_eq!(outcome, [Deletion::Deleted]);
    assert_eq!(listed(subject).await, []);
}
