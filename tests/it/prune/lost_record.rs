//! The newest records of a table are gone, or nobody can read them: what they alone named is kept.

use bytes::Bytes;
use deltavault::ExitCode;
use deltavault::format::{LockMode, TableKey, VaultKey};
use deltavault::ids::{Digest, ObjectKey, Version};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, WriteStore as _, read_all};
use deltavault::vault::prune::Forget;
use deltavault::vault::snapshot::SnapshotDone;

use super::yard::{Pruned, Yard};
use crate::support::table::CheckpointForm;

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
    (findings.iter()).any(|it| it.starts_with(manifest) && it.contains("its record is lost"))
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
async fn what_it_named_is_kept_when_a_later_snapshot_has_taken_its_slot() {
    let (mut yard, [_, second]) = two(Yard::plain().await).await;
    let before = yard.objects().await;
    let record = lose(&yard, &second).await;
    yard.rewrite().await;
    let third = yard.take(25).await;
    assert_eq!(third.record.seq, second.record.seq);
    assert!(tells(&prune_for_long(&yard).await, &second));
    let lying = yard.objects().await;
    assert!(
        before.keys().any(|place| !lying.contains_key(place)),
        "the first has expired"
    );
    yard.store.inner().delete_marker(&record_of(&yard, &third));
    yard.store.inner().plant(&record_of(&yard, &second), record);
    yard.contents(&second).await.unwrap();
}

/// Of the version that the record below it has, too: the version tells nothing.
#[tokio::test]
async fn what_a_lost_record_of_the_same_version_named_is_kept() {
    let mut yard = Yard::plain().await;
    yard.take(0).await;
    yard.table.checkpoint_as(CheckpointForm::Classic).await;
    let second = yard.take(20).await;
    let record = lose(&yard, &second).await;
    assert!(tells(&prune_for_long(&yard).await, &second));
    yard.store.inner().plant(&record_of(&yard, &second), record);
    yard.contents(&second).await.unwrap();
}

#[tokio::test]
async fn what_the_owner_calls_unfinished_goes() {
    for forget in [None, Some(Forget::All)] {
        let (mut yard, [first, second]) = two(Yard::plain().await).await;
        lose(&yard, &second).await;
        let manifest = second.record.manifest.sha256;
        yard.forget = forget.unwrap_or(Forget::These(vec![manifest]));
        let planned = yard.prune(40).await;
        assert_eq!(planned.sums.findings, [""; 0]);
        prune_for_long(&yard).await;
        yard.holds_only(&[&first]).await;
    }
}

#[tokio::test]
async fn a_manifest_that_is_given_up_by_mistake_is_told() {
    let (mut yard, [_, second]) = two(Yard::plain().await).await;
    for mistaken in [Digest::of(b"mistyped"), second.record.manifest.sha256] {
        yard.forget = Forget::These(vec![mistaken]);
        let findings = yard.prune(22).await.sums.findings;
        let says = format!("--forget {mistaken}: there is no such manifest");
        assert!(
            findings.len() == 1 && findings[0].starts_with(&says),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn what_a_run_is_about_to_name_is_not_told() {
    let (yard, [_, second]) = two(Yard::plain().await).await;
    lose(&yard, &second).await;
    assert_eq!(yard.prune(22).await.sums.findings, [""; 0]);
    assert!(tells(&yard.prune(23).await, &second));
}

/// A copy of its record in another folder names its manifest, and nothing holds it there.
#[tokio::test]
async fn a_copy_of_the_lost_record_in_a_folder_of_another_name_does_not_count() {
    let (mut yard, [first, second]) = two(Yard::plain().await).await;
    yard.rewrite().await;
    let third = yard.take(25).await;
    yard.hold(&second, 26).await.unwrap();
    for done in [&first, &second, &third] {
        let (_, record) = read_all(yard.store.inner(), &record_of(&yard, done), None, 1 << 20)
            .await
            .unwrap();
        let table: TableKey = format!("aa-{}", yard.key().hash()).parse().unwrap();
        let seq = done.record.seq;
        let twin = VaultKey::Record { table, seq }.object_key().unwrap();
        yard.store.inner().plant(&twin, record);
    }
    let newest = lose(&yard, &third).await;
    let held = lose(&yard, &second).await;
    assert!(tells(&prune_for_long(&yard).await, &second));
    for (done, record) in [(&second, held), (&third, newest)] {
        yard.store.inner().plant(&record_of(&yard, done), record);
    }
    yard.contents(&second).await.unwrap();
}

/// What a repair put stands in no manifest, so it is kept with what one leads to.
#[tokio::test]
async fn what_a_repair_put_is_kept_as_long_as_it_may_serve_a_lost_record() {
    let (yard, [_, second]) = two(Yard::plain().await).await;
    let (key, bytes) = (
        "blobs/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae.00c0ffee",
        "foo",
    );
    let key = key.parse().unwrap();
    yard.store
        .put_new(&key, &Payload::from_bytes(bytes), None)
        .await
        .unwrap();
    lose(&yard, &second).await;
    prune_for_long(&yard).await;
    assert!(yard.objects().await.contains_key(&(key.clone(), None)));
    let mut yard = yard;
    yard.forget = Forget::All;
    prune_for_long(&yard).await;
    assert!(!yard.objects().await.contains_key(&(key, None)));
}

/// Whoever may write can put one, and the owner can give it up.
#[tokio::test]
async fn a_manifest_that_cannot_be_followed_stops_a_prune_until_it_is_given_up() {
    for garbage in [false, true] {
        let (mut yard, [first, second]) = two(Yard::locked().await).await;
        let vault = yard.vault().await;
        let mut forged = vault.manifest(&second.record).await.unwrap();
        let page = &mut forged.data_pages.first_mut().unwrap().page;
        page.sha256 = Digest::of(b"nowhere");
        page.key = VaultKey::page(page.sha256, None).object_key().unwrap();
        let bytes = if garbage {
            b"x".to_vec()
        } else {
            forged.encode().unwrap()
        };
        let payload = Payload::from_bytes(bytes);
        let key = VaultKey::manifest(payload.sha256, None);
        let key = key.object_key().unwrap();
        yard.store.put_new(&key, &payload, None).await.unwrap();
        let error = yard.try_prune(40).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damage);
        let says = format!("`prune --forget {}`", payload.sha256);
        assert!(error.to_string().contains(&says), "{error}");
        yard.forget = Forget::These(vec![payload.sha256]);
        prune_for_long(&yard).await;
        assert!(yard.contents(&first).await.is_err(), "it expired");
        yard.contents(&second).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_manifests_some_are_named() {
    let (yard, [_, second]) = two(Yard::plain().await).await;
    let vault = yard.vault().await;
    let mut forged = vault.manifest(&second.record).await.unwrap();
    for version in 100..125 {
        forged.version = Version(version);
        let payload = Payload::from_bytes(forged.encode().unwrap());
        let key = VaultKey::manifest(payload.sha256, None);
        yard.store
            .inner()
            .plant(&key.object_key().unwrap(), forged.encode().unwrap());
    }
    let findings = yard.prune(40).await.sums.findings;
    assert_eq!(findings.len(), 21);
    assert!(findings[20].starts_with("5 more"), "{findings:?}");
}
