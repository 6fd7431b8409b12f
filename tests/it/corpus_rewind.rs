//! Every real table of the corpus goes back to its older versions and forward again. Before each change of the live table a
//! reader of its own, deltalake, opens it: at a version that only falls on the way back and only rises on the way forward.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use deltavault::Error;
use deltavault::format::Scope;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::store::local::LocalStore;
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::restore::{Intent, RestoreRequest, Restorer};
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest};

use super::support::corpus::{self, CorpusTable};
use super::support::fault_store::{Call, FaultStore};
use super::support::turning::{after_safety_snapshot, carry_out, turn, undo_of};
use super::support::world::{
    copy_folder, files, hours_later, init, local, request, restore_request, restorer, snapshotter,
    source,
};

type Files = BTreeMap<String, Vec<u8>>;

/// Tables whose `_last_checkpoint` cannot be read or names a checkpoint that is not there: such a hint is not put back.
const BAD_HINTS: [&str; 2] = [
    "golden--corrupted-last-checkpoint-kernel",
    "rs--table_failed_last_checkpoint_update",
];

/// Calls of one rewind that are looked at.
const CALLS: usize = 300;

#[tokio::test]
async fn every_table_is_rewound_and_a_reader_sees_old_versions_or_the_new_one() {
    let name = "every_table_is_rewound_and_a_reader_sees_old_versions_or_the_new_one";
    let Some(tables) = corpus::tables(name) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let vault = LocalStore::create(&folder.path().join("vault")).unwrap();
    init(&vault).await;
    let (mut wrong, mut rewound, mut changes) = (String::new(), 0, 0);
    for table in &tables {
        let live = folder.path().join("live").join(&table.name);
        match Box::pin(there_and_back(table, &vault, &live)).await {
            Ok(seen) => {
                rewound += seen.len();
                changes += seen.iter().sum::<usize>();
            }
            Err(problem) => writeln!(wrong, "{}: {problem}", table.name).unwrap(),
        }
    }
    println!("{rewound} rewinds, {changes} changes looked at");
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(rewound > 40, "{rewound}");
}

/// Rewinds a table to some of its older versions, each time from its newest one; returns how many changes each took.
async fn there_and_back(
    table: &CorpusTable,
    vault: &LocalStore,
    live: &Path,
) -> Result<Vec<usize>, String> {
    copy_folder(&table.path, live);
    // What deltalake does not read it cannot judge, and what cannot be taken is not rewound.
    let (Ok(tip), Ok(done)) = (opens(live).await, take(vault, live).await) else {
        return Ok(Vec::new());
    };
    let ranges = done.record.whole_versions.iter();
    let older = ranges.flat_map(|(first, last)| first.0..=last.0);
    let older: Vec<u64> = older
        .filter(|it| Version(*it) < done.record.version)
        .collect();
    let all = std::env::var_os("DELTAVAULT_TEST_ALL").is_some_and(|value| value == "1");
    // One that is looked at by default: the oldest.
    let chosen: Vec<u64> = if all {
        older
    } else {
        older.into_iter().take(1).collect()
    };
    let mut seen = Vec::new();
    for version in chosen {
        let at = |problem: String| format!("v{tip} to v{version}: {problem}");
        let looked = to_and_fro(vault, live, &done, Version(version), tip).await;
        seen.push(looked.map_err(at)?);
    }
    Ok(seen)
}

async fn take(vault: &LocalStore, live: &Path) -> Result<SnapshotDone, Error> {
    let table = local(live);
    let request = SnapshotRequest {
        scope: Scope::History,
        ..request(table.uri(), 0)
    };
    let source = source(Arc::new(table));
    snapshotter(Arc::new(vault.clone()))
        .await?
        .take(&source, &request)
        .await
}

async fn to_and_fro(
    vault: &LocalStore,
    live: &Path,
    done: &SnapshotDone,
    version: Version,
    tip: u64,
) -> Result<usize, String> {
    let before = table_files(live);
    let store = FaultStore::new(local(live));
    let target: Arc<dyn RestoreStore> = Arc::new(store.clone());
    let restorer = restorer(Arc::new(vault.clone()), target).await;
    let restorer = restorer.map_err(|error| error.to_string())?;
    let now = hours_later(1);
    let back = RestoreRequest {
        version,
        ..restore_request(done, Mode::Rewind, 1)
    };
    let seen = watch(&store, live);
    let intent = after_safety_snapshot(Arc::new(vault.clone()), Arc::new(store.clone()), now).await;
    let intent = intent.map_err(|error| error.to_string())?;
    let falling = run(&restorer, &back, vault, intent, &seen).await?;
    let opened = opens(live).await?;
    if opened != version.0 {
        return Err(format!("it opens at v{opened}"));
    }
    if !falling.is_sorted_by(|one, two| one >= two) || falling.first() != Some(&tip) {
        return Err(format!("a reader saw {falling:?} on the way back"));
    }
    let undo = restore_request(done, Mode::Undo, 2);
    let (forward, deed) = undo_of(&restorer, local(live).uri(), undo)
        .await
        .map_err(|error| error.to_string())?;
    let rising = run(&restorer, &forward, vault, Intent::Undo(deed), &seen).await?;
    if !rising.is_sorted() {
        return Err(format!("a reader saw {rising:?} on the way forward"));
    }
    let after = table_files(live);
    let wrong = before
        .iter()
        .find(|(name, bytes)| after.get(*name) != Some(*bytes));
    if let Some((name, _)) = wrong {
        return Err(format!("{name} is not what it was"));
    }
    if after.len() > before.len() {
        return Err(format!(
            "{} files came from nowhere",
            after.len() - before.len()
        ));
    }
    let set_aside = files(&live.join("_deltavault/aside"));
    if let Some(name) = set_aside.keys().find(|name| !is_nobodys(name)) {
        return Err(format!("{name} was set aside, and the vault holds it"));
    }
    Ok(falling.len() + rising.len())
}

type Seen = Arc<Mutex<Vec<Result<u64, String>>>>;

/// Carries a restore out; returns the versions that a reader saw before each change.
async fn run(
    restorer: &Restorer,
    request: &RestoreRequest,
    vault: &LocalStore,
    intent: Intent,
    seen: &Seen,
) -> Result<Vec<u64>, String> {
    let turn = turn(Arc::new(vault.clone()), intent, request.now);
    let done = carry_out(restorer, request, &turn).await;
    let done = done.map_err(|error| format!("{error}: {error:?}"))?;
    drop(done);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.into_iter().collect()
}

/// Notes what opens before each change of the live table.
fn watch(store: &FaultStore<LocalStore>, live: &Path) -> Seen {
    let seen = Seen::default();
    let changes = |call: &Call| {
        !call.key.starts_with("_deltavault/")
            && matches!(call.method, "put_new" | "put_back" | "replace" | "remove")
    };
    for n in 1..CALLS {
        let (live, seen) = (live.to_owned(), Arc::clone(&seen));
        store.before_call(n, changes, move || {
            Box::pin(async move {
                let opened = opens(&live).await;
                seen.lock().unwrap().push(opened);
            })
        });
    }
    seen
}

/// The files of a table, without what restores keep beside it, and without what the vault does not hold.
fn table_files(live: &Path) -> Files {
    let mut found = files(live);
    found.retain(|name, _| !name.starts_with("_deltavault/") && !is_nobodys(name));
    if BAD_HINTS.iter().any(|name| live.ends_with(name)) {
        found.remove("_delta_log/_last_checkpoint");
    }
    found
}

/// Whether it is one of Hadoop's checksums, or a commit that was never published.
fn is_nobodys(name: &str) -> bool {
    name.contains("/.")
}

/// The version at which deltalake opens a table.
async fn opens(path: &Path) -> Result<u64, String> {
    let url = deltalake::ensure_table_uri(path.to_str().unwrap()).map_err(|e| e.to_string())?;
    let table = deltalake::open_table(url).await;
    let table = table.map_err(|error| format!("deltalake does not open it: {error}"))?;
    table.version().ok_or_else(|| "no version".to_owned())
}
