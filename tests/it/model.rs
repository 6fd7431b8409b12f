//! Random nights of a table and its vault against a simple map: for every snapshot, the files that it has to bring
//! back, as the test itself wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::ledger::Bodies;
use deltavault::format::{Record, Scope};
use deltavault::ids::{Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use deltavault::plan::price::Commitment;
use deltavault::plan::restore::{Mode, Permission};
use deltavault::plan::retention::ClassReason;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore, RestoreStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::{JournalPace, SnapshotDone};
use futures::TryStreamExt;
use proptest::prelude::*;

use self::compare::{compare, everything, is_damage, objects};
use self::ops::{Kill, Op, Write, ops};
use super::support::cases::cases;
use super::support::fault_store::FaultStore;
use super::support::table::{Table, files_of, version_of};
use super::support::world::{
    hours_later, init, request, restore_request, restorer, snapshotter, source,
};

mod compare;
mod ops;

type Store = FaultStore<MemoryStore>;
type Files = BTreeMap<String, Vec<u8>>;

/// A published snapshot, and what it has to bring back.
struct Held {
    done: SnapshotDone,
    closure: Files,
    /// Every log and data file that this table had until then, by its name.
    ever: Files,
    /// The table as it was.
    table: Table,
    /// The vault objects that it leads to; `None` when they could not be read.
    objects: Option<BTreeSet<VaultObject>>,
    pruned: bool,
}

type VaultObject = (ObjectKey, Option<ObjectVersion>);

struct World {
    live: Store,
    vault: Store,
    /// `None` after a drop.
    table: Option<Table>,
    tables: usize,
    runs: u128,
    hours: i64,
    ever: Files,
    held: Vec<Held>,
    /// Vault objects whose bytes are no more what was put.
    damaged: BTreeSet<VaultObject>,
    /// Whether a bit of some object has flipped: what may keep a snapshot from being taken.
    flipped: bool,
    ledger_touched: bool,
    /// Whether commits of the table were taken back: its log's clean-up may leave a snapshot of them as the only witness.
    rewound: bool,
}

impl World {
    async fn new() -> Self {
        let live = FaultStore::new(MemoryStore::without_versions("s3://lake/orders"));
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        init(&vault).await;
        let mut world = Self {
            live,
            vault,
            table: None,
            tables: 0,
            runs: 0,
            hours: 0,
            ever: Files::new(),
            held: Vec::new(),
            damaged: BTreeSet::new(),
            flipped: false,
            ledger_touched: false,
            rewound: false,
        };
        world.make_anew().await;
        world
    }

    async fn make_anew(&mut self) {
        self.tables += 1;
        self.ever.clear();
        let store = Arc::new(self.live.inner().clone());
        let table = Table::create(store, &format!("table-{}", self.tables)).await;
        self.table = Some(table);
    }

    async fn apply(&mut self, op: &Op) {
        match op {
            Op::Snapshot { scope, kill } => return self.snapshot(*scope, *kill).await,
            Op::Wait { days } => self.hours += days * 24,
            Op::Prune => return self.prune().await,
            Op::Plant(pick) => return self.plant(*pick).await,
            Op::DeleteMarker(pick) => return self.delete_marker(*pick).await,
            Op::Flip(pick) => return self.flip(*pick).await,
            Op::DeleteStray(pick) => return self.delete_stray(*pick).await,
            Op::RestoreInPlace { damage } => self.restore_in_place(*damage).await,
            Op::Heal { snapshot, damage } => self.heal(*snapshot, *damage).await,
            Op::Write(write) => self.write(write).await,
        }
        self.remember().await;
    }

    async fn write(&mut self, write: &Write) {
        let Some(table) = &mut self.table else {
            if matches!(write, Write::MakeAnew) {
                self.make_anew().await;
            }
            return;
        };
        match write {
            Write::Append { files, size } => table.append(*files, *size).await,
            Write::Delete(count) => table.delete(*count).await,
            Write::Update => table.update(700).await,
            Write::DeleteRows(count) => table.delete_rows(*count).await,
            Write::DeleteRowsInline(count) => table.delete_rows_inline(*count).await,
            Write::ChangeData => table.append_with_change_data(2, 300).await,
            Write::AddAgain(pick) => {
                let mut gone = Vec::new();
                for name in self.ever.keys().filter(|name| name.starts_with("part")) {
                    let known = table.states.values().any(|state| state.contains_key(name));
                    if known && !table.live.contains_key(name) && table.has(name).await {
                        gone.push(name.clone());
                    }
                }
                if let Some(name) = pick_of(&gone, *pick) {
                    table.add_again(name).await;
                }
            }
            Write::Checkpoint(form) => table.checkpoint_as(*form).await,
            Write::CleanUpLog => table.clean_up_log().await,
            Write::Vacuum => {
                table.vacuum().await;
            }
            Write::Drop => {
                table.drop_all().await;
                self.table = None;
            }
            Write::Rewind(back) => {
                let to = table.version().saturating_sub(*back as u64);
                if to == table.version() || to < table.oldest_version().await {
                    return;
                }
                for name in files_of(&table.states[&to]) {
                    if !table.has(&name).await {
                        return;
                    }
                }
                table.rewind(to).await;
                self.rewound = true;
                self.ever.retain(|name, _| {
                    let of_log = name.starts_with("_delta_log/0");
                    !of_log || version_of(name) <= to
                });
            }
            Write::MakeAnew => {}
        }
    }

    /// Takes down what the table has now.
    async fn remember(&mut self) {
        let Some(table) = &self.table else { return };
        for name in table.names("").await {
            if name.ends_with("_last_checkpoint") || !self.ever.contains_key(&name) {
                let bytes = table.read(&name).await;
                self.ever.insert(name, bytes);
            }
        }
    }

    fn now(&self) -> Timestamp {
        hours_later(self.hours)
    }

    async fn open(&self) -> Vault {
        let readable: Arc<dyn ReadStore> = Arc::new(self.vault.inner().clone());
        Vault::open(readable).await.unwrap()
    }

    async fn take(&mut self, scope: Scope) -> Result<SnapshotDone, Error> {
        self.hours += 1;
        self.runs += 1;
        let mut request = request(self.live.uri(), self.hours);
        request.run = Id128::from_bytes(self.runs.to_be_bytes());
        request.scope = scope;
        let store: Arc<dyn WriteStore> = Arc::new(self.vault.clone());
        let mut snapshotter = snapshotter(store).await?;
        snapshotter.journal = JournalPace {
            files: 2,
            ..JournalPace::default()
        };
        let source = source(Arc::new(self.live.clone()));
        snapshotter.take(&source, &request).await
    }

    async fn snapshot(&mut self, scope: Scope, kill: Option<Kill>) {
        if let Some(Kill {
            at_source,
            call,
            fault,
        }) = kill
        {
            let dying = if at_source { &self.live } else { &self.vault };
            dying.fail_call(call, fault);
            let killed = self.take(scope).await;
            let died = self.live.is_dead() || self.vault.is_dead();
            self.live.revive();
            self.vault.revive();
            if !died {
                self.judge(scope, killed);
            }
            self.look(scope).await;
        }
        let taken = self.take(scope).await;
        self.judge(scope, taken);
        self.look(scope).await;
        self.check().await;
    }

    /// Whether a snapshot could be taken or not for a reason.
    fn judge(&self, scope: Scope, taken: Result<SnapshotDone, Error>) {
        match (&self.table, taken) {
            (None, Ok(done)) => panic!("there is no table, and yet {done:?}"),
            (None, Err(_)) => {}
            (Some(_), Err(error)) => {
                assert!(self.flipped && is_damage(&error), "{error:?}");
            }
            (Some(table), Ok(done)) => {
                let record = &done.record;
                assert_eq!(record.version.0, table.version());
                assert_eq!(record.table.delta_id, table.id);
                assert_eq!(record.scope, scope);
                if !record.disagreements.is_empty() {
                    // It holds what both sides name, and says so.
                    assert!(self.rewound && !record.findings.is_empty(), "{record:?}");
                    return;
                }
                assert_eq!(record.totals.live_files, table.live.len() as u64);
                let deleted = |add: &serde_json::Value| {
                    let vector = add.get("deletionVector")?;
                    vector["cardinality"].as_u64()
                };
                let rows = table
                    .live
                    .values()
                    .map(|add| 10 - deleted(add).unwrap_or(0));
                assert_eq!(record.totals.rows, Some(rows.sum()));
            }
        }
    }

    /// Reads the ledger; what is new in it is of the table as it is now.
    async fn look(&mut self, scope: Scope) {
        let vault = self.open().await;
        let table_key = request(self.live.uri(), 0).key;
        let chain = vault
            .chain(&table_key, Bodies::default(), &[])
            .await
            .unwrap();
        assert!(
            self.ledger_touched || chain.findings.is_empty(),
            "{:?}",
            chain.findings
        );
        let seen: BTreeMap<SnapshotId, &Record> = chain
            .links
            .iter()
            .map(|link| (link.id, link.record().unwrap()))
            .collect();
        for held in &self.held {
            assert_eq!(seen.get(&held.done.id), Some(&&held.done.record));
        }
        let known: BTreeSet<_> = self.held.iter().map(|held| held.done.id).collect();
        for (id, record) in seen {
            if known.contains(&id) {
                continue;
            }
            let table = self.table.clone().unwrap();
            assert_eq!(record.scope, scope);
            self.held.push(Held {
                done: SnapshotDone {
                    id,
                    record: record.clone(),
                    reason: ClassReason::NotScheduled,
                    commitment: Commitment::default(),
                    unchanged: false,
                    newly_unheld: Vec::new(),
                },
                closure: table.closure().await,
                ever: self.ever.clone(),
                table,
                objects: objects(&vault, record).await.ok(),
                pruned: false,
            });
        }
    }

    fn is_damaged(&self, held: &Held) -> bool {
        let objects = held.objects.as_ref();
        held.pruned || objects.is_none_or(|objects| !objects.is_disjoint(&self.damaged))
    }

    /// Restores every snapshot that is still promised elsewhere and compares.
    async fn check(&self) {
        for held in self.held.iter().filter(|held| !held.pruned) {
            let seq = held.done.record.seq;
            match self.contents(&held.done).await {
                Ok(found) => compare(held, &found),
                Err(error) => assert!(
                    self.is_damaged(held) && is_damage(&error),
                    "snapshot {seq}: {error:?}"
                ),
            }
        }
    }

    async fn contents(&self, done: &SnapshotDone) -> Result<Files, Error> {
        let target = MemoryStore::new("s3://elsewhere/orders");
        let vault = Arc::new(self.vault.inner().clone());
        let restorer = restorer(vault, Arc::new(target.clone())).await?;
        let request = restore_request(done, Mode::To, self.hours);
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await?;
        Ok(everything(&target).await)
    }

    /// Every object version below the places that snapshots lead to, and above: the ledger.
    async fn vault_objects(&self, prefixes: &[&str]) -> Vec<VaultObject> {
        let mut found = Vec::new();
        for prefix in prefixes {
            let rows: Vec<_> = self
                .vault
                .inner()
                .list_versions(prefix, None)
                .try_collect()
                .await
                .unwrap();
            found.extend(rows.into_iter().filter_map(|row| match row {
                ListedVersion::Object(object) => Some((object.key, object.version)),
                ListedVersion::DeleteMarker { .. } => None,
            }));
        }
        found
    }

    fn referenced(&self) -> Option<BTreeSet<VaultObject>> {
        let mut all = BTreeSet::new();
        for held in self.held.iter().filter(|held| !held.pruned) {
            all.extend(held.objects.clone()?);
        }
        Some(all)
    }

    /// Deletes what no snapshot needs whose promise has not ended; the newest always stays.
    async fn prune(&mut self) {
        let now = self.now();
        let last = self.held.len().saturating_sub(1);
        for held in self.held.iter_mut().take(last) {
            held.pruned |= held.done.record.promise < now;
        }
        let Some(referenced) = self.referenced() else {
            return;
        };
        for object in self.vault_objects(CONTENTS).await {
            if !referenced.contains(&object) {
                self.delete(&object);
            }
        }
        self.check().await;
    }

    fn delete(&mut self, (key, version): &VaultObject) {
        let store = self.vault.inner();
        store
            .delete_version(key, version.as_ref().unwrap())
            .unwrap();
        self.damaged.insert((key.clone(), version.clone()));
    }

    async fn plant(&mut self, pick: usize) {
        let mut keys = self.vault_objects(CONTENTS).await;
        keys.extend(self.vault_objects(&["tables/", "runs/"]).await);
        if let Some((key, _)) = pick_of(&keys, pick) {
            self.ledger_touched |= key.as_str().starts_with("tables/");
            let written = self.vault.inner().plant(key, "planted");
            self.damaged.insert((key.clone(), written.version));
        }
        self.check().await;
    }

    async fn delete_marker(&mut self, pick: usize) {
        let mut keys = self.vault_objects(CONTENTS).await;
        keys.extend(self.vault_objects(&["tables/"]).await);
        if let Some((key, _)) = pick_of(&keys, pick) {
            self.ledger_touched |= key.as_str().starts_with("tables/");
            self.vault.inner().delete_marker(key);
        }
        self.check().await;
    }

    async fn flip(&mut self, pick: usize) {
        let objects = self.vault_objects(CONTENTS).await;
        if let Some((key, version)) = pick_of(&objects, pick) {
            let store = self.vault.inner();
            store.flip_bit(key, version.as_ref(), pick % 5).unwrap();
            self.flipped = true;
            self.damaged.insert((key.clone(), version.clone()));
        }
        self.check().await;
    }

    async fn delete_stray(&mut self, pick: usize) {
        let Some(referenced) = self.referenced() else {
            return;
        };
        let mut objects = self.vault_objects(CONTENTS).await;
        objects.retain(|object| !referenced.contains(object));
        if let Some(object) = pick_of(&objects, pick).cloned() {
            self.delete(&object);
        }
        self.check().await;
    }

    /// Puts the newest snapshot back: after a drop, or after some of its files were lost or overwritten.
    async fn restore_in_place(&mut self, damage: usize) {
        let Some(held) = self.held.last().filter(|held| !self.is_damaged(held)) else {
            return;
        };
        let table = match &self.table {
            None => held.table.clone(),
            Some(table) => {
                if held.closure != table.closure().await {
                    return;
                }
                hurt(table, held.closure.keys(), damage).await;
                table.clone()
            }
        };
        let permission = self.restore(held, Mode::InPlace).await;
        assert_eq!(permission, Permission::Everything);
        if self.table.is_none() {
            self.ever.clone_from(&held.ever);
        }
        let back = everything(self.live.inner()).await;
        for (name, bytes) in &held.closure {
            assert!(
                back.get(name) == Some(bytes),
                "{name} after a restore in place"
            );
        }
        self.table = Some(table);
    }

    /// Puts the data of an older snapshot back under the live table.
    async fn heal(&mut self, snapshot: usize, damage: usize) {
        let Some(table) = &self.table else { return };
        let of_past: Vec<_> = self
            .held
            .iter()
            .filter(|held| {
                let commit = format!("_delta_log/{:020}.json", held.done.record.version);
                let is_past = held.closure.get(&commit) == self.ever.get(&commit);
                held.closure.contains_key(&commit) && is_past && !self.is_damaged(held)
            })
            .collect();
        let Some(held) = pick_of(&of_past, snapshot) else {
            return;
        };
        let is_data = |name: &&String| !name.starts_with("_delta_log/");
        let data: Vec<_> = held.closure.keys().filter(is_data).collect();
        hurt(table, data.iter().copied(), damage).await;
        let log = table.names("_delta_log/").await;
        let permission = self.restore(held, Mode::Heal).await;
        assert_ne!(permission, Permission::OwnerMustChoose);
        // At the newest version a heal puts back what the log's clean-up took, and the next clean-up takes that again.
        for name in table.names("_delta_log/").await {
            if !log.contains(&name) {
                table.remove(&name).await;
            }
        }
        let back = everything(self.live.inner()).await;
        // Of a version that the log's clean-up took, only what the newest one uses is of use to anybody.
        let is_cleaned = held.done.record.version.0 < table.oldest_version().await;
        let newest = files_of(&table.live);
        for name in data {
            if is_cleaned && !newest.contains(name) {
                continue;
            }
            assert!(
                back.get(name) == held.closure.get(name),
                "{name} after a heal"
            );
        }
    }

    async fn restore(&self, held: &Held, mode: Mode) -> Permission {
        let vault = Arc::new(self.vault.inner().clone());
        let target: Arc<dyn RestoreStore> = Arc::new(self.live.inner().clone());
        let restorer = restorer(vault, target).await.unwrap();
        let request = restore_request(&held.done, mode, self.hours);
        let plan = restorer.plan(&request).await.unwrap();
        let permission = plan.permission;
        restorer.execute(&request, plan).await.unwrap();
        // What was set aside is nobody's table.
        let table = Table::open(Arc::new(self.live.inner().clone()));
        for name in table.names("_deltavault/").await {
            table.remove(&name).await;
        }
        permission
    }
}

/// Where the objects lie that snapshots lead to.
const CONTENTS: &[&str] = &["blobs/", "pages/", "manifests/"];

fn pick_of<T>(among: &[T], pick: usize) -> Option<&T> {
    among.get(pick.checked_rem(among.len())?)
}

/// Loses some of the files, and cuts some data files short.
async fn hurt(table: &Table, names: impl Iterator<Item = &String>, damage: usize) {
    for (position, name) in names.enumerate() {
        match (damage >> (2 * (position % 30))) & 3 {
            0 if !name.starts_with("_delta_log/") => {
                table.overwrite(name, b"cut".to_vec()).await;
            }
            1 if table.has(name).await => table.remove(name).await,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(cases(40, "tests/it/model.proptest-regressions"))]

    #[test]
    fn snapshots_bring_back_what_the_table_was_whatever_happens_to_it_and_to_the_vault(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            world.remember().await;
            for op in &ops {
                world.apply(op).await;
            }
            world.check().await;
        });
    }
}
