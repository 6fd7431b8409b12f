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
    Need, Placing, Slice, extension, is_short, lock_ceiling, lock_until, place, plan_extensions,
    slice_in, slice_of, slices, window,
};
pub use period::{MonthDay, Period, Weekday};
pub use policy::{
    Ask, Chosen, Class, Night, Policy, Reason, UNTIL_CLASS, Upcoming, check_lengths, choose,
    upcoming,
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
        "{until} is not {shortest} to {longest} days ahead, which is what this vault allows to promise"
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
    #[error("class {class} reaches past the calendar")]
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
    #[error("the clock of this machine says {ours}, that of the store {stores}")]
    ClockSkew {
        /// This machine's.
        ours: Timestamp,
        /// The store's.
        stores: Timestamp,
    },
}

/// How far this machine's clock and the store's may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Compares this machine's clock with the store's, both read at one time.
///
/// # Errors
/// [`RetentionError::ClockSkew`] when they are more than five minutes apart.
pub fn check_clock(ours: Timestamp, stores: Timestamp) -> Result<(), RetentionError> {
    if ours.duration_since(stores).abs() > SKEW {
        return Err(RetentionError::ClockSkew { ours, stores });
    }
    Ok(())
}

/// How much longer a base's promise must last for its objects to be referenced again where nothing locks them.
const REUSE_MARGIN: SignedDuration = SignedDuration::from_hours(48);

/// Whether a base's objects may be referenced by a new snapshot.
///
/// Locks are extended and thereby proven; without locks a prune could collect what only the base needs, so its
/// promise has to cover two more days.
pub fn may_reuse(base: &Record, lock_mode: LockMode, now: Timestamp) -> bool {
    match lock_mode {
        LockMode::Governance | LockMode::Compliance => true,
        LockMode::None => base.promise.duration_since(now) >= REUSE_MARGIN,
    }
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
