//! What every store has to do, as cases over a factory. A further store needs one factory and one line.
//!
//! A factory returns a fresh, empty store, or `None` when what it needs is not here, having said so.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use deltavault::ids::{Digest, ObjectKey, ObjectVersion, Timestamp};
use deltavault::store::local::LocalStore;
use deltavault::store::memory::{CopyMode, MemoryService, MemoryStore};
use deltavault::store::{
    Attributes, HoldStore, Payload, PayloadData, PruneStore, ReadStore, RestoreStore,
    StoreErrorKind, WriteStore, read_all, read_range,
};
use futures::stream::TryStreamExt;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::support::s3::{self, Bucket};

use self::copies::{
    a_copy_back_is_the_object_and_not_locked, a_copy_is_the_object_it_was_made_from,
    a_copy_of_a_named_version_is_of_that_version,
    a_copy_of_another_object_than_was_seen_is_refused, a_part_that_fails_leaves_no_object,
    parts_make_one_object,
};
use self::listings::{
    a_listing_is_in_byte_order_and_prefixes_are_strings, an_empty_store_lists_as_empty,
    odd_keys_go_through_unharmed, versions_are_listed_oldest_first,
};
use self::prune::{
    a_held_version_is_not_deleted_until_it_is_released, a_locked_version_is_not_deleted,
    what_is_deleted_is_gone_and_nothing_hides_the_rest,
};

mod copies;
mod listings;
mod prune;

/// A store under test, and what it promises beyond the traits.
struct Subject {
    store: Arc<dyn RestoreStore>,
    /// The same store.
    pruner: Arc<dyn PruneStore>,
    /// The same store.
    holder: Arc<dyn HoldStore>,
    versions: bool,
    locks: bool,
    /// A time that the store takes as the future.
    later: Timestamp,
    /// Whether it is a server, which refuses some prefixes and takes its time.
    remote: bool,
    _folder: Option<TempDir>,
}

fn memory_subject(store: MemoryStore, versions: bool, locks: bool) -> Subject {
    Subject {
        pruner: Arc::new(store.clone()),
        holder: Arc::new(store.clone()),
        store: Arc::new(store),
        versions,
        locks,
        later: "2100-01-01T00:00:00Z".parse().unwrap(),
        remote: false,
        _folder: None,
    }
}

async fn memory() -> Option<Subject> {
    let store = MemoryStore::new("s3://bucket/vault");
    Some(memory_subject(store, true, true))
}

async fn memory_in_a_service() -> Option<Subject> {
    let service = MemoryService::new("memory");
    let store = MemoryStore::new("s3://bucket/vault").in_service(&service);
    store.set_copy_mode(CopyMode::AttestsWhenAsked);
    Some(memory_subject(store, true, true))
}

async fn memory_without_attested_sha256() -> Option<Subject> {
    let store = MemoryStore::without_locks("s3://bucket/vault");
    store.attest_sha256(false);
    Some(memory_subject(store, true, false))
}

async fn memory_without_versions() -> Option<Subject> {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    Some(memory_subject(store, false, false))
}

async fn local() -> Option<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(&folder.path().join("new/root")).unwrap();
    Some(local_subject(folder, store))
}

async fn local_vault() -> Option<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::create(folder.path()).unwrap();
    Some(local_subject(folder, store.with_read_only_files()))
}

fn local_subject(folder: TempDir, store: LocalStore) -> Subject {
    Subject {
        pruner: Arc::new(store.clone()),
        holder: Arc::new(store.clone()),
        store: Arc::new(store),
        versions: false,
        locks: false,
        later: "2100-01-01T00:00:00Z".parse().unwrap(),
        remote: false,
        _folder: Some(folder),
    }
}

async fn s3_locked() -> Option<Subject> {
    s3_subject(Bucket::Locked).await
}

async fn s3_plain() -> Option<Subject> {
    s3_subject(Bucket::Plain).await
}

async fn s3_subject(kind: Bucket) -> Option<Subject> {
    let store = s3::server()?.store(kind).await;
    let soon = s3::now() + jiff::SignedDuration::from_hours(3 * 24);
    Some(Subject {
        pruner: Arc::new(store.clone()),
        holder: Arc::new(store.clone()),
        store: Arc::new(store),
        versions: kind != Bucket::Plain,
        locks: kind == Bucket::Locked,
        later: Timestamp::from_second(soon.as_second()).unwrap(),
        remote: true,
        _folder: None,
    })
}

/// Runs all cases on each factory's stores, as one module of tests a factory.
macro_rules! conformance {
    ($($factory:ident),+ $(,)?) => {
        $(mod $factory {
            cases!($factory:
                what_is_put_can_be_read_in_whole_and_in_part,
                attributes_tell_what_was_put,
                what_is_not_there_is_not_found,
                a_taken_key_is_refused_and_keeps_its_object,
                of_eight_racing_puts_exactly_one_wins,
                of_eight_racing_replaces_exactly_one_wins,
                an_empty_object_is_an_object,
                a_large_object_comes_in_chunks,
                a_spooled_payload_is_put_like_one_in_memory,
                odd_keys_go_through_unharmed,
                a_listing_is_in_byte_order_and_prefixes_are_strings,
                an_empty_store_lists_as_empty,
                versions_are_listed_oldest_first,
                bytes_that_are_not_what_they_say_are_refused,
                an_object_above_the_limit_is_not_read,
                replace_needs_the_tag_that_was_seen,
                remove_needs_the_tag_that_was_seen,
                a_lock_is_proven_where_there_are_locks,
                a_lock_on_what_is_gone_is_not_found,
                a_copy_is_the_object_it_was_made_from,
                a_copy_of_another_object_than_was_seen_is_refused,
                a_copy_of_a_named_version_is_of_that_version,
                a_copy_back_is_the_object_and_not_locked,
                parts_make_one_object,
                a_part_that_fails_leaves_no_object,
                what_is_deleted_is_gone_and_nothing_hides_the_rest,
                a_locked_version_is_not_deleted,
                a_held_version_is_not_deleted_until_it_is_released,
            );
        })+
    };
}

macro_rules! cases {
    ($factory:ident: $($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            if let Some(subject) = super::$factory().await {
                super::$case(&subject).await;
            }
        })+
    };
}

conformance!(
    memory,
    memory_in_a_service,
    memory_without_attested_sha256,
    memory_without_versions,
    local,
    local_vault,
    s3_locked,
    s3_plain,
);

/// Asserts in which situation a call failed.
macro_rules! assert_fails {
    ($call:expr, $situation:pat) => {
        let error = $call.expect_err("should fail");
        assert!(
            matches!(error.kind, $situation),
            "{error:?} is not {}",
            stringify!($situation)
        );
    };
}
pub(crate) use assert_fails;

pub(crate) fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

pub(crate) async fn put(store: &dyn WriteStore, name: &str, bytes: impl Into<Bytes>) {
    let payload = Payload::from_bytes(bytes);
    store.put_new(&key(name), &payload, None).await.unwrap();
}

pub(crate) async fn content(store: &dyn ReadStore, name: &str) -> Bytes {
    read_all(store, &key(name), None, u64::MAX).await.unwrap().1
}

pub(crate) async fn names(store: &dyn ReadStore, prefix: &str, after: Option<&str>) -> Vec<String> {
    let rows = store.list(prefix, after);
    rows.map_ok(|row| row.key.to_string())
        .try_collect()
        .await
        .unwrap()
}

async fn what_is_put_can_be_read_in_whole_and_in_part(subject: &Subject) {
    let store = &*subject.store;
    put(store, "folder/a", "0123456789").await;
    assert_eq!(content(store, "folder/a").await, "0123456789");
    let a = key("folder/a");
    for (range, expected) in [
        (0..10, "0123456789"),
        (0..1, "0"),
        (3..7, "3456"),
        (9..10, "9"),
    ] {
        let bytes = read_range(store, &a, None, range.clone()).await.unwrap();
        assert_eq!(bytes, expected);
        let reader = store.open(&a, None, Some(range)).await.unwrap();
        assert_eq!(reader.attributes.size, 10, "the whole object's size");
    }
    for range in [0..11, 9..12, 11..12, u64::MAX - 1..u64::MAX] {
        assert_fails!(
            read_range(store, &a, None, range).await,
            StoreErrorKind::InvalidRange
        );
    }
}

async fn attributes_tell_what_was_put(subject: &Subject) {
    let store = &*subject.store;
    let payload = Payload::from_bytes("some bytes");
    let a = key("folder/a");
    let written = store.put_new(&a, &payload, None).await.unwrap();
    let attributes = store.attributes(&a, None).await.unwrap();
    assert_eq!(attributes.key, a);
    assert_eq!(attributes.size, 10);
    assert_eq!(attributes.etag, written.etag);
    assert_eq!(attributes.version, written.version);
    assert_eq!(written.version.is_some(), subject.versions);
    assert!(attributes.sha256.is_none_or(|it| it == payload.sha256));
    let opened = store.open(&a, None, None).await.unwrap().attributes;
    assert!(opened.sha256.is_none_or(|it| it == payload.sha256));
    let sha256 = attributes.sha256;
    assert_eq!(Attributes { sha256, ..opened }, attributes);
    let listed: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].etag, written.etag);
    // A listing may tell it to the millisecond where the answer to a HEAD cannot.
    let told = listed[0].last_modified;
    assert_eq!(told.as_second(), attributes.last_modified.as_second());
    assert!(told >= attributes.last_modified);
    if let Some(version) = &written.version {
        let named = store.attributes(&a, Some(version)).await.unwrap();
        assert_eq!(named, attributes);
    }
}

async fn what_is_not_there_is_not_found(subject: &Subject) {
    let store = &*subject.store;
    put(store, "folder/a", "a").await;
    for absent in ["b", "folder", "folder/b", "folder/a/b", "no/such/folder"] {
        let absent = key(absent);
        assert_fails!(
            store.open(&absent, None, None).await,
            StoreErrorKind::NotFound
        );
        assert_fails!(
            store.attributes(&absent, None).await,
            StoreErrorKind::NotFound
        );
    }
    let other = ObjectVersion("3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY".to_owned());
    let a = key("folder/a");
    assert_fails!(
        store.open(&a, Some(&other), None).await,
        StoreErrorKind::NotFound
    );
    assert_fails!(
        store.attributes(&a, Some(&other)).await,
        StoreErrorKind::NotFound
    );
}

async fn a_taken_key_is_refused_and_keeps_its_object(subject: &Subject) {
    let store = &*subject.store;
    put(store, "a", "first").await;
    let before = store.attributes(&key("a"), None).await.unwrap();
    for bytes in ["second, longer", "first", ""] {
        let payload = Payload::from_bytes(bytes);
        assert_fails!(
            store.put_new(&key("a"), &payload, None).await,
            StoreErrorKind::AlreadyExists
        );
    }
    assert_eq!(content(store, "a").await, "first");
    assert_eq!(store.attributes(&key("a"), None).await.unwrap(), before);
    let versions: Vec<_> = store.list_versions("", None).try_collect().await.unwrap();
    assert_eq!(versions.len(), 1);
}

async fn of_eight_racing_puts_exactly_one_wins(subject: &Subject) {
    for round in 0..10 {
        let place = key(&format!("new/folder-{round}/record"));
        let mut racers = JoinSet::new();
        for racer in 0..8 {
            let (store, place) = (Arc::clone(&subject.store), place.clone());
            racers.spawn(async move {
                let payload = Payload::from_bytes(format!("racer {racer}"));
                let result = store.put_new(&place, &payload, None).await;
                (racer, result)
            });
        }
        let mut winners = Vec::new();
        for (racer, result) in racers.join_all().await {
            match result {
                Ok(written) => winners.push((racer, written)),
                Err(error) => assert!(
                    matches!(error.kind, StoreErrorKind::AlreadyExists),
                    "{error:?}"
                ),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let (racer, written) = &winners[0];
        let (attributes, bytes) = read_all(&*subject.store, &place, None, 100).await.unwrap();
        assert_eq!(bytes, format!("racer {racer}"));
        assert_eq!(attributes.etag, written.etag);
    }
}

async fn of_eight_racing_replaces_exactly_one_wins(subject: &Subject) {
    let place = key("folder/a");
    put(&*subject.store, "folder/a", "old").await;
    let seen = subject.store.attributes(&place, None).await.unwrap().etag;
    let mut racers = JoinSet::new();
    for racer in 0..8 {
        let (store, place, seen) = (Arc::clone(&subject.store), place.clone(), seen.clone());
        racers.spawn(async move {
            let payload = Payload::from_bytes(format!("racer {racer}"));
            let result = store.replace(&place, &payload, &seen).await;
            result.map(|_| racer)
        });
    }
    let mut winners = Vec::new();
    for result in racers.join_all().await {
        match result {
            Ok(racer) => winners.push(racer),
            Err(error) => assert!(matches!(error.kind, StoreErrorKind::Changed), "{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let expected = format!("racer {}", winners[0]);
    assert_eq!(content(&*subject.store, "folder/a").await, expected);
}

async fn an_empty_object_is_an_object(subject: &Subject) {
    let store = &*subject.store;
    put(store, "empty", "").await;
    assert_eq!(content(store, "empty").await, "");
    let attributes = store.attributes(&key("empty"), None).await.unwrap();
    assert_eq!(attributes.size, 0);
    assert_eq!(names(store, "", None).await, ["empty"]);
    let payload = Payload::from_bytes("");
    assert_fails!(
        store.put_new(&key("empty"), &payload, None).await,
        StoreErrorKind::AlreadyExists
    );
}

/// Bytes of which no two chunks are alike.
fn large() -> Vec<u8> {
    (0..1_000_003_u32).flat_map(u32::to_le_bytes).collect()
}

async fn a_large_object_comes_in_chunks(subject: &Subject) {
    let store = &*subject.store;
    let bytes = large();
    put(store, "large", bytes.clone()).await;
    let mut body = store.open(&key("large"), None, None).await.unwrap().body;
    let mut read = Vec::new();
    let mut chunks = 0;
    while let Some(chunk) = body.try_next().await.unwrap() {
        assert!(chunk.len() <= 2 << 20, "a chunk of {}", chunk.len());
        chunks += 1;
        read.extend_from_slice(&chunk);
    }
    assert!(chunks > 1);
    assert!(read == bytes);
    for range in [1_048_570..3_145_740, 4_000_002..4_000_012] {
        let read = read_range(store, &key("large"), None, range.clone()).await;
        let expected = bytes.iter().skip(usize::try_from(range.start).unwrap());
        assert!(
            read.unwrap()
                .iter()
                .eq(expected.take(usize::try_from(range.end - range.start).unwrap()))
        );
    }
}

async fn a_spooled_payload_is_put_like_one_in_memory(subject: &Subject) {
    let store = &*subject.store;
    let bytes = large();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let payload = Payload {
        sha256: Digest::of(&bytes),
        size: bytes.len() as u64,
        data: PayloadData::File(Arc::new(file.into_temp_path())),
    };
    let a = key("folder/a");
    store.put_new(&a, &payload, None).await.unwrap();
    let (_, read) = read_all(store, &a, None, payload.size).await.unwrap();
    assert_eq!(Digest::of(&read), payload.sha256);
    // The payload is not used up: a retry sends it again.
    let b = key("folder/b");
    store.put_new(&b, &payload, None).await.unwrap();
}

async fn bytes_that_are_not_what_they_say_are_refused(subject: &Subject) {
    let store = &*subject.store;
    let mut payload = Payload::from_bytes("what was announced");
    payload.data = PayloadData::Bytes("what was announceD".into());
    assert_fails!(
        store.put_new(&key("folder/a"), &payload, None).await,
        StoreErrorKind::WrongDigest { .. }
    );
    let mut wrong_size = Payload::from_bytes("12345");
    wrong_size.size = 4;
    let refused = store.put_new(&key("folder/a"), &wrong_size, None).await;
    assert!(refused.unwrap_err().is_permanent());
    assert!(names(store, "", None).await.is_empty());
    assert_fails!(
        store.attributes(&key("folder/a"), None).await,
        StoreErrorKind::NotFound
    );

    put(store, "folder/a", "kept").await;
    let seen = store.attributes(&key("folder/a"), None).await.unwrap().etag;
    assert_fails!(
        store.replace(&key("folder/a"), &payload, &seen).await,
        StoreErrorKind::WrongDigest { .. }
    );
    assert_eq!(content(store, "folder/a").await, "kept");
}

async fn an_object_above_the_limit_is_not_read(subject: &Subject) {
    let store = &*subject.store;
    put(store, "a", "12345").await;
    read_all(store, &key("a"), None, 5).await.unwrap();
    assert_fails!(
        read_all(store, &key("a"), None, 4).await,
        StoreErrorKind::TooLarge { size: 5, limit: 4 }
    );
}

async fn replace_needs_the_tag_that_was_seen(subject: &Subject) {
    let store = &*subject.store;
    let a = key("folder/a");
    let payload = Payload::from_bytes("new");
    put(store, "folder/a", "old").await;
    let seen = store.attributes(&a, None).await.unwrap().etag;
    let written = store.replace(&a, &payload, &seen).await.unwrap();
    assert_ne!(written.etag, seen);
    assert_eq!(content(store, "folder/a").await, "new");
    assert_eq!(store.attributes(&a, None).await.unwrap().etag, written.etag);

    let late = Payload::from_bytes("late");
    assert_fails!(
        store.replace(&a, &late, &seen).await,
        StoreErrorKind::Changed
    );
    assert_eq!(content(store, "folder/a").await, "new");
    for gone in ["folder/b", "no/folder", "folder/a/b"] {
        assert_fails!(
            store.replace(&key(gone), &late, &seen).await,
            StoreErrorKind::Changed
        );
    }
    assert_eq!(names(store, "", None).await, ["folder/a"]);
}

async fn remove_needs_the_tag_that_was_seen(subject: &Subject) {
    let store = &*subject.store;
    let a = key("folder/a");
    put(store, "folder/a", "old").await;
    put(store, "folder/b", "b").await;
    let old = store.attributes(&a, None).await.unwrap().etag;
    let payload = Payload::from_bytes("new");
    let new = store.replace(&a, &payload, &old).await.unwrap().etag;
    assert_fails!(store.remove(&a, &old).await, StoreErrorKind::Changed);
    assert_eq!(content(store, "folder/a").await, "new");

    store.remove(&a, &new).await.unwrap();
    assert_fails!(store.attributes(&a, None).await, StoreErrorKind::NotFound);
    assert_fails!(store.remove(&a, &new).await, StoreErrorKind::Changed);
    assert_eq!(names(store, "", None).await, ["folder/b"]);
    put(store, "folder/a", "again").await;
    assert_eq!(content(store, "folder/a").await, "again");
}

async fn a_lock_is_proven_where_there_are_locks(subject: &Subject) {
    let store = &*subject.store;
    let a = key("a");
    let payload = Payload::from_bytes("a");
    let day = jiff::SignedDuration::from_hours(24);
    let (sooner, later) = (subject.later - day, subject.later);
    let written = store.put_new(&a, &payload, Some(sooner)).await.unwrap();
    let version = written.version.as_ref();
    let expected = |time| subject.locks.then_some(time);
    let put_lock = store.attributes(&a, None).await.unwrap().locked_until;
    assert_eq!(put_lock, expected(sooner));
    // Longer, the same again, and shorter: the lock that counts is the longest.
    for until in [later, later, sooner] {
        let proven = store.extend_lock(&a, version, until).await.unwrap();
        assert_eq!(proven, expected(later));
    }
    let kept = store.attributes(&a, version).await.unwrap().locked_until;
    assert_eq!(kept, expected(later));
}

async fn a_lock_on_what_is_gone_is_not_found(subject: &Subject) {
    let store = &*subject.store;
    put(store, "a", "a").await;
    let other = ObjectVersion("3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY".to_owned());
    assert_fails!(
        store.extend_lock(&key("b"), None, subject.later).await,
        StoreErrorKind::NotFound
    );
    assert_fails!(
        store
            .extend_lock(&key("a"), Some(&other), subject.later)
            .await,
        StoreErrorKind::NotFound
    );
}
