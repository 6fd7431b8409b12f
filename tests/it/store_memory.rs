//! What the store in memory does as S3 does, and what it lets a test do to a vault.

use deltavault::ids::{ObjectVersion, Timestamp};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, Payload, ReadStore, StoreErrorKind, WriteStore, read_all};
use futures::stream::TryStreamExt;

use crate::store_conformance::{assert_fails, content, key, names, put};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn what_is_planted_is_newest_and_hides_nothing_from_who_names_the_version() {
    let store = MemoryStore::new("s3://bucket/vault");
    let payload = Payload::from_bytes("true");
    let written = store.put_new(&key("a"), &payload, None).await.unwrap();
    store.plant(&key("a"), "forged");
    assert_eq!(content(&store, "a").await, "forged");
    let marker = store.delete_marker(&key("a")).unwrap();
    assert_fails!(
        store.attributes(&key("a"), None).await,
        StoreErrorKind::NotFound
    );
    let version = written.version.as_ref();
    let (_, bytes) = read_all(&store, &key("a"), version, 10).await.unwrap();
    assert_eq!(bytes, "true");
    assert_fails!(
        store.attributes(&key("a"), Some(&marker)).await,
        StoreErrorKind::NotFound
    );

    store.delete_version(&key("a"), &marker).unwrap();
    assert_eq!(content(&store, "a").await, "forged");
}

#[tokio::test]
async fn a_locked_version_is_not_deleted_before_its_time() {
    let store = MemoryStore::new("s3://bucket/vault");
    store.set_now(time("2026-01-01T00:00:00Z"));
    let payload = Payload::from_bytes("x");
    let lock = Some(time("2026-01-11T00:00:00Z"));
    let written = store.put_new(&key("a"), &payload, lock).await.unwrap();
    let version = written.version.unwrap();
    store.set_now(time("2026-01-10T23:59:59Z"));
    assert_fails!(
        store.delete_version(&key("a"), &version),
        StoreErrorKind::Denied { .. }
    );
    store.set_now(time("2026-01-11T00:00:00Z"));
    store.delete_version(&key("a"), &version).unwrap();
    assert_fails!(
        store.delete_version(&key("a"), &version),
        StoreErrorKind::NotFound
    );
    assert_eq!(names(&store, "", None).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_lock_that_is_over_already_is_refused() {
    let store = MemoryStore::new("s3://bucket/vault");
    store.set_now(time("2026-01-01T00:00:00Z"));
    let payload = Payload::from_bytes("x");
    let past = time("2025-12-31T00:00:00Z");
    assert_fails!(
        store.put_new(&key("a"), &payload, Some(past)).await,
        StoreErrorKind::Unsupported { .. }
    );
    put(&store, "a", "x").await;
    assert_fails!(
        store.extend_lock(&key("a"), None, past).await,
        StoreErrorKind::Unsupported { .. }
    );
}

#[tokio::test]
async fn damage_keeps_tag_and_attested_digest() {
    let store = MemoryStore::new("s3://bucket/vault");
    put(&store, "a", "12345").await;
    let before = store.attributes(&key("a"), None).await.unwrap();
    store.flip_bit(&key("a"), None, 9).unwrap();
    assert_eq!(content(&store, "a").await, "10345");
    assert_eq!(store.attributes(&key("a"), None).await.unwrap(), before);
    store
        .truncate(&key("a"), before.version.as_ref(), 2)
        .unwrap();
    assert_eq!(content(&store, "a").await, "10");
    let after = store.attributes(&key("a"), None).await.unwrap();
    assert_eq!((after.size, after.sha256), (2, before.sha256));
    assert_fails!(
        store.flip_bit(&key("a"), None, 16),
        StoreErrorKind::InvalidRange
    );
    assert_fails!(
        store.truncate(&key("a"), None, 2),
        StoreErrorKind::InvalidRange
    );
    let other = ObjectVersion("other".to_owned());
    assert_fails!(
        store.flip_bit(&key("a"), Some(&other), 0),
        StoreErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_listing_goes_on_over_pages_and_sees_what_changes_between_them() {
    let store = MemoryStore::new("s3://bucket/vault");
    for number in 0..2500 {
        store.plant(&key(&format!("p/{number:04}")), "x");
    }
    assert_eq!(names(&store, "p/", None).await.len(), 2500);
    assert_eq!(names(&store, "p/", Some("p/1200")).await.len(), 1299);
    store.plant(&key("p/0000"), "y");
    let mut rows = store.list_versions("p/", None);
    let first = rows.try_next().await.unwrap();
    assert!(matches!(first, Some(ListedVersion::Object(row)) if row.key == key("p/0000")));
    store.plant(&key("p/9999"), "late");
    let rest: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(rest.len(), 2501);
}
