//! The newest records of a table are gone, or nobody can read them: what they alone named is kept.

use bytes::Bytes;
use deltavault::ExitCode;
use deltavault::format::{LockMode, TableKey, VaultKey};
use deltavault::ids::{Digest, ObjectKey, Version};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, ReadStore as _, WriteStore as _, read_all};
use deltavault::vault::prune::Forget;
use deltavault::vault::snapshot::SnapshotDone;

use super::scene::{PruneScene, Pruned};
use crate::support::table::CheckpointForm;

/// A snapshot of version 2 that is promised until day 30, and one of version 3 and other files.
async fn two(mut scene: PruneScene) -> (PruneScene, [SnapshotDone; 2]) {
    let first = scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(20).await;
    (scene, [first, second])
}

fn record_of(scene: &PruneScene, done: &SnapshotDone) -> ObjectKey {
    let (table, seq) = (scene.key(), done.record.seq);
    VaultKey::Record { table, seq }.object_key().unwrap()
}

/// Deletes a record, and returns its bytes.
async fn lose(scene: &PruneScene, done: &SnapshotDone) -> Bytes {
    let key = record_of(scene, done);
    let store = scene.store.inner();
    let (object, bytes) = read_all(store, &key, None, 1 << 20).await.unwrap();
    match object.version {
        Some(version) => store.delete_version(&key, &version).unwrap(),
        None => assert_eq!(store.delete_marker(&key), None),
    }
    bytes
}

/// Deletes what says that a record was published, as if its run had ended before.
async fn unseal(scene: &PruneScene, done: &SnapshotDone) {
    let (table, seq, sha256) = (scene.key(), done.record.seq, done.id.0);
    let seal = VaultKey::RecordSeal { table, seq, sha256 };
    let seal = seal.object_key().unwrap();
    let store = scene.store.inner();
    match store.attributes(&seal, None).await.unwrap().version {
        Some(version) => store.delete_version(&seal, &version).unwrap(),
        None => assert_eq!(store.delete_marker(&seal), None),
    }
}

/// Prunes in two runs, each of which could delete what another marked.
async fn prune_for_long(scene: &PruneScene) -> Pruned {
    for day in [24, 28, 60, 64] {
        scene.prune(day).await;
    }
    scene.prune(90).await
}

fn tells(pruned: &Pruned, done: &SnapshotDone) -> bool {
    let findings = &pruned.sums.findings;
    let manifest = done.record.manifest.key.as_str();
    (findings.iter()).any(|it| it.starts_with(manifest) && it.contains("its record is lost"))
}

#[tokio::test]
async fn what_lost_records_named_is_kept_until_they_are_back() {
    let without_locks =
        || PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None);
    for all in [false, true] {
        for scene in [PruneScene::plain().await, without_locks().await] {
            let (scene, [first, second]) = two(scene).await;
            let closure = scene.table.closure().await;
            let before = scene.objects().await;
            let mut lost = vec![(&second, lose(&scene, &second).await)];
            if all {
                lost.insert(0, (&first, lose(&scene, &first).await));
            }
            let pruned = prune_for_long(&scene).await;
            assert!(lost.iter().all(|(done, _)| tells(&pruned, done)));
            assert_eq!(scene.objects().await, before);
            for (done, record) in lost {
                let key = record_of(&scene, done);
                scene.store.inner().plant(&key, record);
            }
            assert_eq!(scene.contents(&second).await.unwrap(), closure);
        }
    }
}

#[tokio::test]
async fn what_a_damaged_newest_record_named_is_kept() {
    let (scene, [_, second]) = two(PruneScene::plain().await).await;
    let (record, before) = (record_of(&scene, &second), scene.objects().await);
    scene.store.inner().flip_bit(&record, None, 9).unwrap();
    assert!(tells(&prune_for_long(&scene).await, &second));
    assert_eq!(scene.objects().await, before);
    scene.store.inner().flip_bit(&record, None, 9).unwrap();
    scene.contents(&second).await.unwrap();
}

#[tokio::test]
async fn what_it_named_is_kept_when_a_later_snapshot_has_taken_its_slot() {
    let (mut scene, [_, second]) = two(PruneScene::plain().await).await;
    let before = scene.objects().await;
    let record = lose(&scene, &second).await;
    scene.rewrite().await;
    let third = scene.take(25).await;
    assert_eq!(third.record.seq, second.record.seq);
    assert!(tells(&prune_for_long(&scene).await, &second));
    // Nobody knows what the lost record named: what only the first had, which has expired, is kept, too.
    let lying = scene.objects().await;
    assert!(before.keys().all(|place| lying.contains_key(place)));
    scene
        .store
        .inner()
        .delete_marker(&record_of(&scene, &third));
    scene
        .store
        .inner()
        .plant(&record_of(&scene, &second), record);
    scene.contents(&second).await.unwrap();
}

/// Of the version that the record below it has, too: the version tells nothing.
#[tokio::test]
async fn what_a_lost_record_of_the_same_version_named_is_kept() {
    let mut scene = PruneScene::plain().await;
    scene.take(0).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    let second = scene.take(20).await;
    let record = lose(&scene, &second).await;
    assert!(tells(&prune_for_long(&scene).await, &second));
    scene
        .store
        .inner()
        .plant(&record_of(&scene, &second), record);
    scene.contents(&second).await.unwrap();
}

#[tokio::test]
async fn what_the_owner_calls_unfinished_goes() {
    for forget in [None, Some(Forget::All)] {
        let (mut scene, [first, second]) = two(PruneScene::plain().await).await;
        lose(&scene, &second).await;
        unseal(&scene, &second).await;
        let manifest = second.record.manifest.sha256;
        scene.forget = forget.unwrap_or(Forget::These(vec![manifest]));
        let planned = scene.prune(40).await;
        assert_eq!(planned.sums.findings, [""; 0]);
        prune_for_long(&scene).await;
        scene.holds_only(&[&first]).await;
    }
}

#[tokio::test]
async fn a_manifest_that_is_given_up_by_mistake_is_told() {
    let (mut scene, [_, second]) = two(PruneScene::plain().await).await;
    for mistaken in [Digest::of(b"mistyped"), second.record.manifest.sha256] {
        scene.forget = Forget::These(vec![mistaken]);
        let findings = scene.prune(22).await.sums.findings;
        let says = format!("--forget {mistaken}: there is no such manifest");
        assert!(
            findings.len() == 1 && findings[0].starts_with(&says),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn what_a_run_is_about_to_name_is_not_told() {
    let (scene, [_, second]) = two(PruneScene::plain().await).await;
    lose(&scene, &second).await;
    unseal(&scene, &second).await;
    assert_eq!(scene.prune(22).await.sums.findings, [""; 0]);
    assert!(tells(&scene.prune(23).await, &second));
}

/// A copy of its record in another folder names its manifest, and nothing holds it there.
#[tokio::test]
async fn a_copy_of_the_lost_record_in_a_folder_of_another_name_does_not_count() {
    let (mut scene, [first, second]) = two(PruneScene::plain().await).await;
    scene.rewrite().await;
    let third = scene.take(25).await;
    scene.hold(&second, 26).await.unwrap();
    for done in [&first, &second, &third] {
        let (_, record) = read_all(scene.store.inner(), &record_of(&scene, done), None, 1 << 20)
            .await
            .unwrap();
        let table: TableKey = format!("aa-{}", scene.key().hash()).parse().unwrap();
        let seq = done.record.seq;
        let twin = VaultKey::Record { table, seq }.object_key().unwrap();
        scene.store.inner().plant(&twin, record);
    }
    let newest = lose(&scene, &third).await;
    let held = lose(&scene, &second).await;
    assert!(tells(&prune_for_long(&scene).await, &second));
    for (done, record) in [(&second, held), (&third, newest)] {
        scene.store.inner().plant(&record_of(&scene, done), record);
    }
    scene.contents(&second).await.unwrap();
}

/// What a repair put stands in no manifest, so it is kept with what one leads to.
#[tokio::test]
async fn what_a_repair_put_is_kept_as_long_as_it_may_serve_a_lost_record() {
    let (scene, [_, second]) = two(PruneScene::plain().await).await;
    let (key, bytes) = (
        "blobs/2c/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae.00c0ffee",
        "foo",
    );
    let key = key.parse().unwrap();
    scene
        .store
        .put_new(&key, &Payload::from_bytes(bytes), None)
        .await
        .unwrap();
    lose(&scene, &second).await;
    unseal(&scene, &second).await;
    prune_for_long(&scene).await;
    assert!(scene.objects().await.contains_key(&(key.clone(), None)));
    let mut scene = scene;
    scene.forget = Forget::All;
    prune_for_long(&scene).await;
    assert!(!scene.objects().await.contains_key(&(key, None)));
}

/// Whoever may write can put one, and the owner can give it up.
#[tokio::test]
async fn a_manifest_that_cannot_be_followed_stops_a_prune_until_it_is_given_up() {
    for garbage in [false, true] {
        let (mut scene, [first, second]) = two(PruneScene::locked().await).await;
        let vault = scene.vault().await;
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
        scene.store.put_new(&key, &payload, None).await.unwrap();
        let error = scene.try_prune(40).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damage);
        let says = format!("`prune --forget {}`", payload.sha256);
        assert!(error.to_string().contains(&says), "{error}");
        scene.forget = Forget::These(vec![payload.sha256]);
        prune_for_long(&scene).await;
        assert!(scene.contents(&first).await.is_err(), "it expired");
        scene.contents(&second).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_manifests_some_are_named() {
    let (scene, [_, second]) = two(PruneScene::plain().await).await;
    let vault = scene.vault().await;
    let mut forged = vault.manifest(&second.record).await.unwrap();
    for version in 100..125 {
        forged.version = Version(version);
        let payload = Payload::from_bytes(forged.encode().unwrap());
        let key = VaultKey::manifest(payload.sha256, None);
        scene
            .store
            .inner()
            .plant(&key.object_key().unwrap(), forged.encode().unwrap());
    }
    let findings = scene.prune(40).await.sums.findings;
    assert_eq!(findings.len(), 21);
    assert!(findings[20].starts_with("5 more"), "{findings:?}");
}

/// It names the manifest of the one before it, which has expired: only its seal says that there is more to keep.
#[tokio::test]
async fn what_a_lost_record_shares_with_an_expired_one_is_kept() {
    let mut scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    let second = scene.take(20).await;
    assert!(second.unchanged);
    let record = lose(&scene, &second).await;
    scene.rewrite().await;
    scene.take(25).await;
    for day in [40, 44, 48] {
        scene.prune(day).await;
    }
    let key = record_of(&scene, &second);
    scene.store.inner().delete_marker(&key);
    scene.store.inner().plant(&key, record);
    scene.contents(&second).await.unwrap();
    assert_eq!(first.record.manifest, second.record.manifest);
}
