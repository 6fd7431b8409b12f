//! Promise 4 on a real server with Object Lock in COMPLIANCE mode: what a snapshot references is locked, as the server
//! itself says, whichever way it got into the vault.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::Reference;
use deltavault::ids::Timestamp;
use deltavault::plan::retention::{RetentionRequest, check_clock};
use deltavault::store::ReadStore;
use deltavault::store::s3::S3Store;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest};
use futures::TryStreamExt;
use jiff::SignedDuration;

use super::support::fault_store::FaultStore;
use super::support::s3::{Bucket, now, server};
use super::support::scene::{LARGE, assert_says};
use super::support::table::Table;
use super::support::verified::references;
use super::support::world::{init_locked_at, request_at, snapshotter, source};

type Locked = FaultStore<S3Store>;

fn asked(live: &S3Store, now: Timestamp, days: i64) -> SnapshotRequest {
    SnapshotRequest {
        ask: RetentionRequest {
            class: None,
            until: Some(now + SignedDuration::from_hours(24 * days)),
        },
        ..request_at(live.uri(), now)
    }
}

async fn take(live: &S3Store, vault: &Locked, asked: &SnapshotRequest) -> SnapshotDone {
    let taker = snapshotter(Arc::new(vault.clone())).await.unwrap();
    let live: Arc<dyn ReadStore> = Arc::new(live.clone());
    taker.take(&source(live), asked).await.unwrap()
}

async fn referenced(vault: &Locked, done: &SnapshotDone) -> Vec<Reference> {
    let store: Arc<dyn ReadStore> = Arc::new(vault.inner().clone());
    references(&Vault::open(store).await.unwrap(), &done.record).await
}

#[tokio::test]
async fn whatever_way_an_object_took_the_server_has_locked_it_before_it_is_named() {
    let Some(server) = server() else { return };
    let live = server.store(Bucket::Plain).await;
    let vault = FaultStore::new(server.store(Bucket::Locked).await);
    let start = now();
    init_locked_at(&vault, start).await;
    let mut table = Table::create(Arc::new(live.clone()), "orders").await;
    table.append(2, LARGE).await;
    table.append(3, 100).await;
    let first = take(&live, &vault, &asked(&live, start, 5)).await;
    assert_eq!(
        vault.count("extend_lock"),
        0,
        "each is put with its lock, a copy too"
    );
    assert_eq!(vault.count("copy_new"), 2);
    let locked = async |done: &SnapshotDone| {
        let found = referenced(&vault, done).await;
        for reference in &found {
            let there = vault
                .inner()
                .attributes(&reference.key, reference.version.as_ref());
            let until = there.await.unwrap().locked_until.unwrap();
            assert!(
                until >= done.record.promise,
                "{} until {until}",
                reference.key
            );
            assert!(done.record.locks[&reference.generation] <= until);
        }
        found
    };
    let objects = locked(&first).await;
    let copies = objects
        .iter()
        .filter(|found| found.key.as_str().starts_with("copies/"));
    assert_eq!(copies.count(), 2);
    // As long as before: nothing is asked for. For longer: each object once.
    let again = take(&live, &vault, &asked(&live, start, 5)).await;
    assert!(again.unchanged);
    assert_eq!(vault.count("extend_lock"), 0);
    let longer = take(&live, &vault, &asked(&live, start, 100)).await;
    let mut distinct: Vec<_> = objects.iter().map(|found| &found.key).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(vault.count("extend_lock"), distinct.len());
    locked(&longer).await;
    // Locked for longer than is asked: nothing is asked for, and nothing was shortened.
    let shorter = take(&live, &vault, &asked(&live, start, 5)).await;
    assert_eq!(vault.count("extend_lock"), distinct.len());
    locked(&shorter).await;
    locked(&longer).await;
}

#[tokio::test]
async fn a_bucket_without_locks_gets_no_snapshot_of_a_vault_that_promises_them() {
    let Some(server) = server() else { return };
    let live = server.store(Bucket::Plain).await;
    let vault = FaultStore::new(server.store(Bucket::Versioned).await);
    init_locked_at(&vault, now()).await;
    let mut table = Table::create(Arc::new(live.clone()), "orders").await;
    table.append(1, 100).await;
    let taker = snapshotter(Arc::new(vault.clone())).await.unwrap();
    let from: Arc<dyn ReadStore> = Arc::new(live.clone());
    let refused = taker.take(&source(from), &asked(&live, now(), 5)).await;
    assert_says(
        &refused.unwrap_err(),
        ExitCode::Failed,
        &["lock manifests/"],
    );
}

#[tokio::test]
async fn the_server_s_clock_is_read_from_any_answer() {
    let Some(server) = server() else { return };
    let client = server.client().await;
    assert_eq!(client.server_time(), None);
    let bucket = server.bucket(Bucket::Plain).await;
    let store = S3Store::open(&client, &format!("s3://{bucket}")).unwrap();
    let listed: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert!(listed.is_empty());
    let told = client.server_time().unwrap();
    check_clock(now(), told).unwrap();
    let ours = now() + SignedDuration::from_mins(6);
    assert!(check_clock(ours, told).is_err());
}
