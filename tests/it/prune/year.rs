//! A year of nights: what is kept is what was promised, and what is held is what that needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::scene::{GRACE, Place, needs, prune_in};
use crate::fleet::three_classes;
use crate::support::table::Table;
use crate::support::world::{request, snapshotter, source};
use deltavault::format::{Event, EventAction, LockMode, TableKey, Trigger, VaultFile};
use deltavault::ids::{Digest, Id128, SnapshotId, Timestamp};
use deltavault::plan::keep::{self, Candidate};
use deltavault::plan::retention::{MonthDay, NewSnapshot, Policy, RetentionRequest, choose};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ListedVersion, ReadStore, RestoreStore};
use deltavault::vault::prune::Patience;
use deltavault::vault::{self, Vault};
use futures::TryStreamExt;
use jiff::ToSpan;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};

/// Three in the morning of a Thursday, so that weeks, months and the year begin at their own times.
const BEGIN: &str = "2027-07-01T03:00:00Z";

fn policy() -> Policy {
    Policy {
        week_starts: Some(Weekday::Monday),
        month_starts: MonthDay::new(1),
        ..three_classes()
    }
}

fn night(number: i64) -> Timestamp {
    let begin: Timestamp = BEGIN.parse().unwrap();
    begin + SignedDuration::from_hours(24 * number)
}

fn vault_file(lock_mode: LockMode) -> VaultFile {
    VaultFile {
        created: night(0),
        format: 1,
        generation_days: 10,
        id: Id128::from_bytes([7; 16]),
        lock_mode,
        longest_days: 400,
        shortest_days: 3,
    }
}

/// Until when a scheduled snapshot has to be kept, by the calendar alone: `before` are the times of those of its table
/// that were published before it.
fn promised(before: &[Timestamp], now: Timestamp) -> Timestamp {
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let today = date(now);
    let add = |span: Span| {
        let later = now.to_zoned(TimeZone::UTC).checked_add(span).unwrap();
        later.timestamp()
    };
    let Some(last) = before.last().map(|last| date(*last)) else {
        return add(14.days());
    };
    if (last.year(), last.month()) != (today.year(), today.month()) {
        return add(12.months());
    }
    if last.iso_week_date().week() != today.iso_week_date().week() {
        return add(8.weeks());
    }
    add(14.days())
}

/// A table of the model.
#[derive(Default)]
struct Modelled {
    taken: Vec<Candidate>,
    events: Vec<Event>,
    opened: Option<BTreeMap<String, Timestamp>>,
    /// What a person would note down.
    until: BTreeMap<SnapshotId, Timestamp>,
    held: BTreeSet<SnapshotId>,
    manual: BTreeSet<SnapshotId>,
    retired: bool,
}

impl Modelled {
    fn done(&mut self, now: Timestamp, action: EventAction) {
        let seq = self.events.len() as u64 + 1;
        self.events.push(Event {
            at: now,
            action,
            format: 1,
            previous: None,
            principal: "legal@desk".to_owned(),
            requires: Vec::new(),
            run: Id128::from_bytes([1; 16]),
            seq,
            tool: "test".to_owned(),
        });
    }

    /// What has to be kept, as the rules say it in words.
    fn has_to_keep(&self, now: Timestamp) -> BTreeSet<SnapshotId> {
        let mut kept: BTreeSet<SnapshotId> = self.held.clone();
        let lasting = self.until.iter().filter(|(_, until)| **until > now);
        kept.extend(lasting.map(|(id, _)| *id));
        if !self.retired {
            let newest = self.taken.iter().max_by_key(|it| it.seq);
            let calm = self.taken.iter().filter(|it| !it.has_alarm);
            let trusted = self.taken.iter().filter(|it| it.is_trusted);
            kept.extend(newest.map(|it| it.id));
            kept.extend(calm.max_by_key(|it| it.seq).map(|it| it.id));
            kept.extend(trusted.max_by_key(|it| it.seq).map(|it| it.id));
        }
        kept
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one night after the other")]
fn every_night_of_two_years_exactly_the_promised_snapshots_are_kept() {
    // The same year in every run.
    let mut state = 1_u64;
    let mut chance = move |of: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).is_multiple_of(of)
    };
    let (policy, file) = (policy(), vault_file(LockMode::Governance));
    let keys: Vec<TableKey> = (0..12)
        .map(|n| {
            let uri = format!("s3://lake/table{n}").parse().unwrap();
            TableKey::of("aws", &uri).unwrap()
        })
        .collect();
    let mut tables: Vec<Modelled> = keys.iter().map(|_| Modelled::default()).collect();
    let (mut decided, mut expired) = (0_u64, 0_u64);
    for number in 0..730 {
        let now = night(number);
        for (n, (key, table)) in keys.iter().zip(&mut tables).enumerate() {
            // Some fail for a night, one for two months, one stops for good.
            let fails = chance(9) || (n == 3 && (100..160).contains(&number));
            let over = n == 4 && number > 300;
            if !fails && !over {
                let trigger = if chance(20) {
                    Trigger::Manual
                } else {
                    Trigger::Scheduled
                };
                let chosen = choose(
                    &policy,
                    &RetentionRequest::default(),
                    &NewSnapshot {
                        table: key,
                        trigger,
                        opened: table.opened.as_ref(),
                        now,
                    },
                    &file,
                )
                .unwrap();
                let scheduled = trigger == Trigger::Scheduled || table.opened.is_none();
                table.opened = Some(chosen.opened);
                let id = SnapshotId(Digest::of(format!("{n} {number}").as_bytes()));
                let seq = table.taken.len() as u64 + 1;
                let before: Vec<Timestamp> = table
                    .taken
                    .iter()
                    .filter(|it| table.until.contains_key(&it.id) && it.taken_at < now)
                    .filter(|it| !table.manual.contains(&it.id))
                    .map(|it| it.taken_at)
                    .collect();
                let until = if scheduled {
                    promised(&before, now)
                } else {
                    table.manual.insert(id);
                    now + SignedDuration::from_hours(14 * 24)
                };
                assert_eq!(chosen.promise, until, "table {n}, night {number}");
                table.until.insert(id, until);
                table.retired = false;
                table.taken.push(Candidate {
                    id,
                    seq,
                    taken_at: now,
                    promise: chosen.promise,
                    has_alarm: chance(12),
                    is_trusted: !chance(30),
                });
            }
            if chance(40)
                && let Some(some) = table
                    .taken
                    .iter()
                    .rev()
                    .nth(usize::try_from(number % 7).unwrap())
            {
                let snapshot = some.id;
                table.held.insert(snapshot);
                table.done(now, EventAction::Hold { snapshot });
            }
            if chance(60)
                && let Some(snapshot) = table.held.first().copied()
            {
                table.held.remove(&snapshot);
                table.done(now, EventAction::Release { snapshot });
            }
            if n == 4 && number == 400 {
                table.retired = true;
                let snapshot = table.taken.last().unwrap().id;
                table.done(now, EventAction::Retire { snapshot });
            }
            let decisions = keep::decide(&table.taken, &table.events, now);
            let kept: BTreeSet<SnapshotId> = decisions
                .iter()
                .filter(|it| it.reason.keeps())
                .map(|it| it.id)
                .collect();
            assert_eq!(kept, table.has_to_keep(now), "table {n}, night {number}");
            decided += decisions.len() as u64;
            expired = expired.max((decisions.len() - kept.len()) as u64);
        }
    }
    let snapshots: usize = tables.iter().map(|table| table.taken.len()).sum();
    assert!(snapshots > 7000, "{snapshots}");
    assert!(expired > 500 && decided > 2_000_000, "{expired} {decided}");
    // The one that stopped and was retired ends up with what is held.
    let left = tables[4].has_to_keep(night(729));
    assert_eq!(left, tables[4].held);
}

/// What a snapshot needs, and until when.
type Taken = (BTreeMap<Place, u64>, Timestamp);

/// A night's time at or after `time`, as the vault is pruned once a night.
fn night_from(time: Timestamp) -> Timestamp {
    let hours = time.duration_since(night(0)).as_secs().max(0);
    night((hours + 86_399) / 86_400)
}

/// How far the bytes that lie in the vault are from those that have to: until the promise of the last snapshot that
/// needs them, then through a mark, the grace period and what is left of their lock.
async fn beside_what_is_needed(store: &MemoryStore, taken: &[Taken], now: Timestamp) -> f64 {
    let mut needed: BTreeMap<&Place, (u64, Timestamp)> = BTreeMap::new();
    for (places, promise) in taken {
        for (place, size) in places {
            let until = needed.entry(place).or_insert((*size, *promise));
            until.1 = until.1.max(*promise);
        }
    }
    let mut lying: BTreeMap<Place, (u64, Option<Timestamp>)> = BTreeMap::new();
    for prefix in ["blobs/", "copies/", "manifests/", "pages/"] {
        let mut listing = store.list_versions(prefix, None);
        while let Some(row) = listing.try_next().await.unwrap() {
            if let ListedVersion::Object(object) = row {
                let place = (object.key, object.version);
                lying.insert(place, (object.size, object.locked_until));
            }
        }
    }
    let (mut expected, mut actual) = (0_u64, 0_u64);
    for (place, (size, until)) in &needed {
        let locked = lying.get(*place).and_then(|(_, locked)| *locked);
        let grace = night_from(*until) + GRACE;
        let goes = night_from(locked.map_or(grace, |locked| locked.max(grace)));
        if goes > now {
            expected += size;
            assert!(lying.contains_key(*place), "{place:?} went before {goes}");
        }
    }
    for (place, (size, _)) in &lying {
        actual += size;
        assert!(needed.contains_key(place), "{place:?} is nobody's");
    }
    // Far below what a float holds exactly.
    let bytes = |bytes: u64| f64::from(u32::try_from(bytes).unwrap());
    bytes(actual.abs_diff(expected)) / bytes(actual)
}

#[tokio::test]
async fn many_nights_hold_what_classes_slack_and_grace_need_and_not_more() {
    // Each costs more than the one before; months are opened in either number.
    let all = std::env::var_os("DELTAVAULT_TEST_ALL").is_some();
    nightly(
        LockMode::Governance,
        if all { 366 } else { 150 },
        &["orders"],
    )
    .await;
    nightly(LockMode::None, 60, &["orders", "people"]).await;
}

async fn nightly(lock_mode: LockMode, nights: i64, names: &[&str]) {
    let store = match lock_mode {
        LockMode::None => MemoryStore::without_versions("s3://vault"),
        LockMode::Governance | LockMode::Compliance => MemoryStore::new("s3://vault"),
    };
    store.set_now(night(0));
    let new = VaultFile {
        lock_mode,
        longest_days: 400,
        ..VaultFile::new(Id128::from_bytes([7; 16]), night(0))
    };
    vault::init(&store, new).await.unwrap();
    let readable: Arc<dyn ReadStore> = Arc::new(store.clone());
    let vault = Vault::open(readable).await.unwrap();
    let mut tables = Vec::new();
    for name in names {
        let live = MemoryStore::without_versions(&format!("s3://lake/{name}"));
        let mut table = Table::create(Arc::new(live.clone()), name).await;
        table.append(6, 3000).await;
        tables.push((live, table, Vec::new()));
    }
    let snapshotter = snapshotter(Arc::new(store.clone())).await.unwrap();
    let mut taken: Vec<Taken> = Vec::new();
    let mut worst: f64 = 0.0;
    for number in 0..nights {
        let now = night(number);
        store.set_now(now);
        for (live, table, before) in &mut tables {
            // A file more every night, a file changed, and the oldest gone now and then.
            table.append(1, 2000).await;
            if number % 3 == 0 {
                table.update(2500).await;
            }
            if number % 5 == 0 {
                table.delete(5).await;
                table.vacuum().await;
            }
            if number % 10 == 9 {
                table.checkpoint().await;
                // As the log's own retention does, so that many nights stay short to test.
                table.clean_up_log().await;
            }
            let live: Arc<dyn RestoreStore> = Arc::new(live.clone());
            let mut request = request(live.uri(), 0);
            request.now = now;
            request.run = Id128::from_bytes(rand::random());
            request.trigger = Trigger::Scheduled;
            request.policy = policy();
            let done = snapshotter.take(&source(live), &request).await.unwrap();
            let places = needs(&vault, &done.record).await;
            assert_eq!(done.record.promise, promised(before, now));
            before.push(now);
            taken.push((places, done.record.promise));
        }
        let patience = Patience {
            grace: GRACE,
            is_alone: true,
        };
        let store_again = Arc::new(store.clone());
        prune_in(vault.clone(), store_again, patience, now)
            .await
            .unwrap();
        if number % 30 == 29 || number + 1 == nights {
            worst = worst.max(beside_what_is_needed(&store, &taken, now).await);
        }
    }
    assert!(worst < 0.01, "{lock_mode:?}: {worst}");
    println!(
        "{lock_mode:?}: at most {:.3} % beside what is needed",
        worst * 100.0
    );
}
