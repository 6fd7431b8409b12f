//! How long a snapshot is promised to be kept, and until when the objects that it references are locked.
//!
//! Pure: `now` comes in as an argument, and every decision says why. What no rule here does is shorten a promise that
//! was made: a promise stands in its record, and classes are only looked at when a new record is made.

mod generation;
mod period;
mod policy;

use jiff::SignedDuration;

use crate::format::{LockMode, Record};
use crate::ids::Timestamp;

pub use generation::{
    LockExtension, LockPhase, Placing, bounded_lock, extension, is_short, lock_ceiling, lock_floor,
    lock_phases, lock_until, phase_in, phase_of, place, plan_extensions, window,
};
pub use period::{MonthDay, Period, Weekday};
pub use policy::{
    Chosen, Class, ClassReason, NewSnapshot, Policy, RetentionRequest, UNTIL_CLASS, Upcoming,
    check_lengths, choose, upcoming,
};

/// A promise that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// Outside what the vault allows.
    #[error("class {class} keeps {days} days, this vault allows {shortest} to {longest}")]
    OutOfBounds {
        /// The class.
        class: String,
        /// Its length in whole days: of months, the one that breaks the rule.
        days: i64,
        /// The shortest allowed, days.
        shortest: u32,
        /// The longest allowed, days.
        longest: u32,
    },
    /// A time that was asked for is outside what the vault allows.
    #[error(
        "{until} is not {shortest} to {longest} days ahead, as this vault requires of a promise"
    )]
    UntilOutOfBounds {
        /// What was asked for.
        until: Timestamp,
        /// The shortest allowed, days.
        shortest: u32,
        /// The longest allowed, days.
        longest: u32,
    },
    /// The end cannot be computed.
    #[error("class {class} ends after the last day of the calendar")]
    PastCalendar {
        /// The class.
        class: String,
    },
    /// There is no such class.
    #[error("there is no retention class {name:?}")]
    UnknownClass {
        /// What was asked for.
        name: String,
    },
    /// This machine's clock or the store's is wrong: every promise and every lock is counted from now.
    #[error("this machine's clock says {ours}, the store's clock {stores}")]
    ClockSkew {
        /// This machine's.
        ours: Timestamp,
        /// The store's.
        stores: Timestamp,
    },
}

/// How far this machine's clock and the store's may be apart.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Compares this machine's clock with the store's, both read at one time.
///
/// # Errors
/// [`RetentionError::ClockSkew`] when they are more than five minutes apart.
pub fn check_clock(ours: Timestamp, stores: Timestamp) -> Result<(), RetentionError> {
    if ours.duration_since(stores).abs() > CLOCK_SKEW {
        return Err(RetentionError::ClockSkew { ours, stores });
    }
    Ok(())
}

/// How much longer a base's promise must last for its objects to be referenced again where nothing locks them.
const REUSE_MARGIN: SignedDuration = SignedDuration::from_hours(48);

/// How much longer an object must be locked for a run to reference what it did not put itself.
const LOCKED_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// How much longer it must be safe from a prune when the run comes to publish.
const PUBLISH_MARGIN: SignedDuration = SignedDuration::from_hours(1);

/// Whether a prune cannot collect what a base references while a run goes on from it, whatever else is published.
///
/// A lock that is over can be extended, and the extension proves nothing: a server may look at the locks of a whole
/// batch first and delete it then (`MinIO` does). So what separates the two is time: what is still locked for a day is
/// extended long before it may be deleted, and without locks the base's promise has to cover two more days.
pub fn outlasts_a_run(base: &Record, lock_mode: LockMode, now: Timestamp) -> bool {
    match lock_mode {
        LockMode::Governance | LockMode::Compliance => {
            is_locked_enough(stays_until(base, lock_mode), now)
        }
        LockMode::None => base.promise.duration_since(now) >= REUSE_MARGIN,
    }
}

/// Until when no prune can collect what a base references, whatever else is published.
pub fn stays_until(base: &Record, lock_mode: LockMode) -> Option<Timestamp> {
    match lock_mode {
        LockMode::Governance | LockMode::Compliance => base.locks.values().min().copied(),
        LockMode::None => Some(base.promise),
    }
}

/// Whether what stays until then stays long enough to extend it and to publish a snapshot that references it.
pub fn may_publish_on(stays_until: Option<Timestamp>, now: Timestamp) -> bool {
    stays_until.is_some_and(|until| until.duration_since(now) >= PUBLISH_MARGIN)
}

/// Whether an object that is locked until then may be taken over by a run: for why, see [`outlasts_a_run`].
pub fn is_locked_enough(locked_until: Option<Timestamp>, now: Timestamp) -> bool {
    locked_until.is_some_and(|until| until.duration_since(now) >= LOCKED_MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_five_minutes_apart_either_way() {
        let ours: Timestamp = "2028-02-29T00:02:00Z".parse().unwrap();
        for (stores, fits) in [
            ("2028-02-29T00:02:00Z", true),
            ("2028-02-28T23:57:00Z", true),
            ("2028-02-29T00:07:00Z", true),
            ("2028-02-28T23:56:59.999Z", false),
            ("2028-02-29T00:07:00.001Z", false),
            ("9999-01-01T00:00:00Z", false),
            ("1970-01-01T00:00:00Z", false),
        ] {
            let checked = check_clock(ours, stores.parse().unwrap());
            assert_eq!(checked.is_ok(), fits, "{stores}");
        }
    }
}
