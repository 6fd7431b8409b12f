//! Snapshots that somebody holds.

use std::sync::mpsc;

use deltavault::format::{EventRole, LockMode, TableKey, VaultKey};
use deltavault::ids::{ObjectVersion, SnapshotId, Timestamp};
use deltavault::plan::choose::Snapshot;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{HoldStore, Payload, ReadStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::hold::{HoldDone, SETTLED};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::{Error, ExitCode};
use futures::FutureExt as _;
use jiff::SignedDuration;
use tokio::runtime::Handle;

use super::race::RIPE;
use super::scene::{Place, PruneScene, actor, day, holder_in, needs};
use crate::support::fault_store::{Call, Fault};

/// The snapshots of a table that are held, by its events.
async fn held_of(vault: &Vault, table: &TableKey) -> Result<Vec<SnapshotId>, Error> {
    let events = vault.events(table, EventRole::Holder).await?;
    let held = deltavault::plan::keep::held(events.records());
    Ok(held.into_keys().collect())
}

async fn held(scene: &PruneScene) -> Vec<Place> {
    let mut held = Vec::new();
    for (key, version) in scene.lying(&[""]).await.into_keys() {
        let version: Option<&ObjectVersion> = version.as_ref();
        if scene.store.inner().is_held(&key, version).await.unwrap() {
            held.push((key, version.cloned()));
        }
    }
    held
}

#[tokio::test]
async fn what_is_held_outlives_its_promise_until_it_is_released() {
    for locked in [false, true] {
        let mut scene = if locked {
            PruneScene::locked().await
        } else {
            PruneScene::plain().await
        };
        let first = scene.take(0).await;
        let closure = scene.table.closure().await;
        scene.rewrite().await;
        let second = scene.take(1).await;
        // Marked before it is held: the plan alone deletes nothing.
        scene.prune(31).await;
        let done = scene.hold(&first, 32).await.unwrap();
        assert_eq!((done.already, done.objects.is_some()), (false, locked));
        assert!(scene.hold(&first, 32).await.unwrap().already);
        for days in [34, 60, 90] {
            assert_eq!(scene.prune(days).await.deleted(), 0);
        }
        assert_eq!(scene.contents(&first).await.unwrap(), closure);
        if locked {
            let needs = needs(&scene.vault().await, &first.record).await;
            assert_eq!(held(&scene).await.len(), needs.len() + 1, "and its record");
        }

        let done = scene.release(&first, 90).await.unwrap();
        assert!(!done.already);
        assert!(scene.release(&first, 90).await.unwrap().already);
        if locked {
            assert_eq!(held(&scene).await, []);
        }
        // The old plan was made before the hold ended: a new one is made, and waits.
        assert_eq!(scene.prune(91).await.deleted(), 0);
        assert_eq!(scene.prune(93).await.deleted(), 0);
        assert!(scene.prune(94).await.deleted() > 0);
        scene.holds_only(&[&second]).await;
    }
}

#[tokio::test]
async fn a_release_leaves_alone_what_another_hold_covers() {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.table.append(1, super::scene::LARGE).await;
    let second = scene.take(1).await;
    scene.hold(&first, 2).await.unwrap();
    scene.hold(&second, 2).await.unwrap();
    let needs = needs(&scene.vault().await, &second.record).await;
    let done = scene.release(&first, 3).await.unwrap();
    assert!(done.shared > 0);
    let mut left = held(&scene).await;
    left.retain(|(key, _)| !key.as_str().starts_with("tables/"));
    assert_eq!(left, needs.into_keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_legal_hold_alone_stops_a_prune_that_knows_of_no_event() {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    scene.prune(31).await;
    // Killed between the bits and the event: not held, and yet nothing goes.
    let vault = scene.vault().await;
    for (key, version) in needs(&vault, &first.record).await.into_keys() {
        let version = version.as_ref();
        scene.store.set_hold(&key, version, true).await.unwrap();
    }
    let before = scene.objects().await;
    let swept = scene.prune(34).await;
    assert_eq!(swept.deleted(), 0);
    assert!(swept.done.held.objects > 0, "{swept:?}");
    assert_eq!(scene.objects().await, before);
}

#[tokio::test]
async fn a_hold_or_release_killed_at_any_call_is_finished_by_the_next_and_never_lies() {
    let origin = PruneScene::locked().await;
    let first = origin.take(0).await;
    let all = needs(&origin.vault().await, &first.record).await.len() + 1;
    for fault in [Fault::Before, Fault::After] {
        let mut k = 1;
        loop {
            let scene = origin.fork();
            scene.store.fail_call(k, fault);
            let killed = scene.hold(&first, 1).await;
            let died = scene.store.is_dead();
            scene.store.revive();
            let vault = scene.vault().await;
            let is_held = held_of(&vault, &scene.key()).await.unwrap();
            if is_held.contains(&first.id) {
                assert_eq!(held(&scene).await.len(), all, "called held, and is not");
            }
            let done = scene.hold(&first, 1).await.unwrap();
            assert_eq!(done.already, is_held.contains(&first.id));
            assert_eq!(held(&scene).await.len(), all);
            let events = async || vault.events(&scene.key(), EventRole::Holder).await.unwrap();
            let chain = events().await.chain;
            assert_eq!((chain.links.len(), chain.findings), (1, vec![]));

            scene.store.fail_call(k, fault);
            let released = scene.release(&first, 2).await;
            let died = scene.store.is_dead() || died;
            scene.store.revive();
            scene.release(&first, 2).await.unwrap();
            assert_eq!(held(&scene).await, []);
            assert!(held_of(&vault, &scene.key()).await.unwrap().is_empty());
            let chain = events().await.chain;
            assert_eq!((chain.links.len(), chain.findings), (2, vec![]));
            if !died {
                assert!(killed.is_ok() && released.is_ok());
                break;
            }
            k += 1;
        }
        assert!(k > 10);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_is_not_held() {
    let scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    let needs = needs(&scene.vault().await, &first.record).await;
    let (key, version) = needs
        .keys()
        .find(|(key, _)| key.as_str().starts_with("blobs/"))
        .unwrap();
    let inner = scene.store.inner();
    inner.force_lock(key, version.as_ref(), None).unwrap();
    inner
        .delete_version(key, version.as_ref().unwrap())
        .unwrap();
    let error = scene.hold(&first, 1).await.unwrap_err();
    assert!(error.to_string().contains(key.as_str()), "{error}");
    assert!(
        held_of(&scene.vault().await, &scene.key())
            .await
            .unwrap()
            .is_empty()
    );
    assert!(inner.attributes(key, version.as_ref()).await.is_err());
}

async fn snapshot_of(scene: &PruneScene, done: &SnapshotDone) -> Snapshot {
    let history = scene.history().await;
    history.find(done.id).unwrap().unwrap().clone()
}

async fn hold_in(
    store: MemoryStore,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<HoldDone, Error> {
    let holder = holder_in(store).await?;
    holder.hold(snapshot, &actor(now)).await
}

/// Holds a snapshot, past all counting, before the next call that `matches`; with `ignored` the server has looked at the
/// legal holds of these before.
fn held_before(
    scene: &PruneScene,
    snapshot: Snapshot,
    ignored: Vec<Place>,
    matches: fn(&Call) -> bool,
) -> mpsc::Receiver<Result<HoldDone, Error>> {
    let (told, held) = mpsc::channel();
    let (inner, runtime) = (scene.store.inner().clone(), Handle::current());
    scene.store.before_call(1, matches, move || {
        async move {
            let store = inner.clone();
            let run = move || runtime.block_on(hold_in(store, &snapshot, day(RIPE)));
            let done = tokio::task::spawn_blocking(run).await.unwrap();
            told.send(done).unwrap();
            for (key, version) in ignored {
                inner.set_hold(&key, version.as_ref(), false).await.unwrap();
            }
        }
        .boxed()
    });
    held
}

/// A vault in which everything that only its first snapshot needs is due.
async fn due(locked: bool) -> (PruneScene, SnapshotDone) {
    let mut scene = if locked {
        PruneScene::locked().await
    } else {
        PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await
    };
    scene.is_alone = false;
    let first = scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    assert!(scene.prune(RIPE - 4).await.marked() > 0);
    scene.set_day(RIPE);
    (scene, first)
}

/// Held between a prune's last look at the events and the batch that it deletes.
async fn held_while_it_is_deleted(locked: bool) {
    let (scene, first) = due(locked).await;
    let vault = scene.vault().await;
    let snapshot = snapshot_of(&scene, &first).await;
    let places: Vec<Place> = needs(&vault, &first.record).await.into_keys().collect();
    let ignored = if locked { places } else { Vec::new() };
    let held = held_before(&scene, snapshot.clone(), ignored, |call| {
        call.method == "delete_versions"
    });
    let error = scene.try_prune(RIPE).await.unwrap_err();
    assert!(matches!(error, Error::EventsMeanwhile { .. }), "{error}");
    // All of it was there when it was held, and nobody was told that it stays.
    let done = held.try_recv().unwrap().unwrap();
    assert!(!done.already && !done.is_sure, "{done:?}");
    let later = day(RIPE) + SETTLED + SignedDuration::from_mins(1);
    let store = || scene.store.inner().clone();
    let error = hold_in(store(), &snapshot, later).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Damage, "{error}");
    let error = scene.try_prune(RIPE + 1).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Damage, "{error}");
    // What is damaged can be released, and then stands in nobody's way.
    scene.release(&first, RIPE + 1).await.ok();
    assert!(held_of(&vault, &scene.key()).await.unwrap().is_empty());
    scene.prune(RIPE + 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_while_it_is_deleted_with_locks() {
    held_while_it_is_deleted(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_while_it_is_deleted_without_locks() {
    held_while_it_is_deleted(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_before_a_prune_looks_again_is_not_deleted() {
    let (scene, first) = due(false).await;
    let snapshot = snapshot_of(&scene, &first).await;
    // It has read everything, and is about to say that it begins.
    let held = held_before(&scene, snapshot.clone(), Vec::new(), |call| {
        call.method == "put_new" && call.key.starts_with("prune/")
    });
    let before = scene.objects().await;
    let error = scene.try_prune(RIPE).await.unwrap_err();
    assert!(error.to_string().contains("may be a hold"), "{error}");
    assert_eq!(scene.store.count("delete_versions"), 0);
    held.try_recv().unwrap().unwrap();
    let later = day(RIPE) + SETTLED + SignedDuration::from_mins(1);
    let store = || scene.store.inner().clone();
    let done = hold_in(store(), &snapshot, later).await.unwrap();
    assert!(done.already && done.is_sure, "{done:?}");
    assert_eq!(scene.prune(RIPE + 1).await.deleted(), 0);
    assert_eq!(scene.objects().await, before);
}

#[tokio::test]
async fn a_hold_that_something_is_deleted_under_is_taken_back() {
    for locked in [false, true] {
        let (scene, first) = due(locked).await;
        let vault = scene.vault().await;
        let targets = needs(&vault, &first.record)
            .await
            .into_keys()
            .find(|place| place.0.as_str().starts_with("blobs/"));
        let (key, version) = targets.unwrap();
        let inner = scene.store.inner().clone();
        scene.store.before_call(
            1,
            |call| call.method == "put_new" && call.key.contains("/events/holder/"),
            move || {
                async move {
                    // Its hold was not seen when the batch was looked at.
                    if locked {
                        let version = version.as_ref();
                        inner.set_hold(&key, version, false).await.unwrap();
                    }
                    inner.delete_version(&key, &version.unwrap()).unwrap();
                }
                .boxed()
            },
        );
        let error = scene.hold(&first, RIPE).await.unwrap_err();
        assert!(matches!(error, Error::HeldTooLate { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Damage);
        assert!(held_of(&vault, &scene.key()).await.unwrap().is_empty());
        if locked {
            assert_eq!(held(&scene).await, []);
        }
        scene.prune(RIPE).await;
    }
}

#[tokio::test]
async fn a_hold_is_sure_when_something_keeps_the_snapshot_for_another_hour() {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let until = first.record.promise;
    let hold = async |done: &SnapshotDone, now| {
        let snapshot = snapshot_of(&scene, done).await;
        scene.store.inner().set_now(now);
        let store = scene.store.inner().clone();
        let done = hold_in(store, &snapshot, now).await.unwrap();
        scene.release_at(&snapshot, now).await.unwrap();
        done.is_sure
    };
    let minutes = SignedDuration::from_mins;
    assert!(hold(&first, until - minutes(61)).await);
    assert!(!hold(&first, until - minutes(59)).await);
    assert!(!hold(&first, day(RIPE)).await);
    // The newest of its table.
    assert!(hold(&second, day(RIPE)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_during_a_release_holds() {
    // Before anything is taken off, and before what is taken off last.
    let on: fn(&Call) -> bool = |call| call.method == "set_hold";
    let record: fn(&Call) -> bool =
        |call| call.method == "set_hold" && call.key.starts_with("tables/");
    for moment in [on, record] {
        let mut scene = PruneScene::locked().await;
        let first = scene.take(0).await;
        scene.table.append(1, super::scene::LARGE).await;
        let second = scene.take(1).await;
        scene.hold(&first, 2).await.unwrap();
        let snapshot = snapshot_of(&scene, &second).await;
        let done = held_before(&scene, snapshot, Vec::new(), moment);
        scene.release(&first, 3).await.unwrap();
        done.try_recv().unwrap().unwrap();
        let vault = scene.vault().await;
        let needed = needs(&vault, &second.record).await;
        let held = held(&scene).await;
        for place in needed.into_keys() {
            assert!(held.contains(&place), "{place:?} is called held");
        }
        assert_eq!(
            held_of(&vault, &scene.key()).await.unwrap().len(),
            1,
            "the second alone"
        );
    }
}

#[tokio::test]
async fn a_release_during_a_hold_leaves_what_is_held() {
    let mut scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.table.append(1, super::scene::LARGE).await;
    let second = scene.take(1).await;
    scene.hold(&first, 2).await.unwrap();
    let snapshot = snapshot_of(&scene, &first).await;
    let (inner, runtime) = (scene.store.inner().clone(), Handle::current());
    // The second is held but for its event.
    scene.store.before_call(
        1,
        |call| call.method == "put_new" && call.key.contains("/events/holder/"),
        move || {
            async move {
                let release = tokio::task::spawn_blocking(move || {
                    runtime.block_on(async {
                        let holder = holder_in(inner).await?;
                        holder.release(&snapshot, &actor(day(3))).await
                    })
                });
                release.await.unwrap().unwrap();
            }
            .boxed()
        },
    );
    scene.hold(&second, 3).await.unwrap();
    let held = held(&scene).await;
    for place in needs(&scene.vault().await, &second.record)
        .await
        .into_keys()
    {
        assert!(held.contains(&place), "{place:?} is called held");
    }
}

#[tokio::test]
async fn a_release_that_cannot_read_what_another_table_holds_changes_nothing() {
    let scene = PruneScene::locked().await;
    let first = scene.take(0).await;
    scene.hold(&first, 1).await.unwrap();
    let before = held(&scene).await;
    let other = crate::support::world::request("s3://lake/other", 0).key;
    let text = r#"{"at":"2026-02-01T00:00:00Z","action":{"x":{}},"format":1,"principal":"p","requires":["nonsense"],"run":"05050505050505050505050505050505","seq":1,"tool":"t"}"#;
    let name = other.to_string();
    let key = VaultKey::Event {
        table: other,
        role: EventRole::Holder,
        seq: 1,
    };
    let key = key.object_key().unwrap();
    let payload = Payload::from_bytes(text);
    scene.store.put_new(&key, &payload, None).await.unwrap();
    let error = scene.release(&first, 2).await.unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
    assert_eq!(held(&scene).await, before);
    let vault = scene.vault().await;
    let is_held = held_of(&vault, &scene.key()).await.unwrap();
    assert!(is_held.contains(&first.id));
}
