//! Until when objects are locked, and which of them have to be locked for longer.
//!
//! A table's locks end on boundaries that lie one generation's length apart, so that most nights extend nothing although
//! every night promises a day more. Where the boundaries lie follows from the table's key, so that a fleet does not
//! extend in one night. A table of many objects would still fill its one night alone: what is put in large numbers is
//! cut into *phases*, each with boundaries of its own in between, and before a long class opens, phase after phase is
//! extended ahead of need.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::period::Period;
use super::policy::Upcoming;
use crate::format::{TableKey, VaultFile};
use crate::ids::{Generation, Timestamp};

const DAY: i64 = 24 * 60 * 60;

/// Objects up to which a run puts all in one phase; twice as many take two.
///
/// Each phase costs a line in every record and one more night on which pages are read, so small tables have one.
const PHASE_OBJECTS: u64 = 128;

/// The most phases of a run: a generation of ten days has no use for more.
const PHASES_MAX: u64 = 16;

/// A share of a table's objects whose boundaries lie this many 256ths of a generation after the table's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LockPhase(u8);

/// Into how many phases a run cuts the objects that it puts, a power of two.
pub fn lock_phases(objects: u64) -> u64 {
    let wanted = objects.div_ceil(PHASE_OBJECTS).max(1);
    wanted
        .checked_next_power_of_two()
        .unwrap_or(PHASES_MAX)
        .min(PHASES_MAX)
}

/// The phase of an object, from a byte of its name that is as good as random.
pub fn phase_of(byte: u8, lock_phases: u64) -> LockPhase {
    let lock_phases = lock_phases.clamp(1, PHASES_MAX);
    let step = 256 / lock_phases;
    LockPhase(u8::try_from(u64::from(byte) % lock_phases * step).unwrap_or_default())
}

/// The phase in a generation's number.
pub fn phase_in(generation: Generation) -> LockPhase {
    LockPhase(u8::try_from(generation.0 & 0xff).unwrap_or_default())
}

/// What a generation's number is made of.
struct GenerationNumber {
    /// In which window objects were put.
    window: u64,
    /// How many boundaries their lock reaches past the window's beginning, 4095 at most.
    boundaries: u64,
    /// 0 to 15: how many generations of the same window and lock were extended before.
    serial: u64,
    phase: LockPhase,
}

impl GenerationNumber {
    fn pack(&self) -> Generation {
        Generation(
            self.window << 24
                | self.boundaries.min(0xfff) << 12
                | self.serial.min(0xf) << 8
                | u64::from(self.phase.0),
        )
    }
}

/// The boundaries of one phase of one table.
#[derive(Debug, Clone, Copy)]
struct Boundaries {
    length: i64,
    offset: i64,
}

impl Boundaries {
    fn of(table: &TableKey, vault: &VaultFile, phase: LockPhase) -> Self {
        let length = i64::from(vault.generation_days.max(1)).saturating_mul(DAY);
        let modulus = u128::from(length.unsigned_abs());
        let offset = i64::try_from(table.hash().as_u128() % modulus).unwrap_or_default();
        Self {
            length,
            offset: offset + length / 256 * i64::from(phase.0),
        }
    }

    /// How many boundaries lie at or before `second`, counted from the one at the offset.
    fn before(self, second: i64) -> i64 {
        second.saturating_sub(self.offset).div_euclid(self.length)
    }

    /// The first boundary at or after `time`; the calendar's end where that comes first.
    fn at_or_after(self, time: Timestamp) -> Timestamp {
        // A second that has begun counts whole.
        let floor = time.duration_since(Timestamp::UNIX_EPOCH).as_secs();
        let rest = time.subsec_nanosecond() != 0;
        let second = floor.saturating_add(i64::from(rest));
        let steps = self.before(second.saturating_sub(1)).saturating_add(1);
        let boundary = steps
            .saturating_mul(self.length)
            .saturating_add(self.offset);
        Timestamp::from_second(boundary)
            .unwrap_or(Timestamp::MAX)
            .max(time)
    }
}

/// When a lock ends that covers `promise`: at the table's first boundary from then on.
pub fn lock_until(promise: Timestamp, table: &TableKey, vault: &VaultFile) -> Timestamp {
    Boundaries::of(table, vault, LockPhase::default()).at_or_after(promise)
}

/// As [`lock_until`], for a lock that is set now, within what a bucket's policy allows: a forged record may promise a
/// thousand years.
pub fn bounded_lock(
    promise: Timestamp,
    table: &TableKey,
    vault: &VaultFile,
    now: Timestamp,
) -> Timestamp {
    let lock = lock_until(promise, table, vault);
    lock.max(lock_floor(now, vault))
        .min(lock_ceiling(now, vault))
}

/// The latest that any lock may end which is set now: what a bucket's policy allows.
pub fn lock_ceiling(now: Timestamp, vault: &VaultFile) -> Timestamp {
    let days = i64::from(vault.longest_days) + i64::from(vault.generation_days) + 1;
    now.checked_add(SignedDuration::from_secs(days.saturating_mul(DAY)))
        .unwrap_or(Timestamp::MAX)
}

/// The earliest that any lock may end which is set by a run that began `now`: a bucket's policy counts the days that remain
/// when a call is made, which may be hours later, and refuses fewer than the shortest promise has.
pub fn lock_floor(now: Timestamp, vault: &VaultFile) -> Timestamp {
    let days = i64::from(vault.shortest_days) + 1;
    now.checked_add(SignedDuration::from_secs(days.saturating_mul(DAY)))
        .unwrap_or(Timestamp::MAX)
}

/// The window that `now` lies in: the time between two boundaries of the table.
pub fn window(now: Timestamp, table: &TableKey, vault: &VaultFile) -> u64 {
    let second = now.as_second();
    let window = Boundaries::of(table, vault, LockPhase::default()).before(second);
    u64::try_from(window).unwrap_or_default()
}

/// The lock and the generation with which objects are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placing {
    /// The lock's end.
    pub lock_until: Timestamp,
    /// The generation.
    pub generation: Generation,
}

/// The lock and the generation of objects of a phase that are put `now` for a promise; `locks` are those that the head has
/// proven.
///
/// What is put in one window with one lock is one generation. Where that generation was extended, so that its known lock
/// is another, the next serial number is taken: otherwise the new objects would make all of it short again.
pub fn place(
    now: Timestamp,
    promise: Timestamp,
    phase: LockPhase,
    locks: &BTreeMap<Generation, Timestamp>,
    (table, vault): (&TableKey, &VaultFile),
) -> Placing {
    let promise = promise.max(lock_floor(now, vault));
    let lock_until = Boundaries::of(table, vault, phase).at_or_after(promise);
    let window = window(now, table, vault);
    let boundaries = self::window(lock_until, table, vault).saturating_sub(window);
    let number = |serial| {
        GenerationNumber {
            window,
            boundaries,
            serial,
            phase,
        }
        .pack()
    };
    let free = (0..0xf).map(number).find(|generation| {
        let known = locks.get(generation);
        known.is_none_or(|known| *known == lock_until)
    });
    Placing {
        lock_until,
        generation: free.unwrap_or_else(|| number(0xf)),
    }
}

/// Whether a generation's objects have to be locked for longer before a snapshot with `promise` may be published.
pub fn is_short(
    locks: &BTreeMap<Generation, Timestamp>,
    generation: Generation,
    promise: Timestamp,
) -> bool {
    locks.get(&generation).is_none_or(|lock| *lock < promise)
}

/// How a generation's locks are extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockExtension {
    /// Until when its objects have to be locked.
    pub until: Timestamp,
    /// Whether the snapshot needs it now; otherwise it is done ahead of a night that would have too much to do.
    pub now: bool,
}

/// The lock that a generation which is short gets `now`.
pub fn extension(
    generation: Generation,
    promise: Timestamp,
    now: Timestamp,
    (table, vault): (&TableKey, &VaultFile),
) -> LockExtension {
    let promise = promise.max(lock_floor(now, vault));
    let until = Boundaries::of(table, vault, phase_in(generation)).at_or_after(promise);
    LockExtension { until, now: true }
}

/// Which generations are extended on a night that makes `promise`, and until when.
///
/// `upcoming` are the longer promises that the table will make, and when. Those that come within a generation's length
/// count: what is extended is extended for them at once, never twice. And before a month opens, the phases that it will
/// need are spread over the nights until then, but for the first, which small tables have alone and which waits for its
/// night. Weeks come too soon for that: they open on seven nights, and what a month has locked they need not extend.
pub fn plan_extensions(
    locks: &BTreeMap<Generation, Timestamp>,
    promise: Timestamp,
    upcoming: &[Upcoming],
    now: Timestamp,
    of: (&TableKey, &VaultFile),
) -> BTreeMap<Generation, LockExtension> {
    let (table, vault) = of;
    let ceiling = lock_ceiling(now, vault);
    let length = i64::from(vault.generation_days.max(1)).saturating_mul(DAY);
    let seconds = |opens: Timestamp| opens.duration_since(now).as_secs();
    let soon: Vec<_> = upcoming
        .iter()
        .filter(|next| (0..length).contains(&seconds(next.opens)))
        .filter(|next| next.promise <= ceiling)
        .collect();
    // The phases whose turn it is.
    let mut turn = BTreeSet::new();
    for next in soon.iter().filter(|next| next.period == Period::Month) {
        let waiting = locks.iter().filter(|(_, lock)| **lock < next.promise);
        let mut waiting: BTreeSet<_> = waiting.map(|(number, _)| phase_in(*number)).collect();
        waiting.remove(&LockPhase::default());
        // Tonight, and that night itself, and those in between.
        let nights = usize::try_from(seconds(next.opens) / DAY + 2).unwrap_or(2);
        let tonight = (waiting.len() + nights / 2) / nights;
        turn.extend(waiting.into_iter().rev().take(tonight));
    }
    let plan = |(generation, lock): (&Generation, &Timestamp)| {
        let phase = phase_in(*generation);
        let must = *lock < promise;
        let mut need = must.then(|| extension(*generation, promise, now, of));
        if must || turn.contains(&phase) {
            let boundaries = Boundaries::of(table, vault, phase);
            for next in soon.iter().filter(|next| *lock < next.promise) {
                let until = boundaries.at_or_after(next.promise).min(ceiling);
                if need.is_none_or(|need| need.until < until) {
                    need = Some(LockExtension { until, now: must });
                }
            }
        }
        Some((*generation, need?))
    };
    locks.iter().filter_map(plan).collect()
}

#[cfg(test)]
mod tests;
