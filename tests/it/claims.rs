//! Claims on a table that is being restored: two restores never mix, and nobody is locked out for long.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::{decode_json, encode_json};
use deltavault::ids::{Digest, Id128, SnapshotId};
use deltavault::plan::restore::Mode;
use deltavault::plan::restore::claim::Claim;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, WriteStore as _};
use deltavault::vault::restore::{RestoreDone, RestoreRequest};
use deltavault::vault::snapshot::Interrupt;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use jiff::SignedDuration;
use tokio::sync::oneshot;

use super::support::fault_store::Fault;
use super::support::scene::{LARGE, Scene, assert_holds, assert_says, everything};
use super::support::table::key;
use super::support::world::{self, hours_later, restore_request};

/// A claim of a restore that began at hour 0, renewed when the store's clock says so.
fn claim(by: &str, snapshot: SnapshotId, seconds: u64) -> Claim {
    Claim {
        by: by.to_owned(),
        renewed: 0,
        run: Id128::from_bytes([8; 16]),
        seconds,
        since: hours_later(0),
        snapshot,
    }
}

fn body(claim: &Claim) -> Vec<u8> {
    encode_json("claim", claim).unwrap()
}

fn another() -> SnapshotId {
    SnapshotId(Digest::of(b"another"))
}

fn by(scene: &Scene, mode: Mode, by: &str) -> RestoreRequest {
    RestoreRequest {
        by: by.to_owned(),
        ..restore_request(&scene.first, mode, 1)
    }
}

/// The store's clock, and what has to come back; the table is gone.
async fn dropped() -> (Scene, super::support::scene::Files) {
    let scene = Scene::set().await;
    scene.live.inner().set_now(hours_later(1));
    let expected = scene.source_files().await;
    scene.table.drop_all().await;
    (scene, expected)
}

fn after(scene: &Scene, seconds: i64) {
    let later = hours_later(1) + SignedDuration::from_secs(seconds);
    scene.live.inner().set_now(later);
}

async fn claims(scene: &Scene) -> Vec<String> {
    scene.table.names("_deltavault/").await
}

#[tokio::test]
async fn live_claims_of_others_are_respected_and_dead_ones_taken_over() {
    // Who claimed, whether for the same snapshot, what the claim says, how old it is, whether it stops us.
    let cases = [
        ("ann@laptop", true, 300, 0, true),
        ("ann@laptop", false, 300, 299, true),
        ("ann@laptop", true, 300, 300, false),
        ("ann@laptop", true, 0, 1, false),
        ("ann@laptop", false, u64::MAX, 599, true),
        ("ann@laptop", false, u64::MAX, 600, false),
        ("ann@laptop", false, 300, -200, true),
        ("ann@laptop", false, 300, -400_000_000, false),
        ("test@host", true, 300, 0, false),
        ("test@host", false, 300, 0, false),
    ];
    for case @ (who, same, seconds, age, respected) in cases {
        let (scene, expected) = dropped().await;
        let snapshot = if same { scene.first.id } else { another() };
        let claim = body(&claim(who, snapshot, seconds));
        scene.table.put("_deltavault/claim-1", claim).await;
        after(&scene, age);
        let before = scene.source_files().await;
        let request = restore_request(&scene.first, Mode::InPlace, 1);
        let restored = scene.restore(&request).await;
        if respected {
            let error = restored.unwrap_err();
            let said = [who, &snapshot.short(), "since 2026-11-21 03:00:00Z"];
            assert_says(&error, ExitCode::AnotherWriterWon, &said);
            assert!(error.hint().unwrap().contains("--take-over"));
            assert_eq!(scene.source_files().await, before, "{case:?}");
            let taken = RestoreRequest {
                take_over: true,
                ..request
            };
            scene.restore(&taken).await.unwrap();
        }
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn the_plan_tells_who_is_at_work_and_a_claim_that_is_over_is_not_told() {
    let (scene, _) = dropped().await;
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    assert_eq!(scene.plan(&request).await.unwrap().at_work, None);
    let theirs = body(&claim("ann\u{7}@laptop", another(), 300));
    scene.table.put("_deltavault/claim-3", theirs).await;
    for (seconds, told) in [(240, true), (301, false)] {
        let request = RestoreRequest {
            now: hours_later(1) + SignedDuration::from_secs(seconds),
            ..request.clone()
        };
        let plan = scene.plan(&request).await.unwrap();
        assert_eq!(plan.at_work.is_some(), told, "{seconds}");
        if let Some(at_work) = plan.at_work {
            assert_eq!((&*at_work.by, at_work.is_own), ("ann@laptop", false));
            assert_eq!(at_work.snapshot, another());
            assert_eq!(at_work.since, hours_later(0));
            assert_eq!(at_work.silent_for.as_secs(), 240);
        }
    }
}

/// Starts a restore, and while it puts its first data file, runs `meanwhile`.
async fn with_another_meanwhile(
    scene: &Scene,
    request: &RestoreRequest,
    meanwhile: LocalBoxFuture<'_, ()>,
) -> Result<RestoreDone, Error> {
    let (there, arrives) = oneshot::channel();
    let (go, goes) = oneshot::channel::<()>();
    scene.live.before_call(
        1,
        |call| call.method == "put_new" && call.key.starts_with("part"),
        move || {
            async move {
                there.send(()).unwrap();
                goes.await.ok();
            }
            .boxed()
        },
    );
    let mut restore = Box::pin(scene.restore(request));
    tokio::select! {
        done = &mut restore => return done,
        _ = arrives => {}
    }
    let meanwhile = async {
        meanwhile.await;
        go.send(()).ok();
    };
    let (done, ()) = tokio::join!(restore, meanwhile);
    done
}

#[tokio::test]
async fn of_two_restores_of_one_snapshot_at_once_the_second_is_told() {
    for mode in [Mode::InPlace, Mode::To] {
        let (scene, expected) = dropped().await;
        let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        let second = by(&scene, mode, "bob@laptop");
        let mut said = None;
        let meanwhile = async {
            let plan = restorer.plan(&second).await.unwrap();
            assert_eq!(plan.at_work.as_ref().unwrap().by, "ann@laptop");
            let error = restorer.execute(&second, plan).await.unwrap_err();
            said = Some(error);
        };
        let first = by(&scene, mode, "ann@laptop");
        with_another_meanwhile(&scene, &first, meanwhile.boxed_local())
            .await
            .unwrap();
        assert_says(
            &said.unwrap(),
            ExitCode::AnotherWriterWon,
            &["ann@laptop", "0 s"],
        );
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn a_restore_that_was_taken_over_stops_before_it_touches_the_log() {
    for (who, take_over) in [("ann@laptop", false), ("bob@laptop", true)] {
        let (scene, expected) = dropped().await;
        let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        let second = RestoreRequest {
            take_over,
            ..by(&scene, Mode::InPlace, who)
        };
        let meanwhile = async {
            let plan = restorer.plan(&second).await.unwrap();
            restorer.execute(&second, plan).await.unwrap();
        };
        let first = by(&scene, Mode::InPlace, "ann@laptop");
        let stopped = with_another_meanwhile(&scene, &first, meanwhile.boxed_local()).await;
        let error = stopped.unwrap_err();
        assert!(
            matches!(error, Error::RestoreTakenOver { .. }),
            "{who}: {error}"
        );
        assert_says(&error, ExitCode::AnotherWriterWon, &["s3://lake/orders"]);
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn an_interrupted_restore_lets_go_of_its_claim() {
    for mode in [Mode::InPlace, Mode::To] {
        let (scene, expected) = dropped().await;
        let interrupt = Interrupt::default();
        let mut restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        restorer.interrupt = interrupt.clone();
        let request = by(&scene, mode, "ann@laptop");
        let plan = restorer.plan(&request).await.unwrap();
        scene.live.before_call(
            2,
            |call| call.method == "put_new" && call.key.starts_with("part"),
            move || {
                async move {
                    assert!(interrupt.fire(), "somebody listens");
                    std::future::pending::<()>().await;
                }
                .boxed()
            },
        );
        let error = restorer.execute(&request, plan).await.unwrap_err();
        assert!(matches!(error, Error::Interrupted));
        let left = claims(&scene).await;
        assert_eq!(left.len(), usize::from(mode == Mode::To), "{left:?}");
        // Anybody goes on at once: also into the half-filled place.
        let next = by(&scene, mode, "bob@laptop");
        let plan = scene.plan(&next).await.unwrap();
        assert_eq!(plan.at_work, None);
        scene.restore(&next).await.unwrap();
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn a_restore_that_was_killed_blocks_others_for_minutes_and_its_owner_not_at_all() {
    for k in [1, 2, 3] {
        for mode in [Mode::InPlace, Mode::To] {
            let (scene, expected) = dropped().await;
            let first = by(&scene, mode, "ann@laptop");
            let plan = scene.plan(&first).await.unwrap();
            let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
            scene.live.before_call(
                1,
                |call| call.method == "put_new" && call.key.starts_with("part"),
                {
                    let live = scene.live.clone();
                    move || async move { live.fail_call(k, Fault::Before) }.boxed()
                },
            );
            restorer.execute(&first, plan).await.unwrap_err();
            scene.live.revive();
            let other = by(&scene, mode, "bob@laptop");
            after(&scene, 200);
            let error = scene.restore(&other).await.unwrap_err();
            assert_says(&error, ExitCode::AnotherWriterWon, &["ann@laptop"]);
            if k == 2 {
                after(&scene, 301);
                scene.restore(&other).await.unwrap();
            } else {
                scene.restore(&first).await.unwrap();
            }
            assert_holds(&scene.source_files().await, &expected);
        }
    }
}

/// A claim is put, and its restore killed, at each call that claiming takes; another one finishes.
#[tokio::test]
async fn killed_while_it_claims_a_restore_leaves_nothing_that_stays() {
    for fault in [Fault::Before, Fault::After] {
        for k in 1..=8 {
            let (scene, expected) = dropped().await;
            let old = body(&claim("eve@laptop", another(), 300));
            after(&scene, -400);
            scene.table.put("_deltavault/claim-1", old).await;
            after(&scene, 0);
            let first = by(&scene, Mode::InPlace, "ann@laptop");
            let plan = scene.plan(&first).await.unwrap();
            let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
            scene.live.revive();
            scene.live.fail_call(k, fault);
            restorer.execute(&first, plan).await.unwrap_err();
            scene.live.revive();
            after(&scene, 301);
            let other = by(&scene, Mode::InPlace, "bob@laptop");
            scene.restore(&other).await.unwrap();
            assert_holds(&scene.source_files().await, &expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_takes_long_renews_its_claim_and_no_other_gets_in() {
    let (scene, expected) = dropped().await;
    let second = by(&scene, Mode::InPlace, "bob@laptop");
    let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
    let live = scene.live.clone();
    let meanwhile = async move {
        for minute in 1..=30 {
            let now = hours_later(1) + SignedDuration::from_mins(minute);
            live.inner().set_now(now);
            tokio::time::sleep(Duration::from_mins(1)).await;
            let plan = restorer.plan(&second).await.unwrap();
            let error = restorer.execute(&second, plan).await.unwrap_err();
            assert_says(&error, ExitCode::AnotherWriterWon, &["ann@laptop"]);
        }
    };
    let first = by(&scene, Mode::InPlace, "ann@laptop");
    with_another_meanwhile(&scene, &first, meanwhile.boxed_local())
        .await
        .unwrap();
    assert_holds(&scene.source_files().await, &expected);
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_are_tried_again_and_without_any_the_work_ends() {
    for (failing, survives) in [(2, true), (usize::MAX, false)] {
        let (scene, expected) = dropped().await;
        let live = scene.live.clone();
        let meanwhile = async move {
            let renewal = |call: &super::support::fault_store::Call| call.method == "replace";
            if failing == usize::MAX {
                live.deny(renewal);
            } else {
                for _ in 0..failing {
                    live.stumble_at(renewal);
                }
            }
            tokio::time::sleep(Duration::from_mins(20)).await;
        };
        let first = by(&scene, Mode::InPlace, "ann@laptop");
        let done = with_another_meanwhile(&scene, &first, meanwhile.boxed_local()).await;
        scene.live.revive();
        assert_eq!(done.is_ok(), survives, "{done:?}");
        assert_eq!(claims(&scene).await, [] as [&str; 0]);
        scene.restore(&first).await.unwrap();
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn what_is_no_claim_stops_no_restore_and_is_left_alone() {
    let large = vec![b' '; 100_000];
    let odd: [(&str, &[u8], bool); 9] = [
        // With a number of a claim: superseded as one, and removed.
        ("claim-7", b"?", true),
        ("claim-1", b"", true),
        ("claim-12", b"{\"by\":1}", true),
        ("claim-999999999999998", b"\xff\xfe", true),
        ("claim-3", &large, true),
        // Without: somebody's.
        ("claim-18446744073709551615", b"?", false),
        ("claim-007", b"?", false),
        ("claim-x", b"?", false),
        ("claim-1.bak", b"?", false),
    ];
    for (name, bytes, goes) in odd {
        let (scene, mut expected) = dropped().await;
        let name = format!("_deltavault/{name}");
        scene.table.put(&name, bytes.to_vec()).await;
        let request = restore_request(&scene.first, Mode::InPlace, 1);
        scene.restore(&request).await.unwrap();
        if !goes {
            expected.insert(name, bytes.to_vec());
        }
        assert_holds(&scene.source_files().await, &expected);
    }
}

#[tokio::test]
async fn what_leaves_no_room_for_a_claim_is_named() {
    let (scene, _) = dropped().await;
    let highest = "_deltavault/claim-999999999999999";
    scene.table.put(highest, b"?".to_vec()).await;
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    let error = scene.restore(&request).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &[highest, "no higher number"]);

    let (scene, _) = dropped().await;
    for number in 1..=101 {
        let name = format!("_deltavault/claim-{number}");
        scene.table.put(&name, b"?".to_vec()).await;
    }
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    let error = scene.restore(&request).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["more than 100 claims"]);
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(MemoryStore::without_locks("s3://vault"));
    vault.set_now(hours_later(0));
    world::init(vault.as_ref()).await;
    let path = folder.path().join("orders");
    let mut table = world_table(&path).await;
    table.append(2, LARGE).await;
    let done = world::take(vault.clone(), &path, 0).await.unwrap();
    let gone = table.names("part").await.remove(0);
    for (name, is_folder) in [
        ("_deltavault", false),
        ("_deltavault/claim-1/x", false),
        ("_deltavault/claim-1", true),
    ] {
        fs::remove_file(path.join(&gone)).unwrap();
        let place = path.join(name);
        if is_folder {
            fs::create_dir_all(&place).unwrap();
        } else {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, "somebody's").unwrap();
        }
        let error = world::restore(vault.clone(), &done, &path, Mode::InPlace)
            .await
            .unwrap_err();
        assert_says(&error, ExitCode::Failed, &["cannot claim", "_deltavault"]);
        assert!(error.hint().unwrap().contains("_deltavault/"));
        assert!(!path.join(&gone).exists(), "nothing was put");
        let own = path.join("_deltavault");
        if own.is_dir() {
            fs::remove_dir_all(own).unwrap();
        } else {
            fs::remove_file(own).unwrap();
        }
        world::restore(vault.clone(), &done, &path, Mode::InPlace)
            .await
            .unwrap();
        assert!(path.join(&gone).exists());
    }
}

async fn world_table(path: &std::path::Path) -> super::support::table::Table {
    let store = deltavault::store::local::LocalStore::create(path).unwrap();
    super::support::table::Table::create(Arc::new(store), "orders").await
}

#[tokio::test]
async fn a_claim_put_meanwhile_wins_the_number_and_a_target_of_another_snapshot_is_not_resumed() {
    let (scene, _) = dropped().await;
    let (table, first) = (scene.table.clone(), scene.first.id);
    scene.live.before_call(
        1,
        |call| call.method == "put_new" && call.key.starts_with("_deltavault/claim-"),
        move || {
            async move {
                let theirs = body(&claim("ann@laptop", first, 300));
                table.put("_deltavault/claim-1", theirs).await;
            }
            .boxed()
        },
    );
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    let error = scene.restore(&request).await.unwrap_err();
    assert_says(&error, ExitCode::AnotherWriterWon, &["ann@laptop"]);
    assert_eq!(claims(&scene).await, ["_deltavault/claim-1"]);

    let scene = Scene::set().await;
    let target = MemoryStore::new("s3://copy/orders");
    let claim = Payload::from_bytes(body(&claim("ann@host", another(), 300)));
    target
        .put_new(&key("_deltavault/claim-1"), &claim, None)
        .await
        .unwrap();
    target.plant(&key("part=0/x"), "half of another snapshot");
    let restorer = scene.restorer(Arc::new(target.clone())).await;
    let request = restore_request(&scene.first, Mode::To, 1);
    let error = restorer.plan(&request).await.unwrap_err();
    assert!(matches!(error, Error::TargetNotEmpty { .. }));
    assert_eq!(everything(&target).await.len(), 2);
}

#[tokio::test]
async fn a_claim_says_what_the_specification_says() {
    let (scene, _) = dropped().await;
    let mut bytes = Vec::new();
    let meanwhile = async { bytes = scene.table.read("_deltavault/claim-1").await };
    let request = by(&scene, Mode::InPlace, "ann@laptop");
    with_another_meanwhile(&scene, &request, meanwhile.boxed_local())
        .await
        .unwrap();
    let read: Claim = decode_json("claim", &bytes).unwrap();
    let expected = Claim {
        since: hours_later(1),
        run: read.run,
        ..claim("ann@laptop", scene.first.id, 300)
    };
    assert_eq!(read, expected);
    let spec = include_str!("../../src/format/spec.md");
    let section = spec.split("## Claims").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for field in json.as_object().unwrap().keys() {
        assert!(section.contains(&format!("`{field}`")), "{field}");
    }
}
