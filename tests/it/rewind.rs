//! A live table goes back to a snapshot, and forward again: at every call a reader opens an old version or the new one, a
//! run that was killed is run again, and what somebody commits meanwhile is never removed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use deltavault::Error;
use deltavault::delta::segment::LogListing;
use deltavault::error::RestoreError;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::plan::restore::deed::{Deed, DeedKind};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::restore::{Intent, RestoreRequest, Restorer, TurnedBackDone};
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;

use super::support::fault_store::{Call, Fault, FaultStore};
use super::support::table::{CheckpointForm, Table};
use super::support::turning::{after_safety_snapshot, carry_out, turn, undo_of};
use super::support::world::{
    hours_later, init, key_of, request, restore_request, restorer, snapshotter, source,
};

/// Where a run is killed, and how. An answer that the vault loses is tried by `killed.rs`.
const FAULTS: [(bool, Fault); 3] = [
    (true, Fault::Before),
    (true, Fault::After),
    (false, Fault::Before),
];

pub(super) type Store = FaultStore<MemoryStore>;
pub(super) type Bytes = BTreeMap<String, Vec<u8>>;

/// A live table, a vault that holds an earlier version of it, and what was there then and is there now.
pub(super) struct Scene {
    pub(super) table: Table,
    pub(super) live: Store,
    pub(super) vault: Store,
    first: SnapshotDone,
    pub(super) then: Bytes,
    pub(super) now: Bytes,
}

impl Scene {
    /// V has a checkpoint and a hint below it; above it are checkpoints of two kinds, a compaction and a checksum.
    pub(super) async fn set() -> Self {
        let live = FaultStore::new(MemoryStore::without_versions("s3://lake/orders"));
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        init(&vault).await;
        let mut table = Table::create(Arc::new(live.inner().clone()), "orders").await;
        table.append(2, 100).await;
        table.checkpoint().await;
        table.append(2, 100).await;
        let first = snapshot(&live, &vault, 0).await.unwrap();
        let then = everything(&live).await;
        table.update(120).await;
        table.checkpoint_as(CheckpointForm::Sidecars(2)).await;
        table.delete(1).await;
        table.append(1, 90).await;
        table.checkpoint_as(CheckpointForm::Parts(2)).await;
        table.append(1, 80).await;
        table
            .put("_delta_log/00000000000000000006.crc", b"{}".into())
            .await;
        let compacted = table.read("_delta_log/00000000000000000003.json").await;
        let name = "_delta_log/00000000000000000002.00000000000000000003.compacted.json";
        table.put(name, compacted).await;
        let now = everything(&live).await;
        Self {
            table,
            live,
            vault,
            first,
            then,
            now,
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
            then: self.then.clone(),
            now: self.now.clone(),
        }
    }

    pub(super) fn live_uri(&self) -> &str {
        self.live.uri()
    }

    pub(super) fn version(&self) -> Version {
        self.first.record.version
    }

    pub(super) async fn restorer(&self) -> Result<Restorer, Error> {
        let target: Arc<dyn RestoreStore> = Arc::new(self.live.clone());
        restorer(Arc::new(self.vault.clone()), target).await
    }

    pub(super) async fn last_deed(&self) -> Option<Deed> {
        let vault = self.restorer().await.unwrap().vault;
        let table = key_of(self.live.uri());
        let history = vault.history(&table, Bodies::default()).await.unwrap();
        vault.deeds(&history).await.unwrap().last
    }

    /// Rewinds to the first snapshot, or replaces by it.
    pub(super) async fn go_back(&self, mode: Mode, hours: i64) -> Result<TurnedBackDone, Error> {
        self.turn_back(restore_request(&self.first, mode, hours), hours)
            .await
    }

    async fn turn_back(
        &self,
        request: RestoreRequest,
        hours: i64,
    ) -> Result<TurnedBackDone, Error> {
        let (vault, live) = (Arc::new(self.vault.clone()), Arc::new(self.live.clone()));
        let now = hours_later(hours);
        let intent = after_safety_snapshot(vault.clone(), live, now).await?;
        let turn = turn(vault, intent, now);
        carry_out(&self.restorer().await?, &request, &turn).await
    }

    /// Takes the last rewind or replacement back.
    pub(super) async fn undo(&self, hours: i64) -> Result<TurnedBackDone, Error> {
        let restorer = self.restorer().await?;
        let like = restore_request(&self.first, Mode::Undo, hours);
        let (request, deed) = undo_of(&restorer, self.live.uri(), like).await?;
        let vault = Arc::new(self.vault.clone());
        let turn = turn(vault, Intent::Undo(deed), hours_later(hours));
        carry_out(&restorer, &request, &turn).await
    }

    pub(super) async fn is_back_at_v(&self, what: &str) {
        let back = everything(&self.live).await;
        for (name, bytes) in &self.then {
            assert!(back.get(name) == Some(bytes), "{what}: {name}");
        }
        assert_eq!(
            version_that_opens(&self.live).await,
            Some(self.version()),
            "{what}"
        );
        let log = |names: &Bytes| -> Vec<String> {
            let log = names
                .keys()
                .filter(|it| it.starts_with("_delta_log/") && !it.contains("_sidecars/"));
            log.cloned().collect()
        };
        assert_eq!(log(&back), log(&self.then), "{what}");
    }

    /// What was there before the rewind is there again; files that the rewind put back may be there too.
    pub(super) async fn is_as_before(&self, what: &str) {
        let back = everything(&self.live).await;
        for (name, bytes) in &self.now {
            assert!(back.get(name) == Some(bytes), "{what}: {name}");
        }
        for name in back.keys() {
            let known = self.now.contains_key(name) || self.then.contains_key(name);
            assert!(known, "{what}: {name} came from nowhere");
        }
        let opens = version_that_opens(&self.live).await;
        assert_eq!(opens, Some(Version(self.table.version())), "{what}");
    }
}

async fn snapshot(live: &Store, vault: &Store, hours: i64) -> Result<SnapshotDone, Error> {
    let snapshotter = snapshotter(Arc::new(vault.clone())).await?;
    let source = source(Arc::new(live.clone()));
    snapshotter.take(&source, &request(live.uri(), hours)).await
}

pub(super) async fn everything(store: &Store) -> Bytes {
    let table = Table::open(Arc::new(store.inner().clone()));
    let mut found = BTreeMap::new();
    for name in table.names("").await {
        if !name.starts_with("_deltavault/claim") {
            found.insert(name.clone(), table.read(&name).await);
        }
    }
    found
}

/// The version that readers see, if they can open the log: with a hint that leads astray they cannot, and a checksum above
/// the newest version stops them.
pub(super) async fn version_that_opens(store: &Store) -> Option<Version> {
    let log: Vec<_> = store
        .inner()
        .list("_delta_log/", None)
        .try_collect()
        .await
        .unwrap();
    let names: Vec<_> = log.iter().map(|file| file.key.to_string()).collect();
    let log = LogListing::new(log);
    let newest = *log.versions().last()?;
    log.candidates(newest).map(drop).ok()?;
    let above = names.iter().filter_map(|name| {
        let name = name.strip_prefix("_delta_log/")?;
        let version = name.strip_suffix(".crc")?;
        Some(version.parse::<u64>().unwrap())
    });
    if above.max().is_some_and(|crc| crc > newest.0) {
        return None;
    }
    let hint = "_delta_log/_last_checkpoint";
    if names.iter().any(|name| name == hint) {
        let table = Table::open(Arc::new(store.inner().clone()));
        let hint: serde_json::Value = serde_json::from_slice(&table.read(hint).await).unwrap();
        let wanted = Version(hint["version"].as_u64().unwrap());
        log.checkpoints().iter().find(|it| it.version == wanted)?;
    }
    Some(newest)
}

/// Whether a call may change what a reader sees.
pub(super) fn changes(call: &Call) -> bool {
    !call.key.starts_with("_deltavault/")
        && matches!(call.method, "put_new" | "put_back" | "replace" | "remove")
}

/// Notes what opens before each change of the live table.
fn watch(scene: &Scene) -> Arc<Mutex<Vec<Option<Version>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for n in 1..200 {
        let (live, seen) = (scene.live.clone(), Arc::clone(&seen));
        scene.live.before_call(n, changes, move || {
            Box::pin(async move {
                let opens = version_that_opens(&live).await;
                seen.lock().unwrap().push(opens);
            })
        });
    }
    seen
}

#[tokio::test]
async fn a_rewind_and_its_undo_show_only_old_versions_or_the_new_one() {
    let scene = Scene::set().await;
    let seen = watch(&scene);
    let done = scene.go_back(Mode::Rewind, 1).await.unwrap();
    assert!(
        done.checked.is_good() || done.checked.vanished.is_empty(),
        "{done:?}"
    );
    assert_eq!((done.set_aside, done.on_top), (0, None));
    scene.is_back_at_v("rewound").await;
    let falling = std::mem::take(&mut *seen.lock().unwrap());
    println!("{falling:?}");
    assert!(falling.len() > 8, "{falling:?}");
    assert_eq!(falling.first(), Some(&Some(Version(scene.table.version()))));
    assert!(falling.iter().all(Option::is_some), "{falling:?}");
    assert!(falling.is_sorted_by(|one, two| one >= two), "{falling:?}");

    let deed = scene.last_deed().await.unwrap();
    assert!(deed.is_done && deed.kind == DeedKind::Rewind, "{deed:?}");
    assert_eq!(deed.turned.safety, done.safety.map(|(id, _)| id));

    scene.undo(2).await.unwrap();
    scene.is_as_before("undone").await;
    let rising = std::mem::take(&mut *seen.lock().unwrap());
    assert!(rising.iter().all(Option::is_some), "{rising:?}");
    assert!(rising.is_sorted(), "{rising:?}");
}

#[tokio::test]
async fn a_rewind_killed_at_any_call_goes_on_and_can_be_undone() {
    let origin = Scene::set().await;
    for (at_target, fault) in FAULTS {
        let mut k = 1;
        loop {
            let scene = origin.fork();
            let dying = if at_target { &scene.live } else { &scene.vault };
            dying.fail_call(k, fault);
            let killed = scene.go_back(Mode::Rewind, 1).await;
            let died = dying.is_dead();
            dying.revive();
            let opens = version_that_opens(&scene.live).await;
            let opens = opens.unwrap_or_else(|| panic!("call {k}: nothing opens"));
            assert!(opens >= scene.version(), "call {k}: {opens} opens");
            let what = format!("call {k}, {fault:?}, target {at_target}");
            if k % 2 == 0 || killed.is_ok() {
                if killed.is_err() {
                    scene.go_back(Mode::Rewind, 2).await.unwrap();
                }
                scene.is_back_at_v(&what).await;
                scene.undo(3).await.unwrap();
                scene.is_as_before(&what).await;
            } else if scene.last_deed().await.is_some() {
                // Half-way there, its owner turns round.
                scene.undo(3).await.unwrap();
                scene.is_as_before(&what).await;
            } else {
                scene.is_as_before(&what).await;
            }
            if !died {
                break;
            }
            k += 1;
        }
        println!("{} calls, {fault:?}: each survived", k - 1);
    }
}

#[tokio::test]
async fn an_undo_killed_at_any_call_goes_on() {
    let origin = Scene::set().await;
    origin.go_back(Mode::Rewind, 1).await.unwrap();
    for (at_target, fault) in FAULTS {
        let mut k = 1;
        loop {
            let scene = origin.fork();
            let dying = if at_target { &scene.live } else { &scene.vault };
            dying.revive();
            dying.fail_call(k, fault);
            let killed = scene.undo(2).await;
            let died = dying.is_dead();
            dying.revive();
            assert!(version_that_opens(&scene.live).await.is_some(), "call {k}");
            if killed.is_err() {
                scene.undo(3).await.unwrap();
            }
            scene.is_as_before(&format!("call {k}, {fault:?}")).await;
            if !died {
                break;
            }
            k += 1;
        }
        println!("{} calls, {fault:?}: each survived", k - 1);
    }
}

/// Commits a version as a writer that had read the one before it.
pub(super) fn commits(
    scene: &Scene,
    version: u64,
) -> impl FnOnce() -> BoxFuture<'static, ()> + use<> {
    let table = Table::open(Arc::new(scene.live.inner().clone()));
    move || {
        Box::pin(async move {
            let name = format!("_delta_log/{version:020}.json");
            table
                .put(&name, br#"{"commitInfo":{"operation":"WRITE"}}"#.into())
                .await;
        })
    }
}

#[tokio::test]
async fn a_commit_that_comes_meanwhile_stops_a_rewind_before_the_first_removal() {
    let scene = Scene::set().await;
    let tip = scene.table.version();
    // While the safety snapshot is taken, and while the data goes back.
    let moments: [fn(&Call) -> bool; 2] = [
        |call| call.key.starts_with("_deltavault/claim") && call.method == "put_new",
        |call| call.key.starts_with("_deltavault/claim") && call.method == "replace",
    ];
    for (committed, moment) in (tip + 1..).zip(moments) {
        scene
            .live
            .before_call(1, moment, commits(&scene, committed));
        let error = scene.go_back(Mode::Rewind, 1).await.unwrap_err();
        let expected = matches!(
            error,
            Error::Restore(RestoreError::CommittedMeanwhile { .. })
        );
        assert!(expected, "{error:?}");
        let opens = version_that_opens(&scene.live).await;
        assert_eq!(opens, Some(Version(committed)), "nothing was removed");
    }
    // The same command again holds them first.
    let done = scene.go_back(Mode::Rewind, 2).await.unwrap();
    let (safety, _) = done.safety.unwrap();
    scene.is_back_at_v("rewound").await;
    scene.undo(3).await.unwrap();
    let opens = version_that_opens(&scene.live).await;
    assert_eq!(opens, Some(Version(tip + 2)), "{}", safety.short());
}

#[tokio::test]
async fn a_late_commit_on_top_of_the_old_tip_is_found_by_the_second_look() {
    for (late, is_valid) in [(true, false), (false, true)] {
        let scene = Scene::set().await;
        let version = if late {
            scene.table.version() + 1
        } else {
            scene.version().0 + 1
        };
        // The last removal is that of the last commit above V, and the hint comes after it.
        let hint =
            |call: &Call| call.key.ends_with("_last_checkpoint") && call.method.starts_with("put");
        scene.live.before_call(1, hint, commits(&scene, version));
        let done = scene.go_back(Mode::Rewind, 1).await;
        match done {
            Ok(done) => {
                assert!(is_valid);
                assert_eq!(done.on_top, Some(Version(version)));
            }
            Err(error) => {
                assert!(!is_valid, "{error:?}");
                let expected = matches!(error, Error::Restore(RestoreError::Torn { .. }));
                assert!(expected, "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_the_vault_does_not_hold_is_set_aside_and_not_removed() {
    let scene = Scene::set().await;
    let table = Table::open(Arc::new(scene.live.inner().clone()));
    let late = "_delta_log/00000000000000000005.crc";
    let write = move || -> BoxFuture<'static, ()> {
        Box::pin(async move { table.put(late, b"late".into()).await })
    };
    let removes = |call: &Call| call.key.starts_with("_delta_log/") && call.method == "remove";
    // It comes after the safety snapshot, and before the log is listed for the last time.
    let renews =
        |call: &Call| call.key.starts_with("_deltavault/claim") && call.method == "replace";
    scene.live.before_call(1, renews, write);
    assert_eq!(scene.live.count("remove"), 0);
    let done = scene.go_back(Mode::Rewind, 1).await.unwrap();
    assert!(scene.live.calls().iter().any(removes));
    assert_eq!(done.set_aside, 1);
    let aside = everything(&scene.live).await;
    let mut aside = aside
        .iter()
        .filter(|(name, _)| name.starts_with("_deltavault/aside/"));
    let (name, bytes) = aside.next().unwrap();
    assert!(name.ends_with(late) && bytes == b"late", "{name}");
}

#[tokio::test]
async fn a_table_without_a_whole_newest_version_is_rewound_only_where_its_owner_accepts_that() {
    let scene = Scene::set().await;
    let gone = scene.table.live.keys().last().unwrap().clone();
    scene.table.remove(&gone).await;
    let error = scene.go_back(Mode::Rewind, 1).await.unwrap_err();
    let expected = matches!(error, Error::Restore(RestoreError::NoSafetySnapshot { .. }));
    assert!(expected, "{error:?}");
    assert_eq!(
        version_that_opens(&scene.live).await,
        Some(Version(scene.table.version()))
    );
    let request = RestoreRequest {
        accept_damaged: true,
        ..restore_request(&scene.first, Mode::Rewind, 2)
    };
    let done = scene.turn_back(request, 2).await.unwrap();
    assert_eq!(done.safety, None);
    assert!(
        done.set_aside > 0 && done.set_aside >= done.removed - 1,
        "{done:?}"
    );
    let back = everything(&scene.live).await;
    let above = "_delta_log/00000000000000000006.json";
    let aside = |(name, bytes): (&String, &Vec<u8>)| {
        name.starts_with("_deltavault/aside/")
            && name.ends_with(above)
            && *bytes == scene.now[above]
    };
    assert!(back.iter().any(aside));
}

/// Drops the table and makes another one of the same name.
pub(super) async fn recreated() -> Scene {
    let mut scene = Scene::set().await;
    scene.table.drop_all().await;
    let store: Arc<dyn RestoreStore> = Arc::new(scene.live.inner().clone());
    let mut other = Table::create(store, "other").await;
    other.append(2, 70).await;
    other.append(1, 60).await;
    other.checkpoint().await;
    scene.now = everything(&scene.live).await;
    scene.table = other;
    scene
}

#[tokio::test]
async fn a_replacement_passes_through_no_table_and_is_undone() {
    let scene = recreated().await;
    let seen = watch(&scene);
    let done = scene.go_back(Mode::Replace, 1).await.unwrap();
    assert!(done.safety.is_some() && done.set_aside == 0, "{done:?}");
    scene.is_back_at_v("replaced").await;
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let (before, after): (Vec<_>, Vec<_>) = (
        seen.iter().take_while(|it| it.is_some()).collect(),
        seen.iter().skip_while(|it| it.is_some()).collect(),
    );
    assert!(before.is_sorted_by(|one, two| one >= two), "{seen:?}");
    let back = after.iter().filter_map(|it| **it).collect::<Vec<_>>();
    assert!(back.iter().all(|it| *it == scene.version()), "{seen:?}");
    scene.undo(2).await.unwrap();
    scene.is_as_before("undone").await;
}

#[tokio::test]
async fn a_replacement_killed_at_any_call_goes_on_and_can_be_undone() {
    let origin = recreated().await;
    for (at_target, fault) in FAULTS {
        let mut k = 1;
        loop {
            let scene = origin.fork();
            let dying = if at_target { &scene.live } else { &scene.vault };
            dying.fail_call(k, fault);
            let killed = scene.go_back(Mode::Replace, 1).await;
            let died = dying.is_dead();
            dying.revive();
            let what = format!("call {k}, {fault:?}, target {at_target}");
            if k % 2 == 0 || killed.is_ok() {
                if killed.is_err() {
                    scene.go_back(Mode::Replace, 2).await.unwrap();
                }
                scene.is_back_at_v(&what).await;
            }
            if scene.last_deed().await.is_some() {
                scene.undo(3).await.unwrap();
            }
            scene.is_as_before(&what).await;
            if !died {
                break;
            }
            k += 1;
        }
        println!("{} calls, {fault:?}: each survived", k - 1);
    }
}
