//! A snapshot that builds on the night before holds what one from nothing holds, and says what the night brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::format::{Change, Entry, Placement, Totals};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt;
use serde_json::json;

use super::support::table::{CheckpointForm, Table};
use super::support::world::{init, request, snapshotter, source};

const HINT: &str = "_delta_log/_last_checkpoint";

struct Scene {
    table: Table,
    live: MemoryStore,
    /// Takes every night.
    vault: MemoryStore,
    nights: i64,
}

impl Scene {
    async fn set() -> Self {
        let live = MemoryStore::without_versions("s3://lake/orders");
        let vault = MemoryStore::without_locks("s3://vault");
        init(&vault).await;
        Self {
            table: Table::create(Arc::new(live.clone()), "orders").await,
            live,
            vault,
            nights: 0,
        }
    }

    /// Takes a snapshot from last night's and one from nothing, which must not differ; returns the former.
    async fn night(&mut self) -> SnapshotDone {
        self.nights += 1;
        let done = self.take(&self.vault).await;
        let fresh = MemoryStore::without_locks("s3://fresh");
        init(&fresh).await;
        let full = self.take(&fresh).await;
        assert_eq!(done.record.base.is_some(), self.nights > 1);
        let (log, data) = entries(&self.vault, &done).await;
        let (full_log, full_data) = entries(&fresh, &full).await;
        assert_eq!(data, full_data);
        for (name, entry) in &full_log {
            assert_eq!(log.get(name), Some(entry));
        }
        let (totals, full_totals) = (done.record.totals, full.record.totals);
        let of_data = |totals: Totals| Totals {
            files: 0,
            bytes: 0,
            ..totals
        };
        assert_eq!(of_data(totals), of_data(full_totals));
        assert_eq!(
            totals.files - full_totals.files,
            (log.len() - full_log.len()) as u64
        );
        done
    }

    async fn take(&self, vault: &MemoryStore) -> SnapshotDone {
        let store: Arc<dyn WriteStore> = Arc::new(vault.clone());
        let snapshotter = snapshotter(store).await.unwrap();
        let request = request(self.live.uri(), 24 * self.nights);
        let source = source(Arc::new(self.live.clone()));
        snapshotter.take(&source, &request).await.unwrap()
    }

    async fn log(&self, done: &SnapshotDone) -> Vec<String> {
        let (log, _) = entries(&self.vault, done).await;
        log.into_keys().collect()
    }
}

type Entries = BTreeMap<String, Entry>;

/// The log entries and the data entries, without what depends on the vault.
async fn entries(vault: &MemoryStore, done: &SnapshotDone) -> (Entries, Entries) {
    let readable: Arc<dyn ReadStore> = Arc::new(vault.clone());
    let vault = Vault::open(readable).await.unwrap();
    let manifest = vault.manifest(&done.record).await.unwrap();
    assert_eq!(manifest.totals, done.record.totals);
    let mut found = [Entries::new(), Entries::new()];
    for (entries, pages) in found
        .iter_mut()
        .zip([&manifest.log_pages, &manifest.data_pages])
    {
        let listed: Vec<Entry> = vault.entries(pages).try_collect().await.unwrap();
        for entry in listed {
            let entry = Entry {
                object_version: None,
                placement: Placement::Absent {},
                ..entry
            };
            let before = entries.insert(entry.file.to_string(), entry);
            assert!(before.is_none(), "{before:?} is there twice");
        }
    }
    let [log, data] = found;
    (log, data)
}

fn change(done: &SnapshotDone) -> (u64, u64, Option<i64>, u64) {
    let Change {
        files_added,
        files_removed,
        rows,
        versions,
        ..
    } = &done.record.change;
    (*files_added, *files_removed, *rows, *versions)
}

fn v2(version: u64) -> String {
    format!("_delta_log/{version:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json")
}

fn commit(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

#[tokio::test]
async fn nights_of_a_table_are_what_they_would_be_from_nothing() {
    let mut scene = Scene::set().await;
    scene.table.append(5, 100).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (5, 0, Some(50), 2));
    assert_eq!(done.record.change.operation.as_deref(), Some("WRITE"));
    assert_eq!(done.record.change.user.as_deref(), Some("writer"));
    assert_eq!(done.record.change.new_files, 2 + 5);

    scene.table.append(2, 100).await;
    scene.table.delete(1).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (2, 1, Some(10), 2));
    assert_eq!(done.record.change.operation.as_deref(), Some("DELETE"));
    assert_eq!(done.record.change.new_files, 2 + 2);

    // One new file of vectors under three data files: three logical files go, three come.
    scene.table.delete_rows(3).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (3, 3, Some(-3), 1));
    assert_eq!(done.record.change.new_files, 1 + 1);
    scene.table.delete_rows_inline(1).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (1, 1, Some(-1), 1));

    // Came and went between two nights: nobody saw it.
    scene.table.append(1, 100).await;
    let newest = scene.table.states[&scene.table.version()].clone();
    let before = &scene.table.states[&(scene.table.version() - 1)];
    let name = newest.keys().find(|name| !before.contains_key(*name));
    scene.table.live.remove(name.unwrap());
    let remove = json!({"remove": {"path": name, "dataChange": true}});
    scene.table.commit("DELETE", vec![remove]).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (0, 0, Some(0), 2));

    for form in [CheckpointForm::Json, CheckpointForm::Classic] {
        scene.table.checkpoint_as(form).await;
        let done = scene.night().await;
        assert!(!done.unchanged);
        assert_eq!(change(&done), (0, 0, Some(0), 0));
        assert_eq!(done.record.checkpoint, Some(done.record.version));
    }
    assert!(scene.night().await.unchanged);
}

#[tokio::test]
async fn a_file_of_vectors_leaves_with_the_last_file_that_uses_it() {
    let mut scene = Scene::set().await;
    scene.table.append(4, 100).await;
    scene.table.delete_rows(4).await;
    let first = scene.table.names("deletion_vector").await.remove(0);
    for used in [4, 3, 2, 1] {
        let done = scene.night().await;
        let (_, data) = entries(&scene.vault, &done).await;
        assert!(data.contains_key(&first), "{used} files use it");
        scene.table.delete(1).await;
    }
    scene.table.append(1, 100).await;
    let done = scene.night().await;
    let (_, data) = entries(&scene.vault, &done).await;
    assert_eq!(data.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_removed_and_added_again_is_known_or_copied_as_it_is_now() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await;
    scene.night().await;
    let name = scene.table.live.keys().next().unwrap().clone();
    scene.table.delete(1).await;
    scene.table.add_again(&name).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (0, 0, Some(0), 2));
    assert_eq!(done.record.change.new_files, 2);
    scene.table.delete(1).await;
    assert_eq!(change(&scene.night().await), (0, 1, Some(-10), 1));
    // Meanwhile no base holds it.
    scene.table.add_again(&name).await;
    let done = scene.night().await;
    assert_eq!(change(&done), (1, 0, Some(10), 1));
    assert_eq!(done.record.change.new_files, 2);
}

#[tokio::test]
async fn a_checkpoint_that_is_rewritten_is_held_as_it_is_now() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Json).await;
    scene.night().await;
    let name = v2(1);
    let mut bytes = scene.table.read(&name).await;
    bytes.push(b'\n');
    let size = bytes.len() as u64;
    scene.table.overwrite(&name, bytes).await;
    let done = scene.night().await;
    assert!(!done.unchanged);
    let (log, _) = entries(&scene.vault, &done).await;
    assert_eq!(log[&name].size, size);
}

#[tokio::test]
async fn sidecars_enter_with_any_checkpoint_and_are_shared() {
    let mut scene = Scene::set().await;
    scene.table.append(6, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.night().await;
    // Another checkpoint of the same version.
    let sidecars = CheckpointForm::Sidecars(2);
    scene.table.checkpoint_as(sidecars).await;
    let done = scene.night().await;
    let count = |log: &[String]| {
        log.iter()
            .filter(|name| name.contains("_sidecars/"))
            .count()
    };
    assert_eq!(count(&scene.log(&done).await), 3);
    // The first two of six files go: two sidecars of three are shared.
    scene.table.delete(2).await;
    scene.table.checkpoint_as(sidecars).await;
    let done = scene.night().await;
    assert_eq!(count(&scene.log(&done).await), 3);
    assert_eq!(done.record.change.new_files, 3, "commit, checkpoint, hint");
    // One that nobody names is not held.
    scene
        .table
        .put(
            "_delta_log/_sidecars/016ae953-37a9-438e-8683-9a9a4a79a395.parquet",
            vec![1],
        )
        .await;
    let done = scene.night().await;
    assert_eq!(count(&scene.log(&done).await), 3);
}

#[tokio::test]
async fn the_hint_is_held_while_it_is_true() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await;
    scene.table.checkpoint().await;
    let done = scene.night().await;
    assert!(scene.log(&done).await.contains(&HINT.to_owned()));
    for wrong in [
        "{",
        r#"{"version":9,"size":1}"#,
        r#"{"version":0,"size":1}"#,
    ] {
        scene.table.overwrite(HINT, wrong.as_bytes().to_vec()).await;
        scene.table.append(1, 100).await;
        let done = scene.night().await;
        assert!(
            !scene.log(&done).await.contains(&HINT.to_owned()),
            "{wrong}"
        );
    }
    scene.table.checkpoint().await;
    let done = scene.night().await;
    assert!(scene.log(&done).await.contains(&HINT.to_owned()));
}

#[tokio::test]
async fn what_the_log_cleaned_up_leaves_but_for_the_second_way() {
    for form in [CheckpointForm::Json, CheckpointForm::Sidecars(2)] {
        let mut scene = Scene::set().await;
        for _ in 0..3 {
            scene.table.append(2, 100).await;
            scene.table.append(1, 100).await;
            scene.table.checkpoint_as(form).await; // 2, 4, 6
            scene.night().await;
        }
        scene.table.clean_up_log().await;
        scene.table.append(1, 100).await; // 7
        let done = scene.night().await;
        assert!(
            scene.log(&done).await.contains(&commit(0)),
            "nobody has listed it yet"
        );
        scene.table.append(2, 100).await; // 8
        scene.table.checkpoint_as(form).await;
        let done = scene.night().await;
        let log = scene.log(&done).await;
        for (name, held) in [
            (commit(5), false),
            (v2(4), false),
            (v2(6), true),
            (commit(7), true),
            (v2(8), true),
        ] {
            assert_eq!(log.contains(&name), held, "{form:?}: {name}");
        }
        // The source keeps one checkpoint only; V can be rebuilt in two ways all the same.
        let text = String::from_utf8(scene.table.read(&v2(8)).await).unwrap();
        scene.table.delete(1).await; // 9
        scene.night().await;
        scene.table.checkpoint_as(form).await;
        scene.table.clean_up_log().await;
        scene.table.append(1, 100).await; // 10
        let done = scene.night().await;
        let log = scene.log(&done).await;
        let holds = |name: &str| log.contains(&name.to_owned());
        assert!(!holds(&v2(6)) && !holds(&commit(7)), "{form:?}: {log:?}");
        assert!(holds(&v2(8)) && holds(&commit(9)), "{form:?}: {log:?}");
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = line["sidecar"]["path"].as_str() {
                assert!(holds(&format!("_delta_log/_sidecars/{path}")), "{log:?}");
            }
        }
    }
}

#[tokio::test]
async fn compactions_are_held_and_never_needed() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    scene.table.append(2, 100).await;
    let name = format!("_delta_log/{:020}.{:020}.compacted.json", 1, 2);
    scene
        .table
        .put(&name, b"no compaction at all".to_vec())
        .await;
    let done = scene.night().await;
    assert!(scene.log(&done).await.contains(&name));
    scene.table.append(1, 100).await;
    let done = scene.night().await;
    assert!(scene.log(&done).await.contains(&name));
}

#[tokio::test]
async fn a_base_whose_promise_ends_lends_nothing_and_the_whole_log_is_held_anew() {
    let mut scene = Scene::set().await;
    scene.table.append(4, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Sidecars(2)).await;
    scene.night().await;
    scene.table.append(1, 100).await;
    for unchanged in [false, true] {
        scene.nights += 28;
        let done = scene.night().await;
        assert_eq!(done.record.change.new_files, 3 + 2 + 2 + 5, "{unchanged}");
        assert_eq!(change(&done).2, Some(if unchanged { 0 } else { 10 }));
    }
}
