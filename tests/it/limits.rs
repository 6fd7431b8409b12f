//! Runs that end before everything is copied, by a limit or by Ctrl-C, and the runs that go on from there.

use std::sync::Arc;
use std::time::Duration;

use deltavault::format::Placement;
use deltavault::ids::Version;
use deltavault::plan::price::{NanoUsd, Prices};
use deltavault::progress::PlannedWork;
use deltavault::store::ReadStore as _;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::snapshot::{
    Budget, JournalPace, Limits, MaxPrice, SnapshotDone, Snapshotter,
};
use deltavault::{Error, ExitCode};
use futures::{FutureExt as _, TryStreamExt};
use tokio::time::{Instant, timeout};

use super::support::fault_store::{Call, FaultStore};
use super::support::scene::{LARGE, Scene, assert_says};
use super::support::world::{request, snapshotter, source};

async fn night(scene: &Scene, taker: &Snapshotter, hours: i64) -> Result<SnapshotDone, Error> {
    let source = source(Arc::new(scene.live.clone()));
    taker.take(&source, &request(scene.live.uri(), hours)).await
}

async fn taker(scene: &Scene, limits: Limits) -> Snapshotter {
    Snapshotter {
        limits,
        ..snapshotter(Arc::new(scene.vault.clone())).await.unwrap()
    }
}

fn is_read_of_data(call: &Call) -> bool {
    call.method == "open" && call.key.starts_with("part=")
}

fn reads(scene: &Scene) -> usize {
    let calls = scene.live.calls();
    calls.iter().filter(|call| is_read_of_data(call)).count()
}

fn max_bytes(bytes: usize) -> Limits {
    Limits::new(None, Some(bytes as u64), None)
}

#[tokio::test]
async fn what_an_unfinished_run_placed_is_copied_again_where_the_source_has_other_bytes() {
    let mut scene = Scene::set().await;
    scene.table.append(4, LARGE).await;
    let limited = taker(&scene, max_bytes(2 * LARGE)).await;
    night(&scene, &limited, 24).await.unwrap_err();
    // The log says nothing of it: the writer gives the same name, size and time again.
    for (name, bytes) in scene.source_files().await {
        if name.starts_with("part=") {
            scene.table.overwrite(&name, vec![b'!'; bytes.len()]).await;
        }
    }
    let added: Vec<_> = scene.table.states[&3].keys().cloned().collect();
    for name in added {
        scene.table.add_again(&name).await;
    }
    let all = taker(&scene, Limits::default()).await;
    let done = night(&scene, &all, 25).await.unwrap();
    let contents = scene.contents(&done).await.unwrap();
    let is_old = |name: &String| contents[name].iter().any(|byte| *byte != b'!');
    let old: Vec<_> = scene
        .table
        .live
        .keys()
        .filter(|name| is_old(name))
        .collect();
    assert_eq!(old, [""; 0]);
}

#[tokio::test]
async fn a_first_snapshot_of_three_nights_goes_on_at_newer_versions_and_copies_nothing_twice() {
    let mut scene = Scene::set().await;
    scene.table.append(10, LARGE).await;
    scene.table.append(20, 100).await;
    scene.live.revive();
    let visible = scene.visible().await;
    let mut copied = 0;
    for (night_of, version, known) in [(1, 4, 5), (2, 5, 8)] {
        let taker = taker(&scene, max_bytes(4 * LARGE + 100)).await;
        let error = night(&scene, &taker, 24 * night_of).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::SomeFailed);
        let says = [
            &format!("orders version {version} is not whole yet"),
            "--max-bytes is reached",
            &format!("{known} files were held before"),
        ];
        assert_says(&error, ExitCode::SomeFailed, &says.map(|said| said as &str));
        assert!(
            error
                .hint()
                .unwrap()
                .contains("continues where this one stopped")
        );
        let Error::LimitReached {
            placed, planned, ..
        } = error
        else {
            panic!("{error}");
        };
        let bytes = 4 * LARGE as u64;
        assert_eq!(placed, PlannedWork { files: 4, bytes });
        assert!(planned.files > 4);
        assert_eq!(scene.visible().await, visible, "half a snapshot is visible");
        copied += 4;
        assert_eq!(reads(&scene), copied, "something was copied twice");
        // The table goes on meanwhile, and some of what was placed is needed no more.
        scene.table.delete(1).await;
    }
    let taker = taker(&scene, Limits::default()).await;
    let done = night(&scene, &taker, 72).await.unwrap();
    assert_eq!(done.record.version, Version(6));
    assert_eq!(done.record.journals.len(), 2);
    assert!(reads(&scene) <= 30);
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn time_and_money_end_a_run_as_bytes_do() {
    let mut scene = Scene::set().await;
    scene.table.append(6, LARGE).await;
    let past = Limits::new(Some(Instant::now()), None, None);
    let error = night(&scene, &taker(&scene, past).await, 24).await;
    assert_says(
        &error.unwrap_err(),
        ExitCode::SomeFailed,
        &["--until is reached, 0 of 6 new files"],
    );
    // A GET and a PUT are 5,400, and a MiB for 30 days some 22,461.
    let money = Some(MaxPrice {
        amount: NanoUsd(60_000),
        prices: Prices::of(None),
    });
    let limits = Limits::new(None, None, money);
    let error = night(&scene, &taker(&scene, limits).await, 25).await;
    assert_says(
        &error.unwrap_err(),
        ExitCode::SomeFailed,
        &["--max-usd is reached, 2 of 6 new files"],
    );
    // What needs no copy needs no limit.
    let done = scene.take(26).await.unwrap();
    scene.is_exact(&done).await;
    let none = max_bytes(0);
    assert!(
        night(&scene, &taker(&scene, none).await, 27)
            .await
            .unwrap()
            .unchanged
    );
}

#[tokio::test]
async fn an_interrupted_run_writes_down_what_it_has_placed_and_the_next_one_goes_on() {
    let mut scene = Scene::set().await;
    scene.table.append(6, LARGE).await;
    scene.live.revive();
    let taker = Snapshotter {
        budget: Budget::new(1 << 30, 1),
        journal: JournalPace {
            files: 1000,
            every: Duration::from_hours(1),
        },
        ..taker(&scene, Limits::default()).await
    };
    let interrupt = taker.interrupt.clone();
    // The fifth read never ends.
    scene.live.before_call(5, is_read_of_data, move || {
        async move {
            assert!(interrupt.fire(), "nobody listens");
            std::future::pending::<()>().await;
        }
        .boxed()
    });
    let ended = timeout(Duration::from_secs(1), night(&scene, &taker, 24)).await;
    let error = ended.expect("it goes on").unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let first = reads(&scene);
    let done = scene.take(25).await.unwrap();
    assert_eq!(done.record.journals.len(), 1);
    assert_eq!(first, 5, "with the one that never ended");
    assert_eq!(reads(&scene) - first, 2, "something was copied twice");
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn blobs_and_copies_go_to_their_own_storage_class_and_what_is_read_every_night_does_not() {
    let mut scene = Scene::set().await;
    scene.table.append(2, LARGE).await;
    scene.table.append(3, 100).await;
    let bulk = FaultStore::new(scene.vault.inner().clone());
    let taker = Snapshotter {
        bulk: Arc::new(bulk.clone()),
        ..taker(&scene, Limits::default()).await
    };
    scene.vault.revive();
    let done = night(&scene, &taker, 24).await.unwrap();
    let puts = |store: &FaultStore<MemoryStore>| {
        let calls = store.calls().into_iter();
        let puts = calls.filter(|call| call.method == "put_new");
        puts.map(|call| call.key.split('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(puts(&bulk), ["blobs", "blobs", "blobs"]);
    let others = puts(&scene.vault);
    assert!(!others.contains(&"blobs".to_owned()), "{others:?}");
    assert!(others.contains(&"pages".to_owned()), "{others:?}");
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_plan_says_how_files_would_go_and_what_that_takes() {
    let mut scene = Scene::set().await;
    scene.table.append(4, LARGE).await;
    scene.table.append(30, 100).await;
    let taker = taker(&scene, Limits::default()).await;
    let source = source(Arc::new(scene.live.clone()));
    let request = request(scene.live.uri(), 24);
    let plan = taker.plan(&source, &request).await.unwrap();
    assert_eq!(plan.days, 30);
    let going = plan.forecast.methods.iter();
    let going: Vec<_> = going
        .map(|going| (going.method.as_str(), going.files, going.bytes))
        .collect();
    assert_eq!(going, [("stream", 4, 4 * LARGE as u64), ("pack", 30, 3000)]);
    scene.live.revive();
    scene.vault.revive();
    night(&scene, &taker, 24).await.unwrap();
    let calls = |store: &FaultStore<MemoryStore>| store.calls().len() as u64;
    let took = calls(&scene.live) + calls(&scene.vault);
    let said = plan.forecast.requests.reads + plan.forecast.requests.writes;
    assert!(
        took.abs_diff(said) <= 10,
        "{took} requests, {said} were said"
    );
}

/// A vector of many small files is in few packs, and none has more files than a journal may name.
#[tokio::test]
async fn very_small_files_fill_packs_of_4096_and_journals_keep_up() {
    let mut scene = Scene::set().await;
    scene.table.append(9000, 10).await;
    scene.vault.revive();
    let done = scene.take(24).await.unwrap();
    let of = |prefix: &str| {
        let calls = scene.vault.calls();
        let puts = calls
            .iter()
            .filter(|call| call.method == "put_new" && call.key.starts_with(prefix));
        puts.count()
    };
    assert_eq!(of("blobs/"), 3 + 1, "packs, and a large commit");
    assert!((2..=3).contains(&of("runs/")), "each pack when it is put");
    let vault = deltavault::vault::Vault::open(Arc::new(scene.vault.clone())).await;
    let vault = vault.unwrap();
    let manifest = vault.manifest(&done.record).await.unwrap();
    let entries: Vec<_> = vault
        .entries(&manifest.data_pages)
        .try_collect()
        .await
        .unwrap();
    let packed = entries.iter().filter(|entry| {
        matches!(
            entry.placement,
            Placement::Blob {
                offset: Some(_),
                ..
            }
        )
    });
    assert_eq!(packed.count(), 9003);
}
