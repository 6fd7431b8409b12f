//! Which class a snapshot takes, and until when it is promised to be kept.
//!
//! What a table's periods are known to have opened stands in its ledger, in the head's record: a night that failed or
//! came late leaves the period to the next one, and whatever machine runs it decides alike.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, ToSpan};

use super::RetentionError;
use super::period::{MonthDay, Period, Starts, Weekday};
use crate::format::{TableKey, Trigger, VaultFile};
use crate::ids::Timestamp;

/// A retention class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How long its snapshots are kept.
    pub keep: Span,
    /// The calendar period that a scheduled snapshot opens to get this class; none: only by name, or as the shortest.
    pub period: Option<Period>,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            keep: 30.days(),
            period: None,
        }
    }
}

/// The classes that there are, and on which days their periods begin.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The classes, never none.
    pub classes: Vec<Class>,
    /// The day that weeks begin on; each table has its own where none is fixed.
    pub week_starts: Option<Weekday>,
    /// The day that months begin on; each table has its own where none is fixed.
    pub month_starts: Option<MonthDay>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            classes: vec![Class::default()],
            week_starts: None,
            month_starts: None,
        }
    }
}

/// What the owner asked for, instead of what the policy would choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionRequest {
    /// A class by its name.
    pub class: Option<String>,
    /// A time.
    pub until: Option<Timestamp>,
}

/// The name of the class of a snapshot that was promised until a time of its own.
pub const UNTIL_CLASS: &str = "retain-until";

/// A snapshot that is about to be taken.
#[derive(Debug, Clone, Copy)]
pub struct NewSnapshot<'a> {
    /// Of which table.
    pub table: &'a TableKey,
    /// Why.
    pub trigger: Trigger,
    /// The period that each class last opened, as the table's ledger has it; `None` when it has no snapshot yet.
    pub opened: Option<&'a BTreeMap<String, Timestamp>>,
    /// The time of the run.
    pub now: Timestamp,
}

/// Why a snapshot takes its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassReason {
    /// It is the first published scheduled one of the class's period.
    Opens {
        /// The period.
        period: Period,
        /// When that began.
        start: Timestamp,
    },
    /// The periods of all classes have been opened: the shortest.
    NothingOpens,
    /// No class has a period: the shortest.
    NoPeriods,
    /// The table has no snapshot yet: the shortest.
    First,
    /// It is not taken by a timer: the shortest.
    NotScheduled,
    /// The class was asked for.
    AskedClass,
    /// The time was asked for.
    AskedTime,
}

impl fmt::Display for ClassReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opens { period, start } => {
                let start = start.to_zoned(TimeZone::UTC).date();
                write!(f, "the first of the {} from {start} on", period.as_str())
            }
            Self::NothingOpens => f.write_str("no period opens: the shortest"),
            Self::NoPeriods => f.write_str("no class has a period: the shortest"),
            Self::First => f.write_str("the table's first snapshot: the shortest"),
            Self::NotScheduled => f.write_str("not scheduled: the shortest"),
            Self::AskedClass => f.write_str("asked for"),
            Self::AskedTime => f.write_str("the time was asked for"),
        }
    }
}

/// What was decided for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The class's name.
    pub class: String,
    /// Until when the snapshot is promised to be kept.
    pub promise: Timestamp,
    /// What its record says of the periods.
    pub opened: BTreeMap<String, Timestamp>,
    /// Why.
    pub reason: ClassReason,
}

/// Classes that a record names in `opened` at most: whatever a ledger says, the next record must fit its limit.
const OPENED_MAX: usize = 64;

/// The longest name of a class that is taken over from a record.
const NAME_MAX: usize = 256;

/// Chooses the class of a snapshot, and its promise.
///
/// The first published scheduled snapshot in each period takes the longest class whose period it opens, and opens all
/// that are due with it. A class that the ledger does not know yet, as on a table's first night or after a change of
/// the configuration, begins with its *next* period: else a whole fleet would promise and extend in one night.
///
/// # Errors
/// [`RetentionError`] when the vault does not allow that length.
pub fn choose(
    policy: &Policy,
    ask: &RetentionRequest,
    new: &NewSnapshot<'_>,
    vault: &VaultFile,
) -> Result<Chosen, RetentionError> {
    let known = new.opened.map(|opened| sane(opened, policy));
    let known = known.unwrap_or_default();
    let scheduled = new.trigger == Trigger::Scheduled;
    let find = |name: &String| {
        let class = policy.classes.iter().find(|class| class.name == *name);
        class.ok_or_else(|| RetentionError::UnknownClass { name: name.clone() })
    };
    let asked = ask.class.as_ref().map(find).transpose()?;
    if let Some(until) = ask.until {
        check_until(until, vault, new.now)?;
        return Ok(Chosen {
            class: asked.map_or_else(|| UNTIL_CLASS.to_owned(), |class| class.name.clone()),
            promise: until,
            opened: known,
            reason: ClassReason::AskedTime,
        });
    }
    if let Some(class) = asked {
        return chosen(class, known, ClassReason::AskedClass, vault, new.now);
    }
    let first = new.opened.is_none();
    if !scheduled && !first {
        let shortest = shortest(policy, new.now)?;
        return chosen(&shortest, known, ClassReason::NotScheduled, vault, new.now);
    }
    let starts = Starts::of(new.table, policy.week_starts, policy.month_starts);
    let mut opened = known;
    let mut due: Option<(Timestamp, &Class, ClassReason)> = None;
    let mut periods = false;
    for class in &policy.classes {
        let Some(period) = class.period else { continue };
        periods = true;
        let Some(start) = starts.start(period, new.now) else {
            continue;
        };
        // What a wrong clock once opened ahead of time counts as opened now.
        let last = opened.get(&class.name).filter(|last| **last <= new.now);
        let opens = last.is_some_and(|last| *last < start);
        opened.insert(class.name.clone(), start);
        if opens {
            let until = end(class, new.now)?;
            if due.as_ref().is_none_or(|(longest, ..)| *longest < until) {
                due = Some((until, class, ClassReason::Opens { period, start }));
            }
        }
    }
    let (class, reason) = match due {
        _ if first => (shortest(policy, new.now)?, ClassReason::First),
        Some((_, class, reason)) => (class.clone(), reason),
        None if periods => (shortest(policy, new.now)?, ClassReason::NothingOpens),
        None => (shortest(policy, new.now)?, ClassReason::NoPeriods),
    };
    chosen(&class, opened, reason, vault, new.now)
}

/// A promise that a table will make when a period opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upcoming {
    /// The period.
    pub period: Period,
    /// When it begins.
    pub opens: Timestamp,
    /// The promise of a run late on its first day.
    pub promise: Timestamp,
}

/// The promises that this table's scheduled snapshots will make when the next periods open. Classes that cannot be
/// promised are left to their own night.
pub fn upcoming(
    policy: &Policy,
    table: &TableKey,
    vault: &VaultFile,
    now: Timestamp,
) -> Vec<Upcoming> {
    let starts = Starts::of(table, policy.week_starts, policy.month_starts);
    let next = policy.classes.iter().filter_map(|class| {
        let period = class.period?;
        let opens = starts.next(period, now)?;
        let late = opens.checked_add(SignedDuration::from_hours(24)).ok()?;
        Some(Upcoming {
            period,
            opens,
            promise: check_length(class, vault, late).ok()?,
        })
    });
    next.collect()
}

/// What a ledger says of periods, as far as a record of ours can repeat it: first of all of those that there are, so that
/// no invented one crowds them out.
fn sane(opened: &BTreeMap<String, Timestamp>, policy: &Policy) -> BTreeMap<String, Timestamp> {
    let is_ours = |name: &String| policy.classes.iter().any(|class| class.name == *name);
    let (ours, others): (Vec<_>, Vec<_>) = opened.iter().partition(|(name, _)| is_ours(name));
    let others = others
        .into_iter()
        .filter(|(name, _)| name.len() <= NAME_MAX);
    ours.into_iter()
        .chain(others)
        .take(OPENED_MAX)
        .map(|(name, start)| (name.clone(), *start))
        .collect()
}

fn chosen(
    class: &Class,
    opened: BTreeMap<String, Timestamp>,
    reason: ClassReason,
    vault: &VaultFile,
    now: Timestamp,
) -> Result<Chosen, RetentionError> {
    Ok(Chosen {
        class: class.name.clone(),
        promise: check_length(class, vault, now)?,
        opened,
        reason,
    })
}

/// The class that keeps for the shortest time: a longer one only where it is asked for.
fn shortest(policy: &Policy, now: Timestamp) -> Result<Class, RetentionError> {
    let mut shortest: Option<(Timestamp, &Class)> = None;
    for class in &policy.classes {
        let until = end(class, now)?;
        if shortest.is_none_or(|(other, _)| until < other) {
            shortest = Some((until, class));
        }
    }
    Ok(shortest.map_or_else(Class::default, |(_, class)| class.clone()))
}

/// Until when a snapshot taken `now` in `class` is kept: calendar arithmetic in UTC.
fn end(class: &Class, now: Timestamp) -> Result<Timestamp, RetentionError> {
    let until = now.to_zoned(TimeZone::UTC).checked_add(class.keep);
    let past = |_| RetentionError::PastCalendar {
        class: class.name.clone(),
    };
    Ok(until.map_err(past)?.timestamp())
}

/// Checks the lengths of all classes, on every date at once: a class of months that the vault allows today must not fail
/// the night that comes before a leap day, nor a class that has a period the night that opens it.
///
/// # Errors
/// [`RetentionError`] of the first that the vault does not allow.
pub fn check_lengths(policy: &Policy, vault: &VaultFile) -> Result<(), RetentionError> {
    // A whole cycle of leap years, each month from its first day and from its last.
    let months = (2001..2005).flat_map(|year| (1..=12).map(move |month| date(year, month, 1)));
    let days: Vec<_> = months.flat_map(|day| [day, day.last_of_month()]).collect();
    for class in &policy.classes {
        let varies = class.keep.get_months() != 0 || class.keep.get_years() != 0;
        let count = if varies { days.len() } else { 1 };
        for day in days.iter().take(count) {
            if let Ok(from) = day.to_zoned(TimeZone::UTC) {
                check_length(class, vault, from.timestamp())?;
            }
        }
    }
    Ok(())
}

fn check_length(
    class: &Class,
    vault: &VaultFile,
    from: Timestamp,
) -> Result<Timestamp, RetentionError> {
    let (shortest, longest) = (vault.shortest_days, vault.longest_days);
    let until = end(class, from)?;
    let length = until.duration_since(from);
    if length < days(shortest) || length > days(longest) {
        return Err(RetentionError::OutOfBounds {
            class: class.name.clone(),
            days: length.as_hours() / 24,
            shortest,
            longest,
        });
    }
    Ok(until)
}

fn check_until(until: Timestamp, vault: &VaultFile, now: Timestamp) -> Result<(), RetentionError> {
    let (shortest, longest) = (vault.shortest_days, vault.longest_days);
    let ahead = until.duration_since(now);
    if ahead < days(shortest) || ahead > days(longest) {
        return Err(RetentionError::UntilOutOfBounds {
            until,
            shortest,
            longest,
        });
    }
    Ok(())
}

fn days(days: u32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(days) * 24 * 60 * 60)
}

#[cfg(test)]
mod tests;
