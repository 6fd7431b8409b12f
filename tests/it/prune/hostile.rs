//! Somebody has the pruner's keys, and time: he waits until locks are over, and plans ahead.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::manifest::Totals;
use deltavault::format::{FORMAT, GarbageReason, LockMode, PlanRow, PrunePlan, VaultKey};
use deltavault::ids::Id128;
use deltavault::plan::verify::{ReadBytes, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{
    Attributes, Deletion, ListedVersion, NoteStore, Payload, PruneStore, ReadStore, RestoreStore,
};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt;

use super::scene::{PruneScene, day};
use crate::support::verified::{Verified, verify};

/// What may be deleted with the pruner's keys.
const PRUNED: [&str; 5] = ["blobs/", "copies/", "manifests/", "pages/", "runs/"];

/// Two snapshots that share files: on day 45 the first has expired and the second is promised.
async fn aged() -> (PruneScene, [SnapshotDone; 2]) {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.table.append(1, 300).await;
    let second = scene.take(20).await;
    scene.set_day(45);
    (scene, [first, second])
}

async fn verified(scene: &PruneScene) -> Verified {
    let store: Arc<dyn ReadStore> = Arc::new(scene.store.clone());
    let vault = Vault::open(store).await.unwrap();
    let plan = VerifyPlan {
        read: ReadBytes::All,
        subset: None,
        now: day(45),
    };
    verify(&vault, plan).await
}

async fn everything(scene: &PruneScene) -> Vec<Attributes> {
    let listing = scene.store.list_versions("", None);
    let rows: Vec<ListedVersion> = listing.try_collect().await.unwrap();
    let objects = rows.into_iter().filter_map(|row| match row {
        ListedVersion::Object(object) => Some(object),
        ListedVersion::DeleteMarker { .. } => None,
    });
    objects.collect()
}

#[tokio::test]
async fn oldest_versions_deleted_once_their_locks_are_over_take_nothing_that_is_promised() {
    let (scene, [first, second]) = aged().await;
    let held = scene.contents(&second).await.unwrap();
    let found = everything(&scene).await;
    // First garbage on top of everything, so that something is left under each name.
    for object in &found {
        let garbage = Payload::from_bytes(vec![b'x'; usize::try_from(object.size).unwrap()]);
        let inner = scene.store.inner();
        inner
            .replace(&object.key, &garbage, &object.etag)
            .await
            .unwrap();
    }
    // Then the oldest of all that his policy lets him delete.
    let pruned = |key: &str| PRUNED.iter().any(|prefix| key.starts_with(prefix));
    let mine = found.iter().filter(|object| pruned(object.key.as_str()));
    let mine: Vec<_> = mine
        .map(|object| (object.key.clone(), object.version.clone()))
        .collect();
    let removed = scene.store.delete_versions(&mine).await.unwrap();
    let gone = removed
        .iter()
        .filter(|it| matches!(it, Deletion::Deleted))
        .count();
    assert!(
        gone > 0,
        "what only the expired snapshot needed: {removed:?}"
    );
    assert!(gone < mine.len(), "{removed:?}");

    assert_eq!(scene.contents(&second).await.unwrap(), held);
    assert!(
        scene.contents(&first).await.is_err(),
        "nobody promises it any more"
    );
    let said = verified(&scene).await;
    for object in &found {
        if object.locked_until.is_some_and(|until| until > day(45)) {
            assert!(said.is_about(&object.key), "nothing about {}", object.key);
        }
    }
    assert_eq!(said.code(), ExitCode::Findings, "{:#?}", said.findings);
}

#[tokio::test]
async fn forged_plan_that_names_everything_deletes_nothing_that_is_kept() {
    let (scene, [_, second]) = aged().await;
    let held = scene.contents(&second).await.unwrap();
    let rows = everything(&scene).await.into_iter().map(|object| PlanRow {
        key: object.key,
        version: object.version,
        locked_until: None,
        reason: GarbageReason::Orphan,
        size: object.size,
    });
    let forged = PrunePlan {
        created: day(0),
        format: FORMAT,
        principal: "pruner".to_owned(),
        rows: rows.collect(),
        run: Id128::from_bytes([9; 16]),
        sweeps: Vec::new(),
        tool: "deltavault 0.1.0".to_owned(),
    };
    let key = VaultKey::PrunePlan(forged.run).object_key().unwrap();
    let payload = Payload::from_bytes(forged.encode().unwrap());
    scene.store.inner().set_now(day(40));
    NoteStore::put_note(scene.store.inner(), &key, &payload, None)
        .await
        .unwrap();

    let pruned = scene.prune(45).await;
    assert!(
        pruned.deleted() > 0,
        "what expired goes, as with an honest plan"
    );
    assert_eq!(scene.contents(&second).await.unwrap(), held);
    let said = verified(&scene).await;
    assert_ne!(said.code(), ExitCode::Damage, "{:#?}", said.findings);
    let records = everything(&scene).await;
    let records = records
        .iter()
        .filter(|it| it.key.as_str().contains("/ledger/"));
    assert_eq!(records.count(), 4, "two records and their seals");
}

#[tokio::test]
async fn no_record_hides_what_another_manifest_names() {
    let scene = PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
    let first = scene.take(0).await;
    let closure = scene.table.closure().await;
    let vault = scene.vault().await;
    let mut manifest = vault.manifest(&first.record).await.unwrap();
    manifest.log_pages.clear();
    manifest.data_pages.clear();
    manifest.totals = Totals::default();
    let lie = Payload::from_bytes(manifest.encode().unwrap());
    // The place is the honest one's, the bytes lie on top of it.
    let mut forged = first.record.clone();
    forged.manifest.sha256 = lie.sha256;
    forged.manifest.size = lie.size;
    scene
        .store
        .inner()
        .plant(&forged.manifest.key, manifest.encode().unwrap());
    scene.forge(2, (1, first.id), forged).await;
    for days in [12, 16] {
        let pruned = scene.prune(days).await;
        assert_eq!((pruned.deleted(), pruned.sums.kept), (0, 2));
    }
    assert_eq!(scene.contents(&first).await.unwrap(), closure);
}
