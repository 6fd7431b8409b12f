//! How long a snapshot is promised to be kept.
//!
//! Pure: `now` comes in as an argument.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, ToSpan};

use crate::format::{LockMode, Record, VaultFile};
use crate::ids::Timestamp;

/// A retention class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// How long its snapshots are kept.
    pub keep: Span,
}

impl Default for Class {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            keep: 30.days(),
        }
    }
}

/// A class whose length cannot be promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// Outside what the vault allows.
    #[error("class {class} keeps {days} days, this vault allows {shortest} to {longest}")]
    OutOfBounds {
        /// The class.
        class: String,
        /// Its length, whole days.
        days: i64,
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
}

/// Until when a snapshot taken `now` in `class` is kept: calendar arithmetic in UTC.
///
/// # Errors
/// [`RetentionError`] when the vault does not allow that length.
pub fn promise(
    class: &Class,
    vault: &VaultFile,
    now: Timestamp,
) -> Result<Timestamp, RetentionError> {
    let past = || RetentionError::PastCalendar {
        class: class.name.clone(),
    };
    let until = now
        .to_zoned(TimeZone::UTC)
        .checked_add(class.keep)
        .map_err(|_| past())?
        .timestamp();
    let days = until.duration_since(now).as_hours() / 24;
    if days < i64::from(vault.shortest_days) || days > i64::from(vault.longest_days) {
        return Err(RetentionError::OutOfBounds {
            class: class.name.clone(),
            days,
            shortest: vault.shortest_days,
            longest: vault.longest_days,
        });
    }
    Ok(until)
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
    use crate::ids::Id128;

    fn vault() -> VaultFile {
        VaultFile {
            created: Timestamp::UNIX_EPOCH,
            format: 1,
            generation_days: 10,
            id: Id128::from_bytes([0; 16]),
            lock_mode: LockMode::None,
            longest_days: 3650,
            shortest_days: 3,
        }
    }

    #[test]
    fn promises_follow_the_calendar() {
        let cases = [
            ("2026-11-21T03:00:00Z", 30.days(), "2026-12-21T03:00:00Z"),
            ("2028-01-31T00:00:00Z", 1.month(), "2028-02-29T00:00:00Z"),
            ("2026-11-21T03:00:00Z", 8.weeks(), "2027-01-16T03:00:00Z"),
        ];
        for (now, keep, until) in cases {
            let class = Class {
                name: "c".into(),
                keep,
            };
            let got = promise(&class, &vault(), now.parse().unwrap()).unwrap();
            assert_eq!(got.to_string(), until);
        }
    }

    #[test]
    fn lengths_outside_the_vault_s_bounds_are_refused() {
        for keep in [2.days(), 11.years()] {
            let class = Class {
                name: "c".into(),
                keep,
            };
            let refused = promise(&class, &vault(), "2026-11-21T03:00:00Z".parse().unwrap());
            assert!(
                matches!(refused, Err(RetentionError::OutOfBounds { .. })),
                "{refused:?}"
            );
        }
    }
}
