//! The ways to hold a file: packed, streamed, copied by the store, in parts; each comes back, and little is asked twice.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deltavault::format::{Entry, Placement};
use deltavault::progress::{Phase, PlannedWork, Progress};
use deltavault::store::memory::{CopyMode, MemoryService, MemoryStore};
use deltavault::store::{ReadStore, StoreErrorKind};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::{JournalPace, SnapshotDone, SnapshotRequest, Snapshotter};
use deltavault::{Error, ExitCode};
use futures::{FutureExt as _, TryStreamExt};
use serde_json::json;

use super::support::fault_store::{Call, Fault};
use super::support::scene::{LARGE, Scene};
use super::support::verified::{ALL, verify};
use super::support::world::{request, snapshotter, source};

/// A table, a vault and another bucket of one service.
async fn beside(live: fn(&str) -> MemoryStore) -> Scene {
    let service = MemoryService::new("memory");
    let live = live("s3://lake/orders").in_service(&service);
    let vault = MemoryStore::without_locks("s3://vault").in_service(&service);
    let elsewhere = MemoryStore::new("s3://elsewhere").in_service(&service);
    Scene::set_of(live, vault, elsewhere).await
}

async fn entries(scene: &Scene, done: &SnapshotDone) -> Vec<Entry> {
    let vault = open(scene).await;
    let manifest = vault.manifest(&done.record).await.unwrap();
    let entries = vault.entries(&manifest.data_pages);
    entries.try_collect().await.unwrap()
}

async fn open(scene: &Scene) -> Vault {
    let readable: Arc<dyn ReadStore> = Arc::new(scene.vault.clone());
    Vault::open(readable).await.unwrap()
}

/// How many data files are held in each way: copies, blobs of their own, in packs.
async fn held(scene: &Scene, done: &SnapshotDone) -> (usize, usize, usize) {
    let mut held = (0, 0, 0);
    for entry in entries(scene, done).await {
        match entry.placement {
            Placement::Copy { reference } => {
                assert!(reference.key.as_str().starts_with("copies/"));
                held.0 += 1;
            }
            Placement::Blob { offset: None, .. } => held.1 += 1,
            Placement::Blob {
                offset: Some(_), ..
            } => held.2 += 1,
            Placement::Inline(_) | Placement::Absent {} => panic!("{}", entry.file),
        }
    }
    held
}

/// Reads of data files at the source since the last revival.
fn reads(scene: &Scene) -> usize {
    let of_data = |call: &Call| call.method == "open" && !call.key.starts_with("_delta_log/");
    scene
        .live
        .calls()
        .iter()
        .filter(|call| of_data(call))
        .count()
}

async fn copies(scene: &Scene) -> Vec<String> {
    let rows: Vec<_> = scene
        .vault
        .inner()
        .list("copies/", None)
        .try_collect()
        .await
        .unwrap();
    rows.into_iter().map(|row| row.key.to_string()).collect()
}

/// Proves that a snapshot comes back, and that a verification which reads everything finds nothing.
async fn is_good(scene: &Scene, done: &SnapshotDone) {
    scene.is_exact(done).await;
    let verified = verify(&open(scene).await, ALL).await;
    assert_eq!(verified.findings, []);
}

#[tokio::test]
async fn large_files_are_copied_by_the_store_and_small_ones_are_packed() {
    for mode in [CopyMode::Attests, CopyMode::AttestsWhenAsked] {
        let mut scene = beside(MemoryStore::without_versions).await;
        scene.vault.inner().set_copy_mode(mode.clone());
        scene.table.append(4, LARGE).await;
        scene.table.append(3, 100).await;
        scene.live.revive();
        scene.vault.revive();
        let done = scene.take(24).await.unwrap();
        // Two large and three small ones are of the first snapshot.
        assert_eq!(held(&scene, &done).await, (6, 0, 6), "{mode:?}");
        assert_eq!(reads(&scene), 3, "only small files pass through");
        let calls = scene.live.calls();
        let looks = calls
            .iter()
            .filter(|call| call.method == "attributes" && call.key.starts_with("part="));
        assert_eq!(looks.count(), 4, "one look a file");
        assert_eq!(scene.vault.count("copy_new"), 4);
        let asked = usize::from(matches!(mode, CopyMode::AttestsWhenAsked)) * 4;
        assert_eq!(scene.vault.count("attributes"), asked);
        is_good(&scene, &done).await;

        // The next night knows them.
        scene.table.append(1, LARGE).await;
        scene.vault.revive();
        let done = scene.take(48).await.unwrap();
        assert_eq!(scene.vault.count("copy_new"), 1);
        is_good(&scene, &done).await;
    }
}

#[tokio::test]
async fn a_file_of_another_bucket_is_copied_from_there() {
    let mut scene = beside(MemoryStore::without_versions).await;
    let bytes = vec![7; LARGE];
    scene
        .elsewhere
        .plant(&"shared/a.parquet".parse().unwrap(), bytes);
    let add = json!({"add": {"path": "s3://elsewhere/shared/a.parquet", "partitionValues": {},
        "size": LARGE, "modificationTime": 1, "dataChange": true}});
    scene.table.commit("CLONE", vec![add]).await;
    let done = scene.take(24).await.unwrap();
    assert_eq!(held(&scene, &done).await, (3, 0, 3));
    let verified = verify(&open(&scene).await, ALL).await;
    assert_eq!(verified.findings, []);
}

/// Collects notes.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn phase(&self, _table: &str, _phase: Phase) {}
    fn planned(&self, _work: PlannedWork) {}
    fn file_done(&self, _bytes: u64) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// Adds up the bytes that moved, and those of files that were done.
#[derive(Debug, Default)]
struct Bytes(Mutex<(u64, u64)>);

impl Progress for Bytes {
    fn phase(&self, _table: &str, _phase: Phase) {}
    fn planned(&self, _work: PlannedWork) {}
    fn moved(&self, bytes: u64) {
        self.0.lock().unwrap().0 += bytes;
    }
    fn file_done(&self, bytes: u64) {
        let mut sums = self.0.lock().unwrap();
        assert!(sums.0 >= sums.1 + bytes, "{bytes} of {sums:?}");
        sums.1 += bytes;
    }
    fn note(&self, _text: &str) {}
}

#[tokio::test]
async fn the_bytes_of_a_large_file_are_reported_before_it_is_done() {
    let mut scene = Scene::set().await;
    scene.table.append(1, LARGE).await;
    let moved = Arc::new(Bytes::default());
    let taker = Snapshotter {
        progress: moved.clone(),
        ..taker(&scene).await
    };
    let done = take_with(&scene, &taker, 24).await.unwrap();
    assert_eq!(*moved.0.lock().unwrap(), (LARGE as u64, LARGE as u64));

    let entries = entries(&scene, &done).await;
    let large = entries.iter().find(|it| it.size == LARGE as u64).unwrap();
    let moved = Arc::new(Bytes::default());
    let vault = open(&scene).await.watched_by(moved.clone());
    let folder = tempfile::tempdir().unwrap();
    vault.payload(large, folder.path()).await.unwrap();
    assert_eq!(moved.0.lock().unwrap().0, LARGE as u64);
}

/// A snapshotter over the scene's vault, to be adjusted.
async fn taker(scene: &Scene) -> Snapshotter {
    snapshotter(Arc::new(scene.vault.clone())).await.unwrap()
}

async fn take_with(scene: &Scene, taker: &Snapshotter, hours: i64) -> Result<SnapshotDone, Error> {
    take_as(scene, taker, &request(scene.live.uri(), hours)).await
}

async fn take_as(
    scene: &Scene,
    taker: &Snapshotter,
    request: &SnapshotRequest,
) -> Result<SnapshotDone, Error> {
    let source = source(Arc::new(scene.live.clone()));
    taker.take(&source, request).await
}

#[tokio::test]
async fn a_pair_that_cannot_copy_is_asked_once_a_run_and_everything_streams() {
    let denied = StoreErrorKind::Denied {
        detail: "no s3:GetObject".to_owned(),
    };
    let unsupported = StoreErrorKind::Unsupported {
        reason: "no copies here".to_owned(),
    };
    for (mode, litter, says) in [
        (CopyMode::Silent, 1, "does not say the SHA-256"),
        (CopyMode::Refuses(denied), 0, "no s3:GetObject"),
        (CopyMode::Refuses(unsupported), 0, "no copies here"),
    ] {
        let mut scene = beside(MemoryStore::without_versions).await;
        let before = copies(&scene).await.len();
        scene.vault.inner().set_copy_mode(mode);
        scene.table.append(20, LARGE).await;
        scene.vault.revive();
        let notes = Arc::new(Notes::default());
        let taker = Snapshotter {
            progress: notes.clone(),
            ..taker(&scene).await
        };
        let done = take_with(&scene, &taker, 24).await.unwrap();
        assert_eq!(scene.vault.count("copy_new"), 1, "{says}");
        assert_eq!(copies(&scene).await.len() - before, litter, "{says}");
        assert_eq!(held(&scene, &done).await, (2, 20, 3));
        let notes = notes.0.lock().unwrap().clone();
        assert!(notes.iter().any(|note| note.contains(says)), "{notes:?}");
        assert_eq!(notes.len(), 1, "{notes:?}");
        is_good(&scene, &done).await;
    }
}

#[tokio::test]
async fn a_lost_answer_gives_its_key_up_and_too_many_of_them_stream_the_file() {
    for (lost, copied, streamed) in [(2, 3, 0), (3, 2, 1)] {
        let mut scene = beside(MemoryStore::without_versions).await;
        let before = copies(&scene).await.len();
        scene.table.append(1, LARGE).await;
        scene.vault.inner().lose_copy_answers(lost);
        let done = scene.take(24).await.unwrap();
        assert_eq!(held(&scene, &done).await, (copied, streamed, 3));
        assert_eq!(copies(&scene).await.len() - before, 3);
        is_good(&scene, &done).await;
    }
}

#[tokio::test]
async fn a_file_that_changes_between_look_and_copy_is_held_as_it_is_now() {
    let mut scene = beside(MemoryStore::without_versions).await;
    let before: Vec<_> = scene.table.live.keys().cloned().collect();
    scene.table.append(1, LARGE).await;
    let mut names = scene.table.live.keys();
    let name = names.find(|name| !before.contains(name)).unwrap().clone();
    let table = scene.table.clone();
    scene.vault.before_call(
        1,
        |call| call.method == "copy_new",
        move || async move { table.overwrite(&name, vec![9; LARGE]).await }.boxed(),
    );
    let done = scene.take(24).await.unwrap();
    assert_eq!(held(&scene, &done).await, (3, 0, 3));
    is_good(&scene, &done).await;
}

#[tokio::test]
async fn what_is_larger_than_one_put_goes_in_parts() {
    let mut scene = Scene::set().await;
    scene.vault.inner().set_largest_put(2 * LARGE as u64);
    scene.table.append(1, 3 * LARGE).await;
    scene.table.append(1, 70 * 1024 * 1024).await;
    scene.vault.revive();
    let done = scene.take(24).await.unwrap();
    assert_eq!(scene.vault.count("put_parts"), 2);
    assert_eq!(held(&scene, &done).await, (2, 2, 3));
    is_good(&scene, &done).await;
}

#[tokio::test]
async fn a_file_that_vacuum_took_during_the_copy_is_taken_from_its_noncurrent_version() {
    for size in [100, LARGE] {
        for copying in [true, false] {
            let mut scene = beside(MemoryStore::new).await;
            if !copying {
                let denied = StoreErrorKind::Denied {
                    detail: String::new(),
                };
                scene.vault.inner().set_copy_mode(CopyMode::Refuses(denied));
            }
            let first: Vec<_> = scene.table.live.keys().cloned().collect();
            scene.table.append(3, size).await;
            let names: Vec<_> = scene.table.live.keys().cloned().collect();
            let closure = scene.table.closure().await;
            for name in names.iter().filter(|name| !first.contains(name)) {
                scene.table.remove(name).await;
            }
            let visible = scene.visible().await.len();
            let done = scene.take(24).await.unwrap();
            assert_eq!(done.record.version, deltavault::ids::Version(3));
            assert_eq!(scene.visible().await.len(), visible + 1);
            assert_eq!(scene.contents(&done).await.unwrap(), closure);
        }
    }
}

#[tokio::test]
async fn a_noncurrent_version_of_another_size_is_not_taken_for_the_file() {
    let mut scene = beside(MemoryStore::new).await;
    scene.table.append(1, LARGE).await;
    let name = "part=0/part-00006-orders.parquet";
    assert!(scene.table.live.contains_key(name));
    let key = name.parse().unwrap();
    scene.live.inner().plant(&key, vec![1; 10]);
    scene.live.inner().delete_marker(&key);
    let done = scene.take(24).await.unwrap();
    assert_eq!(scene.contents(&done).await.unwrap()[name].len(), LARGE);
    // Without the right one below, the file is missing.
    let mut scene = beside(MemoryStore::new).await;
    let add = json!({"add": {"path": "lost.parquet", "partitionValues": {},
        "size": LARGE, "modificationTime": 1, "dataChange": true}});
    scene.table.commit("WRITE", vec![add]).await;
    let key = "lost.parquet".parse().unwrap();
    scene.live.inner().plant(&key, vec![1; 10]);
    scene.live.inner().delete_marker(&key);
    scene
        .refuses(
            ExitCode::Failed,
            &["lost.parquet", "1 of its files is gone"],
        )
        .await;
}

#[tokio::test]
async fn a_file_that_the_source_lost_is_taken_from_the_vault_where_no_base_may_be_built_on() {
    let scene = Scene::set().await;
    let closure = scene.table.closure().await;
    for name in scene.table.live.keys() {
        scene.table.remove(name).await;
    }
    // The promise of the first snapshot is nearly over: what it holds may go away, but has not.
    let done = scene.take(29 * 24).await.unwrap();
    assert_ne!(done.record.manifest, scene.first.record.manifest);
    assert_eq!(scene.contents(&done).await.unwrap(), closure);
}

#[tokio::test]
async fn a_run_killed_far_in_and_begun_elsewhere_copies_nothing_twice() {
    for copying in [true, false] {
        let mut scene = beside(MemoryStore::without_versions).await;
        if !copying {
            let reason = String::new();
            let refuses = CopyMode::Refuses(StoreErrorKind::Unsupported { reason });
            scene.vault.inner().set_copy_mode(refuses);
        }
        scene.table.append(20, LARGE).await;
        // Every placement is written down at once; the sixteenth file is the last that gets in.
        let mut taker = taker(&scene).await;
        taker.budget = deltavault::vault::snapshot::Budget::new(2 * LARGE as u64, 2);
        taker.journal = JournalPace {
            files: 1,
            ..JournalPace::default()
        };
        let fetched = |call: &Call| {
            let streamed = call.method == "open" && call.key.starts_with("part=");
            streamed || call.method == "copy_new"
        };
        let counted = |scene: &Scene| {
            let (live, vault) = (scene.live.calls(), scene.vault.calls());
            live.iter()
                .chain(&vault)
                .filter(|call| fetched(call))
                .count()
        };
        scene.live.revive();
        scene.vault.revive();
        scene.live.set_latency(Duration::from_millis(2));
        scene.vault.set_latency(Duration::from_millis(2));
        let (live, vault) = (scene.live.clone(), scene.vault.clone());
        scene.live.before_call(
            16,
            move |call| {
                call.method == if copying { "attributes" } else { "open" }
                    && call.key.starts_with("part=")
            },
            move || {
                async move {
                    live.fail_call(1, Fault::Before);
                    vault.fail_call(1, Fault::Before);
                }
                .boxed()
            },
        );
        take_with(&scene, &taker, 24).await.unwrap_err();
        let first = counted(&scene);
        assert!((13..20).contains(&first), "{first}");
        scene.live.revive();
        scene.vault.revive();
        let done = take_with(&scene, &taker, 25).await.unwrap();
        let second = counted(&scene);
        // In flight were at most two.
        assert!(first + second <= 20 + 3, "{copying}: {first} + {second}");
        assert_eq!(done.record.journals.len(), 1);
        is_good(&scene, &done).await;
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_just_now_is_not_paid_for_with_a_second_copy() {
    let mut scene = Scene::set().await;
    scene.table.append(4, LARGE).await;
    let mut taker = taker(&scene).await;
    taker.journal = JournalPace {
        files: 1,
        ..JournalPace::default()
    };
    // Everything is placed and journalled, and then the run dies.
    let dies = |call: &Call| call.method == "put_new" && call.key.starts_with("manifests/");
    let vault = scene.vault.clone();
    scene.vault.revive();
    scene.vault.before_call(1, dies, move || {
        async move { vault.fail_call(1, Fault::Before) }.boxed()
    });
    take_with(&scene, &taker, 24).await.unwrap_err();
    scene.live.revive();
    scene.vault.revive();
    let is_journal = |call: &Call| call.method == "open" && call.key.starts_with("runs/");
    scene.vault.stumble_at(is_journal);
    take_with(&scene, &taker, 25).await.unwrap_err();
    assert_eq!(reads(&scene), 0, "nothing is copied on a doubt");
    scene.live.revive();
    scene.vault.revive();
    take_with(&scene, &taker, 26).await.unwrap();
    assert_eq!(reads(&scene), 0, "everything was journalled");
}
