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
use super::yard::{GRACE, LARGE, Yard, day, doer, prune_in};

const BESIDE_OTHERS: Patience = Patience {
    grace: GRACE,
    is_alone: false,
};

fn pruner(yard: &Yard, vault: Vault) -> Pruner {
    let store: Arc<dyn PruneStore> = Arc::new(yard.store.clone());
    Pruner {
        vault,
        store,
        temp: std::env::temp_dir(),
        forget: Forget::These(Vec::new()),
    }
}

/// A table with one snapshot that has expired after 30 days, and another one.
async fn grown(mut yard: Yard) -> Yard {
    yard.take(0).await;
    yard.rewrite().await;
    yard.take(1).await;
    yard
}

#[tokio::test]
async fn a_long_survey_is_no_wrong_clock() {
    let yard = grown(Yard::locked().await).await;
    yard.prune(RIPE - 4).await;
    yard.set_day(RIPE);
    let pruner = pruner(&yard, yard.vault().await);
    let mut told = |_| Ok(());
    let survey = pruner.survey(BESIDE_OTHERS, day(RIPE), &mut told);
    let survey = survey.await.unwrap();
    // As long as it takes to list some million objects, or to answer a question: the clocks differ by more
    // than they may when that is not counted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let off = CLOCK_SKEW + SignedDuration::from_millis(250);
    yard.store.inner().set_now(day(RIPE) + off);
    let done = pruner.carry_out(survey, &doer(day(RIPE))).await.unwrap();
    assert!(!done.deleted.is_empty());
}

#[tokio::test]
async fn a_monthly_prune_collects() {
    let yard = grown(Yard::plain().await).await;
    assert!(yard.prune(31).await.marked() > 0);
    assert!(yard.prune(62).await.deleted() > 0);
}

#[tokio::test]
async fn a_long_grace_ends() {
    let yard = grown(Yard::plain().await).await;
    let patience = Patience {
        grace: LONGEST_GRACE,
        is_alone: true,
    };
    let mut deleted = 0;
    for days in [400, 600, 765] {
        yard.set_day(days);
        let store: Arc<dyn PruneStore> = Arc::new(yard.store.clone());
        let pruned = prune_in(yard.vault().await, store, patience, day(days)).await;
        deleted += pruned.unwrap().deleted();
        assert_eq!(deleted > 0, days == 765, "day {days}");
    }
}

/// A bucket without object versions, beside others, in which what an expired snapshot needs is old enough.
async fn nameless() -> (Yard, u64) {
    let vault = MemoryStore::without_versions("s3://vault");
    let mut yard = Yard::set(vault, LockMode::None).await;
    yard.take(0).await;
    let version = yard.table.version();
    let mut live = yard.table.names("").await;
    live.retain(|name| !name.starts_with("_delta_log/"));
    yard.table.overwrite_files(&live, 2, LARGE).await;
    yard.take(1).await;
    // By somebody who believes to be alone.
    let marked = yard.prune(RIPE - 4).await.marked();
    yard.is_alone = false;
    yard.table.rewind(version).await;
    yard.set_day(RIPE);
    (yard, marked)
}

#[tokio::test]
async fn a_name_that_was_taken_again_is_not_deleted_by_a_second_prune() {
    let (yard, _) = nameless().await;
    let slow = pruner(&yard, yard.vault().await);
    let mut told = |_| Ok(());
    let survey = slow.survey(BESIDE_OTHERS, day(RIPE), &mut told);
    let survey = survey.await.unwrap();
    yard.prune(RIPE).await;
    let done = yard.take(RIPE).await;
    is_whole(&yard, &done, "before the slow prune").await;
    slow.carry_out(survey, &doer(day(RIPE))).await.unwrap();
    is_whole(&yard, &done, "after the slow prune").await;
}

#[tokio::test]
async fn where_a_name_may_be_taken_again_nothing_goes_and_that_is_told() {
    let (yard, marked) = nameless().await;
    let before = yard.objects().await;
    let pruned = yard.prune(RIPE).await;
    assert!(pruned.is_idle(), "{pruned:?}");
    assert_eq!(pruned.sums.nameless.objects, marked);
    assert_eq!(yard.objects().await, before);
}
