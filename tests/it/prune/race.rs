//! A snapshot that takes up what a prune is about to delete: none is ever published that misses an object.

use std::sync::Arc;

use deltavault::format::LockMode;
use deltavault::format::VaultFile;
use deltavault::ids::Id128;
use deltavault::plan::verify::{ReadBytes, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{PruneStore, ReadStore};
use deltavault::vault::prune::Patience;
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use deltavault::{Error, ExitCode};
use futures::FutureExt as _;
use jiff::SignedDuration;
use tokio::runtime::Handle;

use super::scene::{GRACE, LARGE, PruneScene, day, needs, prune_in};
use crate::support::s3::{self, Bucket};
use crate::support::table::Table;
use crate::support::verified::verify;
use crate::support::world::{request, request_at, snapshotter, source};

/// Long after every promise and every lock of the first snapshot.
pub(super) const RIPE: i64 = 60;

/// A vault in which everything of an expired snapshot is marked and due, and the table has gone back to just that.
pub(super) async fn back_to_what_is_due(locked: bool, is_alone: bool) -> PruneScene {
    let mut scene = if locked {
        PruneScene::locked().await
    } else {
        PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await
    };
    scene.is_alone = is_alone;
    scene.take(0).await;
    let version = scene.table.version();
    let live = scene.table.names("").await;
    let data: Vec<String> = live
        .into_iter()
        .filter(|name| !name.starts_with("_delta_log/"))
        .collect();
    scene.table.overwrite_files(&data, 2, LARGE).await;
    scene.take(1).await;
    scene.prune(RIPE - 4).await;
    scene.table.rewind(version).await;
    scene
}

fn patience(is_alone: bool) -> Patience {
    Patience {
        grace: GRACE,
        is_alone,
    }
}

/// Everything that was published is whole, and the newest one is the table as it is.
pub(super) async fn is_whole(scene: &PruneScene, done: &SnapshotDone, what: &str) {
    scene.is_sound(RIPE).await;
    let vault = scene.vault().await;
    let lying = scene.objects().await;
    for place in needs(&vault, &done.record).await.into_keys() {
        assert!(lying.contains_key(&place), "{what}: {place:?} is missing");
    }
    let contents = scene.contents(done).await.unwrap();
    assert_eq!(contents, scene.table.closure().await, "{what}");
}

/// A whole prune happens just before each call of a snapshot in turn.
async fn pruned_before_each_call(locked: bool) {
    let mut swept = 0;
    let origin = back_to_what_is_due(locked, false).await;
    for k in 1.. {
        let scene = origin.fork();
        scene.set_day(RIPE);
        let inner = scene.store.inner().clone();
        let (told, pruned) = std::sync::mpsc::channel();
        scene.store.before_call(
            k,
            |_| true,
            move || {
                async move {
                    let readable: Arc<dyn ReadStore> = Arc::new(inner.clone());
                    let vault = Vault::open(readable).await.unwrap();
                    let store: Arc<dyn PruneStore> = Arc::new(inner);
                    let pruned = prune_in(vault, store, patience(false), day(RIPE)).await;
                    told.send(pruned.unwrap().deleted()).unwrap();
                }
                .boxed()
            },
        );
        let done = match scene.try_take(RIPE).await {
            Ok(done) => done,
            // What it was about to build on is gone: the next run takes it from the table.
            Err(error) => {
                assert_ne!(error.exit_code(), ExitCode::Usage, "{error}");
                scene.take(RIPE).await
            }
        };
        // What comes after the last call is no race any more.
        let Ok(deleted) = pruned.try_recv() else {
            assert!(k > 10, "{k}");
            break;
        };
        swept += deleted;
        is_whole(&scene, &done, &format!("before call {k}")).await;
        // And once more after it was published.
        scene.prune(RIPE).await;
        is_whole(&scene, &done, &format!("before call {k}, and after")).await;
    }
    assert!(swept > 0);
}

#[tokio::test]
async fn a_prune_before_any_call_of_a_snapshot_takes_nothing_from_it_with_locks() {
    Box::pin(pruned_before_each_call(true)).await;
}

#[tokio::test]
async fn a_prune_before_any_call_of_a_snapshot_takes_nothing_from_it_without_locks() {
    Box::pin(pruned_before_each_call(false)).await;
}

/// A whole snapshot is taken just before each call of a prune in turn.
async fn taken_before_each_call(locked: bool) {
    let mut swept = 0;
    let origin = back_to_what_is_due(locked, false).await;
    for k in 1.. {
        let scene = origin.fork();
        scene.set_day(RIPE);
        let (inner, live) = (scene.store.inner().clone(), scene.live.clone());
        let (told, taken) = std::sync::mpsc::channel();
        let runtime = Handle::current();
        scene.store.before_call(
            k,
            |_| true,
            move || {
                async move {
                    let take = tokio::task::spawn_blocking(move || {
                        runtime.block_on(take(inner, live, RIPE))
                    });
                    told.send(take.await.unwrap().unwrap()).unwrap();
                }
                .boxed()
            },
        );
        let pruned = scene.prune(RIPE).await;
        swept += pruned.deleted();
        let Ok(done) = taken.try_recv() else {
            assert!(k > 5, "{k}");
            break;
        };
        is_whole(&scene, &done, &format!("before call {k}")).await;
    }
    assert!(swept > 0);
}

pub(super) async fn take(
    store: MemoryStore,
    live: MemoryStore,
    days: i64,
) -> Result<SnapshotDone, Error> {
    let mut request = request(live.uri(), 24 * days);
    request.run = Id128::from_bytes(rand::random());
    let snapshotter = snapshotter(Arc::new(store)).await?;
    snapshotter.take(&source(Arc::new(live)), &request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_before_any_call_of_a_prune_keeps_all_it_needs() {
    Box::pin(taken_before_each_call(true)).await;
    Box::pin(taken_before_each_call(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_and_prunes_side_by_side_publish_nothing_that_misses_an_object() {
    for round in 0..40 {
        let locked = round % 2 == 0;
        let scene = back_to_what_is_due(locked, false).await;
        scene.set_day(RIPE);
        let (inner, live) = (scene.store.inner().clone(), scene.live.clone());
        let runtime = Handle::current();
        let snapshot =
            tokio::task::spawn_blocking(move || runtime.block_on(take(inner, live, RIPE)));
        let inner = scene.store.inner().clone();
        let runtime = Handle::current();
        let prune = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                // A little later in every round.
                tokio::time::sleep(std::time::Duration::from_micros(round * 400)).await;
                let readable: Arc<dyn ReadStore> = Arc::new(inner.clone());
                let vault = Vault::open(readable).await?;
                prune_in(vault, Arc::new(inner), patience(false), day(RIPE)).await
            })
        });
        let taken = snapshot.await.unwrap();
        // A page that vanishes while it is read is damage to a reader: then nothing was deleted for it.
        prune.await.unwrap().ok();
        let done = match taken {
            Ok(done) => done,
            Err(_) => scene.take(RIPE).await,
        };
        is_whole(&scene, &done, &format!("round {round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_server_snapshots_and_prunes_side_by_side_publish_nothing_that_misses_an_object() {
    let Some(server) = s3::server() else {
        return;
    };
    for round in 0..6_u64 {
        let store = server.store(Bucket::Locked).await;
        let now = s3::now();
        let new = VaultFile {
            lock_mode: LockMode::Governance,
            ..VaultFile::new(Id128::from_bytes([7; 16]), now)
        };
        vault::init(&store, new).await.unwrap();
        let live = MemoryStore::without_versions("s3://lake/orders");
        let mut table = Table::create(Arc::new(live.clone()), "orders").await;
        table.append(2, LARGE).await;
        table.append(3, 100).await;
        let readable: Arc<dyn ReadStore> = Arc::new(store.clone());
        let vault = Vault::open(readable).await.unwrap();
        // What nothing names, unlocked and under the very names that the snapshot is going to want.
        for name in table.names("part").await {
            let payload = deltavault::store::Payload::from_bytes(table.read(&name).await);
            let key = deltavault::format::VaultKey::blob(payload.sha256, None);
            let key = key.object_key().unwrap();
            deltavault::store::WriteStore::put_new(&store, &key, &payload, None)
                .await
                .unwrap();
        }
        let patience = Patience {
            grace: SignedDuration::ZERO,
            is_alone: false,
        };
        // However slow the server is, what was put is older than that, and its plan than a minute more.
        let soon = s3::now() + SignedDuration::from_mins(1);
        let marked = prune_in(vault.clone(), Arc::new(store.clone()), patience, soon)
            .await
            .unwrap();
        assert!(marked.marked() > 0);
        let take = {
            let (store, live) = (store.clone(), live.clone());
            let runtime = Handle::current();
            tokio::task::spawn_blocking(move || {
                runtime.block_on(async {
                    let mut request = request_at(live.uri(), s3::now());
                    request.run = Id128::from_bytes(rand::random());
                    let snapshotter = snapshotter(Arc::new(store)).await?;
                    snapshotter.take(&source(Arc::new(live)), &request).await
                })
            })
        };
        tokio::time::sleep(std::time::Duration::from_millis(round * 15)).await;
        let prune = prune_in(
            vault.clone(),
            Arc::new(store.clone()),
            patience,
            soon + SignedDuration::from_mins(1),
        );
        let pruned = prune.await.unwrap();
        let done = take.await.unwrap().unwrap();
        let plan = VerifyPlan {
            read: ReadBytes::All,
            subset: None,
            now: s3::now(),
        };
        let verified = verify(&vault, plan).await;
        assert_eq!(verified.report.damaged, 0, "{:#?}", verified.findings);
        needs(&vault, &done.record).await;
        println!(
            "round {round}: {} deleted, {} found locked",
            pruned.deleted(),
            pruned.done.locked.objects
        );
    }
}
