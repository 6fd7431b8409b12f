//! How far back Delta's readers may travel in time, and what must be set before an older version can be used.
//!
//! Delta 4.1 and later refuse `VERSION AS OF`, `RESTORE` and `CLONE` beyond `delta.deletedFileRetentionDuration`, with
//! every file there. Setting that property alone is refused when it would exceed `delta.logRetentionDuration`, so both
//! are set together, and neither is ever set below what the table has. A `RESTORE` brings back the properties of the
//! version that it restores.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::ids::Timestamp;

/// The property that says how long removed files, and so older versions, are kept.
pub const DELETED_FILES: &str = "delta.deletedFileRetentionDuration";
/// The property that says how long the log's older files are kept.
pub const LOG: &str = "delta.logRetentionDuration";

/// Delta's own values where a table sets none.
const DELETED_FILES_DEFAULT: SignedDuration = SignedDuration::from_hours(7 * 24);
const LOG_DEFAULT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A version that the window still covers for this long needs no change: time to read the plan and to act.
const SPARE: SignedDuration = SignedDuration::from_hours(24);

/// Days beyond the version's age that are asked for: a weekend, and some days to look at what came back.
const MARGIN_DAYS: u64 = 7;

const DAY: u64 = 24 * 60 * 60;

/// Values for the two properties under which a version can be used, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// For [`DELETED_FILES`].
    pub deleted_files: u64,
    /// For [`LOG`].
    pub log: u64,
}

impl Window {
    /// What has to be set before a version committed at `committed` can be used at `now`; `None` when the table's own
    /// properties suffice. Where the properties are not known (`None`), they are always set.
    pub fn needed(
        committed: Timestamp,
        now: Timestamp,
        properties: Option<&BTreeMap<String, String>>,
    ) -> Option<Self> {
        let age = now.duration_since(committed).max(SignedDuration::ZERO);
        let of = |name: &str, default| match properties?.get(name) {
            // A value that Delta itself cannot read protects nothing.
            Some(text) => Some(interval(text).unwrap_or(SignedDuration::ZERO)),
            None => Some(default),
        };
        let deleted_files = of(DELETED_FILES, DELETED_FILES_DEFAULT);
        let log = of(LOG, LOG_DEFAULT);
        let covers = |found: Option<SignedDuration>| {
            found.is_some_and(|found| found >= age.saturating_add(SPARE))
        };
        if covers(deleted_files) && covers(log) {
            return None;
        }
        let wanted = days(age).saturating_add(MARGIN_DAYS);
        let at_least =
            |found: Option<SignedDuration>| found.map_or(wanted, |it| wanted.max(days(it)));
        let deleted_files = at_least(deleted_files);
        Some(Self {
            deleted_files,
            log: at_least(log).max(deleted_files),
        })
    }
}

/// Whole days, rounded up.
fn days(duration: SignedDuration) -> u64 {
    u64::try_from(duration.as_secs()).unwrap_or(0).div_ceil(DAY)
}

/// Reads an interval as Delta's properties spell it: `interval 30 days`, `interval 1 week 12 hours`, `168 hours`.
/// Months and years, which Delta refuses, are taken at their longest.
fn interval(text: &str) -> Option<SignedDuration> {
    let text = text.to_ascii_lowercase();
    let mut words = text.split_ascii_whitespace().peekable();
    words.next_if_eq(&"interval");
    let mut sum: Option<SignedDuration> = None;
    while let Some(number) = words.next() {
        let number: i64 = number.parse().ok()?;
        let unit = words.next()?;
        let seconds: i64 = match unit.strip_suffix('s').unwrap_or(unit) {
            "year" => 366 * 86_400,
            "month" => 31 * 86_400,
            "week" => 7 * 86_400,
            "day" => 86_400,
            "hour" => 3_600,
            "minute" => 60,
            "second" => 1,
            "millisecond" | "microsecond" => 0,
            _ => return None,
        };
        let part = SignedDuration::from_secs(number.checked_mul(seconds)?);
        sum = Some(sum.unwrap_or(SignedDuration::ZERO).checked_add(part)?);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(age_hours: i64, properties: &[(&str, &str)]) -> Option<(u64, u64)> {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let committed = now - SignedDuration::from_hours(age_hours);
        let pairs = properties.iter();
        let properties = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let window = Window::needed(committed, now, Some(&properties.collect()))?;
        Some((window.deleted_files, window.log))
    }

    #[test]
    fn a_version_within_the_defaults_needs_nothing_and_an_older_one_both_properties() {
        assert_eq!(needed(0, &[]), None);
        assert_eq!(needed(6 * 24, &[]), None, "a day is left");
        assert_eq!(needed(6 * 24 + 1, &[]), Some((14, 30)));
        assert_eq!(needed(40 * 24, &[]), Some((47, 47)));
        assert_eq!(
            needed(40 * 24 + 1, &[]),
            Some((48, 48)),
            "a part of a day counts whole"
        );
    }

    #[test]
    fn neither_property_is_set_below_what_the_table_has() {
        let long = (LOG, "interval 365 days");
        assert_eq!(needed(40 * 24, &[long]), Some((47, 365)));
        assert_eq!(
            needed(40 * 24, &[long, (DELETED_FILES, "interval 60 days")]),
            None
        );
        let odd = [(DELETED_FILES, "interval 60 days"), (LOG, "interval 1 day")];
        assert_eq!(
            needed(40 * 24, &odd),
            Some((60, 60)),
            "the log is kept at least as long"
        );
        let short = [(DELETED_FILES, "interval 0 hours")];
        assert_eq!(needed(1, &short), Some((8, 30)));
    }

    #[test]
    fn what_cannot_be_read_or_is_not_known_is_set() {
        assert_eq!(needed(1, &[(DELETED_FILES, "for ever")]), Some((8, 30)));
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let window = Window::needed(now, now, None).unwrap();
        assert_eq!((window.deleted_files, window.log), (7, 7));
        // A clock that is behind the commit's: the version is of no age.
        let window = Window::needed(now + SignedDuration::from_hours(5), now, None).unwrap();
        assert_eq!(window.deleted_files, 7);
    }

    #[test]
    fn intervals_are_read_in_every_spelling_that_delta_takes() {
        let hours = |text| interval(text).map(|it| it.as_hours());
        for (text, expected) in [
            ("interval 30 days", Some(720)),
            ("INTERVAL 1 WEEK", Some(168)),
            ("interval 1 week 2 days 12 hours", Some(228)),
            ("168 hours", Some(168)),
            ("interval  90   minutes", Some(1)),
            ("interval 1 month", Some(744)),
            ("interval 5 parsecs", None),
            ("interval", None),
            ("", None),
            ("interval days 5", None),
            ("interval 9223372036854775807 weeks", None),
        ] {
            assert_eq!(hours(text), expected, "{text:?}");
        }
    }
}
