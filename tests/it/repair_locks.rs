//! `verify --repair` in a vault with locks: what it puts is locked as what it stands for was promised, then and later.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::VaultFile;
use deltavault::format::{LockMode, Placement, VaultKey};
use deltavault::ids::{Id128, ObjectKey, ObjectVersion, Timestamp};
use deltavault::plan::retention::RetentionRequest;
use deltavault::plan::verify::{ReadBytes, Severity, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore, WriteStore};
use deltavault::vault::repair::{Origin, Repaired};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use futures::TryStreamExt;
use jiff::SignedDuration;

use crate::support::repairs;
use crate::support::table::Table;
use crate::support::verified::{Verified, advice, verify};
use crate::support::world::{NOW, hours_later, request, snapshotter, source};

/// Larger than a pack may take: an object of its own.
const LARGE: usize = 1024 * 1024 + 1;

struct Locked {
    store: MemoryStore,
    live: MemoryStore,
    first: SnapshotDone,
}

/// Object versions, and until when each is locked.
type Objects = BTreeMap<(ObjectKey, Option<ObjectVersion>), Option<Timestamp>>;

impl Locked {
    async fn set() -> Self {
        let store = MemoryStore::new("s3://bucket/vault");
        store.set_now(NOW.parse().unwrap());
        let new = VaultFile {
            lock_mode: LockMode::Compliance,
            ..VaultFile::new(Id128::from_bytes([7; 16]), NOW.parse().unwrap())
        };
        vault::init(&store, new).await.unwrap();
        let live = MemoryStore::without_versions("s3://lake/orders");
        let mut table = Table::create(Arc::new(live.clone()), "orders").await;
        table.append(1, LARGE).await;
        table.append(3, 100).await;
        let first = take(&store, &live, 1, 30).await;
        Self { store, live, first }
    }

    async fn vault(&self) -> Vault {
        Vault::open(Arc::new(self.store.clone())).await.unwrap()
    }

    async fn repair(&self, replica: Option<&MemoryStore>, hours: i64) -> Vec<Repaired> {
        let store: Arc<dyn WriteStore> = Arc::new(self.store.clone());
        let live: Arc<dyn ReadStore> = Arc::new(self.live.clone());
        let replica = replica.map(|replica| Arc::new(replica.clone()) as Arc<dyn ReadStore>);
        let now = hours_later(hours);
        let repairer = repairs::repairer(store, live, replica, now).await;
        repairs::repair(&repairer).await.unwrap()
    }

    async fn verify(&self, hours: i64) -> Verified {
        let plan = VerifyPlan {
            read: ReadBytes::All,
            subset: None,
            now: hours_later(hours),
        };
        verify(&self.vault().await, plan).await
    }

    async fn objects(&self) -> Objects {
        let listing = self.store.list_versions("", None);
        let rows: Vec<ListedVersion> = listing.try_collect().await.unwrap();
        let mut objects = Objects::new();
        for row in rows {
            if let ListedVersion::Object(object) = row {
                let version = object.version.as_ref();
                let until = self.store.locked_until(&object.key, version).await;
                objects.insert((object.key, object.version), until.unwrap());
            }
        }
        objects
    }

    /// One object of each kind.
    async fn parts(&self) -> BTreeMap<&'static str, ObjectKey> {
        let vault = self.vault().await;
        let manifest = vault.manifest(&self.first.record).await.unwrap();
        let mut parts = BTreeMap::from([
            ("manifest", self.first.record.manifest.key.clone()),
            ("page", manifest.data_pages[0].page.key.clone()),
        ]);
        for entry in vault.page(&manifest.data_pages[0]).await.unwrap() {
            match entry.placement {
                Placement::Blob {
                    offset: Some(_),
                    reference,
                } => drop(parts.insert("pack", reference.key)),
                Placement::Blob { reference, .. } | Placement::Copy { reference } => {
                    parts.insert("file", reference.key);
                }
                Placement::Inline(_) | Placement::Absent {} => {}
            }
        }
        assert_eq!(parts.len(), 4, "{parts:?}");
        parts
    }

    async fn copy(&self) -> MemoryStore {
        let copy = MemoryStore::new("s3://replica");
        for (key, version) in self.objects().await.into_keys() {
            let read = deltavault::store::read_all(&self.store, &key, version.as_ref(), 64 << 20);
            copy.plant(&key, read.await.unwrap().1);
        }
        copy
    }
}

/// Takes a snapshot, promised for some days.
async fn take(store: &MemoryStore, live: &MemoryStore, hours: i64, days: i64) -> SnapshotDone {
    let until = hours_later(hours) + SignedDuration::from_hours(24 * days);
    let mut request = request("s3://lake/orders", hours);
    request.ask = RetentionRequest {
        class: None,
        until: Some(until),
    };
    let snapshotter = snapshotter(Arc::new(store.clone())).await.unwrap();
    let live: Arc<dyn ReadStore> = Arc::new(live.clone());
    snapshotter.take(&source(live), &request).await.unwrap()
}

#[tokio::test]
async fn what_is_put_is_locked_as_long_as_was_promised_and_later_promises_extend_that_lock() {
    for what in ["manifest", "page", "pack", "file"] {
        let locked = Locked::set().await;
        let key = locked.parts().await.remove(what).unwrap();
        let replica = locked.copy().await;
        // Locks keep an object from being deleted, not from rotting.
        locked.store.flip_bit(&key, None, 99).unwrap();
        let before = locked.objects().await;
        let repaired = locked.repair(Some(&replica), 2).await;
        assert_eq!(repaired.len(), 1, "{what}: {repaired:?}");
        assert!(repaired[0].is_whole(), "{what}");

        // One object more, on a key of its own, and every other as it was.
        let after = locked.objects().await;
        let put: Vec<_> = after
            .iter()
            .filter(|it| !before.contains_key(it.0))
            .collect();
        let [((at, version), until)] = put[..] else {
            panic!("{what}: {put:?}");
        };
        assert!(at.as_str().starts_with(&format!("{key}.")), "{what}: {at}");
        assert!(until.unwrap() >= locked.first.record.promise, "{what}");
        for (place, until) in &before {
            assert_eq!(after[place], *until, "{what}: {place:?}");
        }
        let sound = locked.verify(3).await;
        assert_eq!(sound.code(), ExitCode::Done, "{what}: {sound:#?}");

        // A snapshot that promises more extends the lock of the rotten object: it knows of no other.
        let longer = take(&locked.store, &locked.live, 4, 200).await;
        assert_eq!(longer.record.manifest, locked.first.record.manifest);
        let found = locked.verify(5).await;
        assert_eq!(found.code(), ExitCode::Damage, "{what}");
        let about = found.about(&key);
        assert_eq!(about.severity, Severity::Damage);
        assert!(
            about
                .what
                .contains("what a repair put in its place is locked until")
        );
        assert!(advice(about).contains("deltavault verify lake-orders --repair"));

        // That lock is extended; nothing is put once more.
        let before = locked.objects().await;
        let again = locked.repair(None, 6).await;
        assert_eq!(again.len(), 1, "{what}: {again:?}");
        assert_eq!(again[0].put, [(at.clone(), Origin::Substitute)], "{what}");
        let after = locked.objects().await;
        assert!(after.keys().eq(before.keys()), "{what}");
        for (place, until) in &after {
            if *place == (at.clone(), version.clone()) {
                assert!(until.unwrap() >= longer.record.promise, "{what}");
            } else {
                assert_eq!(before[place], *until, "{what}: {place:?}");
            }
        }
        let sound = locked.verify(7).await;
        let worst = sound.findings.iter().map(|it| it.severity).max();
        assert_eq!(worst, Some(Severity::Info), "{what}: {sound:#?}");
        assert!(locked.repair(None, 8).await.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn of_two_repairs_the_one_that_is_locked_for_longer_counts() {
    let locked = Locked::set().await;
    let key = &locked.parts().await["file"];
    locked.store.flip_bit(key, None, 99).unwrap();
    locked.repair(None, 2).await;
    let put: Vec<_> = locked.objects().await.into_keys().collect();
    let (substitute, version) = put
        .iter()
        .find(|(it, _)| it.as_str().starts_with(&format!("{key}.")))
        .unwrap();
    // Somebody's bytes that are right as well, and not locked.
    let bytes = deltavault::store::read_all(&locked.store, substitute, version.as_ref(), 64 << 20);
    let bytes = bytes.await.unwrap().1;
    for suffix in ["00000000", "ffffffff"] {
        let name = format!("{key}.{suffix}").parse().unwrap();
        locked.store.plant(&name, bytes.clone());
    }
    let sound = locked.verify(3).await;
    assert_eq!(sound.code(), ExitCode::Done, "{sound:#?}");
}

#[tokio::test]
async fn record_that_goes_back_is_locked_for_as_long_as_its_snapshot_is_promised() {
    let locked = Locked::set().await;
    take(&locked.store, &locked.live, 2, 60).await;
    let replica = locked.copy().await;
    let before = locked.objects().await;
    let record = |seq| {
        let table = request("s3://lake/orders", 0).key;
        VaultKey::Record { table, seq }.object_key().unwrap()
    };
    let until = |objects: &Objects| {
        let of_record = |(key, _): &&(ObjectKey, Option<ObjectVersion>)| *key == record(2);
        let mut found = objects.keys().filter(of_record).map(|it| objects[it]);
        (found.next().unwrap(), found.count())
    };
    let (_, version) = before.keys().find(|(key, _)| *key == record(2)).unwrap();
    let version = version.clone().unwrap();
    locked.store.set_now(hours_later(24 * 365));
    locked.store.delete_version(&record(2), &version).unwrap();
    locked.store.set_now(hours_later(3));

    let store: Arc<dyn WriteStore> = Arc::new(locked.store.clone());
    let live: Arc<dyn ReadStore> = Arc::new(locked.live.clone());
    let replica: Arc<dyn ReadStore> = Arc::new(replica);
    let repairer = repairs::repairer(store, live, Some(replica), hours_later(3)).await;
    let plan = repairer.plan_ledgers(None).await.unwrap();
    assert_eq!(plan.in_the_way, []);
    let [lost] = &plan.back[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(lost.key, record(2));
    assert!(repairer.put_back(lost).await.unwrap());
    assert_eq!(until(&locked.objects().await), until(&before));
    // What is there by then is not put once more.
    assert!(!repairer.put_back(lost).await.unwrap());
    assert_eq!(until(&locked.objects().await), until(&before));
    let again = repairer.plan_ledgers(None).await.unwrap();
    assert!(again.back.is_empty());
    assert_eq!(locked.verify(3).await.code(), ExitCode::Done);
}
