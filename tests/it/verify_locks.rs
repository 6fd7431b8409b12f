//! `verify` on vaults whose locks somebody shortened or removed.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::LockMode;
use deltavault::format::VaultFile;
use deltavault::ids::{Id128, ObjectKey, ObjectVersion, Timestamp};
use deltavault::plan::verify::{ReadBytes, Severity, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore, RestoreStore};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use futures::TryStreamExt;
use jiff::SignedDuration;

use crate::support::table::Table;
use crate::support::verified::{Verified, verify};
use crate::support::world::{NOW, hours_later, request, snapshotter, source};

/// Larger than a pack may take: an object of its own.
const LARGE: usize = 1024 * 1024 + 1;

struct Locked {
    store: MemoryStore,
    done: SnapshotDone,
}

impl Locked {
    async fn set() -> Self {
        let store = MemoryStore::new("s3://bucket/vault");
        store.set_now(NOW.parse().unwrap());
        let new = VaultFile {
            lock_mode: LockMode::Governance,
            ..VaultFile::new(Id128::from_bytes([7; 16]), NOW.parse().unwrap())
        };
        vault::init(&store, new).await.unwrap();
        let live: Arc<dyn RestoreStore> =
            Arc::new(MemoryStore::without_versions("s3://lake/orders"));
        let mut table = Table::create(Arc::clone(&live), "orders").await;
        table.append(3, LARGE).await;
        table.append(3, 100).await;
        let snapshotter = snapshotter(Arc::new(store.clone())).await.unwrap();
        let request = request("s3://lake/orders", 0);
        let done = snapshotter.take(&source(live), &request).await.unwrap();
        Self { store, done }
    }

    async fn objects(&self, prefix: &str) -> Vec<(ObjectKey, Option<ObjectVersion>)> {
        let rows: Vec<ListedVersion> = self
            .store
            .list_versions(prefix, None)
            .try_collect()
            .await
            .unwrap();
        let objects = rows.into_iter().filter_map(|row| match row {
            ListedVersion::Object(object) => Some((object.key, object.version)),
            ListedVersion::DeleteMarker { .. } => None,
        });
        objects.collect()
    }

    async fn lock(&self, prefix: &str, until: Option<Timestamp>) {
        for (key, version) in self.objects(prefix).await {
            self.store
                .force_lock(&key, version.as_ref(), until)
                .unwrap();
        }
    }

    async fn verify(&self, read: ReadBytes, now: Timestamp) -> Verified {
        let vault = Vault::open(Arc::new(self.store.clone())).await.unwrap();
        let plan = VerifyPlan {
            read,
            subset: None,
            now,
        };
        verify(&vault, plan).await
    }
}

#[tokio::test]
async fn objects_locked_for_less_than_was_promised_are_counted_and_the_first_is_named() {
    let locked = Locked::set().await;
    let now = hours_later(1);
    let sound = locked.verify(ReadBytes::All, now).await;
    assert_eq!(sound.findings, []);

    let short = locked.done.record.promise - SignedDuration::from_secs(1);
    for (prefix, until, says) in [
        ("blobs/", Some(short), format!("this one until {short}")),
        ("pages/", None, "without a visible lock".to_owned()),
        ("manifests/", None, "without a visible lock".to_owned()),
    ] {
        let locked = Locked::set().await;
        locked.lock(prefix, until).await;
        let objects = locked.objects(prefix).await;
        let found = locked.verify(ReadBytes::All, now).await;
        let finding = found.about(&objects[0].0);
        assert_eq!(finding.severity, Severity::Damage);
        assert_eq!(finding.snapshots, [locked.done.id]);
        let count = format!("{} object", objects.len());
        assert!(finding.what.starts_with(&count), "{finding:?}");
        assert!(finding.what.contains(&says), "{finding:?}");
        assert_eq!(found.findings.len(), 1, "{found:#?}");
        assert_eq!(found.code(), ExitCode::Damage);
    }
}

#[tokio::test]
async fn locks_of_some_objects_are_looked_at_even_when_no_byte_is_read() {
    let locked = Locked::set().await;
    locked.lock("blobs/", None).await;
    let found = locked.verify(ReadBytes::None, hours_later(1)).await;
    assert_eq!(found.report.objects_read, 0);
    assert_eq!(found.code(), ExitCode::Damage, "{found:#?}");
}

#[tokio::test]
async fn lock_may_end_when_the_promise_does() {
    let locked = Locked::set().await;
    locked.lock("", None).await;
    let over = locked.done.record.promise;
    let found = locked.verify(ReadBytes::All, over).await;
    assert_eq!(found.findings, []);
}

#[tokio::test]
async fn lock_of_a_hundred_years_is_told_and_no_damage() {
    let locked = Locked::set().await;
    let vault = Vault::open(Arc::new(locked.store.clone())).await.unwrap();
    let days = i64::from(vault.file().longest_days + vault.file().generation_days + 1);
    let longest = locked.done.record.taken_at + SignedDuration::from_hours(24 * days);
    locked.lock("blobs/", Some(longest)).await;
    let sound = locked.verify(ReadBytes::All, hours_later(1)).await;
    assert_eq!(sound.findings, []);

    let century = hours_later(100 * 365 * 24);
    locked.lock("blobs/", Some(century)).await;
    let found = locked.verify(ReadBytes::All, hours_later(1)).await;
    let objects = locked.objects("blobs/").await;
    let finding = found.about(&objects[0].0);
    assert_eq!(finding.severity, Severity::Warning);
    let count = format!("{} object", objects.len());
    assert!(finding.what.starts_with(&count), "{finding:?}");
    assert!(finding.what.contains("locked for longer"), "{finding:?}");
    assert_eq!(found.code(), ExitCode::Findings);
}
