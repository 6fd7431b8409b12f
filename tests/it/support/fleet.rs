//! A fleet of tables whose ledgers are simulated night by night, with the very functions that a run decides by: which
//! locks have to be extended, and how many requests that takes.

use std::collections::BTreeMap;

use deltavault::format::{LockMode, TableKey, Trigger, VaultFile};
use deltavault::ids::{Generation, Id128, Timestamp};
use deltavault::plan::retention::{
    Class, NewSnapshot, Period, Policy, RetentionRequest, choose, is_short, lock_ceiling,
    lock_phases, phase_of, place, plan_extensions, upcoming,
};
use jiff::{SignedDuration, ToSpan};

/// Daily 14 days, weekly 8 weeks, monthly 12 months.
pub(crate) fn three_classes() -> Policy {
    let class = |name: &str, keep, period| Class {
        name: name.to_owned(),
        keep,
        period: Some(period),
    };
    Policy {
        classes: vec![
            class("daily", 14.days(), Period::Day),
            class("weekly", 8.weeks(), Period::Week),
            class("monthly", 12.months(), Period::Month),
        ],
        ..Policy::default()
    }
}

/// A vault with ten days to a generation.
pub(crate) fn vault_file() -> VaultFile {
    VaultFile {
        created: Timestamp::UNIX_EPOCH,
        format: 1,
        generation_days: 10,
        id: Id128::from_bytes([7; 16]),
        lock_mode: LockMode::Compliance,
        longest_days: 366,
        shortest_days: 3,
    }
}

/// How a fleet is made up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    pub(crate) tables: u64,
    /// Objects of the median table.
    pub(crate) median: f64,
    /// Of the logarithm of their sizes: 2 makes the largest of 3,000 a thousand times the median.
    pub(crate) sigma: f64,
    pub(crate) nights: usize,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            tables: 3000,
            median: 200.0,
            sigma: 2.0,
            nights: 400,
        }
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Objects on the first night.
    pub(crate) objects: u64,
    /// Those of the largest table.
    pub(crate) largest: u64,
    /// Requests that extend a lock, by night.
    pub(crate) requests: Vec<u64>,
    /// Nights of all tables on which something was extended, of how many.
    pub(crate) table_nights: (u64, u64),
}

impl Seen {
    /// The requests of the nights from `from` on that had any: the median, and the most.
    pub(crate) fn median_and_worst(&self, from: usize) -> (u64, u64) {
        let mut busy: Vec<_> = self.requests[from..]
            .iter()
            .copied()
            .filter(|requests| *requests > 0)
            .collect();
        busy.sort_unstable();
        (busy[busy.len() / 2], busy[busy.len() - 1])
    }
}

/// One table as its ledger and its manifest have it.
struct Table {
    key: TableKey,
    objects: BTreeMap<Generation, u64>,
    locks: BTreeMap<Generation, Timestamp>,
    opened: Option<BTreeMap<String, Timestamp>>,
    first: u64,
    nightly: u64,
}

impl Table {
    fn new(number: u64, fleet: &Fleet) -> Self {
        let uri = format!("s3://lake/db-{}/table-{number}", number % 40);
        let mut random = SplitMix(number);
        // Box and Muller's normal from two uniforms.
        let normal =
            (-2.0 * random.next().ln()).sqrt() * (std::f64::consts::TAU * random.next()).cos();
        let size = (fleet.median * (fleet.sigma * normal).exp()).max(3.0);
        // Four of ten tables grow by half as much again in 400 nights, the others are static.
        let nightly = if random.next() < 0.4 {
            size / 800.0
        } else {
            0.0
        };
        let whole = |number: f64| format!("{number:.0}").parse().unwrap();
        Self {
            key: TableKey::of("aws", &uri.parse().unwrap()).unwrap(),
            objects: BTreeMap::new(),
            locks: BTreeMap::new(),
            opened: None,
            first: whole(size),
            nightly: whole(nightly.ceil()),
        }
    }

    /// Takes a snapshot; returns how many objects were extended.
    fn night(&mut self, policy: &Policy, vault: &VaultFile, now: Timestamp) -> u64 {
        let new = NewSnapshot {
            table: &self.key,
            trigger: Trigger::Scheduled,
            opened: self.opened.as_ref(),
            now,
        };
        let chosen = choose(policy, &RetentionRequest::default(), &new, vault).unwrap();
        let of = (&self.key, vault);
        let later = upcoming(policy, &self.key, vault, now);
        let needs = plan_extensions(&self.locks, chosen.promise, &later, now, of);
        let mut extended = 0;
        for (generation, need) in needs {
            assert!(need.until <= lock_ceiling(now, vault));
            extended += self.objects[&generation];
            self.locks.insert(generation, need.until);
        }
        let first = self.opened.is_none();
        // What is new, and with it two pages and a manifest.
        let new = if first { self.first } else { self.nightly };
        if new > 0 {
            let count = lock_phases(new);
            let mut puts = vec![(0, 3)];
            puts.extend((0..count).map(|n| (u8::try_from(n).unwrap(), new.div_ceil(count))));
            let locks = self.locks.clone();
            for (byte, objects) in puts {
                let phase = phase_of(byte, count);
                let put = place(now, chosen.promise, phase, &locks, of);
                *self.objects.entry(put.generation).or_default() += objects;
                let lock = self.locks.entry(put.generation).or_insert(put.lock_until);
                *lock = put.lock_until.min(*lock);
            }
        }
        for generation in self.objects.keys() {
            assert!(
                !is_short(&self.locks, *generation, chosen.promise),
                "promise 4"
            );
        }
        self.opened = Some(chosen.opened);
        extended
    }
}

/// Random numbers that are the same everywhere; <https://prng.di.unimi.it/splitmix64.c>.
struct SplitMix(u64);

impl SplitMix {
    /// Above 0, at most 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((z ^ z >> 31) >> 32).unwrap();
        (f64::from(high) + 1.0) / 4_294_967_296.0
    }
}

/// Lets the nights of a fleet go by.
pub(crate) fn simulate(fleet: &Fleet, policy: &Policy) -> Seen {
    let vault = vault_file();
    let start: Timestamp = "2027-11-21T03:00:00Z".parse().unwrap();
    let mut seen = Seen {
        objects: 0,
        largest: 0,
        requests: vec![0; fleet.nights],
        table_nights: (0, 0),
    };
    for number in 0..fleet.tables {
        let mut table = Table::new(number, fleet);
        seen.objects += table.first;
        seen.largest = seen.largest.max(table.first);
        for (night, requests) in seen.requests.iter_mut().enumerate() {
            let hours = i64::try_from(night).unwrap() * 24;
            let now = start + SignedDuration::from_hours(hours);
            let extended = table.night(policy, &vault, now);
            *requests += extended;
            seen.table_nights.0 += u64::from(extended > 0);
            seen.table_nights.1 += 1;
        }
    }
    seen
}
