//! What a restore says of the live table above the version that is wanted, and what it leaves when it fails.

use std::sync::Arc;

use deltavault::format::Scope;
use deltavault::ids::Version;
use deltavault::plan::restore::{Healthy, Mode, Situation};
use deltavault::store::memory::MemoryStore;
use deltavault::vault::restore::RestorePlan;
use deltavault::vault::snapshot::SnapshotDone;

use super::support::table::{CheckpointForm, Table};
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

struct Scene {
    table: Table,
    live: MemoryStore,
    vault: MemoryStore,
    first: SnapshotDone,
}

/// A table at version 2, and a snapshot of it.
async fn scene() -> Scene {
    let live = MemoryStore::new("s3://lake/orders");
    let vault = MemoryStore::without_locks("s3://vault");
    init(&vault).await;
    let mut table = Table::create(Arc::new(live.clone()), "orders").await;
    table.append(2, 100).await;
    table.append(2, 100).await;
    let taking = snapshotter(Arc::new(vault.clone())).await.unwrap();
    let table_source = source(Arc::new(live.clone()));
    let first = taking
        .take(&table_source, &request("s3://lake/orders", 0))
        .await
        .unwrap();
    Scene {
        table,
        live,
        vault,
        first,
    }
}

async fn plan(scene: &Scene) -> RestorePlan {
    let restorer = restorer(Arc::new(scene.vault.clone()), Arc::new(scene.live.clone()));
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    restorer.await.unwrap().plan(&request).await.unwrap()
}

#[tokio::test]
async fn a_newer_commit_that_cannot_be_read_is_told_and_does_not_stop_the_plan() {
    let mut scene = scene().await;
    scene.table.append(1, 100).await;
    let torn = format!("_delta_log/{:020}.json", 4);
    scene
        .table
        .put(&torn, b"{\"add\": {\"path\"".to_vec())
        .await;
    let gone = scene.table.names("part").await.remove(0);
    scene.table.remove(&gone).await;

    let plan = plan(&scene).await;
    assert_eq!(plan.situation, Situation::NewerLive { tip: Version(4) });
    // What v4 uses its name for, nobody can say.
    assert_eq!((plan.missing.files, plan.not_put.missing.files), (0, 1));
    assert!(plan.live.trouble.unwrap().contains(&torn));
    let told: Vec<_> = plan
        .live
        .above
        .iter()
        .map(|it| it.operation.as_deref())
        .collect();
    assert_eq!(told, [None, Some("WRITE")], "newest first");
    assert_eq!(plan.live.whole, []);
}

#[tokio::test]
async fn the_oldest_version_that_the_live_log_can_rebuild_is_told() {
    let mut scene = scene().await;
    assert_eq!(
        plan(&scene).await.live.readable_from,
        None,
        "nothing is above"
    );
    scene.table.append(1, 100).await;
    assert_eq!(plan(&scene).await.live.readable_from, Some(Version(0)));
    scene.table.checkpoint().await;
    for version in 0..3 {
        let cleaned = format!("_delta_log/{version:020}.json");
        scene.table.remove(&cleaned).await;
    }
    let plan = plan(&scene).await;
    assert_eq!(plan.live.readable_from, Some(Version(3)));
    assert_eq!(plan.live.trouble, None);
    assert_eq!(plan.live.whole, [(Version(3), Version(3))]);
}

#[tokio::test]
async fn a_restore_that_fails_leaves_no_claim_and_one_that_succeeds_takes_expired_ones_along() {
    let scene = scene().await;
    let gone = scene.table.names("part").await.remove(0);
    scene.table.remove(&gone).await;
    let restorer = restorer(Arc::new(scene.vault.clone()), Arc::new(scene.live.clone()));
    let restorer = restorer.await.unwrap();
    let request = restore_request(&scene.first, Mode::InPlace, 1);

    let plan = restorer.plan(&request).await.unwrap();
    scene
        .table
        .put(&gone, b"somebody was quicker".to_vec())
        .await;
    restorer.execute(&request, plan).await.unwrap_err();
    assert_eq!(
        scene.table.names("_deltavault/claim-").await,
        [] as [String; 0]
    );

    scene.table.remove(&gone).await;
    let expired = br#"{"by":"bob@host","renewed":0,"run":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","seconds":300,"since":"2026-11-20T00:00:00Z","snapshot":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
    scene
        .table
        .put("_deltavault/claim-1", expired.to_vec())
        .await;
    scene
        .live
        .set_now(jiff::Timestamp::from_second(300).unwrap());
    let plan = restorer.plan(&request).await.unwrap();
    restorer.execute(&request, plan).await.unwrap();
    assert_eq!(
        scene.table.names("_deltavault/claim-").await,
        [] as [String; 0]
    );
}

/// A snapshot of version 4 that holds checkpoint 4 and its commit only, and an older copy of the table, of version 2, that
/// came back.
async fn rewound() -> Scene {
    let mut scene = scene().await;
    let mut old = Vec::new();
    for name in scene.table.names("").await {
        let bytes = scene.table.read(&name).await;
        old.push((name, bytes));
    }
    scene.table.append(1, 100).await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint().await;
    scene.table.clean_up_log().await;
    let taking = snapshotter(Arc::new(scene.vault.clone())).await.unwrap();
    let table_source = source(Arc::new(scene.live.clone()));
    let asked = request("s3://lake/orders", 12);
    scene.first = taking.take(&table_source, &asked).await.unwrap();
    scene.table.drop_all().await;
    for (name, bytes) in old {
        scene.table.put(&name, bytes).await;
    }
    scene
}

#[tokio::test]
async fn an_older_copy_of_the_table_is_put_forward_and_one_that_went_on_is_the_owners_choice() {
    let scene = rewound().await;
    let found = plan(&scene).await;
    assert_eq!(found.situation, Situation::NothingAbove);
    assert_eq!(found.sound, Some(Healthy::Behind(Version(2))));
    let commit = format!("_delta_log/{:020}.json", 3);
    let add = serde_json::json!({"add": {"path": "other.parquet", "partitionValues": {}, "size": 3,
        "modificationTime": 1, "dataChange": true}});
    scene.table.put("other.parquet", b"new".to_vec()).await;
    let body = format!("{add}\n").into_bytes();
    scene.table.put(&commit, body).await;
    let found = plan(&scene).await;
    let Situation::CommitsDiffer { files } = found.situation else {
        panic!("{:?}", found.situation);
    };
    assert!(files.contains(&commit), "{files:?}");
    // Under a name that V has, too.
    scene.table.remove(&commit).await;
    let named = scene.table.names("part").await.remove(0);
    let add = serde_json::json!({"add": {"path": named, "partitionValues": {}, "size": 3,
        "modificationTime": 1, "dataChange": true}});
    let body = format!("{add}\n").into_bytes();
    scene.table.put(&commit, body).await;
    let found = plan(&scene).await;
    assert!(matches!(found.situation, Situation::CommitsDiffer { .. }));
}

#[tokio::test]
async fn what_the_clean_up_of_the_log_or_a_vacuum_took_is_no_damage_to_the_live_table() {
    for scope in [Scope::Live, Scope::History] {
        let mut scene = scene().await;
        scene.table.delete(1).await;
        scene.table.append(1, 100).await;
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        let taking = snapshotter(Arc::new(scene.vault.clone())).await.unwrap();
        let mut asked = request("s3://lake/orders", 12);
        asked.scope = scope;
        let table_source = source(Arc::new(scene.live.clone()));
        scene.first = taking.take(&table_source, &asked).await.unwrap();
        scene.table.vacuum().await;
        let only_past = (scope == Scope::History).then_some(Healthy::AtV);
        assert_eq!(plan(&scene).await.sound, only_past);
        scene.table.clean_up_log().await;
        let found = plan(&scene).await;
        assert_eq!(found.situation, Situation::NothingAbove);
        assert!(
            found.sound == Some(Healthy::AtV) && found.missing.files > 0,
            "{found:?}"
        );
        // A file that the live table itself needs, and a commit from the midst of its log.
        let needed = scene.table.live.keys().next().unwrap().clone();
        let bytes = scene.table.read(&needed).await;
        scene.table.remove(&needed).await;
        assert_eq!(plan(&scene).await.sound, None);
        scene.table.put(&needed, bytes).await;
        assert_eq!(plan(&scene).await.sound, Some(Healthy::AtV));
        let request = restore_request(&scene.first, Mode::InPlace, 1);
        let restorer = restorer(Arc::new(scene.vault.clone()), Arc::new(scene.live.clone()));
        let restorer = restorer.await.unwrap();
        let plan_of_all = restorer.plan(&request).await.unwrap();
        restorer.execute(&request, plan_of_all).await.unwrap();
        assert!(plan(&scene).await.is_empty());
        scene
            .table
            .remove(&format!("_delta_log/{:020}.json", 2))
            .await;
        assert_eq!(plan(&scene).await.sound, None);
    }
}

#[tokio::test]
async fn a_file_outside_the_table_that_is_gone_is_damage_beside_a_clean_up_of_the_log_too() {
    let mut scene = scene().await;
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("a.parquet");
    std::fs::write(&outside, "123").unwrap();
    let add = serde_json::json!({"add": {"path": format!("file://{}", outside.display()), "partitionValues": {},
        "size": 3, "modificationTime": 1, "dataChange": true}});
    scene.table.commit("WRITE", vec![add]).await;
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    let taking = snapshotter(Arc::new(scene.vault.clone())).await.unwrap();
    let table_source = source(Arc::new(scene.live.clone()));
    let asked = request("s3://lake/orders", 12);
    scene.first = taking.take(&table_source, &asked).await.unwrap();
    scene.table.clean_up_log().await;
    assert_eq!(plan(&scene).await.sound, Some(Healthy::AtV));
    std::fs::remove_file(&outside).unwrap();
    let found = plan(&scene).await;
    assert_eq!(found.outside_missing.len(), 1);
    assert_eq!(found.sound, None);
}
