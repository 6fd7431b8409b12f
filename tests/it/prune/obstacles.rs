//! What anybody who takes snapshots can put into the way of a prune, and what of it stops more than it must.

use std::sync::Arc;

use deltavault::format::layout::PRUNED_PREFIXES;
use deltavault::format::{EventAction, EventRole, LockMode, TableKey, VaultKey};
use deltavault::ids::{Digest, Id128, SnapshotId, Version};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, ReadStore, WriteStore};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::{Error, ExitCode};

use super::race::RIPE;
use super::scene::{PruneScene, actor, day};
use crate::support::world::{request, snapshotter, source};

/// What expires on day 30, what is kept, and something that nothing needs.
async fn grown(mut scene: PruneScene) -> (PruneScene, [SnapshotDone; 2]) {
    let first = scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let orphan = VaultKey::blob(Digest::of(b"x"), None);
    let payload = Payload::from_bytes("x");
    let key = orphan.object_key().unwrap();
    scene.store.put_new(&key, &payload, None).await.unwrap();
    (scene, [first, second])
}

async fn put_event(scene: &PruneScene, table: TableKey, seq: u64, text: &str) {
    let role = EventRole::Holder;
    let key = VaultKey::Event { table, role, seq };
    let key = key.object_key().unwrap();
    let payload = Payload::from_bytes(text.to_owned());
    scene.store.put_new(&key, &payload, None).await.unwrap();
}

#[tokio::test]
async fn an_event_that_cannot_be_told_keeps_its_own_table_and_nothing_else() {
    let event = |action: &str, requires: &str| {
        format!(
            r#"{{"at":"2026-02-01T00:00:00Z","action":{action},"format":1,"principal":"p","requires":[{requires}],"run":"05050505050505050505050505050505","seq":1,"tool":"t"}}"#
        )
    };
    for (seq, text, says) in [
        (u64::MAX / 2, "x".to_owned(), "is empty"),
        (2, "{}".to_owned(), "is empty"),
        (1, event(r#"{"hold":{"set":"x"}}"#, ""), "cannot read"),
        (1, event(r#"{"x":{}}"#, r#""nonsense""#), "cannot be read"),
    ] {
        let (scene, [first, _]) = grown(PruneScene::locked().await).await;
        let before = scene.objects().await;
        put_event(&scene, scene.key(), seq, &text).await;
        scene.prune(RIPE - 4).await;
        let pruned = scene.prune(RIPE).await;
        assert_eq!(pruned.deleted(), 1, "the orphan alone: {says}");
        assert_eq!(pruned.sums.expired, 0);
        let findings = &pruned.sums.findings;
        assert!(findings.iter().any(|it| it.contains(says)), "{findings:?}");
        assert_eq!(scene.objects().await.len(), before.len() - 1);
        scene.contents(&first).await.unwrap();
    }
}

#[tokio::test]
async fn a_far_slot_does_not_stop_a_prune_for_ever() {
    let (scene, [first, second]) = grown(PruneScene::locked().await).await;
    scene.prune(RIPE - 4).await;
    scene.prune(RIPE).await;
    scene.holds_only(&[&second]).await;
    // What was collected before cannot be kept any more, and stops nothing.
    put_event(&scene, scene.key(), u64::MAX / 2, "x").await;
    scene.prune(RIPE + 1).await;
    scene.holds_only(&[&second]).await;
    scene.contents(&first).await.unwrap_err();
}

#[tokio::test]
async fn what_may_be_held_and_cannot_be_followed_stops_everything() {
    let (scene, [first, _]) = grown(PruneScene::plain().await).await;
    put_event(&scene, scene.key(), 2, "x").await;
    let manifest = &first.record.manifest.key;
    scene.store.inner().flip_bit(manifest, None, 9).unwrap();
    let error = scene.try_prune(RIPE).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Damage, "{error}");
    assert!(error.to_string().contains("may be held"), "{error}");
}

#[tokio::test]
async fn a_damaged_page_of_what_is_kept_stops_everything() {
    let (scene, [_, second]) = grown(PruneScene::plain().await).await;
    let manifest = scene.vault().await.manifest(&second.record).await.unwrap();
    for page in manifest.pages() {
        let key = &page.page.key;
        scene.store.inner().flip_bit(key, None, 9).unwrap();
        let error = scene.try_prune(RIPE).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damage, "{error}");
        assert!(error.to_string().contains(key.as_str()), "{error}");
        scene.store.inner().flip_bit(key, None, 9).unwrap();
    }
    scene.prune(RIPE).await;
}

#[tokio::test]
async fn a_part_of_the_vault_that_cannot_be_listed_stops_everything() {
    let (scene, _) = grown(PruneScene::plain().await).await;
    for prefix in PRUNED_PREFIXES {
        scene
            .store
            .deny(move |call| call.method == "list_versions" && call.key == prefix);
        let error = scene.try_prune(RIPE).await.unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{prefix}: {error}");
        scene.store.revive();
    }
    scene.prune(RIPE).await;
}

#[tokio::test]
async fn an_event_of_a_table_that_never_was_does_not_stop_a_prune_for_ever() {
    let nobody = request("s3://lake/nobody", 0).key;
    let snapshot = SnapshotId(Digest::of(b"none"));
    let action = EventAction::Retire { snapshot };
    let actor = actor(day(1));
    let (scene, _) = grown(PruneScene::locked().await).await;
    let vault = scene.vault().await;
    let append = vault.append_event(&scene.store, &nobody, action.clone(), &actor);
    append.await.unwrap();
    scene.prune(RIPE - 4).await;
    let pruned = scene.prune(RIPE).await;
    assert!(pruned.deleted() > 1);
    assert!(pruned.sums.findings[0].contains("no record"));

    // Without locks its records may be gone.
    let vault = MemoryStore::without_locks("s3://vault");
    let (scene, _) = grown(PruneScene::set(vault, LockMode::None).await).await;
    let vault = scene.vault().await;
    let append = vault.append_event(&scene.store, &nobody, action, &actor);
    append.await.unwrap();
    let error = scene.try_prune(RIPE).await.unwrap_err();
    assert!(
        error.to_string().contains("bring its records back"),
        "{error}"
    );
}

/// Puts a record above the two with a manifest that is not there, promised for ever.
async fn forged(scene: &PruneScene, second: &SnapshotDone) -> SnapshotId {
    let mut forged = second.record.clone();
    forged.promise = "9000-01-01T00:00:00Z".parse().unwrap();
    let nowhere = format!("{}.00c0ffee", forged.manifest.key);
    forged.manifest.key = nowhere.parse().unwrap();
    forged.manifest.sha256 = Digest::of(b"nowhere");
    forged.manifest.version = None;
    scene.forge(3, (2, second.id), forged).await
}

#[tokio::test]
async fn a_record_of_another_version_than_its_manifest_stops_everything() {
    let (scene, [_, second]) = grown(PruneScene::locked().await).await;
    let mut forged = second.record.clone();
    forged.version = Version(9);
    let id = scene.forge(3, (2, second.id), forged.clone()).await;
    let error = scene.try_prune(RIPE).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Damage, "{error}");
    assert!(error.to_string().contains("of version 3"), "{error}");
    let done = SnapshotDone {
        id,
        record: forged,
        ..second
    };
    let error = scene.contents(&done).await.unwrap_err();
    assert!(
        error.to_string().contains("its record is of version 9"),
        "{error}"
    );
}

async fn take_distrusting(scene: &PruneScene, id: SnapshotId) -> SnapshotDone {
    scene.set_day(2);
    let mut request = request(scene.live.uri(), 48);
    request.run = Id128::from_bytes(rand::random());
    request.distrust = vec![id];
    let taker = snapshotter(Arc::new(scene.store.clone())).await.unwrap();
    let live = source(Arc::new(scene.live.clone()));
    taker.take(&live, &request).await.unwrap()
}

#[tokio::test]
async fn a_distrusted_forgery_does_not_stop_a_prune_for_ever() {
    let (scene, [first, second]) = grown(PruneScene::locked().await).await;
    let forged = forged(&scene, &second).await;
    let error = scene.try_prune(2).await.unwrap_err();
    assert!(error.to_string().contains("--distrust"), "{error}");

    let third = take_distrusting(&scene, forged).await;
    scene.prune(RIPE - 4).await;
    let pruned = scene.prune(RIPE).await;
    let findings = &pruned.sums.findings;
    assert!(findings[0].contains(&forged.short()), "{findings:?}");
    scene.holds_only(&[&third]).await;
    scene.contents(&third).await.unwrap();
    scene.contents(&first).await.unwrap_err();
}

#[tokio::test]
async fn what_a_distrusted_record_leads_to_is_kept() {
    let (mut scene, [_, second]) = grown(PruneScene::plain().await).await;
    scene.rewrite().await;
    let third = take_distrusting(&scene, second.id).await;
    let before = super::scene::needs(&scene.vault().await, &second.record).await;
    scene.prune(20).await;
    scene.prune(24).await;
    let lying = scene.objects().await;
    assert!(before.keys().all(|place| lying.contains_key(place)));
    scene.contents(&third).await.unwrap();
}
