//! Locks and classes of a vault with Object Lock, night after night on a store whose clock is set: what is referenced is
//! locked before it is published, what is short is extended, and nothing else is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::{Reference, Trigger};
use deltavault::ids::{ObjectKey, ObjectVersion, Timestamp};
use deltavault::plan::price::{NanoUsd, Prices};
use deltavault::plan::retention::{MonthDay, Policy, Weekday, lock_until};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, StoreErrorKind};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::{MaxPrice, SnapshotDone, SnapshotRequest};
use futures::FutureExt as _;
use jiff::{SignedDuration, ToSpan};
use tokio::runtime::Handle;

use super::fleet::three_classes;
use super::support::fault_store::{Fault, FaultStore};
use super::support::scene::{LARGE, Store, assert_says, everything, take_as};
use super::support::table::Table;
use super::support::verified::references;
use super::support::world::{hours_later, init_locked, request};

/// A table, and a vault with locks.
struct Nights {
    table: Table,
    live: Store,
    vault: Store,
    policy: Policy,
}

impl Nights {
    async fn new(policy: Policy) -> Self {
        let live = FaultStore::new(MemoryStore::without_versions("s3://lake/orders"));
        let vault = FaultStore::new(MemoryStore::new("s3://vault"));
        vault.inner().set_now(hours_later(0));
        init_locked(&vault).await;
        let mut table = Table::create(Arc::new(live.inner().clone()), "orders").await;
        table.append(2, LARGE).await;
        table.append(3, 100).await;
        Self {
            table,
            live,
            vault,
            policy,
        }
    }

    fn request(&self, night: i64) -> SnapshotRequest {
        SnapshotRequest {
            trigger: Trigger::Scheduled,
            policy: self.policy.clone(),
            ..request(self.live.uri(), night * 24)
        }
    }

    /// Takes the snapshot of a night; whatever comes of it, what is visible is locked.
    async fn take(&self, night: i64) -> Result<SnapshotDone, Error> {
        self.take_as(night, &self.request(night)).await
    }

    async fn take_as(&self, night: i64, asked: &SnapshotRequest) -> Result<SnapshotDone, Error> {
        self.vault.inner().set_now(hours_later(night * 24));
        let elsewhere = MemoryStore::new("s3://elsewhere");
        let done = take_as(&self.live, &self.vault, &elsewhere, asked).await;
        if let Ok(done) = &done {
            self.is_locked(done).await;
        }
        done
    }

    /// As [`Nights::take`], with the number of locks that were extended.
    async fn counted(&self, night: i64) -> (SnapshotDone, usize) {
        let before = self.vault.count("extend_lock");
        let done = self.take(night).await.unwrap();
        (done, self.vault.count("extend_lock") - before)
    }

    /// Every object version that a snapshot references, its manifest and its pages included.
    async fn references(
        &self,
        done: &SnapshotDone,
    ) -> BTreeMap<(ObjectKey, Option<ObjectVersion>), Reference> {
        let store: Arc<dyn ReadStore> = Arc::new(self.vault.inner().clone());
        let vault = Vault::open(store).await.unwrap();
        references(&vault, &done.record)
            .await
            .into_iter()
            .map(|reference| {
                (
                    (reference.key.clone(), reference.version.clone()),
                    reference,
                )
            })
            .collect()
    }

    async fn locked(&self, key: &ObjectKey, version: Option<&ObjectVersion>) -> Timestamp {
        let there = self.vault.inner().attributes(key, version).await.unwrap();
        there.locked_until.unwrap()
    }

    /// Promise 4, read from the store: all that is referenced, and what the record says was proven.
    async fn is_locked(&self, done: &SnapshotDone) {
        for ((key, version), reference) in self.references(done).await {
            let locked = self.locked(&key, version.as_ref()).await;
            assert!(
                locked >= done.record.promise,
                "{key} is locked until {locked}"
            );
            let proven = done.record.locks[&reference.generation];
            assert!(
                proven >= done.record.promise && proven <= locked,
                "{key}: {proven}"
            );
        }
    }

    async fn visible(&self) -> usize {
        let store: Arc<dyn ReadStore> = Arc::new(self.vault.inner().clone());
        let vault = Vault::open(store).await.unwrap();
        let head = vault.head(&self.request(0).key, &[]).await.unwrap();
        head.head
            .link
            .map_or(0, |link| usize::try_from(link.seq).unwrap())
    }
}

fn classes() -> Policy {
    Policy {
        // The pinned time is a Saturday, the 21st.
        week_starts: Some(Weekday::Monday),
        month_starts: MonthDay::new(27),
        ..three_classes()
    }
}

#[tokio::test]
async fn a_static_table_extends_each_object_once_where_its_promise_crosses_a_boundary() {
    let nights = Nights::new(Policy::default()).await;
    let first = nights.take(0).await.unwrap();
    let objects = nights.references(&first).await.len();
    assert!(objects >= 5, "{objects}");
    let vault = Vault::open(Arc::new(nights.vault.inner().clone()))
        .await
        .unwrap();
    let key = nights.request(0).key;
    let mut lock = lock_until(first.record.promise, &key, vault.file());
    let mut crossed = 0;
    for night in 1..=20 {
        let before = nights.vault.calls().len();
        let (done, extended) = nights.counted(night).await;
        assert!(done.unchanged);
        if done.record.promise > lock {
            lock = lock_until(done.record.promise, &key, vault.file());
            assert_eq!(extended, objects, "night {night}");
            assert_eq!(done.commitment.longer_objects, objects as u64);
            crossed += 1;
        } else {
            assert_eq!(extended, 0, "night {night}");
            assert!(done.commitment.is_none());
            let calls = nights.vault.calls().len() - before;
            assert!(calls <= 11, "{calls} calls on a night without a boundary");
        }
        assert!(done.record.locks.values().all(|proven| *proven == lock));
    }
    assert_eq!(crossed, 2);
}

#[tokio::test]
async fn what_is_new_on_each_night_does_not_make_the_old_short() {
    let mut nights = Nights::new(Policy::default()).await;
    nights.take(0).await.unwrap();
    let mut quiet = 0;
    for night in 1..=20 {
        nights.table.append(1, LARGE).await;
        let (done, extended) = nights.counted(night).await;
        let objects = nights.references(&done).await.len();
        assert!(
            extended < objects,
            "what was put tonight is locked for long enough"
        );
        quiet += u32::from(extended == 0);
    }
    assert_eq!(quiet, 18, "one boundary in ten nights");
}

#[tokio::test]
async fn classes_open_their_periods_and_extend_what_they_need() {
    let mut nights = Nights::new(classes()).await;
    // The first is a Saturday; Monday opens the week, and the 27th the month, which is near by then.
    for (night, class, extends) in [
        (0, "daily", false),
        (1, "daily", false),
        (2, "weekly", true),
        (3, "daily", false),
        // Two nights fail.
        (6, "monthly", true),
        (7, "daily", false),
        (9, "weekly", true),
    ] {
        nights.table.append(1, LARGE).await;
        let (done, extended) = nights.counted(night).await;
        assert_eq!(done.record.class, class, "night {night}");
        assert_eq!(extended > 0, extends, "night {night}: {extended}");
        let ends = done.record.opened.len();
        assert_eq!(ends, 3);
    }
    // What the month locked was not asked about again by the week after it.
    let before = nights.vault.calls().len();
    let done = nights.take(9).await.unwrap();
    assert!(done.unchanged && nights.vault.calls().len() - before <= 11);
    assert_eq!(done.record.class, "daily");
}

#[tokio::test]
async fn an_extension_that_is_refused_publishes_nothing_and_names_the_object_and_the_right() {
    let nights = Nights::new(classes()).await;
    let first = nights.take(0).await.unwrap();
    let (victim, version) = nights
        .references(&first)
        .await
        .into_keys()
        .next_back()
        .unwrap();
    let key = victim.clone();
    nights
        .vault
        .deny(move |call| call.method == "extend_lock" && call.key == key.as_str());
    let visible = nights.visible().await;
    let error = nights.take(6).await.unwrap_err();
    assert_says(
        &error,
        ExitCode::Failed,
        &[victim.as_str(), "permission denied"],
    );
    assert!(error.hint().unwrap().contains("s3:PutObjectRetention"));
    assert_eq!(nights.visible().await, visible);
    nights.vault.revive();
    // What refuses only because it is locked for longer counts.
    let until = hours_later(390 * 24);
    let longer = nights.vault.inner();
    deltavault::store::WriteStore::extend_lock(longer, &victim, version.as_ref(), until)
        .await
        .unwrap();
    let done = nights.take(6).await.unwrap();
    assert_eq!(done.record.class, "monthly");
}

#[tokio::test]
async fn a_kill_anywhere_on_a_boundary_night_publishes_nothing_that_is_not_locked() {
    let mut whole = 0;
    for (call, fault) in (1..200).flat_map(|call| [(call, Fault::Before), (call, Fault::After)]) {
        let nights = Nights::new(classes()).await;
        nights.take(0).await.unwrap();
        nights.vault.fail_call(call, fault);
        let killed = nights.take(6).await;
        let finished = !nights.vault.is_dead();
        nights.vault.revive();
        // `take` looks at the locks of whatever is visible.
        let again = nights.take_as(6, &nights.request(6)).await.unwrap();
        let published = again.record.seq == 3;
        assert_eq!(
            again.record.class,
            if published { "daily" } else { "monthly" }
        );
        if finished {
            assert_eq!(killed.unwrap().record.class, "monthly");
            whole += 1;
        }
        if whole == 2 {
            return;
        }
    }
    panic!("a whole night has fewer calls");
}

#[tokio::test]
async fn an_object_that_is_gone_when_it_is_to_be_locked_is_copied_anew() {
    let nights = Nights::new(Policy::default()).await;
    let first = nights.take(0).await.unwrap();
    let mut objects = nights.references(&first).await.into_keys();
    let (victim, version) = objects
        .rfind(|(key, _)| key.as_str().starts_with("blobs/"))
        .unwrap();
    // Its lock is over, and somebody has deleted it.
    nights.vault.inner().set_now(hours_later(60 * 24));
    nights
        .vault
        .inner()
        .delete_version(&victim, version.as_ref().unwrap())
        .unwrap();
    let done = nights.take(59).await.unwrap();
    assert!(!done.unchanged);
    let says = |finding: &String| finding.contains("the vault no longer has an object of snapshot");
    assert!(
        done.record.findings.iter().any(says),
        "{:?}",
        done.record.findings
    );
}

#[tokio::test]
async fn who_loses_a_slot_decides_class_and_locks_anew() {
    // Whoever wins: a timer opens the month, a person does not.
    for (winner, ours) in [(Trigger::Scheduled, "daily"), (Trigger::Manual, "monthly")] {
        let mut nights = Nights::new(classes()).await;
        nights.take(0).await.unwrap();
        let older = MemoryStore::without_versions("s3://lake/orders");
        for (name, bytes) in everything(nights.live.inner()).await {
            older.plant(&name.parse().unwrap(), bytes);
        }
        nights.table.append(1, LARGE).await;
        let asked = SnapshotRequest {
            trigger: winner,
            ..nights.request(6)
        };
        // While ours is about to be put, another machine publishes the table as it was a moment ago.
        let vault = FaultStore::new(nights.vault.inner().clone());
        nights.vault.before_call(
            1,
            |call| call.method == "put_new" && call.key.contains("/ledger/"),
            move || {
                let runtime = Handle::current();
                let beside = tokio::task::spawn_blocking(move || {
                    let elsewhere = MemoryStore::new("s3://elsewhere");
                    let live = FaultStore::new(older);
                    let won = take_as(&live, &vault, &elsewhere, &asked);
                    assert_eq!(runtime.block_on(won).unwrap().record.seq, 2);
                });
                async move { beside.await.unwrap() }.boxed()
            },
        );
        let done = nights.take(6).await.unwrap();
        assert_eq!((done.record.seq, done.record.class.as_str()), (3, ours));
        assert_eq!(done.record.opened.len(), 3);
    }
}

#[tokio::test]
async fn a_limit_on_what_is_committed_to_refuses_before_anything_is_copied() {
    let nights = Nights::new(Policy::default()).await;
    let limited = |night, nanos| SnapshotRequest {
        max_commit: Some(MaxPrice {
            amount: NanoUsd(nanos),
            prices: Prices::of(None),
        }),
        ..nights.request(night)
    };
    let puts = nights.vault.count("put_new");
    let error = nights.take_as(0, &limited(0, 1)).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["terabyte-months", "0.01"]);
    assert_eq!(nights.vault.count("put_new"), puts);
    let done = nights.take_as(0, &limited(0, 1_000_000_000)).await.unwrap();
    assert_eq!(done.commitment.new_bytes, done.record.change.new_bytes);
    // A night that only extends is limited alike.
    let extended = nights.vault.count("extend_lock");
    let error = nights.take_as(12, &limited(12, 1)).await.unwrap_err();
    assert_says(&error, ExitCode::Failed, &["terabyte-months"]);
    assert_eq!(nights.vault.count("extend_lock"), extended);
    nights
        .take_as(12, &limited(12, 1_000_000_000))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_promised_stays_when_a_class_is_shortened_or_removed() {
    let mut nights = Nights::new(classes()).await;
    nights.take(0).await.unwrap();
    let monthly = nights.take(6).await.unwrap();
    nights.policy.classes.retain(|class| class.name == "daily");
    nights.policy.classes[0].keep = 3.days();
    for night in 7..30 {
        let done = nights.take(night).await.unwrap();
        let length = done.record.promise.duration_since(hours_later(night * 24));
        assert_eq!(length, SignedDuration::from_hours(72));
        nights
            .is_locked(&monthly_as_read(&nights, &monthly).await)
            .await;
    }
}

async fn monthly_as_read(nights: &Nights, monthly: &SnapshotDone) -> SnapshotDone {
    let store: Arc<dyn ReadStore> = Arc::new(nights.vault.inner().clone());
    let vault = Vault::open(store).await.unwrap();
    let chain = vault
        .chain(
            &nights.request(0).key,
            deltavault::format::ledger::Bodies::new(),
            &[],
        )
        .await
        .unwrap();
    let link = chain
        .links
        .iter()
        .find(|link| link.id == monthly.id)
        .unwrap();
    let record = link.record().unwrap().clone();
    assert_eq!(record, monthly.record);
    SnapshotDone {
        record,
        ..monthly.clone()
    }
}

#[tokio::test]
async fn a_store_that_keeps_no_locks_gets_no_snapshot() {
    let live = FaultStore::new(MemoryStore::without_versions("s3://lake/orders"));
    let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
    init_locked(&vault).await;
    let mut table = Table::create(Arc::new(live.inner().clone()), "orders").await;
    table.append(1, LARGE).await;
    let elsewhere = MemoryStore::new("s3://elsewhere");
    let asked = request(live.uri(), 0);
    let error = take_as(&live, &vault, &elsewhere, &asked)
        .await
        .unwrap_err();
    assert_says(&error, ExitCode::Failed, &["lock manifests/", "locked"]);
    assert_eq!(vault.count("put_new"), vault.count("put_new"));
    let Error::LockRefused { source, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(source.kind, StoreErrorKind::Unsupported { .. }));
}
