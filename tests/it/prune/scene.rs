//! A vault with tables that grow old, and what a prune does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::VaultFile;
use deltavault::format::ledger::Bodies;
use deltavault::format::record::Previous;
use deltavault::format::{EventAction, LockMode, Record, TableKey, VaultKey};
use deltavault::ids::{Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use deltavault::plan::choose::{History, Snapshot};
use deltavault::plan::restore::Mode;
use deltavault::plan::verify::{ReadBytes, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{
    HoldStore, ListedVersion, Payload, PruneStore, ReadStore, RestoreStore, WriteStore,
};
use deltavault::vault::events::Actor;
use deltavault::vault::hold::{HoldDone, Holder};
use deltavault::vault::prune::{Amount, Forget, Patience, PruneDone, Pruner, Sums};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use futures::TryStreamExt;
use jiff::SignedDuration;

use crate::support::fault_store::FaultStore;
use crate::support::table::Table;
use crate::support::verified::{references, verify};
use crate::support::world::{
    NOW, hours_later, request, restore_request, restorer, snapshotter, source,
};

/// More than a pack may take: an object of its own.
pub(crate) const LARGE: usize = 1024 * 1024 + 1;

pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(72);

pub(crate) type Store = FaultStore<MemoryStore>;

/// An object version.
pub(crate) type Place = (ObjectKey, Option<ObjectVersion>);

/// A vault, one table, and a clock.
pub(crate) struct PruneScene {
    pub(crate) store: Store,
    pub(crate) live: MemoryStore,
    pub(crate) table: Table,
    /// As if nobody else used the vault.
    pub(crate) is_alone: bool,
    /// Manifests whose snapshots were never finished.
    pub(crate) forget: Forget,
}

/// What a prune saw and did.
#[derive(Debug)]
pub(crate) struct Pruned {
    pub(crate) sums: Sums,
    pub(crate) done: PruneDone,
}

impl Pruned {
    pub(crate) fn deleted(&self) -> u64 {
        self.done.deleted.values().map(|it| it.objects).sum()
    }

    pub(crate) fn marked(&self) -> u64 {
        self.done.marked.values().map(|it| it.objects).sum()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.deleted() == 0 && self.marked() == 0
    }
}

/// The time of day `days`.
pub(crate) fn day(days: i64) -> Timestamp {
    hours_later(24 * days)
}

impl PruneScene {
    /// A vault without locks that nobody else uses.
    pub(crate) async fn plain() -> Self {
        Self::set(MemoryStore::without_versions("s3://vault"), LockMode::None).await
    }

    /// A vault with locks.
    pub(crate) async fn locked() -> Self {
        Self::set(MemoryStore::new("s3://vault"), LockMode::Governance).await
    }

    pub(crate) async fn set(store: MemoryStore, lock_mode: LockMode) -> Self {
        store.set_now(NOW.parse().unwrap());
        let store = FaultStore::new(store);
        let new = VaultFile {
            lock_mode,
            ..VaultFile::new(Id128::from_bytes([7; 16]), NOW.parse().unwrap())
        };
        vault::init(&store, new).await.unwrap();
        let live = MemoryStore::without_versions("s3://lake/orders");
        let mut table = Table::create(Arc::new(live.clone()), "orders").await;
        table.append(2, LARGE).await;
        table.append(3, 100).await;
        Self {
            store,
            live,
            table,
            is_alone: lock_mode == LockMode::None,
            forget: Forget::These(Vec::new()),
        }
    }

    /// The same, in stores of their own.
    pub(crate) fn fork(&self) -> Self {
        let live = self.live.fork();
        Self {
            store: self.store.fork(),
            table: self.table.moved(Arc::new(live.clone())),
            live,
            is_alone: self.is_alone,
            forget: self.forget.clone(),
        }
    }

    pub(crate) fn set_day(&self, days: i64) {
        self.store.inner().set_now(day(days));
    }

    /// Takes a snapshot on day `days`, promised for 30 days.
    pub(crate) async fn take(&self, days: i64) -> SnapshotDone {
        self.try_take(days).await.unwrap()
    }

    pub(crate) async fn try_take(&self, days: i64) -> Result<SnapshotDone, Error> {
        self.set_day(days);
        let mut request = request(self.live.uri(), 24 * days);
        request.run = Id128::from_bytes(rand::random());
        let snapshotter = snapshotter(Arc::new(self.store.clone())).await?;
        let source = source(Arc::new(self.live.clone()));
        snapshotter.take(&source, &request).await
    }

    /// Replaces every file of the table, and cleans up.
    pub(crate) async fn rewrite(&mut self) {
        let mut live = self.table.names("").await;
        live.retain(|name| !name.starts_with("_delta_log/"));
        self.table.overwrite_files(&live, 2, LARGE).await;
        self.table.vacuum().await;
    }

    pub(crate) fn key(&self) -> TableKey {
        request(self.live.uri(), 0).key
    }

    pub(crate) async fn vault(&self) -> Vault {
        self.try_vault().await.unwrap()
    }

    async fn try_vault(&self) -> Result<Vault, Error> {
        let readable: Arc<dyn ReadStore> = Arc::new(self.store.clone());
        Vault::open(readable).await
    }

    pub(crate) async fn prune(&self, days: i64) -> Pruned {
        self.try_prune(days).await.unwrap()
    }

    pub(crate) async fn try_prune(&self, days: i64) -> Result<Pruned, Error> {
        self.set_day(days);
        let store: Arc<dyn PruneStore> = Arc::new(self.store.clone());
        let patience = Patience {
            grace: GRACE,
            is_alone: self.is_alone,
        };
        let pruner = Pruner {
            forget: self.forget.clone(),
            ..pruner(self.try_vault().await?, store)
        };
        prune_with(&pruner, patience, day(days)).await
    }

    pub(crate) async fn history(&self) -> History {
        let vault = self.vault().await;
        vault.history(&self.key(), Bodies::new()).await.unwrap()
    }

    /// Retires the table on day 1, after `newest`.
    pub(crate) async fn retire(&self, newest: &SnapshotDone) {
        let snapshot = newest.id;
        let (vault, key, actor) = (self.vault().await, self.key(), actor(day(1)));
        let retired =
            vault.append_event(&self.store, &key, EventAction::Retire { snapshot }, &actor);
        retired.await.unwrap();
    }

    async fn holder(&self, done: &SnapshotDone) -> Result<(Holder, Snapshot), Error> {
        let store: Arc<dyn HoldStore> = Arc::new(self.store.clone());
        let vault = self.try_vault().await?;
        let history = vault.history(&self.key(), Bodies::new()).await?;
        let snapshot = history.find(done.id)?.unwrap().clone();
        let temp = std::env::temp_dir();
        Ok((Holder { vault, store, temp }, snapshot))
    }

    pub(crate) async fn hold(&self, done: &SnapshotDone, days: i64) -> Result<HoldDone, Error> {
        self.set_day(days);
        let (holder, snapshot) = self.holder(done).await?;
        holder.hold(&snapshot, &actor(day(days))).await
    }

    pub(crate) async fn release(&self, done: &SnapshotDone, days: i64) -> Result<HoldDone, Error> {
        self.set_day(days);
        let (holder, snapshot) = self.holder(done).await?;
        holder.release(&snapshot, &actor(day(days))).await
    }

    pub(crate) async fn release_at(
        &self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<HoldDone, Error> {
        let holder = holder_in(self.store.inner().clone()).await?;
        holder.release(snapshot, &actor(now)).await
    }

    /// Puts a record into slot `seq` with the snapshotter's keys, linked to one below it.
    pub(crate) async fn forge(
        &self,
        seq: u64,
        (previous, id): (u64, SnapshotId),
        record: Record,
    ) -> SnapshotId {
        let previous = Previous {
            seq: previous,
            sha256: id.0,
        };
        let forged = Record {
            previous: Some(previous),
            seq,
            ..record
        };
        let table = self.key();
        let key = VaultKey::Record { table, seq }.object_key().unwrap();
        let payload = Payload::from_bytes(forged.encode().unwrap());
        self.store.put_new(&key, &payload, None).await.unwrap();
        SnapshotId(payload.sha256)
    }

    /// What a restore of a snapshot brings back.
    pub(crate) async fn contents(
        &self,
        done: &SnapshotDone,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let target = MemoryStore::new("s3://copy/orders");
        let to: Arc<dyn RestoreStore> = Arc::new(target.clone());
        let restorer = restorer(Arc::new(self.store.clone()), to).await?;
        let request = restore_request(done, Mode::To, 1);
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await?;
        let table = Table::open(Arc::new(target));
        let mut found = BTreeMap::new();
        for name in table.names("").await {
            found.insert(name.clone(), table.read(&name).await);
        }
        Ok(found)
    }

    /// Object versions below any of the prefixes.
    pub(crate) async fn lying(&self, prefixes: &[&str]) -> BTreeMap<Place, u64> {
        let mut lying = BTreeMap::new();
        for prefix in prefixes {
            let listing = self.store.inner().list_versions(prefix, None);
            let rows: Vec<ListedVersion> = listing.try_collect().await.unwrap();
            for row in rows {
                match row {
                    ListedVersion::Object(object) => {
                        lying.insert((object.key, object.version), object.size);
                    }
                    ListedVersion::DeleteMarker { key } => panic!("a delete marker on {key}"),
                }
            }
        }
        lying
    }

    /// Manifests, pages and files that lie in the vault.
    pub(crate) async fn objects(&self) -> BTreeMap<Place, u64> {
        self.lying(&["blobs/", "copies/", "manifests/", "pages/"])
            .await
    }

    /// Asserts that there is exactly what these snapshots need.
    pub(crate) async fn holds_only(&self, snapshots: &[&SnapshotDone]) {
        let vault = self.vault().await;
        let mut needed = BTreeMap::new();
        for done in snapshots {
            needed.extend(needs(&vault, &done.record).await);
        }
        assert_eq!(self.objects().await, needed);
    }

    /// Asserts that nothing is damaged, all bytes read.
    pub(crate) async fn is_sound(&self, days: i64) {
        let plan = VerifyPlan {
            read: ReadBytes::All,
            subset: None,
            now: day(days),
        };
        let verified = verify(&self.vault().await, plan).await;
        assert_eq!(verified.report.damaged, 0, "{:#?}", verified.findings);
        assert_eq!(verified.report.unchecked, 0, "{:#?}", verified.findings);
    }
}

/// Surveys and carries out.
pub(crate) async fn prune_in(
    vault: Vault,
    store: Arc<dyn PruneStore>,
    patience: Patience,
    now: Timestamp,
) -> Result<Pruned, Error> {
    prune_with(&pruner(vault, store), patience, now).await
}

fn pruner(vault: Vault, store: Arc<dyn PruneStore>) -> Pruner {
    Pruner {
        vault,
        store,
        temp: std::env::temp_dir(),
        forget: Forget::These(Vec::new()),
    }
}

async fn prune_with(pruner: &Pruner, patience: Patience, now: Timestamp) -> Result<Pruned, Error> {
    let survey = pruner.survey(patience, now, &mut |_| Ok(())).await?;
    let sums = survey.sums.clone();
    let done = pruner.execute(survey, &actor(now)).await?;
    Ok(Pruned { sums, done })
}

/// Somebody who holds and releases, past all counting.
pub(crate) async fn holder_in(store: MemoryStore) -> Result<Holder, Error> {
    let readable: Arc<dyn ReadStore> = Arc::new(store.clone());
    Ok(Holder {
        vault: Vault::open(readable).await?,
        store: Arc::new(store),
        temp: std::env::temp_dir(),
    })
}

pub(crate) fn actor(now: Timestamp) -> Actor {
    Actor {
        now,
        principal: "test@host".to_owned(),
        run: Id128::from_bytes(rand::random()),
        tool: "deltavault test".to_owned(),
    }
}

/// Everything that a record leads to, with its bytes.
pub(crate) async fn needs(vault: &Vault, record: &Record) -> BTreeMap<Place, u64> {
    let found = references(vault, record).await.into_iter();
    found
        .map(|reference| ((reference.key, reference.version), reference.size))
        .collect()
}

/// The keys, without versions.
pub(crate) fn keys(places: &BTreeMap<Place, u64>) -> BTreeSet<String> {
    places.keys().map(|(key, _)| key.to_string()).collect()
}

/// Objects of an amount.
pub(crate) fn objects(amount: Option<&Amount>) -> u64 {
    amount.map_or(0, |amount| amount.objects)
}
