//! Checkpoints of streams that lie inside the table's folder are named by every snapshot that brings something new.

use serde_json::json;

use super::support::scene::Scene;

async fn batch(scene: &mut Scene, number: u64) {
    let txn = json!({"txn": {"appId": "orders-stream", "version": number}});
    scene.table.commit("STREAMING UPDATE", vec![txn]).await;
}

async fn findings(scene: &Scene, hours: i64) -> Vec<String> {
    scene.take(hours).await.unwrap().record.findings
}

#[tokio::test]
async fn a_checkpoint_inside_the_table_is_named_wherever_it_hides() {
    for (folder, beside) in [
        ("_checkpoint", vec![]),
        ("_checkpoints/etl/orders", vec![]),
        ("_delta_log/_checkpoints", vec![]),
        (
            "_zz-chk",
            vec![
                "_change_data/cdc-1.parquet",
                "_b/x",
                "_delta_index/1",
                "_file",
            ],
        ),
        ("_a", vec!["_a0", "_a-other/offsets/text"]),
        (
            "_delta_log/_t",
            vec![
                "_delta_log/_sidecars/a.parquet",
                "_delta_log/_commits/1.json",
            ],
        ),
    ] {
        let mut scene = Scene::set().await;
        for name in beside {
            scene.table.put(name, b"x".to_vec()).await;
        }
        for file in [
            "metadata",
            "offsets/0",
            "offsets/1",
            "commits/0",
            "state/0/0/1.delta",
        ] {
            scene
                .table
                .put(&format!("{folder}/{file}"), b"v1".to_vec())
                .await;
        }
        batch(&mut scene, 1).await;
        let found = findings(&scene, 24).await;
        let [found] = &found[..] else {
            panic!("{folder}: {found:?}");
        };
        assert!(found.contains(&format!("in {folder}: ")), "{found}");
        // It is a finding of the next night, too.
        batch(&mut scene, 2).await;
        assert_eq!(findings(&scene, 48).await.len(), 1);
    }
}

#[tokio::test]
async fn a_table_without_one_is_not_accused() {
    // No stream writes: nothing is looked for.
    let mut scene = Scene::set().await;
    scene
        .table
        .put("_checkpoint/offsets/1", b"v1".to_vec())
        .await;
    scene.table.append(1, 10).await;
    assert_eq!(findings(&scene, 24).await, [] as [&str; 0]);

    let mut scene = Scene::set().await;
    for name in [
        "_checkpoint/offsets/text",
        "part=1/offsets/7",
        "_symlink_format_manifest/manifest",
    ] {
        scene.table.put(name, b"x".to_vec()).await;
    }
    batch(&mut scene, 1).await;
    assert_eq!(findings(&scene, 24).await, [] as [&str; 0]);
}
