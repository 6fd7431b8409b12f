//! What a restore's plan tells of a live table: what each version did, even where its removes do not say it, how far
//! streams have written, and which partitions went whole.

use std::sync::Arc;

use deltavault::ids::Version;
use deltavault::plan::restore::{LiveVersion, Mode};
use deltavault::plan::suspect::suspects;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::restore::{LiveTable, Restorer};
use deltavault::vault::snapshot::SnapshotDone;
use serde_json::{Value, json};

use super::support::table::Table;
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

struct Scene {
    table: Table,
    live: MemoryStore,
    vault: MemoryStore,
}

/// A partitioned table with two properties and ten rows in each of three files: versions 0 and 1.
async fn scene() -> Scene {
    let live = MemoryStore::new("s3://lake/sales.db/orders");
    let vault = MemoryStore::without_locks("s3://vault");
    init(&vault).await;
    let mut table = Table::open(Arc::new(live.clone()));
    table.id = "orders".into();
    let head = vec![
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {"id": "orders", "format": {"provider": "parquet", "options": {}},
            "schemaString": "{\"type\":\"struct\",\"fields\":[]}", "partitionColumns": ["region"],
            "configuration": {"delta.logRetentionDuration": "interval 90 days"}, "createdTime": 1}}),
    ];
    table.commit("CREATE TABLE", head).await;
    let mut scene = Scene { table, live, vault };
    let mut adds = vec![json!({"txn": {"appId": "to-orders", "version": 3}})];
    for region in ["r1", "r2", "r3"] {
        adds.push(scene.add(region).await);
    }
    scene.table.commit("WRITE", adds).await;
    scene
}

impl Scene {
    /// Puts a file of ten rows; returns its `add`.
    async fn add(&mut self, region: &str) -> Value {
        self.table.serial += 1;
        let path = format!("region={region}/{}.parquet", self.table.serial);
        self.table.put(&path, b"ten rows".to_vec()).await;
        json!({"add": {"path": path, "size": 8, "partitionValues": {"region": region}, "modificationTime": 1,
            "dataChange": true, "stats": "{\"numRecords\":10}"}})
    }

    async fn snapshot(&self) -> SnapshotDone {
        let taking = snapshotter(Arc::new(self.vault.clone())).await.unwrap();
        let table = source(Arc::new(self.live.clone()));
        let request = request("s3://lake/sales.db/orders", 0);
        taking.take(&table, &request).await.unwrap()
    }

    async fn restorer(&self) -> Restorer {
        let vault = Arc::new(self.vault.clone());
        restorer(vault, Arc::new(self.live.clone())).await.unwrap()
    }

    async fn look(&self, done: &SnapshotDone) -> LiveTable {
        let request = restore_request(done, Mode::InPlace, 1);
        self.restorer().await.look_at_live(&request).await.unwrap()
    }
}

/// As Spark writes it: without a count of rows.
fn remove(region: &str, serial: u64) -> Value {
    json!({"remove": {"path": format!("region={region}/{serial}.parquet"), "deletionTimestamp": 1,
        "dataChange": true, "extendedFileMetadata": true, "partitionValues": {"region": region}, "size": 8}})
}

fn as_lines(actions: &[Value]) -> String {
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    lines.join("\n")
}

/// Version, rows, rows removed, rows after.
type Told = (u64, Option<i64>, Option<u64>, Option<u64>);

fn told(versions: &[LiveVersion]) -> Vec<Told> {
    let told = versions.iter();
    told.map(|it| (it.version.0, it.rows, it.rows_removed, it.rows_after))
        .collect()
}

#[tokio::test]
async fn rows_of_every_version_are_told_though_removes_do_not_count_them() {
    let mut scene = scene().await;
    let done = scene.snapshot().await;
    let added = scene.add("r9").await;
    let removes = vec![remove("r1", 1), remove("r2", 2), remove("r3", 3), added];
    scene.table.commit("WRITE", removes).await;
    let added = scene.add("r4").await;
    scene.table.commit("WRITE", vec![added]).await;

    let live = scene.look(&done).await;
    assert_eq!(
        told(&live.above),
        [
            (3, Some(10), Some(0), Some(20)),
            (2, Some(-20), Some(30), Some(10)),
        ]
    );
    assert_eq!(
        told(&live.older),
        [
            (1, Some(30), Some(0), Some(30)),
            (0, Some(0), Some(0), Some(0))
        ]
    );
    assert_eq!(
        suspects(&live.above),
        [1],
        "two thirds of the rows went with v2"
    );
    assert_eq!(live.partition_columns, ["region"]);
    let properties = live.properties.unwrap();
    assert_eq!(properties["delta.logRetentionDuration"], "interval 90 days");
}

#[tokio::test]
async fn a_log_that_begins_with_a_checkpoint_still_tells_rows_and_streams() {
    let mut scene = scene().await;
    let done = scene.snapshot().await;
    let key = |version: u64, end: &str| format!("_delta_log/{version:020}.{end}");
    let lines = [
        json!({"checkpointMetadata": {"version": 1}}),
        json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"],
            "writerFeatures": ["v2Checkpoint"]}}),
        json!({"metaData": {"id": "orders", "partitionColumns": ["region"], "configuration": {}}}),
        json!({"txn": {"appId": "to-orders", "version": 3}}),
        json!({"add": {"path": "region=r1/1.parquet", "size": 8, "stats": "{\"numRecords\":10}"}}),
        json!({"add": {"path": "region=r2/2.parquet", "size": 8, "stats": "{\"numRecords\":10}"}}),
        json!({"add": {"path": "region=r3/3.parquet", "size": 8, "stats": "{\"numRecords\":10}"}}),
    ];
    let text: String = as_lines(&lines);
    let name = format!("checkpoint.{}.json", uuid::Uuid::nil());
    scene.table.put(&key(1, &name), text.into_bytes()).await;
    scene.table.remove(&key(0, "json")).await;
    let stream = json!({"txn": {"appId": "to-orders", "version": 4}});
    scene
        .table
        .commit("DELETE", vec![remove("r1", 1), stream])
        .await;

    let live = scene.look(&done).await;
    assert_eq!(live.trouble, None);
    assert_eq!(live.readable_from, Some(Version(1)));
    assert_eq!(told(&live.above), [(2, Some(-10), Some(10), Some(20))]);
    let (then, now) = (live.txns_at.unwrap(), live.txns.unwrap());
    assert_eq!((then["to-orders"], now["to-orders"]), (Some(3), Some(4)));
}

#[tokio::test]
async fn streams_are_told_from_the_live_log_and_from_the_held_one() {
    let mut scene = scene().await;
    let done = scene.snapshot().await;
    let went_on = vec![
        json!({"txn": {"appId": "to-orders", "version": 7}}),
        json!({"txn": {"appId": "began", "version": 0}}),
    ];
    scene.table.commit("STREAMING UPDATE", went_on).await;

    let live = scene.look(&done).await;
    let (then, now) = (live.txns_at.unwrap(), live.txns.unwrap());
    assert_eq!((then.len(), now.len()), (1, 2));
    assert_eq!(
        (then["to-orders"], now["to-orders"], now["began"]),
        (Some(3), Some(7), Some(0))
    );
    let request = restore_request(&done, Mode::InPlace, 1);
    let held = scene.restorer().await.held_txns(&request).await.unwrap();
    assert_eq!(held, then, "the vault tells the same of V");
}

#[tokio::test]
async fn a_partition_that_was_deleted_whole_is_named_and_a_part_of_one_is_not() {
    let mut scene = scene().await;
    let done = scene.snapshot().await;
    let delete = |condition: &str, actions: Vec<Value>| {
        let info = json!({"commitInfo": {"operation": "DELETE", "operationParameters": {"predicate": condition}}});
        [vec![info], actions].concat()
    };
    let commit = delete("[\"(region#12 = r2)\"]", vec![remove("r2", 2)]);
    let lines: String = as_lines(&commit);
    scene
        .table
        .put("_delta_log/00000000000000000002.json", lines.into_bytes())
        .await;
    let live = scene.look(&done).await;
    assert_eq!(
        live.above[0].predicate.as_deref(),
        Some("[\"(region#12 = r2)\"]")
    );
    let (version, partitions) = live.deleted_partitions.unwrap();
    assert_eq!((version, partitions.len()), (Version(2), 1));
    assert_eq!(partitions[0]["region"].as_deref(), Some("r2"));

    let rewritten = scene.add("r2").await;
    let commit = delete("[\"(id#1L = 5)\"]", vec![remove("r2", 2), rewritten]);
    let lines: String = as_lines(&commit);
    scene
        .table
        .overwrite("_delta_log/00000000000000000002.json", lines.into_bytes())
        .await;
    assert_eq!(scene.look(&done).await.deleted_partitions, None);
}
