//! The newest records of a table are gone, or nobody can read them: what they alone named is kept.

use bytes::Bytes;
use deltavault::format::{LockMode, VaultKey};
use deltavault::ids::{Digest, ObjectKey, Version};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, WriteStore as _, read_all};
use deltavault::vault::snapshot::SnapshotDone;

use super::yard::{Pruned, Yard};

/// A snapshot of version 2 that is promised until day 30, and one of version 3 and other files.
async fn two(mut yard: Yard) -> (Yard, [SnapshotDone; 2]) {
    let first = yard.take(0).await;
    yard.rewrite().await;
    let second = yard.take(20).await;
    (yard, [first, second])
}

fn record_of(yard: &Yard, done: &SnapshotDone) -> ObjectKey {
    let (table, seq) = (yard.key(), done.record.seq);
    VaultKey::Record { table, seq }.object_key().unwrap()
}

/// Deletes a record, and returns its bytes.
async fn lose(yard: &Yard, done: &SnapshotDone) -> Bytes {
    let key = record_of(yard, done);
    let store = yard.store.inner();
    let (object, bytes) = read_all(store, &key, None, 1 << 20).await.unwrap();
    match object.version {
        Some(version) => store.delete_version(&key, &version).unwrap(),
        None => assert_eq!(store.delete_marker(&key), None),
    }
    bytes
}

/// Prunes in two runs, each of which could delete what another marked.
async fn prune_for_long(yard: &Yard) -> Pruned {
    for day in [24, 28, 60, 64] {
        yard.prune(day).await;
    }
    yard.prune(90).await
}

fn tells(pruned: &Pruned, done: &SnapshotDone) -> bool {
    let findings = &pruned.sums.findings;
    let manifest = done.record.manifest.key.as_str();
    (findings.iter()).any(|it| it.starts_with(manifest) && it.contains("its record may be lost"))
}

#[tokio::test]
async fn what_lost_records_named_is_kept_until_they_are_back() {
    let without_locks = || Yard::set(MemoryStore::without_locks("s3://vault"), LockMode::None);
    for all in [false, true] {
        for yard in [Yard::plain().await, without_locks().await] {
            let (yard, [first, second]) = two(yard).await;
            let closure = yard.table.closure().await;
            let before = yard.objects().await;
            let mut lost = vec![(&second, lose(&yard, &second).await)];
            if all {
                lost.insert(0, (&first, lose(&yard, &first).await));
            }
            let pruned = prune_for_long(&yard).await;
            assert!(lost.iter().all(|(done, _)| tells(&pruned, done)));
            assert_eq!(yard.objects().await, before);
            for (done, record) in lost {
                let key = record_of(&yard, done);
                yard.store.inner().plant(&key, record);
            }
            assert_eq!(yard.contents(&second).await.unwrap(), closure);
        }
    }
}

#[tokio::test]
async fn what_a_damaged_newest_record_named_is_kept() {
    let (yard, [_, second]) = two(Yard::plain().await).await;
    let (record, before) = (record_of(&yard, &second), yard.objects().await);
    yard.store.inner().flip_bit(&record, None, 9).unwrap();
    assert!(tells(&prune_for_long(&yard).await, &second));
    assert_eq!(yard.objects().await, before);
    yard.store.inner().flip_bit(&record, None, 9).unwrap();
    yard.contents(&second).await.unwrap();
}

#[tokio::test]
async fn what_an_unfinished_run_left_goes_when_a_newer_snapshot_is_there() {
    let (mut yard, [_, second]) = two(Yard::plain().await).await;
    lose(&yard, &second).await;
    assert!(tells(&yard.prune(24).await, &second));
    yard.rewrite().await;
    let third = yard.take(25).await;
    let pruned = prune_for_long(&yard).await;
    assert_eq!(pruned.sums.findings, [""; 0]);
    yard.holds_only(&[&third]).await;
}

#[tokio::test]
async fn what_the_owner_calls_unfinished_goes() {
    let (mut yard, [first, second]) = two(Yard::plain().await).await;
    lose(&yard, &second).await;
    yard.forget = vec![second.record.manifest.sha256];
    let pruned = prune_for_long(&yard).await;
    assert_eq!(pruned.sums.findings, [""; 0]);
    yard.holds_only(&[&first]).await;
}

#[tokio::test]
async fn what_a_run_is_about_to_name_is_not_told() {
    let (yard, [_, second]) = two(Yard::plain().await).await;
    lose(&yard, &second).await;
    assert_eq!(yard.prune(22).await.sums.findings, [""; 0]);
    assert!(tells(&yard.prune(23).await, &second));
}

/// Whoever may write can put a manifest that leads nowhere.
#[tokio::test]
async fn a_manifest_that_leads_nowhere_stops_nothing() {
    let (yard, [first, second]) = two(Yard::locked().await).await;
    let vault = yard.vault().await;
    let mut forged = vault.manifest(&second.record).await.unwrap();
    forged.version = Version(9);
    let page = &mut forged.data_pages.first_mut().unwrap().page;
    page.sha256 = Digest::of(b"nowhere");
    page.key = VaultKey::page(page.sha256, None).object_key().unwrap();
    let payload = Payload::from_bytes(forged.encode().unwrap());
    let key = VaultKey::manifest(payload.sha256, None);
    let key = key.object_key().unwrap();
    yard.store.put_new(&key, &payload, None).await.unwrap();
    let pruned = prune_for_long(&yard).await;
    let findings = &pruned.sums.findings;
    assert!(
        findings[0].contains("as far as it can be followed"),
        "{findings:?}"
    );
    assert!(yard.contents(&first).await.is_err(), "it expired");
    yard.contents(&second).await.unwrap();
}
