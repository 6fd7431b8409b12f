//! Copies that a store makes itself, and objects in parts: cases for the stores that say they can.

use bytes::Bytes;
use deltavault::ids::{Digest, ETag, ObjectKey};
use deltavault::store::{
    CopySource, Payload, RestoreStore, StoreError, StoreErrorKind, Written, read_all,
};
use futures::stream::{self, StreamExt};

use super::{Subject, assert_fails, content, key, put};

const MIB: usize = 1024 * 1024;

/// What a look at `name` gives a copy to go by; `None` when the store makes no copies.
async fn seen(store: &dyn RestoreStore, name: &str) -> Option<CopySource> {
    let address = store.copy_address(&key(name))?;
    if !store.can_copy_from(&address) {
        return None;
    }
    let found = store.attributes(&key(name), None).await.unwrap();
    Some(CopySource {
        address,
        version: found.version,
        etag: found.etag,
        size: found.size,
    })
}

pub(super) async fn a_copy_is_the_object_it_was_made_from(subject: &Subject) {
    let store = subject.store.as_ref();
    let bytes: Vec<u8> = (0..3 * MIB)
        .map(|n| u8::try_from(n / 7 % 251).unwrap())
        .collect();
    for name in ["table/part-1.parquet", "table/a b%20c ü+&=.parquet"] {
        put(store, name, bytes.clone()).await;
        let Some(source) = seen(store, name).await else {
            return;
        };
        let to = key(&format!("copies/of/{name}"));
        let locked = subject.locks.then_some(subject.later);
        let made = store.copy_new(&to, &source, locked).await.unwrap();
        assert_eq!(made.size, bytes.len() as u64);
        let version = made.written.version.as_ref();
        let (found, read) = read_all(store, &to, version, u64::MAX).await.unwrap();
        assert!(read == bytes, "{name}: other bytes");
        assert_eq!(found.etag, made.written.etag);
        let told = store.attributes(&to, version).await.unwrap();
        for attested in [made.sha256, told.sha256].into_iter().flatten() {
            assert_eq!(attested, Digest::of(&bytes), "of the whole, or not at all");
        }
        assert_eq!(told.locked_until, locked, "locked from the beginning");
    }
}

pub(super) async fn a_copy_of_another_object_than_was_seen_is_refused(subject: &Subject) {
    let store = subject.store.as_ref();
    put(store, "a", "one").await;
    let Some(source) = seen(store, "a").await else {
        return;
    };
    let other = CopySource {
        etag: ETag("\"0123456789abcdef0123456789abcdef\"".to_owned()),
        ..source.clone()
    };
    let to = key("copies/refused");
    assert_fails!(
        store.copy_new(&to, &other, None).await,
        StoreErrorKind::Changed
    );
    store.remove(&key("a"), &source.etag).await.unwrap();
    let gone = CopySource {
        version: None,
        ..source
    };
    assert_fails!(
        store.copy_new(&to, &gone, None).await,
        StoreErrorKind::NotFound
    );
    assert_fails!(store.attributes(&to, None).await, StoreErrorKind::NotFound);
}

pub(super) async fn a_copy_of_a_named_version_is_of_that_version(subject: &Subject) {
    let store = subject.store.as_ref();
    if !subject.versions {
        return;
    }
    put(store, "a", "old").await;
    let Some(old) = seen(store, "a").await else {
        return;
    };
    store.remove(&key("a"), &old.etag).await.unwrap();
    let to = key("copies/old");
    store.copy_new(&to, &old, None).await.unwrap();
    assert_eq!(content(store, to.as_str()).await, "old");
}

pub(super) async fn a_copy_back_is_the_object_and_not_locked(subject: &Subject) {
    let store = subject.store.as_ref();
    let old = Payload::from_bytes("old");
    let locked = subject.locks.then_some(subject.later);
    store.put_new(&key("a"), &old, locked).await.unwrap();
    let Some(source) = seen(store, "a").await else {
        return;
    };
    let to = key("table/part=1/a b.parquet");
    store.copy_back(&to, &source).await.unwrap();
    assert_eq!(content(store, to.as_str()).await, "old");
    assert_eq!(
        store.attributes(&to, None).await.unwrap().locked_until,
        None
    );
    // Where something is, it is refused or, by servers that do not know the condition, made all the same.
    put(store, "taken", "mine").await;
    let (taken, left) = match store.copy_back(&key("taken"), &source).await {
        Ok(_) => (subject.remote, "old"),
        Err(error) => (matches!(error.kind, StoreErrorKind::AlreadyExists), "mine"),
    };
    assert!(taken);
    assert_eq!(content(store, "taken").await, left);
}

/// Puts `bytes` in parts; `None` when the store takes objects of any size whole.
async fn put_in_parts(
    subject: &Subject,
    to: &ObjectKey,
    parts: Vec<Result<Bytes, StoreError>>,
) -> Option<Result<Written, StoreError>> {
    let store = subject.store.as_ref();
    let locked = subject.locks.then_some(subject.later);
    let put = store
        .put_parts(to, stream::iter(parts).boxed(), locked)
        .await;
    let whole =
        matches!(&put, Err(error) if matches!(error.kind, StoreErrorKind::Unsupported { .. }));
    if whole && store.largest_put() == u64::MAX {
        return None;
    }
    Some(put)
}

pub(super) async fn parts_make_one_object(subject: &Subject) {
    let part = |fill: u8, size: usize| Ok(Bytes::from(vec![fill; size]));
    let to = key("copies/parts");
    let parts = vec![part(1, 5 * MIB), part(2, 5 * MIB), part(3, 3)];
    let Some(put) = put_in_parts(subject, &to, parts).await else {
        return;
    };
    let written = put.unwrap();
    let store = subject.store.as_ref();
    let (found, bytes) = read_all(store, &to, written.version.as_ref(), u64::MAX)
        .await
        .unwrap();
    assert_eq!(bytes.len(), 10 * MIB + 3);
    assert_eq!((bytes[0], bytes[5 * MIB], bytes[10 * MIB]), (1, 2, 3));
    assert_eq!(found.etag, written.etag);
    let looked = store.attributes(&to, written.version.as_ref()).await;
    let until = subject.locks.then_some(subject.later);
    assert_eq!(looked.unwrap().locked_until, until);
    let again = put_in_parts(subject, &to, vec![part(4, 3)]).await.unwrap();
    assert_fails!(again, StoreErrorKind::AlreadyExists);
    let kept = read_all(store, &to, None, u64::MAX).await.unwrap().1;
    assert_eq!(Digest::of(&kept), Digest::of(&bytes));
}

pub(super) async fn a_part_that_fails_leaves_no_object(subject: &Subject) {
    let failed = StoreError {
        action: "read",
        uri: "s3://lake/part.parquet".to_owned(),
        kind: StoreErrorKind::Interrupted,
    };
    let to = key("copies/half");
    let parts = vec![Ok(Bytes::from(vec![1; 5 * MIB])), Err(failed)];
    let Some(put) = put_in_parts(subject, &to, parts).await else {
        return;
    };
    assert_fails!(put, StoreErrorKind::Interrupted);
    let store = subject.store.as_ref();
    assert_fails!(store.attributes(&to, None).await, StoreErrorKind::NotFound);
    // The name is free.
    let payload = Payload::from_bytes("x");
    store.put_new(&to, &payload, None).await.unwrap();
}
