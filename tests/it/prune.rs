//! `prune`: what is collected, what never is, and what stops it.

use deltavault::format::{EventRole, LockMode, VaultKey};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, ReadStore, RestoreStore, WriteStore};
use deltavault::vault::hold;
use deltavault::vault::prune::Why;
use deltavault::{Error, ExitCode};
use futures::FutureExt as _;

use crate::support::fault_store::{Call, Fault, FaultStore};

use self::scene::{LARGE, PruneScene, actor, day, keys, objects};

mod batch;
mod chains;
mod holds;
mod hostile;
mod killed;
mod long;
mod lost_record;
mod obstacles;
mod patience;
mod race;
mod repaired;
mod required;
mod scene;
mod seals;
mod year;

#[tokio::test]
async fn an_expired_snapshot_is_collected_in_two_runs_and_the_rest_stays_exact() {
    for mut scene in [PruneScene::plain().await, PruneScene::locked().await] {
        let first = scene.take(0).await;
        scene.rewrite().await;
        let second = scene.take(20).await;
        let closure = scene.table.closure().await;
        assert!(scene.prune(29).await.is_idle());
        scene.holds_only(&[&first, &second]).await;

        // Day 30 is when its promise ends.
        let marked = scene.prune(30).await;
        assert_eq!((marked.deleted(), marked.sums.kept), (0, 1));
        assert!(marked.marked() > 0);
        let plans = scene.lying(&["prune/"]).await.len();
        assert_eq!(plans, 1);
        let waits = scene.prune(32).await;
        assert!(waits.is_idle(), "{waits:?}");
        assert_eq!(
            objects(waits.sums.waits.get(&Why::Expired)),
            marked.marked()
        );
        assert_eq!(scene.lying(&["prune/"]).await.len(), plans);
        scene.holds_only(&[&first, &second]).await;

        let swept = scene.prune(33).await;
        assert_eq!(swept.deleted(), marked.marked(), "{swept:?}");
        assert_eq!(
            objects(swept.done.deleted.get(&Why::Expired)),
            swept.deleted()
        );
        scene.holds_only(&[&second]).await;
        scene.is_sound(33).await;
        assert_eq!(scene.contents(&second).await.unwrap(), closure);
        assert!(scene.prune(40).await.is_idle());

        // Its record stays, and says what became of it.
        let history = scene.history().await;
        assert_eq!(history.snapshots.len(), 2);
        let error = scene.contents(&first).await.unwrap_err();
        let vault = scene.vault().await;
        let snapshot = history.find(first.id).unwrap().unwrap();
        let why = vault
            .why_unreadable(error, snapshot, &history, day(40))
            .await;
        let Error::Pruned { nearest, .. } = &why else {
            panic!("{why:?}");
        };
        assert_eq!(nearest.len(), 1);
        assert_eq!(nearest[0].0, second.id);
        assert!(why.hint().unwrap().contains(&second.id.short()));
    }
}

#[tokio::test]
async fn the_newest_snapshot_is_kept_until_its_table_is_retired() {
    let mut scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    for days in [100, 104] {
        scene.prune(days).await;
    }
    scene.holds_only(&[&second]).await;
    drop(first);

    let retire = async |days: i64| {
        let vault = scene.vault().await;
        hold::retire(&vault, &scene.store, &scene.key(), &actor(day(days))).await
    };
    assert!(retire(205).await.unwrap());
    assert!(!retire(206).await.unwrap());
    assert_eq!(scene.prune(206).await.deleted(), 0);
    assert!(scene.prune(208).await.is_idle());
    assert!(scene.prune(209).await.deleted() > 0);
    scene.is_sound(209).await;
    scene.holds_only(&[]).await;
    // Taken up again: everything is there again, and kept as before.
    let third = scene.take(210).await;
    for days in [300, 304, 320] {
        scene.prune(days).await;
    }
    scene.holds_only(&[&third]).await;
    scene.is_sound(320).await;
}

#[tokio::test]
async fn what_a_killed_run_left_goes_after_two_grace_periods() {
    let mut scene = PruneScene::plain().await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    let before = scene.objects().await;
    // All that comes before the manifest is done by then.
    let puts_page = |call: &Call| call.method == "put_new" && call.key.starts_with("pages/");
    let dying = scene.store.clone();
    scene.store.before_call(1, puts_page, move || {
        async move { dying.fail_call(1, Fault::Before) }.boxed()
    });
    assert!(scene.try_take(1).await.is_err());
    scene.store.revive();
    let left = scene.objects().await.len() - before.len();
    assert!(left > 0);
    assert!(scene.prune(3).await.is_idle(), "not even three days old");
    let marked = scene.prune(4).await;
    assert_eq!(objects(marked.done.marked.get(&Why::Orphan)), left as u64);
    assert_eq!(scene.prune(7).await.deleted(), left as u64);
    scene.holds_only(&[&first]).await;
    scene.is_sound(7).await;
}

#[tokio::test]
async fn what_lies_on_top_is_collected_and_what_is_not_the_vaults_is_left_alone() {
    let mut scene = PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
    scene.is_alone = true;
    scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let honest = scene.objects().await;
    for (key, _) in honest.keys() {
        scene.store.inner().plant(key, "not what you think");
    }
    for name in [
        "blobs/notes.txt",
        "blobs/aa/short",
        "manifests/AA/x",
        "copies/x",
    ] {
        let payload = Payload::from_bytes("mine");
        let key = name.parse().unwrap();
        scene.store.put_new(&key, &payload, None).await.unwrap();
    }
    let marked = scene.prune(10).await;
    assert_eq!(
        objects(marked.done.marked.get(&Why::Planted)),
        honest.len() as u64
    );
    assert_eq!(marked.sums.foreign.amount.objects, 4);
    assert_eq!(marked.sums.foreign.first.len(), 4);
    let swept = scene.prune(13).await;
    assert_eq!(
        objects(swept.done.deleted.get(&Why::Planted)),
        honest.len() as u64
    );
    let left = scene.objects().await;
    assert_eq!(left.len(), honest.len() + 4);
    assert!(honest.keys().all(|place| left.contains_key(place)));
    scene.is_sound(13).await;
    assert_eq!(
        scene.contents(&second).await.unwrap(),
        scene.table.closure().await
    );
}

#[tokio::test]
async fn anything_that_says_what_is_kept_and_is_damaged_stops_everything() {
    // By name: what is damaged, and what the refusal says.
    let cases = [
        ("gap in the ledger", "is empty"),
        ("manifest", "damaged"),
        ("page", "damaged"),
        ("page gone", "gone"),
        ("blob gone", "is not there"),
        ("bit in a record", "is not there"),
        ("fork", "leaves out"),
    ];
    for (case, says) in cases {
        let mut scene = PruneScene::plain().await;
        scene.take(0).await;
        scene.rewrite().await;
        let second = scene.take(1).await;
        scene.rewrite().await;
        let third = scene.take(2).await;
        // The first expires; it is marked, and would be collected on day 34.
        scene.prune(31).await;
        let inner = scene.store.inner().clone();
        let remove = async |key: &str| {
            let key = key.parse().unwrap();
            let there = inner.attributes(&key, None).await.unwrap();
            inner.remove(&key, &there.etag).await.unwrap();
        };
        let record = |seq| {
            VaultKey::Record {
                table: scene.key(),
                seq,
            }
            .to_string()
        };
        let vault = scene.vault().await;
        let manifest = vault.manifest(&third.record).await.unwrap();
        let page = manifest.data_pages[0].page.key.clone();
        match case {
            "gap in the ledger" => remove(&record(2)).await,
            "bit in a record" => {
                let key = record(2).parse().unwrap();
                inner.flip_bit(&key, None, 99).unwrap();
            }
            "manifest" => inner.flip_bit(&third.record.manifest.key, None, 9).unwrap(),
            "page" => inner.flip_bit(&page, None, 9).unwrap(),
            "page gone" => remove(page.as_str()).await,
            "blob gone" => {
                let blob = scene.objects().await;
                let needed = scene::needs(&vault, &third.record).await;
                let large = blob
                    .iter()
                    .find(|(place, size)| **size == LARGE as u64 && needed.contains_key(*place));
                remove(large.unwrap().0.0.as_str()).await;
            }
            _ => {
                // Two records that build on each other and leave out the third.
                let forge = async |seq, previous: &deltavault::format::Record, id| {
                    let mut forged = previous.clone();
                    forged.previous = Some(deltavault::format::record::Previous {
                        seq: previous.seq,
                        sha256: id,
                    });
                    forged.seq = seq;
                    let bytes = forged.encode().unwrap();
                    let key = record(seq).parse().unwrap();
                    let payload = Payload::from_bytes(bytes);
                    scene.store.put_new(&key, &payload, None).await.unwrap();
                    (forged, payload.sha256)
                };
                let (forged, id) = forge(4, &second.record, second.id.0).await;
                forge(5, &forged, id).await;
            }
        }
        let before = scene.lying(&[""]).await;
        scene.store.revive();
        for days in [34, 80] {
            let error = scene.try_prune(days).await.unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Damage, "{case}: {error}");
            assert!(error.to_string().contains(says), "{case}: {error}");
            assert!(error.hint().unwrap().contains("verify"), "{case}");
        }
        assert_eq!(scene.lying(&[""]).await, before, "{case}");
        assert_eq!(scene.store.count("delete_versions"), 0, "{case}");
        assert_eq!(scene.store.count("put_new"), 0, "{case}");
    }
}

#[tokio::test]
async fn a_scar_stops_nothing_but_among_the_events_its_own_table() {
    let mut scene = PruneScene::plain().await;
    scene.take(0).await;
    let key = VaultKey::Record {
        table: scene.key(),
        seq: 2,
    }
    .object_key()
    .unwrap();
    let garbage = Payload::from_bytes("garbage");
    scene.store.put_new(&key, &garbage, None).await.unwrap();
    let key = VaultKey::Event {
        table: scene.key(),
        role: EventRole::Holder,
        seq: 1,
    }
    .object_key()
    .unwrap();
    scene.store.put_new(&key, &garbage, None).await.unwrap();
    scene.rewrite().await;
    let third = scene.take(1).await;
    let before = scene.objects().await;
    // It may have been a hold, as long as nobody who saw it has written an event.
    for days in [31, 35] {
        let findings = scene.prune(days).await.sums.findings;
        assert!(
            findings[0].contains("`hold` what is to be kept"),
            "{findings:?}"
        );
        assert_eq!(scene.objects().await, before);
    }
    scene.hold(&third, 35).await.unwrap();
    assert_eq!(scene.prune(36).await.sums.findings, [""; 0]);
    assert!(scene.prune(39).await.deleted() > 0);
    scene.holds_only(&[&third]).await;
}

#[tokio::test]
async fn in_a_replica_with_other_object_versions_nothing_that_may_be_needed_goes() {
    let mut scene = PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
    let first = scene.take(0).await;
    scene.rewrite().await;
    let second = scene.take(1).await;
    let replica = MemoryStore::without_locks("s3://replica");
    for (key, _) in scene.lying(&[""]).await.into_keys() {
        let (_, bytes) = deltavault::store::read_all(scene.store.inner(), &key, None, u64::MAX)
            .await
            .unwrap();
        // Other writes, other versions.
        replica.plant(&"x".parse().unwrap(), "x");
        replica.plant(&key, bytes);
    }
    let replica = PruneScene {
        store: FaultStore::new(replica),
        live: scene.live.clone(),
        table: scene.table,
        is_alone: true,
        forget: scene.forget,
    };
    let needed = keys(&scene::needs(&replica.vault().await, &second.record).await);
    for days in [31, 50, 80, 90] {
        replica.prune(days).await;
    }
    assert_eq!(keys(&replica.objects().await), needed);
    assert_eq!(
        replica.contents(&second).await.unwrap(),
        replica.table.closure().await
    );
    replica.contents(&first).await.unwrap_err();
}

#[tokio::test]
async fn a_clock_that_runs_ahead_deletes_nothing() {
    let mut scene = PruneScene::plain().await;
    scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    scene.prune(31).await;
    let before = scene.objects().await;
    for skew_minutes in [6, 60 * 24 * 365] {
        // The store says day 34, this machine says later.
        scene.set_day(34);
        let now = day(34) + jiff::SignedDuration::from_mins(skew_minutes);
        let store = std::sync::Arc::new(scene.store.clone());
        let patience = deltavault::vault::prune::Patience {
            grace: scene::GRACE,
            is_alone: true,
        };
        let error = scene::prune_in(scene.vault().await, store, patience, now)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("clock"), "{error}");
        assert_eq!(scene.objects().await, before);
    }
    assert!(scene.prune(34).await.deleted() > 0);
}

#[tokio::test]
async fn without_locks_nothing_younger_than_ten_days_is_marked_beside_other_users() {
    let mut scene = PruneScene::set(MemoryStore::without_locks("s3://vault"), LockMode::None).await;
    scene.take(0).await;
    scene.is_alone = false;
    let orphan = VaultKey::blob(deltavault::ids::Digest::of(b"x"), None)
        .object_key()
        .unwrap();
    scene.set_day(1);
    scene
        .store
        .put_new(&orphan, &Payload::from_bytes("x"), None)
        .await
        .unwrap();
    assert!(scene.prune(10).await.is_idle());
    assert_eq!(scene.prune(11).await.marked(), 1);
    assert_eq!(scene.prune(14).await.deleted(), 1);
}
