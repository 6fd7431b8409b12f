//! `verify` on vaults whose locks somebody shortened or removed.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use deltavault::format::{Event, EventAction, EventRole, LockMode, TableKey, VaultFile, VaultKey};
use deltavault::ids::{Digest, Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use deltavault::plan::verify::{ReadBytes, Severity, VerifyPlan};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{HoldStore, ListedVersion, Payload, ReadStore, RestoreStore, WriteStore};
use deltavault::vault::events::Actor;
use deltavault::vault::hold::Holder;
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use futures::TryStreamExt;
use jiff::SignedDuration;

use crate::support::forge::forge;
use crate::support::table::Table;
use crate::support::verified::{Verified, advice, verify};
use crate::support::world::{NOW, hours_later, request, snapshotter, source};

/// Larger than a pack may take: an object of its own.
const LARGE: usize = 1024 * 1024 + 1;

fn actor(now: Timestamp) -> Actor {
    Actor {
        now,
        principal: "legal@desk".to_owned(),
        run: Id128::from_bytes([5; 16]),
        tool: "deltavault 0.1.0".to_owned(),
    }
}

fn key() -> TableKey {
    request("s3://lake/orders", 0).key
}

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

    async fn vault(&self) -> Vault {
        Vault::open(Arc::new(self.store.clone())).await.unwrap()
    }

    /// Puts the snapshot on hold, an hour after it was taken.
    async fn hold(&self) {
        let (vault, key) = (self.vault().await, key());
        let history = vault.history(&key, Bodies::new()).await.unwrap();
        let holder = Holder {
            vault,
            store: Arc::new(self.store.clone()),
            temp: std::env::temp_dir(),
        };
        self.store.set_now(hours_later(1));
        let actor = actor(hours_later(1));
        holder.hold(&history.snapshots[0], &actor).await.unwrap();
    }

    async fn verify(&self, read: ReadBytes, now: Timestamp) -> Verified {
        let vault = self.vault().await;
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

#[tokio::test]
async fn slots_and_seals_are_locked_for_as_long_as_is_promised() {
    let sound = Locked::set().await;
    sound.hold().await;
    for read in [ReadBytes::None, ReadBytes::All] {
        assert_eq!(sound.verify(read, hours_later(2)).await.findings, []);
    }
    let promise = sound.done.record.promise;
    let of_event = hours_later(1) + SignedDuration::from_hours(3 * 24);
    let table = key();
    for (folder, covered) in [("ledger", promise), ("events/holder", of_event)] {
        for suffix in [".json", "-"] {
            let locked = Locked::set().await;
            locked.hold().await;
            let prefix = format!("tables/{table}/{folder}/{:020}{suffix}", 1);
            let object = &locked.objects(&prefix).await[0].0;
            let short = covered - SignedDuration::from_secs(1);
            for until in [None, Some(short)] {
                locked.lock(&prefix, until).await;
                for read in [ReadBytes::None, ReadBytes::All] {
                    let found = locked.verify(read, hours_later(2)).await;
                    let finding = found.about(object);
                    assert_eq!(finding.severity, Severity::Damage, "{finding:?}");
                    assert!(finding.what.starts_with("1 object is "), "{finding:?}");
                    assert_eq!(found.findings.len(), 1, "{found:#?}");
                }
                let after = locked.verify(ReadBytes::All, covered).await;
                assert!(!after.is_about(object), "{after:#?}");
            }
            locked.lock(&prefix, Some(covered)).await;
            let found = locked.verify(ReadBytes::All, hours_later(2)).await;
            assert_eq!(found.findings, []);
            locked
                .lock(&prefix, Some(hours_later(100 * 365 * 24)))
                .await;
            let found = locked.verify(ReadBytes::All, hours_later(2)).await;
            assert_eq!(found.code(), ExitCode::Findings, "{found:#?}");
            assert!(found.about(object).what.contains("locked for longer"));
        }
    }
}

#[tokio::test]
async fn an_event_that_says_it_is_of_next_century_asks_for_no_longer_lock() {
    let locked = Locked::set().await;
    let actor = actor("2190-01-01T00:00:00Z".parse().unwrap());
    let forged = Event {
        action: EventAction::Retire {
            snapshot: SnapshotId(Digest::of(b"none")),
        },
        at: actor.now,
        format: 1,
        previous: None,
        principal: actor.principal,
        requires: Vec::new(),
        run: actor.run,
        seq: 1,
        tool: actor.tool,
    };
    let payload = Payload::from_bytes(forged.encode().unwrap());
    let event = VaultKey::Event {
        table: key(),
        role: EventRole::Pruner,
        seq: 1,
    };
    let event = event.object_key().unwrap();
    // Locked as the bucket's policy wants of a put.
    let lock = Some(hours_later(4 * 24));
    locked.store.put_new(&event, &payload, lock).await.unwrap();
    let found = locked.verify(ReadBytes::All, hours_later(2)).await;
    assert_eq!(found.findings, []);
}

#[tokio::test]
async fn an_object_of_a_snapshot_on_hold_without_a_legal_hold_is_a_finding() {
    let locked = Locked::set().await;
    locked.hold().await;
    let (now, late) = (hours_later(2), hours_later(24 * 365));
    for now in [now, late] {
        let found = locked.verify(ReadBytes::All, now).await;
        assert_eq!(found.findings, []);
    }
    let record = format!("tables/{}/ledger/{:020}.json", key(), 1);
    for prefix in ["blobs/", "pages/", "manifests/", &record] {
        let objects = locked.objects(prefix).await;
        assert!(!objects.is_empty(), "{prefix}");
        for (key, version) in &objects {
            let off = locked.store.set_hold(key, version.as_ref(), false);
            off.await.unwrap();
        }
        for now in [now, late] {
            let found = locked.verify(ReadBytes::All, now).await;
            let [finding] = &found.findings[..] else {
                panic!("{prefix}: {found:#?}");
            };
            assert_eq!(finding.object, objects[0].0.as_str());
            assert_eq!(finding.severity, Severity::Warning);
            let says = format!("{} object", objects.len());
            assert!(finding.what.starts_with(&says), "{finding:?}");
            assert_eq!(finding.snapshots, [locked.done.id]);
            let hold = format!("hold {}", locked.done.id.short());
            assert!(advice(finding).contains(&hold), "{finding:?}");
        }
        for (key, version) in &objects {
            let on = locked.store.set_hold(key, version.as_ref(), true);
            on.await.unwrap();
        }
    }
    // Where no byte is read, at least the record and the manifest of what is held are looked at.
    for prefix in ["manifests/", &record] {
        let (key, version) = locked.objects(prefix).await.remove(0);
        let off = locked.store.set_hold(&key, version.as_ref(), false);
        off.await.unwrap();
        let found = locked.verify(ReadBytes::None, now).await;
        assert_eq!(found.about(&key).severity, Severity::Warning);
        let on = locked.store.set_hold(&key, version.as_ref(), true);
        on.await.unwrap();
    }
    // Once it is released nobody asks for them.
    let vault = locked.vault().await;
    let action = EventAction::Release {
        snapshot: locked.done.id,
    };
    let (key, actor) = (key(), actor(now));
    vault
        .append_event(&locked.store, &key, action, &actor)
        .await
        .unwrap();
    locked.lock("", Some(locked.done.record.promise)).await;
    for (key, version) in locked.objects("").await {
        locked
            .store
            .set_hold(&key, version.as_ref(), false)
            .await
            .unwrap();
    }
    let found = locked.verify(ReadBytes::All, now).await;
    assert_eq!(found.findings, []);
}

#[tokio::test]
async fn a_forged_promise_that_no_lock_reaches_is_no_damage_once_it_is_distrusted() {
    let locked = Locked::set().await;
    let far = locked.done.record.promise + SignedDuration::from_hours(24 * 300);
    let key = key();
    let forged = forge(&locked.store, &key, |_, record| record.promise = far).await;
    let found = locked.verify(ReadBytes::All, hours_later(1)).await;
    assert_eq!(found.code(), ExitCode::Damage, "{found:#?}");
    forge(&locked.store, &key, |_, record| {
        record.promise = locked.done.record.promise;
        record.distrusts = vec![forged];
    })
    .await;
    locked.lock("", Some(locked.done.record.promise)).await;
    let found = locked.verify(ReadBytes::All, hours_later(1)).await;
    assert_eq!(found.code(), ExitCode::Findings, "{found:#?}");
    let mut unlocked = found
        .findings
        .iter()
        .filter(|it| it.what.contains("locked for less"));
    assert_eq!(unlocked.next().unwrap().snapshots, [forged]);
    assert!(unlocked.next().is_none());
}
