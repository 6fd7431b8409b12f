//! Cost follows change: what a snapshot asks of the stores, counted, does not grow with the table.

use std::sync::Arc;
use std::time::Instant;

use deltavault::plan::snapshot::Rotation;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::StreamExt;

use super::support::fault_store::{Call, FaultStore};
use super::support::table::Table;
use super::support::world::{init, request, snapshotter, source};

type Store = FaultStore<MemoryStore>;

/// More than a pack takes: such a file is read and put alone.
const LARGE: usize = 1024 * 1024 + 1;

/// A table, and a vault that every run opens again: there is no index, so each is as cold as on a new machine.
struct Scene {
    table: Table,
    live: Store,
    vault: Store,
}

impl Scene {
    /// A table of `files` files in four commits.
    async fn of(files: usize) -> Self {
        let live = FaultStore::new(MemoryStore::new("s3://lake/big"));
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        init(&vault).await;
        let mut table = Table::create(Arc::new(live.inner().clone()), "big").await;
        for _ in 0..4 {
            table.append(files / 4, 16).await;
        }
        Self { table, live, vault }
    }

    /// Takes a snapshot and returns the calls that it made: at the source, at the vault.
    async fn night(&self, hours: i64) -> (SnapshotDone, Vec<Call>, Vec<Call>) {
        self.live.revive();
        self.vault.revive();
        let store: Arc<dyn WriteStore> = Arc::new(self.vault.clone());
        let request = request(self.live.uri(), hours);
        let started = Instant::now();
        let done = snapshotter(store)
            .await
            .unwrap()
            .take(&source(Arc::new(self.live.clone())), &request)
            .await
            .unwrap();
        let (live, vault) = (self.live.calls(), self.vault.calls());
        println!(
            "version {} of {} live files: {} calls at the source, {} at the vault, {:.1} s",
            done.record.version,
            done.record.totals.live_files,
            live.len(),
            vault.len(),
            started.elapsed().as_secs_f64()
        );
        assert_never_lists_data(&live);
        (done, live, vault)
    }
}

fn assert_never_lists_data(live: &[Call]) {
    for call in live {
        let lists = call.method.starts_with("list");
        assert!(!lists || call.key == "_delta_log/", "{call:?}");
    }
}

/// Calls as `method area`: the names without what differs from table to table.
fn spelt(calls: &[Call]) -> Vec<String> {
    let area = |key: &str| match key.split_once('/') {
        Some(("tables", rest)) => rest.split('/').nth(1).unwrap_or_default().to_owned(),
        Some(("_delta_log", name)) => format!("log {name}").trim_end().to_owned(),
        Some((area, _)) => area.to_owned(),
        None => key.to_owned(),
    };
    calls
        .iter()
        .map(|call| format!("{} {}", call.method, area(&call.key)))
        .collect()
}

#[tokio::test]
async fn an_unchanged_table_costs_the_same_handful_of_calls_at_any_size() {
    for files in [100, 9_000] {
        let scene = Scene::of(files).await;
        let (first, ..) = scene.night(0).await;
        assert_eq!(first.record.totals.live_files, files as u64);
        let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
        let manifest = vault.manifest(&first.record).await.unwrap();
        let pages = manifest.log_pages.len() + manifest.data_pages.len();
        let pages: Vec<_> = (0..pages).collect();
        let mut objects = 0;
        for night in 1..=12 {
            let (done, live, vault) = scene.night(24 * night).await;
            assert!(done.unchanged);
            assert_eq!(done.record.manifest, first.record.manifest);
            // From the second record on, the head's link is checked against the record before it.
            let head = if night == 1 { 1 } else { 2 };
            let mut expected = vec!["list_versions vault.json", "open vault.json"];
            expected.push("list_versions ledger");
            expected.extend(["open ledger"; 2].iter().take(head));
            expected.push("open manifests");
            // One page in turn, or one object, for which this machine has to read the page.
            expected.push("open pages");
            let mut turn = Rotation::of(done.record.seq);
            let is_page = *turn.pick(&[true, false]).unwrap();
            let is_of_log = *turn.pick(&pages).unwrap() < manifest.log_pages.len();
            // The log's files are inlined.
            let looks = !is_page && !is_of_log;
            expected.extend(looks.then_some("attributes blobs"));
            objects += usize::from(looks);
            expected.extend(["put_new ledger", "list_versions ledger", "put_new ledger"]);
            assert_eq!(spelt(&vault), expected);
            // The listing has just shown V's commit.
            assert_eq!(spelt(&live), ["list log"]);
            let only_to_know_objects = usize::from(!is_page);
            assert!(live.len() + vault.len() - only_to_know_objects <= 11);
        }
        assert!((1..12).contains(&objects), "{objects}");
    }
}

#[tokio::test]
async fn a_night_costs_what_changed() {
    for (files, large, small) in [(100, 0, 0), (100, 3, 7), (9_000, 0, 1), (9_000, 5, 3_000)] {
        let mut scene = Scene::of(files).await;
        scene.night(0).await;
        let mut size = 0;
        if large > 0 {
            scene.table.append(large, LARGE).await;
        }
        if small > 0 {
            scene.table.append(small, 1000).await;
            size = small * 1000;
        }
        scene.table.delete(1).await;
        let listed: Vec<_> = scene.vault.inner().list("pages/", None).collect().await;
        let (_, live, vault) = scene.night(24).await;
        let changed = pages(&vault, "put_new");
        let allowed = 3 * large + small + size / (16 * 1024 * 1024) + changed + 20;
        // Each page of the base once; the proof reads the log's new ones back.
        let read = pages(&vault, "open");
        assert!(read <= listed.len() + changed, "{:?}", spelt(&vault));
        let spent = live.len() + vault.len() - read;
        println!("{spent} of {allowed} calls, and {read} pages read");
        assert!(spent <= allowed, "{:?}", spelt(&vault));
    }
}

fn pages(calls: &[Call], method: &str) -> usize {
    let pages = calls
        .iter()
        .filter(|call| call.method == method && call.key.starts_with("pages/"));
    pages.count()
}
