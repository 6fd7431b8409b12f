//! Snapshots with scope `history`: the files that older versions need, what is gone of them, and which versions are
//! whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::{Placement, Scope};
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::one_truth::{commit, finding};
use super::support::corpus::{self, CorpusTable};
use super::support::table::{CheckpointForm, Table};
use super::support::world::{
    copy_folder, init, local, request, restore_request, restorer, snapshotter, source,
};

struct Scene {
    table: Table,
    live: MemoryStore,
    vault: MemoryStore,
    hours: i64,
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
            hours: 0,
        }
    }

    async fn night(&mut self, scope: Scope) -> SnapshotDone {
        self.hours += 24;
        take(&self.vault, Arc::new(self.live.clone()), scope, self.hours)
            .await
            .unwrap()
    }

    async fn restored(&self, done: &SnapshotDone) -> BTreeSet<String> {
        let target = Arc::new(MemoryStore::new("s3://elsewhere/orders"));
        let restorer = restorer(Arc::new(self.vault.clone()), target.clone())
            .await
            .unwrap();
        let request = restore_request(done, Mode::To, self.hours);
        let plan = restorer.plan(&request).await.unwrap();
        restorer.execute(&request, plan).await.unwrap();
        let names = Table::open(target).names("").await;
        let is_data = |name: &String| !name.starts_with("_delta_log/");
        names.into_iter().filter(is_data).collect()
    }
}

async fn take(
    vault: &MemoryStore,
    table: Arc<dyn ReadStore>,
    scope: Scope,
    hours: i64,
) -> Result<SnapshotDone, Error> {
    let store: Arc<dyn WriteStore> = Arc::new(vault.clone());
    let mut request = request(table.uri(), hours);
    request.scope = scope;
    let snapshotter = snapshotter(store).await?;
    snapshotter.take(&source(table), &request).await
}

/// The data files of a snapshot: those held, those absent.
async fn files(vault: &MemoryStore, done: &SnapshotDone) -> (BTreeSet<String>, BTreeSet<String>) {
    let readable: Arc<dyn ReadStore> = Arc::new(vault.clone());
    let vault = Vault::open(readable).await.unwrap();
    let manifest = vault.manifest(&done.record).await.unwrap();
    let entries: Vec<_> = vault
        .entries(&manifest.data_pages)
        .try_collect()
        .await
        .unwrap();
    let (absent, held): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.placement == Placement::Absent {});
    let names = |entries: Vec<deltavault::format::Entry>| {
        let names = entries.into_iter().map(|entry| entry.file.to_string());
        names.collect()
    };
    (names(held), names(absent))
}

fn whole(done: &SnapshotDone) -> Vec<(u64, u64)> {
    let ranges = done.record.whole_versions.iter();
    ranges.map(|(first, last)| (first.0, last.0)).collect()
}

#[tokio::test]
async fn files_of_older_versions_are_held_and_vacuumed_ones_are_absent_every_night() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await; // 1
    scene.table.append(1, 100).await; // 2
    scene.table.delete(1).await; // 3
    let first: Vec<_> = scene.table.states[&1].keys().cloned().collect();
    scene.table.vacuum().await;
    scene.table.delete(1).await; // 4
    for night in 0..3 {
        let done = scene.night(Scope::History).await;
        let (held, absent) = files(&scene.vault, &done).await;
        // The file that version 3 removed was vacuumed, the one that version 4 removed is still there.
        assert_eq!(absent, BTreeSet::from([first[0].clone()]), "{night}");
        assert!(held.contains(&first[1]), "{night}");
        assert_eq!(whole(&done)[..2], [(0, 0), (3, 3 + night)], "{night}");
        assert_eq!(done.record.totals.absent_files, 1);
        scene.table.append(1, 100).await;
    }
}

#[tokio::test]
async fn a_file_out_of_reach_spoils_only_the_versions_that_need_it() {
    let mut scene = Scene::set().await;
    let place = "abfss://lake@account/base.parquet";
    let add = json!({"path": place, "partitionValues": {}, "size": 9, "modificationTime": 1, "dataChange": true});
    let remove = json!({"path": place, "deletionTimestamp": 1, "dataChange": true});
    scene.table.append(1, 100).await; // 1
    scene.table.commit("CLONE", vec![json!({"add": add})]).await; // 2
    let live = Arc::new(scene.live.clone());
    let refused = take(&scene.vault, live, Scope::History, 1).await;
    assert!(refused.is_err(), "{refused:?}");
    scene
        .table
        .commit("DELETE", vec![json!({"remove": remove})])
        .await; // 3
    scene.table.append(1, 100).await; // 4
    let done = scene.night(Scope::History).await;
    let (_, absent) = files(&scene.vault, &done).await;
    assert_eq!(absent, BTreeSet::from([place.to_owned()]));
    assert_eq!(whole(&done), [(0, 1), (3, 3)]);
}

#[tokio::test]
async fn a_vector_that_is_gone_spoils_only_the_versions_that_use_it() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 100).await; // 1: no vector
    scene.table.delete_rows(1).await; // 2: the first
    scene.table.delete_rows(1).await; // 3: the second
    let vectors = scene.table.names("deletion_vector").await;
    assert_eq!(vectors.len(), 2);
    scene.table.vacuum().await;
    scene.table.append(1, 100).await; // 4
    let done = scene.night(Scope::History).await;
    let (held, absent) = files(&scene.vault, &done).await;
    assert_eq!(absent.len(), 1);
    assert_eq!(held.len(), 3);
    assert_eq!(whole(&done), [(0, 1), (3, 3)]);
    assert_eq!(done.record.totals.rows, Some(19));
}

#[tokio::test]
async fn a_log_that_is_cleaned_up_beyond_the_last_snapshot_goes_on() {
    for goes_on in [false, true] {
        let mut scene = Scene::set().await;
        scene.table.append(3, 100).await; // 1
        scene.night(Scope::History).await;
        scene.table.delete(1).await; // 2
        scene.table.append_with_change_data(1, 100).await; // 3
        scene.table.checkpoint_as(CheckpointForm::Classic).await;
        if goes_on {
            scene.table.append(1, 100).await; // 4
        }
        for version in 0..3 {
            scene.table.remove(&commit(version)).await;
        }
        let done = scene.night(Scope::History).await;
        assert_eq!(done.record.findings, [""; 0]);
        let older: &[_] = if goes_on { &[(3, 3)] } else { &[] };
        assert_eq!(whole(&done), older);
        let live: BTreeSet<_> = scene.table.live.keys().cloned().collect();
        assert!(scene.restored(&done).await.is_superset(&live));
        assert!(scene.night(Scope::History).await.unchanged);
    }
}

#[tokio::test]
async fn what_a_checkpoint_lost_is_named_where_no_other_way_is_left() {
    for form in [CheckpointForm::Classic, CheckpointForm::Sidecars(2)] {
        for goes_on in [false, true] {
            let mut scene = Scene::set().await;
            scene.table.append(3, 100).await; // 1
            let first = scene.night(Scope::History).await;
            scene.table.append(1, 100).await; // 2
            let truth = scene.table.live.clone();
            let (lost, _) = scene.table.live.pop_first().unwrap();
            scene.table.checkpoint_as(form).await;
            scene.table.live = truth;
            if goes_on {
                scene.table.append(1, 100).await; // 3
            }
            for version in 0..2 {
                scene.table.remove(&commit(version)).await;
            }
            for unchanged in [false, true] {
                let done = scene.night(Scope::History).await;
                assert_eq!(done.unchanged, unchanged);
                let says = finding(&done.record, "checkpoint 2 disagrees with snapshot");
                let it = format!(
                    "{} and the commits after it: it lacks 1 live file that they name and has 0 that they do not, one of \
                     them {lost}",
                    first.id.short()
                );
                assert!(says.contains(&it), "{says}");
                assert!(!scene.restored(&done).await.contains(&lost));
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_spoils_only_the_versions_before() {
    for snapshot_before in [false, true] {
        let mut scene = Scene::set().await;
        scene.table.append(1, 100).await; // 1
        scene.table.append(1, 100).await; // 2
        if snapshot_before {
            scene.night(Scope::History).await;
        }
        let replaced: Vec<_> = scene.table.states[&1].keys().cloned().collect();
        scene.table.delete(1).await; // 3
        scene.table.overwrite(&replaced[0], vec![b'!'; 77]).await;
        scene.table.append(1, 100).await; // 4
        for _ in 0..2 {
            let done = scene.night(Scope::History).await;
            let (_, absent) = files(&scene.vault, &done).await;
            if snapshot_before {
                assert_eq!(absent, BTreeSet::new());
                assert_eq!(whole(&done), [(0, 3)]);
            } else {
                assert_eq!(absent, replaced.iter().cloned().collect());
                assert_eq!(whole(&done), [(0, 0), (3, 3)]);
            }
        }
    }
}

#[tokio::test]
async fn of_two_files_under_one_name_the_newer_is_held() {
    for snapshot_before in [false, true] {
        let mut scene = Scene::set().await;
        scene.table.append(1, 100).await; // 1
        let name = scene.table.states[&1].keys().next().unwrap().clone();
        scene.table.append(1, 100).await; // 2
        scene.table.overwrite(&name, vec![b'!'; 77]).await;
        scene.table.add_again_as(&name, 77).await; // 3
        if snapshot_before {
            scene.night(Scope::History).await;
        }
        scene.table.delete(1).await; // 4
        assert!(!scene.table.live.contains_key(&name));
        scene.table.append(1, 100).await; // 5
        for _ in 0..2 {
            let done = scene.night(Scope::History).await;
            let (held, absent) = files(&scene.vault, &done).await;
            assert!(held.contains(&name), "{absent:?}");
            assert_eq!(whole(&done), [(0, 0), (3, 4)]);
        }
    }
}

#[tokio::test]
async fn the_commit_of_the_first_checkpoint_may_be_unreadable() {
    let mut scene = Scene::set().await;
    scene.table.append_with_change_data(1, 100).await; // 1
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    scene.table.append(1, 100).await; // 2
    let torn = scene.table.read(&commit(1)).await;
    scene
        .table
        .overwrite(&commit(1), torn[..torn.len() / 2].to_vec())
        .await;
    let done = scene.night(Scope::History).await;
    finding(&done.record, "commit 1 cannot be read");
    let live: BTreeSet<_> = scene.table.live.keys().cloned().collect();
    assert!(scene.restored(&done).await.is_superset(&live));
}

#[tokio::test]
async fn change_data_is_held_by_history_alone() {
    let mut scene = Scene::set().await;
    scene.table.append_with_change_data(2, 100).await;
    scene.table.append(1, 100).await;
    let feed: BTreeSet<_> = scene.table.change_data[&1].iter().cloned().collect();
    let live = scene.night(Scope::Live).await;
    assert!(files(&scene.vault, &live).await.0.is_disjoint(&feed));
    let history = scene.night(Scope::History).await;
    assert!(files(&scene.vault, &history).await.0.is_superset(&feed));
    assert!(scene.restored(&history).await.is_superset(&feed));
}

#[tokio::test]
async fn the_scope_may_change_from_night_to_night() {
    let mut scene = Scene::set().await;
    scene.table.append(3, 100).await;
    scene.table.delete(1).await;
    let needed: BTreeSet<_> = scene.table.live.keys().cloned().collect();
    let ever: BTreeSet<_> = scene.table.states[&1].keys().cloned().collect();
    let scopes = [Scope::Live, Scope::History, Scope::Live, Scope::History];
    for (night, scope) in scopes.into_iter().enumerate() {
        let done = scene.night(scope).await;
        assert!(!done.unchanged, "another scope is another manifest");
        let expected = if scope == Scope::Live { &needed } else { &ever };
        assert_eq!(&scene.restored(&done).await, expected, "night {night}");
        let versions: &[_] = if scope == Scope::Live { &[] } else { &[(0, 1)] };
        assert_eq!(whole(&done), versions, "night {night}");
        let then = if night == 0 { 2 } else { 0 };
        assert_eq!(done.record.change.files_added, then, "night {night}");
        assert_eq!(done.record.change.files_removed, 0, "night {night}");
    }
    let again = scene.night(Scope::History).await;
    assert!(again.unchanged);
    assert_eq!(whole(&again), [(0, 1)]);
}

/// Tables whose truth is ok and that are refused all the same: a version alone, thousands past the rest.
const FAR_FUTURE: &[&str] = &["rserr--table_i"];

#[tokio::test]
async fn history_of_every_table_of_the_corpus_is_what_the_truth_has() {
    let Some(tables) = corpus::tables("history of the corpus") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let vault = MemoryStore::without_locks("s3://vault");
    init(&vault).await;
    let mut wrong = String::new();
    let mut compared = 0;
    for table in &tables {
        let truth = &table.truth;
        let names = |value: &Value| value.as_array().is_some_and(|names| !names.is_empty());
        let skipped = truth["status"] != "ok"
            || names(&truth["missing"])
            || names(&truth["closure_external"])
            || names(&truth["history"]["external"])
            || FAR_FUTURE.contains(&table.name.as_str());
        if skipped {
            continue;
        }
        compared += 1;
        let path = folder.path().join(&table.name);
        copy_folder(&table.path, &path);
        match take(&vault, Arc::new(local(&path)), Scope::History, 0).await {
            Ok(done) => compare(table, &vault, &done, &mut wrong).await,
            Err(error) => writeln!(wrong, "{}: {error:?}", table.name).unwrap(),
        }
    }
    println!("{compared} tables");
    assert!(wrong.is_empty(), "\n{wrong}");
}

async fn compare(
    table: &CorpusTable,
    vault: &MemoryStore,
    done: &SnapshotDone,
    wrong: &mut String,
) {
    let (held, absent) = files(vault, done).await;
    let history = &table.truth["history"];
    let strings = |value: &Value| -> BTreeSet<String> {
        let names = value.as_array().into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let feed = table.truth["cdf_files"].as_array().unwrap().iter();
    let feed = feed.map(|file| file["key"].as_str().unwrap().to_owned());
    // Beside what the versions need, what the change feed of the same commits needs.
    let needed = strings(&history["objects"]).into_iter().chain(feed);
    let (objects, missing): (BTreeSet<_>, BTreeSet<_>) =
        needed.partition(|name| table.path.join(name).is_file());
    if held != objects || absent != missing {
        writeln!(
            wrong,
            "{}: held {:?}, not held {:?}, absent {absent:?} for {missing:?}",
            table.name,
            held.difference(&objects).collect::<Vec<_>>(),
            objects.difference(&held).collect::<Vec<_>>(),
        )
        .unwrap();
    }
    for (version, truth) in table.truth["per_version"].as_object().unwrap() {
        let version = Version(version.parse().unwrap());
        if version >= done.record.version {
            continue;
        }
        let ranges = &done.record.whole_versions;
        let says = ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&version));
        if says != (truth["missing_objects"] == 0) {
            writeln!(
                wrong,
                "{}: {version} lacks {} objects, whole are {ranges:?}",
                table.name, truth["missing_objects"]
            )
            .unwrap();
        }
    }
}
