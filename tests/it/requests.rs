//! What the figures of the design allow, counted at both stores: a night, a heal, a log of many commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use deltavault::plan::restore::{Mode, Permission};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, RestoreStore, WriteStore};
use deltavault::vault::PageCache;
use deltavault::vault::restore::RestoreDone;
use deltavault::vault::snapshot::SnapshotDone;

use super::support::fault_store::{Call, FaultStore};
use super::support::table::{CheckpointForm, Table};
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

type Store = FaultStore<MemoryStore>;

struct Scene {
    table: Table,
    live: Store,
    vault: Store,
    cache: tempfile::TempDir,
}

/// The calls of one command, at both stores.
struct Spent {
    live: Vec<Call>,
    vault: Vec<Call>,
}

impl Spent {
    fn all(&self) -> usize {
        self.live.len() + self.vault.len()
    }

    /// Calls of a method below a prefix of the vault.
    fn count(&self, method: &str, prefix: &str) -> usize {
        let calls = self.vault.iter();
        calls
            .filter(|call| call.method == method && call.key.starts_with(prefix))
            .count()
    }

    /// Which calls of the vault there were, but for those that there are thousands of.
    fn told(&self) -> Vec<String> {
        let calls = self.vault.iter().chain(&self.live);
        let few = calls.filter(|call| !call.key.starts_with('p'));
        few.map(|call| format!("{} {}", call.method, call.key))
            .collect()
    }
}

impl Scene {
    async fn new() -> Self {
        let live = FaultStore::new(MemoryStore::new("s3://lake/big"));
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        init(&vault).await;
        Self {
            table: Table::create(Arc::new(live.inner().clone()), "big").await,
            live,
            vault,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn pages(&self) -> PathBuf {
        self.cache.path().join("pages")
    }

    fn spent(&self) -> Spent {
        Spent {
            live: self.live.calls(),
            vault: self.vault.calls(),
        }
    }

    /// Takes a snapshot, its pages kept in a folder or not.
    async fn night(&self, hours: i64, pages: Option<&Path>) -> (SnapshotDone, Spent) {
        self.live.revive();
        self.vault.revive();
        let store: Arc<dyn WriteStore> = Arc::new(self.vault.clone());
        let request = request(self.live.uri(), hours);
        let mut snapshotter = snapshotter(store).await.unwrap();
        if let Some(folder) = pages {
            let cache = PageCache::new(folder.to_owned());
            snapshotter.vault = snapshotter.vault.with_pages(cache);
        }
        let started = Instant::now();
        let done = snapshotter
            .take(&source(Arc::new(self.live.clone())), &request)
            .await
            .unwrap();
        let spent = self.spent();
        println!(
            "{} calls, {:.1} s",
            spent.all(),
            started.elapsed().as_secs_f64()
        );
        (done, spent)
    }

    /// Puts back what is missing from the live table.
    async fn heal(&self, done: &SnapshotDone, pages: Option<&Path>) -> (RestoreDone, Spent) {
        self.live.revive();
        self.vault.revive();
        let vault: Arc<dyn ReadStore> = Arc::new(self.vault.clone());
        let target: Arc<dyn RestoreStore> = Arc::new(self.live.clone());
        let mut restorer = restorer(vault, target).await.unwrap();
        if let Some(folder) = pages {
            let cache = PageCache::new(folder.to_owned());
            restorer.vault = restorer.vault.with_pages(cache);
        }
        let request = restore_request(done, Mode::InPlace, 48);
        let started = Instant::now();
        let plan = restorer.plan(&request).await.unwrap();
        assert_eq!(plan.permission, Permission::Everything);
        let done = restorer.execute(&request, plan).await.unwrap();
        let spent = self.spent();
        println!(
            "heal: {} calls, {:.1} s",
            spent.all(),
            started.elapsed().as_secs_f64()
        );
        (done, spent)
    }

    /// Every n-th live file.
    fn spread(&self, every: usize) -> Vec<String> {
        self.table.live.keys().step_by(every).cloned().collect()
    }
}

/// A large table (a hundred thousand files with `DELTAVAULT_TEST_ALL`), then a night with a hundredth of them new and a hundredth gone, from everywhere; then a
/// hundredth of them lost.
#[tokio::test]
async fn a_large_table_keeps_every_budget() {
    let all = std::env::var_os("DELTAVAULT_TEST_ALL").is_some();
    let files = if all { 100_000 } else { 30_000 };
    let changed = files / 100;
    let mut scene = Scene::new().await;
    for _ in 0..4 {
        scene.table.append(files / 4, 64).await;
        scene.table.states.clear();
    }
    let pages = scene.pages();
    scene.night(0, Some(&pages)).await;

    let (unchanged, spent) = scene.night(12, Some(&pages)).await;
    assert!(
        unchanged.unchanged && spent.all() <= 10,
        "{:?}",
        spent.told()
    );

    for gone in scene.spread(100).chunks(changed / 4) {
        scene.table.overwrite_files(gone, changed / 4, 4096).await;
    }
    let (done, spent) = scene.night(24, Some(&pages)).await;
    assert_eq!(done.record.change.files_added, changed as u64);
    assert_eq!(done.record.change.files_removed, changed as u64);
    assert_eq!(done.record.totals.live_files, files as u64);
    let log_pages = spent.count("open", "pages/");
    assert_eq!(log_pages, 1, "the proof alone reads a page, the log's");
    assert!(
        spent.count("put_new", "pages/") > files / 1700,
        "they change everywhere"
    );
    let allowed = changed * 11 / 10 + 30;
    assert!(
        spent.all() <= allowed,
        "{} of {allowed}: {:?}",
        spent.all(),
        spent.told()
    );

    let lost = scene.spread(100);
    for name in &lost {
        scene.table.remove(name).await;
    }
    // A machine that has never seen the vault: one call more for each page.
    let (healed, spent) = scene.heal(&done, None).await;
    assert_eq!(healed.files_written, lost.len() as u64);
    let allowed = files / 1000 + 2 * lost.len() + 20;
    assert!(
        spent.all() <= allowed,
        "{} of {allowed}: {:?}",
        spent.all(),
        spent.told()
    );
    for name in &lost {
        assert!(scene.table.has(name).await, "{name}");
    }
}

#[tokio::test]
async fn a_checkpoint_is_read_once_for_holding_and_for_proving() {
    for form in [
        CheckpointForm::Classic,
        CheckpointForm::Parts(20),
        CheckpointForm::Json,
        CheckpointForm::Sidecars(20),
    ] {
        let mut scene = Scene::new().await;
        scene.table.append(60, 10).await;
        scene.night(0, None).await;
        scene.table.append(5, 10).await;
        scene.table.checkpoint_as(form).await;
        let (done, spent) = scene.night(24, None).await;
        assert!(done.record.findings.is_empty());
        let log = spent.live.iter().filter(|call| call.method == "open");
        let mut opened: Vec<_> = log.map(|call| call.key.as_str()).collect();
        opened.sort_unstable();
        let names = scene.table.names("_delta_log/").await;
        let is_one = |name: &&String| name.contains(".checkpoint.") || name.contains("_sidecars/");
        for name in names.iter().filter(is_one) {
            let times = opened.iter().filter(|key| *key == name).count();
            assert_eq!(times, 1, "{form:?} {name}: {opened:?}");
        }
        // Another night reads none of it again.
        scene.table.append(1, 10).await;
        let (_, spent) = scene.night(48, None).await;
        let again = spent.live.iter().filter(|call| call.method == "open");
        let mut again = again.filter(|call| is_one(&&call.key));
        assert!(again.next().is_none(), "{form:?}");
    }
}

#[tokio::test]
async fn ten_thousand_commits_cost_thirty_puts() {
    let mut scene = Scene::new().await;
    scene.table.append(10, 16).await;
    scene.night(0, None).await;
    for _ in 0..10_000 {
        // The writer remembers every version; nobody asks it here.
        scene.table.live.clear();
        scene.table.append(1, 4096).await;
    }
    let (done, spent) = scene.night(24, None).await;
    assert_eq!(done.record.change.versions, 10_000);
    assert_eq!(done.record.totals.live_files, 10_010);
    let puts = spent.count("put_new", "");
    println!("{puts} puts");
    assert!(puts <= 30, "{puts}: {:?}", spent.told());
}

/// What a page cache may be after a night with it.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// Every file of it has other bytes.
    Poisoned,
    /// Every file has the bytes of another one.
    Swapped,
    Deleted,
    /// A file stands where the folder was: nothing can be read or written.
    Blocked,
    /// Every page is a folder now.
    Folders,
}

fn harm(folder: &Path, harm: Harm) {
    let names: Vec<PathBuf> = super::support::world::files(folder)
        .into_keys()
        .map(|name| folder.join(name))
        .collect();
    assert!(!names.is_empty());
    match harm {
        Harm::Poisoned => {
            for name in names {
                let mut bytes = std::fs::read(&name).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                std::fs::write(name, bytes).unwrap();
            }
        }
        Harm::Swapped => {
            let bytes: Vec<_> = names
                .iter()
                .map(|name| std::fs::read(name).unwrap())
                .collect();
            for (name, bytes) in names.iter().zip(bytes.iter().cycle().skip(1)) {
                std::fs::write(name, bytes).unwrap();
            }
        }
        Harm::Deleted => std::fs::remove_dir_all(folder).unwrap(),
        Harm::Blocked => {
            std::fs::remove_dir_all(folder).unwrap();
            std::fs::write(folder, "").unwrap();
        }
        Harm::Folders => {
            for name in names {
                std::fs::remove_file(&name).unwrap();
                std::fs::create_dir(name).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_page_cache_in_whatever_state_changes_no_snapshot() {
    for how in [
        Harm::Poisoned,
        Harm::Swapped,
        Harm::Deleted,
        Harm::Blocked,
        Harm::Folders,
    ] {
        let mut scene = Scene::new().await;
        let pages = scene.pages();
        scene.table.append(700, 16).await;
        scene.night(0, Some(&pages)).await;
        scene.table.delete(5).await;
        harm(&pages, how);
        let (first, _) = scene.night(1, Some(&pages)).await;
        assert_eq!(first.record.totals.live_files, 695);
        let target = MemoryStore::new("s3://elsewhere/big");
        let restorer = restorer(Arc::new(scene.vault.clone()), Arc::new(target.clone()));
        let restorer = restorer.await.unwrap();
        let request = restore_request(&first, Mode::To, 2);
        let plan = restorer.plan(&request).await.unwrap();
        restorer.execute(&request, plan).await.unwrap();
        let back = Table::open(Arc::new(target));
        for (name, bytes) in scene.table.closure().await {
            assert_eq!(back.read(&name).await, bytes, "{name} after {how:?}");
        }
    }
}
