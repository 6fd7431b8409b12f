//! A server that looks at the locks of a whole batch and then deletes it, as `MinIO` does: a lock that is put in
//! between is taken, and keeps nothing. What a snapshot takes over must be far from its deletion, then.

use std::sync::{Arc, mpsc};

use deltavault::format::{EventRole, VaultKey};
use deltavault::ids::Timestamp;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, ReadStore as _, WriteStore as _};
use deltavault::vault::snapshot::{JournalPace, SnapshotDone};
use futures::FutureExt as _;
use tokio::runtime::Handle;

use super::race::{RIPE, back_to_what_is_due, is_whole, take};
use super::scene::{Place, PruneScene, day};
use crate::support::world::{request, snapshotter, source};

/// A table that was given up: all that its only snapshot needs is marked and due.
async fn given_up() -> PruneScene {
    let scene = PruneScene::locked().await;
    let done = scene.take(0).await;
    scene.retire(&done).await;
    assert!(scene.prune(RIPE - 4).await.marked() > 0);
    scene
}

/// A run that died after it had written down what it placed, long ago.
async fn unfinished() -> PruneScene {
    let scene = PruneScene::locked().await;
    let mut taker = snapshotter(Arc::new(scene.store.clone())).await.unwrap();
    taker.journal = JournalPace {
        files: 1,
        ..JournalPace::default()
    };
    scene
        .store
        .deny(|call| call.method == "put_new" && call.key.starts_with("manifests/"));
    let live = source(Arc::new(scene.live.clone()));
    let died = taker.take(&live, &request(scene.live.uri(), 0)).await;
    died.unwrap_err();
    scene.store.revive();
    assert!(!scene.lying(&["runs/"]).await.is_empty());
    assert!(scene.prune(RIPE - 4).await.marked() > 0);
    scene
}

/// A table whose last snapshot is long ago, and which is in use: nothing of it is due.
async fn seldom() -> PruneScene {
    let scene = PruneScene::locked().await;
    scene.take(0).await;
    assert_eq!(scene.prune(RIPE - 4).await.marked(), 0);
    scene
}

/// Takes a snapshot between the look at the locks and the deletion.
async fn taken_within_a_deletion(scene: &PruneScene) -> SnapshotDone {
    scene.set_day(RIPE);
    let objects = scene.objects().await.into_keys().collect();
    let (inner, live) = (scene.store.inner().clone(), scene.live.clone());
    let (told, taken) = mpsc::channel();
    let runtime = Handle::current();
    scene.store.before_call(
        1,
        |call| call.method == "delete_versions",
        move || {
            async move {
                let seen = unlocked(&inner, objects).await;
                let store = inner.clone();
                let take =
                    tokio::task::spawn_blocking(move || runtime.block_on(take(store, live, RIPE)));
                let done = take.await.unwrap().unwrap();
                let mut ignored = Vec::new();
                for (key, version) in seen {
                    let there = inner.attributes(&key, version.as_ref()).await.unwrap();
                    inner.force_lock(&key, version.as_ref(), None).unwrap();
                    ignored.push(((key, version), there.locked_until));
                }
                told.send((done, ignored)).unwrap();
            }
            .boxed()
        },
    );
    assert!(scene.prune(RIPE).await.deleted() > 0);
    let (done, ignored) = taken.try_recv().unwrap();
    for ((key, version), lock) in ignored {
        // What was deleted has no lock any more.
        let forced = scene.store.inner().force_lock(&key, version.as_ref(), lock);
        forced
            .or_else(|error| {
                if error.is_not_found() {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .unwrap();
    }
    done
}

async fn unlocked(store: &MemoryStore, objects: Vec<Place>) -> Vec<Place> {
    let now: Timestamp = day(RIPE);
    let mut unlocked = Vec::new();
    for (key, version) in objects {
        let there = store.attributes(&key, version.as_ref()).await.unwrap();
        if there.locked_until.is_none_or(|until| until <= now) {
            unlocked.push((key, version));
        }
    }
    unlocked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_not_taken_over_from_an_older_snapshot() {
    let scene = back_to_what_is_due(true, false).await;
    let done = taken_within_a_deletion(&scene).await;
    is_whole(&scene, &done, "an older snapshot").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_not_taken_over_from_a_table_that_was_given_up() {
    let scene = given_up().await;
    let done = taken_within_a_deletion(&scene).await;
    is_whole(&scene, &done, "given up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_not_taken_over_from_a_run_that_died() {
    let scene = unfinished().await;
    let done = taken_within_a_deletion(&scene).await;
    is_whole(&scene, &done, "unfinished").await;
}

#[tokio::test]
async fn an_event_that_needs_a_newer_tool_stops_no_backup() {
    let scene = seldom().await;
    let first = scene.take(0).await;
    let event = r#"{"at":"2026-02-01T00:00:00Z","action":{"x":{}},"format":1,"principal":"p","requires":["more"],"run":"05050505050505050505050505050505","seq":1,"tool":"t"}"#;
    let table = scene.key();
    let key = VaultKey::Event {
        table,
        role: EventRole::Pruner,
        seq: 1,
    };
    let key = key.object_key().unwrap();
    let event = Payload::from_bytes(event);
    scene.store.put_new(&key, &event, None).await.unwrap();
    // Whether its table is in use cannot be told: nothing is built on.
    let done = scene.take(RIPE).await;
    assert_ne!(done.record.manifest, first.record.manifest);
    let contents = scene.contents(&done).await.unwrap();
    assert_eq!(contents, scene.table.closure().await);
}

#[tokio::test]
async fn the_newest_snapshot_is_built_on_however_long_ago_it_was_taken() {
    let scene = seldom().await;
    let before = scene.objects().await;
    let done = scene.take(RIPE).await;
    assert!(done.unchanged);
    assert_eq!(scene.objects().await, before);
    is_whole(&scene, &done, "seldom").await;
}
