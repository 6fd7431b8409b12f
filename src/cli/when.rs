//! Times as people type them after `--at`.
//!
//! A time without a zone is read in the system's, and always printed with its zone, so that nobody has to know
//! which one was taken. A local time that a clock change makes double or impossible is refused.

use std::fmt;

use deltavault::ids::Timestamp;
use deltavault::plan::choose::At;
use jiff::Zoned;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::cli::error::CommandError;

/// A point in time, and the zone it was said in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct When {
    /// The point in time.
    pub(crate) time: Timestamp,
    /// The zone that it is told in.
    pub(crate) zone: TimeZone,
    /// Whether a fraction of a second was typed: then that moment is meant, else all of the second, because commit times
    /// are printed without theirs.
    pub(crate) has_fraction: bool,
}

impl When {
    /// Reads `text`: RFC 3339, or a date with or without a time, with or without a zone; `system` is taken
    /// where none is named. A date alone is its first moment.
    ///
    /// # Errors
    /// [`CommandError::TimeUnparseable`], [`CommandError::TimeAmbiguous`].
    pub(crate) fn parse(text: &str, system: &TimeZone) -> Result<Self, CommandError> {
        let unparseable = || CommandError::TimeUnparseable {
            text: text.to_owned(),
        };
        let trimmed = text.trim();
        let has_fraction = trimmed.contains(['.', ',']);
        if let Ok(zoned) = trimmed.parse::<Zoned>() {
            let zone = zoned.time_zone().clone();
            return Ok(Self {
                time: zoned.timestamp(),
                zone,
                has_fraction,
            });
        }
        if let Ok(time) = trimmed.parse::<Timestamp>() {
            let zone = TimeZone::UTC;
            return Ok(Self {
                time,
                zone,
                has_fraction,
            });
        }
        let (local, zone) = match trimmed.rsplit_once(' ') {
            Some((local, name)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let zone = TimeZone::get(name).map_err(|_| unparseable())?;
                (local.trim_end(), zone)
            }
            _ => (trimmed, system.clone()),
        };
        // A parser of times that takes "2026-11-20T03:00Z" and drops the Z would be hours off.
        let civil = parse_civil(local).ok_or_else(unparseable)?;
        let zoned = zone.to_ambiguous_zoned(civil).unambiguous().map_err(|_| {
            CommandError::TimeAmbiguous {
                text: text.to_owned(),
                zone: zone_name(&zone),
            }
        })?;
        Ok(Self {
            time: zoned.timestamp(),
            zone,
            has_fraction,
        })
    }

    /// Tells another point in time in the same zone.
    pub(crate) fn same_zone(&self, time: Timestamp) -> Self {
        Self {
            time,
            zone: self.zone.clone(),
            has_fraction: false,
        }
    }
}

impl From<&When> for At {
    fn from(when: &When) -> Self {
        Self {
            time: when.time,
            is_exact: when.has_fraction,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zoned = self.time.to_zoned(self.zone.clone());
        // Only these distinguish commits that are a few milliseconds apart.
        let millis = match self.time.as_millisecond().rem_euclid(1000) {
            0 if !self.has_fraction => String::new(),
            millis => format!(".{millis:03}"),
        };
        let second = zoned.strftime("%Y-%m-%d %H:%M:%S");
        if self.zone == TimeZone::UTC {
            return write!(f, "{second}{millis}Z");
        }
        let zone = zone_name(&self.zone);
        write!(f, "{second}{millis}{} {zone}", zoned.strftime("%:z"))
    }
}

fn parse_civil(text: &str) -> Option<DateTime> {
    let date_only = text.len() == "2026-11-20".len();
    if date_only {
        return text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0));
    }
    let last = text.chars().last()?;
    let offset = text.get("2026-11-20".len()..)?.contains(['+', '-']);
    if offset || !last.is_ascii_digit() {
        return None;
    }
    text.parse().ok()
}

fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name()
        .unwrap_or("the system's time zone")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, CommandError> {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        When::parse(text, &berlin).map(|when| when.time.to_string())
    }

    #[test]
    fn the_documented_spellings_are_understood() {
        for (text, time) in [
            ("2026-11-20T03:00:00Z", "2026-11-20T03:00:00Z"),
            ("2026-11-20T03:00Z", "2026-11-20T03:00:00Z"),
            ("2026-11-20 03:00:00.5+01:00", "2026-11-20T02:00:00.5Z"),
            (
                "2026-11-20T03:00-05:00[America/New_York]",
                "2026-11-20T08:00:00Z",
            ),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("2026-11-20 03:00", "2026-11-20T02:00:00Z"),
            ("2026-11-20T03:00:01", "2026-11-20T02:00:01Z"),
            ("2026-11-20 03:00 UTC", "2026-11-20T03:00:00Z"),
            ("2026-11-20 UTC", "2026-11-20T00:00:00Z"),
            ("2026-06-20 03:00 America/New_York", "2026-06-20T07:00:00Z"),
        ] {
            assert_eq!(parse(text).unwrap(), time, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_never_guessed() {
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-20 25:00",
            "20.11.2026",
            "2026-11-20 03:00 Mars/Base",
            "1763607600",
            "2026-11-20 03:00 +01",
        ] {
            assert!(
                matches!(parse(bad), Err(CommandError::TimeUnparseable { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_local_time_that_is_double_or_missing_is_refused() {
        for bad in ["2026-10-25 02:30", "2026-03-29 02:30"] {
            assert!(
                matches!(parse(bad), Err(CommandError::TimeAmbiguous { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_fraction_means_that_moment_and_a_second_all_of_it() {
        for (text, is_exact, told) in [
            ("11:29:36Z", false, "11:29:36Z"),
            ("11:29:36.000Z", true, "11:29:36.000Z"),
            ("11:29:36.5Z", true, "11:29:36.500Z"),
            ("11:29Z", false, "11:29:00Z"),
        ] {
            let when = When::parse(&format!("2026-11-20T{text}"), &TimeZone::UTC).unwrap();
            assert_eq!(At::from(&when).is_exact, is_exact, "{text}");
            assert_eq!(when.to_string(), format!("2026-11-20 {told}"));
        }
    }

    #[test]
    fn a_time_is_printed_with_its_zone() {
        let when = When::parse("2026-11-20 03:00 Europe/Berlin", &TimeZone::UTC).unwrap();
        assert_eq!(when.to_string(), "2026-11-20 03:00:00+01:00 Europe/Berlin");
        let utc = When::parse("2026-11-20T03:00Z", &TimeZone::UTC).unwrap();
        assert_eq!(utc.to_string(), "2026-11-20 03:00:00Z");
    }
}
