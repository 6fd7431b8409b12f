//! Snapshots that take so long that what they found safe at first is no longer so: time goes by inside of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use deltavault::ids::{Id128, Timestamp};
use deltavault::plan::retention::stays_until;
use deltavault::store::ReadStore as _;
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest};
use futures::FutureExt as _;
use jiff::SignedDuration;

use super::scene::{Place, PruneScene, needs};
use crate::support::fault_store::Call;
use crate::support::world::{request, snapshotter, source};

/// A request some hours before what a snapshot references may be collected.
async fn request_before(scene: &PruneScene, done: &SnapshotDone, hours: i64) -> SnapshotRequest {
    let lock_mode = scene.vault().await.file().lock_mode;
    let end = stays_until(&done.record, lock_mode).unwrap();
    let mut request = request(scene.live.uri(), 0);
    request.now = end - SignedDuration::from_hours(hours);
    request.run = Id128::from_bytes(rand::random());
    request
}

/// Takes a snapshot; before the first call that `matches`, so many hours go by.
async fn take_with_a_pause(
    scene: &PruneScene,
    request: &SnapshotRequest,
    hours: u64,
    matches: fn(&Call) -> bool,
) -> SnapshotDone {
    scene.store.inner().set_now(request.now);
    let store = scene.store.inner().clone();
    let after: Timestamp = request.now + SignedDuration::from_hours(i64::try_from(hours).unwrap());
    scene.store.before_call(1, matches, move || {
        async move {
            tokio::time::advance(Duration::from_hours(hours)).await;
            store.set_now(after);
        }
        .boxed()
    });
    let taker = snapshotter(Arc::new(scene.store.clone())).await.unwrap();
    let live = source(Arc::new(scene.live.clone()));
    taker.take(&live, request).await.unwrap()
}

async fn references(scene: &PruneScene, done: &SnapshotDone) -> BTreeSet<Place> {
    let needs = needs(&scene.vault().await, &done.record).await;
    needs.into_keys().collect()
}

/// A table that was given up, so that not even its newest snapshot is kept.
async fn given_up(mut scene: PruneScene) -> (PruneScene, SnapshotDone) {
    let first = scene.take(0).await;
    scene.retire(&first).await;
    scene.table.append(1, 10).await;
    (scene, first)
}

fn is_manifest(call: &Call) -> bool {
    call.method == "put_new" && call.key.starts_with("manifests/")
}

fn is_blob(call: &Call) -> bool {
    call.method == "put_new" && call.key.starts_with("blobs/")
}

#[tokio::test(start_paused = true)]
async fn a_base_that_may_be_collected_when_it_comes_to_publish_is_left() {
    // Safe enough to begin with: a day with locks, two days of promise without.
    for (scene, before, pause) in [
        (PruneScene::locked().await, 25, 26),
        (PruneScene::plain().await, 49, 50),
    ] {
        let (scene, first) = given_up(scene).await;
        let request = request_before(&scene, &first, before).await;
        let done = take_with_a_pause(&scene, &request, pause, is_manifest).await;
        let shared = &references(&scene, &first).await & &references(&scene, &done).await;
        assert_eq!(shared, BTreeSet::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_base_that_stays_is_not_left_for_a_pause() {
    let (scene, first) = given_up(PruneScene::locked().await).await;
    let request = request_before(&scene, &first, 30).await;
    let done = take_with_a_pause(&scene, &request, 26, is_manifest).await;
    let shared = &references(&scene, &first).await & &references(&scene, &done).await;
    assert_ne!(shared, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn what_is_found_by_name_is_judged_by_the_time_at_which_it_is_found() {
    for (pause, adopts) in [(0, true), (26, false)] {
        let (scene, first) = given_up(PruneScene::locked().await).await;
        let mut request = request_before(&scene, &first, 25).await;
        request.distrust = vec![first.id];
        let done = take_with_a_pause(&scene, &request, pause, is_blob).await;
        let shared = &references(&scene, &first).await & &references(&scene, &done).await;
        assert_eq!(shared.is_empty(), !adopts, "{pause}");
    }
}
