//! A vault and tables to back up, with everything that the commands would pass in pinned down.
//!
//! The pinned time serves vaults and tables in memory and in folders. A real server judges locks and ages by its own
//! clock, so a test that talks to one passes the time in (`…_at` with [`super::s3::now`]); the pinned ones refuse its
//! buckets, because such a test would hold only until the pinned date is over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use deltavault::Error;
use deltavault::format::VaultFile;
use deltavault::format::record::TableIdentity;
use deltavault::format::{LockMode, Scope, TableKey, TableUri, Trigger};
use deltavault::ids::{Id128, ObjectKey, Timestamp};
use deltavault::plan::restore::Mode;
use deltavault::plan::restore::consent::ChosenBy;
use deltavault::plan::retention::{Policy, RetentionRequest};
use deltavault::progress::NoProgress;
use deltavault::source::outside::Outside;
use deltavault::source::{OpenOutside, Source};
use deltavault::store::local::LocalStore;
use deltavault::store::{ReadStore, RestoreStore, StoreError, StoreErrorKind, WriteStore};
use deltavault::vault::restore::{LogWanted, RestoreDone, RestoreRequest, Restorer};
use deltavault::vault::snapshot::{Interrupt, SnapshotDone, SnapshotRequest, Snapshotter};
use deltavault::vault::{self, Vault};

use super::s3::is_on_server;

/// When the tests take place, unless they say otherwise or talk to a server.
pub(crate) const NOW: &str = "2026-11-21T03:00:00Z";

/// The pinned time, `hours` later.
pub(crate) fn hours_later(hours: i64) -> Timestamp {
    let now: Timestamp = NOW.parse().unwrap();
    now + jiff::SignedDuration::from_hours(hours)
}

/// The pinned time, `hours` later, for what lies at `uri`.
fn pinned(uri: &str, hours: i64) -> Timestamp {
    assert!(
        !is_on_server(uri),
        "{uri} is on a server, which has its own time: use the function that takes one"
    );
    hours_later(hours)
}

/// Makes a vault in `store` at the pinned time.
pub(crate) async fn init(store: &dyn WriteStore) {
    init_at(store, pinned(store.uri(), 0)).await;
}

/// Makes a vault in `store`.
pub(crate) async fn init_at(store: &dyn WriteStore, now: Timestamp) {
    let new = VaultFile::new(Id128::from_bytes([7; 16]), now);
    vault::init(store, new).await.unwrap();
}

/// Makes a vault in `store` at the pinned time whose objects are locked.
pub(crate) async fn init_locked(store: &dyn WriteStore) {
    init_locked_at(store, pinned(store.uri(), 0)).await;
}

/// Makes a vault in `store` whose objects are locked.
pub(crate) async fn init_locked_at(store: &dyn WriteStore, now: Timestamp) {
    let new = VaultFile {
        lock_mode: LockMode::Compliance,
        longest_days: 400,
        ..VaultFile::new(Id128::from_bytes([7; 16]), now)
    };
    vault::init(store, new).await.unwrap();
}

/// The store of the table at `path`.
pub(crate) fn local(path: &Path) -> LocalStore {
    LocalStore::open(path).unwrap()
}

/// Opens files outside the table's root, in folders only.
pub(crate) fn outside() -> OpenOutside {
    Arc::new(|uri| {
        let (store, key) = open_outside(uri)?;
        let store: Arc<dyn ReadStore> = store;
        Ok((store, key))
    })
}

fn open_outside(uri: &str) -> Result<(Arc<dyn RestoreStore>, ObjectKey), StoreError> {
    let refused = |kind| StoreError {
        action: "open",
        uri: uri.to_owned(),
        kind,
    };
    let unsupported = || {
        let reason = "only folders can be read".to_owned();
        refused(StoreErrorKind::Unsupported { reason })
    };
    let path = uri
        .strip_prefix("file:")
        .map(Path::new)
        .ok_or_else(unsupported)?;
    let (folder, name) = path
        .parent()
        .zip(path.file_name())
        .ok_or_else(unsupported)?;
    let key = name
        .to_str()
        .and_then(|name| name.parse().ok())
        .ok_or_else(unsupported)?;
    Ok((Arc::new(LocalStore::open(folder)?), key))
}

/// A source over any store.
pub(crate) fn source(root: Arc<dyn ReadStore>) -> Source {
    Source::new(root, outside())
}

/// The key of the table at `uri`.
pub(crate) fn key_of(uri: &str) -> TableKey {
    TableKey::of("local", &uri.parse().unwrap()).unwrap()
}

/// Lets a log name files anywhere.
pub(crate) fn everywhere() -> Outside {
    Outside::new(["file:", "s3:"])
}

/// A request for a snapshot of the table at `uri`, taken `hours` after the pinned time.
pub(crate) fn request(uri: &str, hours: i64) -> SnapshotRequest {
    request_at(uri, pinned(uri, hours))
}

/// A request for a snapshot of the table at `uri`.
pub(crate) fn request_at(uri: &str, now: Timestamp) -> SnapshotRequest {
    // Runs must differ, as random ids do.
    static RUNS: AtomicU8 = AtomicU8::new(1);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let key = key_of(uri);
    let uri: TableUri = uri.parse().unwrap();
    SnapshotRequest {
        key,
        table: TableIdentity {
            delta_id: String::new(),
            name: uri.slug(),
            source: "local".to_owned(),
            uri: uri.to_string(),
        },
        scope: Scope::Live,
        trigger: Trigger::Manual,
        policy: Policy::default(),
        ask: RetentionRequest::default(),
        max_commit: None,
        now,
        run: Id128::from_bytes([run; 16]),
        set: None,
        principal: "test@host".to_owned(),
        tool: "deltavault test".to_owned(),
        distrust: Vec::new(),
        accept_tip: None,
        outside: everywhere(),
    }
}

/// Something that takes snapshots into `store`.
pub(crate) async fn snapshotter(store: Arc<dyn WriteStore>) -> Result<Snapshotter, Error> {
    let readable: Arc<dyn ReadStore> = store.clone();
    Ok(Snapshotter::new(
        Vault::open(readable).await?,
        store,
        std::env::temp_dir(),
    ))
}

/// Takes a snapshot of the table at `path`.
pub(crate) async fn take(
    store: Arc<dyn WriteStore>,
    path: &Path,
    hours: i64,
) -> Result<SnapshotDone, Error> {
    let table = local(path);
    let request = request(table.uri(), hours);
    snapshotter(store)
        .await?
        .take(&source(Arc::new(table)), &request)
        .await
}

/// What to restore of a snapshot, `hours` after the pinned time.
pub(crate) fn restore_request(done: &SnapshotDone, mode: Mode, hours: i64) -> RestoreRequest {
    restore_request_at(done, mode, pinned(&done.record.table.uri, hours))
}

/// What to restore of a snapshot.
pub(crate) fn restore_request_at(
    done: &SnapshotDone,
    mode: Mode,
    now: Timestamp,
) -> RestoreRequest {
    RestoreRequest {
        id: done.id,
        record: Arc::new(done.record.clone()),
        version: done.record.version,
        mode,
        outside: Outside::default(),
        log: LogWanted::Readable,
        accept_damaged: false,
        named: ChosenBy::ByOwner,
        now,
        by: "test@host".to_owned(),
        take_over: false,
    }
}

/// Something that restores from `vault` into `target`.
pub(crate) async fn restorer(
    vault: Arc<dyn ReadStore>,
    target: Arc<dyn RestoreStore>,
) -> Result<Restorer, Error> {
    let origin: Arc<dyn ReadStore> = target.clone();
    Ok(Restorer {
        vault: Vault::open(vault).await?,
        target,
        origin: Some(origin),
        outside: Arc::new(open_outside),
        temp: std::env::temp_dir(),
        progress: Arc::new(NoProgress),
        interrupt: Interrupt::default(),
    })
}

/// Plans a restore into the folder at `path` and carries it out.
pub(crate) async fn restore(
    vault: Arc<dyn ReadStore>,
    done: &SnapshotDone,
    path: &Path,
    mode: Mode,
) -> Result<RestoreDone, Error> {
    let restorer = restorer(vault, Arc::new(LocalStore::create(path)?)).await?;
    let request = restore_request(done, mode, 1);
    let plan = restorer.plan(&request).await?;
    restorer.execute(&request, plan).await
}

/// Every file below a folder, by its path from there, with its bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path: PathBuf = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
