//! How long what nothing needs stays, and that it goes in the end.

use std::sync::Arc;
use std::time::Duration;

use deltavault::format::LockMode;
use deltavault::plan::prune::LONGEST_GRACE;
use deltavault::plan::retention::CLOCK_SKEW;
use deltavault::store::PruneStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::prune::{Forget, Patience, Pruner};
use jiff::SignedDuration;

use super::race::{RIPE, is_whole};
use super::scene::{GRACE, LARGE, PruneScene, actor, day, prune_in};

const BESIDE_OTHERS: Patience = Patience {
    grace: GRACE,
    is_alone: false,
};

fn pruner(scene: &PruneScene, vault: Vault) -> Pruner {
    let store: Arc<dyn PruneStore> = Arc::new(scene.store.clone());
    Pruner {
        vault,
        store,
        temp: std::env::temp_dir(),
        forget: Forget::These(Vec::new()),
    }
}

/// A table with one snapshot that has expired after 30 days, and another one.
async fn grown(mut scene: PruneScene) -> PruneScene {
    scene.take(0).await;
    scene.rewrite().await;
    scene.take(1).await;
    scene
}

#[tokio::test]
async fn a_long_survey_is_no_wrong_clock() {
    let scene = grown(PruneScene::locked().await).await;
    scene.prune(RIPE - 4).await;
    scene.set_day(RIPE);
    let pruner = pruner(&scene, scene.vault().await);
    let mut told = |_| Ok(());
    let survey = pruner.survey(BESIDE_OTHERS, day(RIPE), &mut told);
    let survey = survey.await.unwrap();
    // As long as it takes to list some million objects, or to answer a question: the clocks differ by more
    // than they may when that is not counted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let off = CLOCK_SKEW + SignedDuration::from_millis(250);
    scene.store.inner().set_now(day(RIPE) + off);
    let done = pruner.execute(survey, &actor(day(RIPE))).await.unwrap();
    assert!(!done.deleted.is_empty());
}

#[tokio::test]
async fn a_monthly_prune_collects() {
    let scene = grown(PruneScene::plain().await).await;
    assert!(scene.prune(31).await.marked() > 0);
    assert!(scene.prune(62).await.deleted() > 0);
}

#[tokio::test]
async fn a_long_grace_ends() {
    let scene = grown(PruneScene::plain().await).await;
    let patience = Patience {
        grace: LONGEST_GRACE,
        is_alone: true,
    };
    let mut deleted = 0;
    for days in [400, 600, 765] {
        scene.set_day(days);
        let store: Arc<dyn PruneStore> = Arc::new(scene.store.clone());
        let pruned = prune_in(scene.vault().await, store, patience, day(days)).await;
        deleted += pruned.unwrap().deleted();
        assert_eq!(deleted > 0, days == 765, "day {days}");
    }
}

/// A bucket without object versions, beside others, in which what an expired snapshot needs is old enough.
async fn unversioned() -> (PruneScene, u64) {
    let vault = MemoryStore::without_versions("s3://vault");
    let mut scene = PruneScene::set(vault, LockMode::None).await;
    scene.take(0).await;
    let version = scene.table.version();
    let mut live = scene.table.names("").await;
    live.retain(|name| !name.starts_with("_delta_log/"));
    scene.table.overwrite_files(&live, 2, LARGE).await;
    scene.take(1).await;
    // By somebody who believes to be alone.
    let marked = scene.prune(RIPE - 4).await.marked();
    scene.is_alone = false;
    scene.table.rewind(version).await;
    scene.set_day(RIPE);
    (scene, marked)
}

#[tokio::test]
async fn a_name_that_was_taken_again_is_not_deleted_by_a_second_prune() {
    let (scene, _) = unversioned().await;
    let slow = pruner(&scene, scene.vault().await);
    let mut told = |_| Ok(());
    let survey = slow.survey(BESIDE_OTHERS, day(RIPE), &mut told);
    let survey = survey.await.unwrap();
    scene.prune(RIPE).await;
    let done = scene.take(RIPE).await;
    is_whole(&scene, &done, "before the slow prune").await;
    slow.execute(survey, &actor(day(RIPE))).await.unwrap();
    is_whole(&scene, &done, "after the slow prune").await;
}

#[tokio::test]
async fn where_a_name_may_be_taken_again_nothing_goes_and_that_is_told() {
    let (scene, marked) = unversioned().await;
    let before = scene.objects().await;
    let pruned = scene.prune(RIPE).await;
    assert!(pruned.is_idle(), "{pruned:?}");
    assert_eq!(pruned.sums.unversioned.objects, marked);
    assert_eq!(scene.objects().await, before);
}
