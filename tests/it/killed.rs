//! Killed at every store call: what is visible is whole, a second run finishes, and little is done twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::Error;
use deltavault::delta::segment::LogListing;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::Vault;
use deltavault::vault::restore::{RestoreDone, Restorer};
use deltavault::vault::snapshot::{Budget, JournalPace, SnapshotDone};

use futures::TryStreamExt as _;

use super::support::fault_store::{Fault, FaultStore};
use super::support::table::Table;
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

type Store = FaultStore<MemoryStore>;

/// A table with some history, and a vault that holds an earlier version of it.
struct Scene {
    table: Table,
    live: Store,
    vault: Store,
    first: SnapshotDone,
}

/// More than a pack may take, so that files are placed, and journalled, one by one.
const LARGE: usize = 1024 * 1024 + 1;

impl Scene {
    async fn set() -> Self {
        let live = FaultStore::new(MemoryStore::without_versions("s3://lake/orders"));
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        init(&vault).await;
        let mut table = Table::create(Arc::new(live.inner().clone()), "orders").await;
        table.append(2, LARGE).await;
        table.append(3, 100).await;
        let first = snapshot(&live, &vault, 0).await.unwrap();
        table.append(3, LARGE).await;
        table.update(LARGE).await;
        table.checkpoint().await;
        table.delete(1).await;
        table.append(2, 200).await;
        Self {
            table,
            live,
            vault,
            first,
        }
    }

    /// The same, in stores of their own.
    fn fork(&self) -> Self {
        let live = self.live.fork();
        Self {
            table: self.table.moved(Arc::new(live.inner().clone())),
            live,
            vault: self.vault.fork(),
            first: self.first.clone(),
        }
    }
}

async fn snapshot(live: &Store, vault: &Store, hours: i64) -> Result<SnapshotDone, Error> {
    let mut snapshotter = snapshotter(Arc::new(vault.clone())).await?;
    snapshotter.budget = Budget::new(1 << 30, IN_FLIGHT);
    snapshotter.journal = JournalPace {
        files: 1,
        ..JournalPace::default()
    };
    let request = request(live.uri(), hours);
    snapshotter
        .take(&source(Arc::new(live.clone())), &request)
        .await
}

/// Restores a snapshot into a new place and returns what is there.
async fn contents(vault: &Store, done: &SnapshotDone) -> BTreeMap<String, Vec<u8>> {
    let target = MemoryStore::new("s3://elsewhere/orders");
    let restorer = restorer(Arc::new(vault.clone()), Arc::new(target.clone()))
        .await
        .unwrap();
    let request = restore_request(done, Mode::To, 1);
    let plan = restorer.plan(&request).await.unwrap();
    restorer.execute(&request, plan).await.unwrap();
    everything(&target).await
}

async fn everything(store: &MemoryStore) -> BTreeMap<String, Vec<u8>> {
    let table = Table::open(Arc::new(store.clone()));
    let mut found = BTreeMap::new();
    for name in table.names("").await {
        found.insert(name.clone(), table.read(&name).await);
    }
    found
}

/// The ids of the snapshots that can be seen.
async fn visible(vault: &Store, live: &Store) -> Vec<deltavault::ids::SnapshotId> {
    let readable: Arc<dyn ReadStore> = Arc::new(vault.clone());
    let vault = Vault::open(readable).await.unwrap();
    let key = request(live.uri(), 0).key;
    let chain = vault.chain(&key, Bodies::default(), &[]).await.unwrap();
    assert_eq!(
        chain.findings,
        [],
        "a crash must leave nothing to remark on"
    );
    chain.links.iter().map(|link| link.id).collect()
}

/// Opens of data files at the source since the calls in `before`.
fn data_reads(live: &Store, before: usize) -> usize {
    let calls = live.calls();
    let data = calls
        .iter()
        .skip(before)
        .filter(|call| call.method == "open" && !call.key.starts_with("_delta_log/"));
    data.count()
}

/// Data files of one table in flight: what a kill may cost although everything placed is journalled.
const IN_FLIGHT: usize = 4;

#[tokio::test]
async fn a_snapshot_killed_at_any_call_leaves_whole_snapshots_and_the_next_run_finishes() {
    let mut at_source = 0;
    let origin = Scene::set().await;
    for faulty in [true, false] {
        for fault in [Fault::Before, Fault::After] {
            let mut k = 1;
            loop {
                let scene = origin.fork();
                let before = scene.table.closure().await;
                let dying = if faulty { &scene.live } else { &scene.vault };
                dying.fail_call(k, fault);
                let killed = snapshot(&scene.live, &scene.vault, 24).await;
                let died = dying.is_dead();
                dying.revive();
                let ids = visible(&scene.vault, &scene.live).await;
                assert_eq!(ids.first(), Some(&scene.first.id));
                let done = match (killed, ids.len()) {
                    (Ok(done), 2) => done,
                    (Err(_), 1) => {
                        let calls = scene.live.calls().len();
                        let done = snapshot(&scene.live, &scene.vault, 25).await.unwrap();
                        let reads = data_reads(&scene.live, calls);
                        at_source = at_source.max(reads);
                        let total = data_reads(&scene.live, 0);
                        // Five files for the first snapshot; six new ones, one of them small.
                        assert!(total <= 5 + 6 + IN_FLIGHT, "call {k}: {total} reads");
                        done
                    }
                    // The record was put and its answer lost: visible, whole, and a second run only adds to it.
                    (Err(_), 2) => snapshot(&scene.live, &scene.vault, 25).await.unwrap(),
                    (killed, seen) => panic!("call {k}: {seen} snapshots after {killed:?}"),
                };
                assert_eq!(
                    contents(&scene.vault, &done).await,
                    before,
                    "call {k}, {fault:?}"
                );
                if !died {
                    break;
                }
                k += 1;
            }
            println!("{} calls, {fault:?}: each survived", k - 1);
        }
    }
    assert!(at_source > 0);
}

async fn restore_in_place(
    vault: &Store,
    live: &Store,
    done: &SnapshotDone,
) -> Result<RestoreDone, Error> {
    let target: Arc<dyn RestoreStore> = Arc::new(live.clone());
    let restorer: Restorer = restorer(Arc::new(vault.clone()), target).await?;
    let request = restore_request(done, Mode::InPlace, 2);
    let plan = restorer.plan(&request).await?;
    restorer.execute(&request, plan).await
}

/// Kills an in-place restore at every call of the target or of the vault, after `damage` was done.
///
/// `last` is a log file that the damage removes: it may be back only after all data is.
async fn kill_restores<F: AsyncFn(&Table)>(last: &str, damage: F) {
    let origin = Scene::set().await;
    let done = snapshot(&origin.live, &origin.vault, 24).await.unwrap();
    let before = everything(origin.live.inner()).await;
    damage(&origin.table).await;
    for at_target in [true, false] {
        for fault in [Fault::Before, Fault::After] {
            let mut k = 1;
            loop {
                let scene = origin.fork();
                let dying = if at_target { &scene.live } else { &scene.vault };
                dying.fail_call(k, fault);
                let killed = restore_in_place(&scene.vault, &scene.live, &done).await;
                let died = dying.is_dead();
                dying.revive();
                let between = everything(scene.live.inner()).await;
                for (name, bytes) in &between {
                    let own = name.starts_with("_deltavault/");
                    assert!(
                        own || before.get(name) == Some(bytes),
                        "call {k}: {name} is wrong"
                    );
                }
                if let Some(version) = version_that_opens(scene.live.inner()).await {
                    assert_eq!(
                        version, done.record.version,
                        "call {k}: an older version opens"
                    );
                }
                if between.contains_key(last) {
                    for name in scene.table.live.keys() {
                        assert!(
                            between.contains_key(name),
                            "call {k}: {last} came before {name}"
                        );
                    }
                }
                if killed.is_err() {
                    let written = between
                        .keys()
                        .filter(|name| !name.starts_with("_deltavault/"))
                        .count();
                    let again = restore_in_place(&scene.vault, &scene.live, &done)
                        .await
                        .unwrap();
                    let again = usize::try_from(again.files_written).unwrap();
                    assert!(again + written <= before.len() + 16);
                }
                assert_holds(
                    &everything(scene.live.inner()).await,
                    &scene.table.closure().await,
                    k,
                );
                if !died {
                    break;
                }
                k += 1;
            }
            println!("{} calls, {fault:?}: each survived", k - 1);
        }
    }
}

/// The version that readers see in a log, if they can open it.
async fn version_that_opens(store: &MemoryStore) -> Option<Version> {
    let log = store.list("_delta_log/", None);
    let log: Vec<_> = log.try_collect().await.unwrap();
    let log = LogListing::new(log);
    let newest = *log.versions().last()?;
    log.candidates(newest).is_ok().then_some(newest)
}

fn assert_holds(found: &BTreeMap<String, Vec<u8>>, closure: &BTreeMap<String, Vec<u8>>, k: usize) {
    for (name, bytes) in closure {
        assert_eq!(found.get(name), Some(bytes), "call {k}: {name}");
    }
    let claims = found
        .keys()
        .filter(|name| name.starts_with("_deltavault/claim"))
        .count();
    assert_eq!(claims, 0, "call {k}: the claim must be gone");
}

#[tokio::test]
async fn a_restore_of_a_dropped_table_killed_at_any_call_goes_on() {
    let newest = "_delta_log/00000000000000000006.json";
    let killing = kill_restores(newest, async |table: &Table| table.drop_all().await);
    Box::pin(killing).await;
}

#[tokio::test]
async fn a_heal_killed_at_any_call_goes_on() {
    let lost = "_delta_log/00000000000000000002.json";
    let killing = kill_restores(lost, async |table: &Table| {
        for name in table.live.keys().take(3) {
            table.remove(name).await;
        }
        table.remove(lost).await;
    });
    Box::pin(killing).await;
}
