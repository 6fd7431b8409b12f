//! A table and a vault in memory, with one good snapshot that whatever happens next must not harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::Entry;
use deltavault::format::ledger::Bodies;
use deltavault::ids::{ObjectKey, SnapshotId, Timestamp};
use deltavault::plan::restore::Mode;
use deltavault::source::{OpenOutside, Source};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, RestoreStore, StoreError, StoreErrorKind};
use deltavault::vault::Vault;
use deltavault::vault::restore::{RestoreDone, RestorePlan, RestoreRequest, Restorer};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::{Error, vault::snapshot::SnapshotRequest};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::fault_store::FaultStore;
use super::table::Table;
use super::world::{hours_later, init, request, restore_request, restorer, snapshotter};

/// A store in memory with hooks.
pub(crate) type Store = FaultStore<MemoryStore>;

/// Names with their bytes.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// More than a pack may take.
pub(crate) const LARGE: usize = 1024 * 1024 + 1;

/// A table, a vault, and another bucket that the table's log may point into.
pub(crate) struct Scene {
    pub(crate) table: Table,
    pub(crate) live: Store,
    pub(crate) vault: Store,
    pub(crate) elsewhere: MemoryStore,
    /// The first snapshot, and what it must bring back.
    pub(crate) first: SnapshotDone,
    held: Files,
}

impl Scene {
    /// The same, in stores of their own.
    pub(crate) fn fork(&self) -> Self {
        let live = self.live.fork();
        Self {
            table: self.table.moved(Arc::new(live.inner().clone())),
            live,
            vault: self.vault.fork(),
            elsewhere: self.elsewhere.fork(),
            first: self.first.clone(),
            held: self.held.clone(),
        }
    }

    /// A table of versions 0 to 2, and a snapshot of it.
    pub(crate) async fn set() -> Self {
        Self::set_in(MemoryStore::without_locks("s3://vault")).await
    }

    /// As [`Scene::set`], with the vault in a store of one's choice.
    pub(crate) async fn set_in(vault: MemoryStore) -> Self {
        // Without versions: what is removed is gone.
        let live = MemoryStore::without_versions("s3://lake/orders");
        Self::set_of(live, vault, MemoryStore::new("s3://elsewhere")).await
    }

    /// As [`Scene::set`], with everything in stores of one's choice.
    pub(crate) async fn set_of(
        live: MemoryStore,
        vault: MemoryStore,
        elsewhere: MemoryStore,
    ) -> Self {
        let live = FaultStore::new(live);
        // What a vault without locks takes over has to be young.
        if vault.now() == Timestamp::UNIX_EPOCH {
            vault.set_now(hours_later(0));
        }
        let vault = FaultStore::new(vault);
        init(&vault).await;
        let mut table = Table::create(Arc::new(live.inner().clone()), "orders").await;
        table.append(2, LARGE).await;
        table.append(3, 100).await;
        let first = take_from(&live, &vault, &elsewhere, 0).await.unwrap();
        let held = table.closure().await;
        Self {
            table,
            live,
            vault,
            elsewhere,
            first,
            held,
        }
    }

    /// Takes a snapshot `hours` after the pinned time.
    pub(crate) async fn take(&self, hours: i64) -> Result<SnapshotDone, Error> {
        take_from(&self.live, &self.vault, &self.elsewhere, hours).await
    }

    /// Everything that is at the source now.
    pub(crate) async fn source_files(&self) -> Files {
        everything(self.live.inner()).await
    }

    /// The snapshots that can be seen.
    pub(crate) async fn visible(&self) -> Vec<SnapshotId> {
        let readable: Arc<dyn ReadStore> = Arc::new(self.vault.clone());
        let vault = Vault::open(readable).await.unwrap();
        let key = request(self.live.uri(), 0).key;
        let chain = vault.chain(&key, Bodies::new(), &[]).await.unwrap();
        chain.links.iter().map(|link| link.id).collect()
    }

    /// Goes on with a vault that holds nothing.
    pub(crate) async fn forget_vault(&mut self) {
        let vault = MemoryStore::without_locks("s3://vault");
        vault.set_now(hours_later(0));
        self.vault = FaultStore::new(vault);
        init(&self.vault).await;
    }

    /// The entries of a snapshot's manifest.
    pub(crate) async fn entries(&self, done: &SnapshotDone) -> Vec<Entry> {
        let vault = Vault::open(Arc::new(self.vault.clone())).await.unwrap();
        let manifest = vault.manifest(&done.record).await.unwrap();
        let mut entries = Vec::new();
        for page in manifest.log_pages.iter().chain(&manifest.data_pages) {
            entries.extend(vault.page(page).await.unwrap());
        }
        entries
    }

    /// Restores a snapshot into a new place and returns what is there.
    pub(crate) async fn contents(&self, done: &SnapshotDone) -> Result<Files, Error> {
        let target = MemoryStore::new("s3://copy/orders");
        let restorer = self.restorer(Arc::new(target.clone())).await;
        let request = restore_request(done, Mode::To, 1);
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await?;
        Ok(everything(&target).await)
    }

    /// Something that restores into `target`.
    pub(crate) async fn restorer(&self, target: Arc<dyn RestoreStore>) -> Restorer {
        let restorer = restorer(Arc::new(self.vault.clone()), target)
            .await
            .unwrap();
        let elsewhere = self.elsewhere.clone();
        Restorer {
            outside: Arc::new(move |uri| {
                let key = key_elsewhere(uri)?;
                let store: Arc<dyn RestoreStore> = Arc::new(elsewhere.clone());
                Ok((store, key))
            }),
            ..restorer
        }
    }

    /// Plans a restore in place.
    pub(crate) async fn plan(&self, request: &RestoreRequest) -> Result<RestorePlan, Error> {
        let restorer = self.restorer(Arc::new(self.live.clone())).await;
        restorer.plan(request).await
    }

    /// Plans a restore in place and carries it out.
    pub(crate) async fn restore(&self, request: &RestoreRequest) -> Result<RestoreDone, Error> {
        let restorer = self.restorer(Arc::new(self.live.clone())).await;
        let plan = restorer.plan(request).await?;
        restorer.execute(request, plan).await
    }

    /// Takes a snapshot that must fail, and proves that nothing was lost: the source is as it was, no record was
    /// published, and the first snapshot comes back byte for byte. The error must say all of `says`.
    pub(crate) async fn refuses(&self, code: ExitCode, says: &[&str]) -> Error {
        let before = self.source_files().await;
        let visible = self.visible().await;
        let error = self.take(24).await.unwrap_err();
        assert_says(&error, code, says);
        assert_eq!(self.source_files().await, before, "the source was touched");
        assert_eq!(self.visible().await, visible, "a record was published");
        self.first_is_safe().await;
        error
    }

    /// Proves that the first snapshot is visible and comes back byte for byte.
    pub(crate) async fn first_is_safe(&self) {
        assert!(self.visible().await.contains(&self.first.id));
        assert_eq!(self.contents(&self.first).await.unwrap(), self.held);
    }

    /// Proves that a snapshot brings back exactly what the table's newest version needs.
    pub(crate) async fn is_exact(&self, done: &SnapshotDone) {
        assert_holds(
            &self.contents(done).await.unwrap(),
            &self.table.closure().await,
        );
    }
}

/// Takes a snapshot of the table in `live`.
pub(crate) async fn take_from(
    live: &Store,
    vault: &Store,
    elsewhere: &MemoryStore,
    hours: i64,
) -> Result<SnapshotDone, Error> {
    take_as(live, vault, elsewhere, &request(live.uri(), hours)).await
}

/// Takes a snapshot of the table in `live` on a thread of its own, beside whatever else goes on.
pub(crate) fn take_beside(
    live: &Store,
    vault: &Store,
    elsewhere: &MemoryStore,
    hours: i64,
) -> JoinHandle<Result<SnapshotDone, Error>> {
    let (live, vault, elsewhere) = (live.clone(), vault.clone(), elsewhere.clone());
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        runtime.block_on(take_from(&live, &vault, &elsewhere, hours))
    })
}

/// Takes a snapshot of the table in `live` with a request of one's own.
pub(crate) async fn take_as(
    live: &Store,
    vault: &Store,
    elsewhere: &MemoryStore,
    request: &SnapshotRequest,
) -> Result<SnapshotDone, Error> {
    let elsewhere = elsewhere.clone();
    let outside: OpenOutside = Arc::new(move |uri| {
        let key = key_elsewhere(uri)?;
        let store: Arc<dyn ReadStore> = Arc::new(elsewhere.clone());
        Ok((store, key))
    });
    let source = Source::new(Arc::new(live.clone()), outside);
    snapshotter(Arc::new(vault.clone()))
        .await?
        .take(&source, request)
        .await
}

fn key_elsewhere(uri: &str) -> Result<ObjectKey, StoreError> {
    let key = uri.strip_prefix("s3://elsewhere/");
    key.and_then(|key| key.parse().ok())
        .ok_or_else(|| StoreError {
            action: "open",
            uri: uri.to_owned(),
            kind: StoreErrorKind::NotFound,
        })
}

/// Every object of a store with its bytes.
pub(crate) async fn everything(store: &MemoryStore) -> Files {
    let table = Table::open(Arc::new(store.clone()));
    let mut found = BTreeMap::new();
    for name in table.names("").await {
        found.insert(name.clone(), table.read(&name).await);
    }
    found
}

/// Asserts that all of `closure` is in `found`, byte for byte, and that nothing else of the table is.
pub(crate) fn assert_holds(found: &Files, closure: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(closure));
    for (name, bytes) in closure {
        assert_eq!(found.get(name), Some(bytes), "{name}");
    }
}

/// Asserts what an error says, its exit code, and that it has a hint.
pub(crate) fn assert_says(error: &Error, code: ExitCode, says: &[&str]) {
    let text = chain(error);
    for word in says {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    assert_eq!(error.exit_code(), code, "{text}");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.len() > 10, "{text:?} has no hint");
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
