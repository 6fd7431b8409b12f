//! Writers that commit while a live table is turned back, and what becomes of runs that were begun before they did.

use deltavault::Error;
use deltavault::error::RestoreError;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;

use super::rewind::{Scene, changes, commits, everything, recreated, version_that_opens};
use super::support::fault_store::Fault;
use super::support::table::Table;
use super::support::world::key_of;

/// Whether a run ended because somebody had committed.
fn is_outrun(error: &Error) -> bool {
    matches!(
        error,
        Error::OwnerMustChoose { .. }
            | Error::Restore(RestoreError::CommittedMeanwhile { .. } | RestoreError::Torn { .. })
    )
}

#[tokio::test]
async fn a_commit_before_any_change_of_an_undo_is_kept_and_nothing_stands_above_it() {
    let mut outrun = 0;
    for n in 1..40 {
        let scene = Scene::set().await;
        scene.go_back(Mode::Rewind, 1).await.unwrap();
        let theirs = scene.version().0 + 1;
        let name = format!("_delta_log/{theirs:020}.json");
        // Whoever has read V commits the next version, where it is free.
        let live = scene.live.clone();
        let commit = commits(&scene, theirs);
        let (free, key) = (live.clone(), name.clone());
        scene.live.before_call(
            n,
            |call| !call.key.contains("claim"),
            move || {
                Box::pin(async move {
                    let table = Table::open(std::sync::Arc::new(free.inner().clone()));
                    if !table.has(&key).await {
                        commit().await;
                    }
                })
            },
        );
        let undone = scene.undo(2).await;
        let now = everything(&scene.live).await;
        let is_theirs = now.get(&name) != scene.now.get(&name);
        let opens = version_that_opens(&scene.live).await;
        match undone {
            Ok(_) if is_theirs => {
                panic!("call {n}: the undo is done over a commit that came first")
            }
            Ok(_) => scene.is_as_before(&format!("call {n}")).await,
            Err(error) if is_theirs => {
                assert!(is_outrun(&error), "call {n}: {error:?}");
                assert_eq!(opens, Some(Version(theirs)), "call {n}");
                outrun += 1;
            }
            Err(error) => panic!("call {n}: {error:?}"),
        }
    }
    assert!(outrun > 2, "{outrun}");
}

#[tokio::test]
async fn what_was_begun_is_over_once_somebody_has_committed_and_another_rewind_may_begin() {
    let mut over = 0;
    for k in 1..30 {
        let scene = Scene::set().await;
        scene.go_back(Mode::Rewind, 1).await.unwrap();
        scene.live.revive();
        scene.live.fail_call(k, Fault::Before);
        let killed = scene.undo(2).await;
        let died = scene.live.is_dead();
        scene.live.revive();
        let Some(begun) = scene.last_deed().await else {
            panic!("call {k}: no deed");
        };
        if killed.is_ok() || !died || begun.is_done {
            continue;
        }
        let restorer = scene.restorer().await.unwrap();
        let table = key_of(scene.live_uri());
        let history = restorer.vault.history(&table, Bodies::default());
        let history = history.await.unwrap();
        assert!(
            restorer.is_under_way(&history, &begun).await.unwrap(),
            "call {k}"
        );
        let Some(tip) = version_that_opens(&scene.live).await else {
            panic!("call {k}: nothing opens");
        };
        if tip.0 == scene.table.version() {
            continue;
        }
        commits(&scene, tip.0 + 1)().await;
        let is_under_way = restorer.is_under_way(&history, &begun).await.unwrap();
        assert!(!is_under_way, "call {k}");
        let done = scene.go_back(Mode::Rewind, 3).await.unwrap();
        assert!(done.safety.is_some(), "call {k}: their commit is held");
        scene.is_back_at_v(&format!("call {k}")).await;
        over += 1;
    }
    assert!(over > 3, "{over}");
}

#[tokio::test]
async fn a_part_of_a_checkpoint_that_is_no_version_stops_no_rewind() {
    let scene = Scene::set().await;
    let part = "_delta_log/00000000000000000099.checkpoint.0000000001.0000000002.parquet";
    scene.table.put(part, b"broken".into()).await;
    let done = scene.go_back(Mode::Rewind, 1).await.unwrap();
    assert_eq!(done.set_aside, 1);
    scene.is_back_at_v("rewound").await;
}

#[tokio::test]
async fn a_commit_to_a_log_that_is_taken_down_is_named_with_the_way_back() {
    let mut torn = 0;
    for n in 1..60 {
        let scene = recreated().await;
        let tip = scene.table.version();
        let name = format!("_delta_log/{:020}.json", tip + 1);
        scene.live.before_call(n, changes, commits(&scene, tip + 1));
        let replaced = scene.go_back(Mode::Replace, 1).await;
        let now = everything(&scene.live).await;
        match replaced {
            Err(error) => {
                assert!(is_outrun(&error), "call {n}: {error:?}");
                assert!(now.contains_key(&name), "call {n}: their commit is gone");
                if matches!(error, Error::Restore(RestoreError::Torn { .. })) {
                    torn += 1;
                }
            }
            // It came after the last look, or was never made.
            Ok(done) => assert!(
                done.on_top.is_some() || !now.contains_key(&name),
                "call {n}"
            ),
        }
    }
    println!("{torn} torn");
    assert!(torn > 0);
}
