//! Times as people type them: after `--at` and `--since` those that have been, after `--until` those to come.
//!
//! A time without a zone is read in the system's, and always printed with its zone, so that nobody has to know
//! which one was taken. A local time that a clock change makes double or impossible is refused.

use std::fmt;

use deltavault::ids::Timestamp;
use deltavault::plan::choose::AsOf;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Unit, Zoned, ZonedRound};

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

/// On which side of now a time lies that is named without its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The last such time.
    Past,
    /// The next.
    Coming,
}

impl When {
    /// Reads the time of something that has been. RFC 3339, or a date with or without a time, with or without a zone; the
    /// zone of `now` is taken where none is named. A date alone is its first moment, and so is `yesterday`; `03:00` is the
    /// last one before now, `2h ago` counts from now.
    ///
    /// # Errors
    /// [`CommandError::TimeUnparseable`], [`CommandError::TimeAmbiguous`].
    pub(crate) fn parse(text: &str, now: &Zoned) -> Result<Self, CommandError> {
        Self::on_side(text, now, Side::Past)
    }

    /// Reads a time to come, as [`When::parse`] does: `03:00` is the next one after now, `6h` counts from now.
    ///
    /// # Errors
    /// As [`When::parse`].
    pub(crate) fn parse_coming(text: &str, now: &Zoned) -> Result<Self, CommandError> {
        Self::on_side(text, now, Side::Coming)
    }

    fn on_side(text: &str, now: &Zoned, side: Side) -> Result<Self, CommandError> {
        let trimmed = text.trim();
        if let Some(time) = from_now(trimmed, now, side) {
            return Ok(Self::of(&time, false));
        }
        let around = |days: i64| now.date().checked_add(Span::new().days(days)).ok();
        let (word, rest) = trimmed.split_at(trimmed.find(' ').unwrap_or(trimmed.len()));
        let day = match word {
            "yesterday" => around(-1),
            "today" => around(0),
            "tomorrow" => around(1),
            _ => None,
        };
        if let Some(day) = day {
            return Self::absolute(&format!("{day}{rest}"), text, now.time_zone());
        }
        if !is_time_of_day(word) {
            return Self::absolute(trimmed, text, now.time_zone());
        }
        // The day is that of the zone which is named, so it may be another one than here.
        let mut days: Vec<i64> = (-2..=2).collect();
        if side == Side::Past {
            days.reverse();
        }
        let is_meant = |when: &Self| match side {
            Side::Past => when.time <= now.timestamp(),
            Side::Coming => when.time > now.timestamp(),
        };
        for day in days.into_iter().filter_map(around) {
            let when = Self::absolute(&format!("{day} {trimmed}"), text, now.time_zone())?;
            if is_meant(&when) {
                return Ok(when);
            }
        }
        Err(CommandError::TimeUnparseable {
            text: text.to_owned(),
        })
    }

    /// Reads a time with its day; `typed` is what an error names.
    fn absolute(trimmed: &str, typed: &str, system: &TimeZone) -> Result<Self, CommandError> {
        let unparseable = || CommandError::TimeUnparseable {
            text: typed.to_owned(),
        };
        let has_fraction = trimmed.contains(['.', ',']);
        if let Ok(zoned) = trimmed.parse::<Zoned>() {
            return Ok(Self::of(&zoned, has_fraction));
        }
        if let Ok(time) = trimmed.parse::<Timestamp>() {
            return Ok(Self::of(&time.to_zoned(TimeZone::UTC), has_fraction));
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
                text: typed.to_owned(),
                zone: zone_name(&zone),
            }
        })?;
        Ok(Self::of(&zoned, has_fraction))
    }

    fn of(time: &Zoned, has_fraction: bool) -> Self {
        Self {
            time: time.timestamp(),
            zone: time.time_zone().clone(),
            has_fraction,
        }
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

impl From<&When> for AsOf {
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

/// A time that is said by its distance from now, to the second: `now`, `2h ago`; of what is to come also `6h`.
fn from_now(text: &str, now: &Zoned, side: Side) -> Option<Zoned> {
    let second = ZonedRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Trunc);
    let now = now.round(second).ok()?;
    if text == "now" {
        return Some(now);
    }
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let span: Span = text.parse().ok().filter(|_| has_unit)?;
    let is_of_the_side = match side {
        Side::Past => text.ends_with("ago"),
        Side::Coming => span.is_positive(),
    };
    now.checked_add(span).ok().filter(|_| is_of_the_side)
}

/// `03:00`, `3:00` or `03:00:30`, also with the sign of UTC or an offset behind it.
fn is_time_of_day(word: &str) -> bool {
    let hour = word.split(':').next().unwrap_or_default();
    let is_hour = matches!(hour.len(), 1 | 2) && hour.bytes().all(|byte| byte.is_ascii_digit());
    is_hour && word.contains(':')
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

    /// Friday, one in the afternoon.
    fn now(zone: &str) -> Zoned {
        let time: Timestamp = "2026-11-20T12:00:00.75Z".parse().unwrap();
        time.to_zoned(TimeZone::get(zone).unwrap())
    }

    fn parse(text: &str) -> Result<String, CommandError> {
        When::parse(text, &now("Europe/Berlin")).map(|when| when.time.to_string())
    }

    #[test]
    fn a_time_without_its_day_is_the_last_one_or_the_next() {
        let next = |text: &str| {
            let when = When::parse_coming(text, &now("Europe/Berlin"));
            when.map(|when| when.time.to_string())
        };
        for (text, last, coming) in [
            ("03:00", "2026-11-20T02:00:00Z", "2026-11-21T02:00:00Z"),
            ("13:00:30", "2026-11-19T12:00:30Z", "2026-11-20T12:00:30Z"),
            ("18:00 UTC", "2026-11-19T18:00:00Z", "2026-11-20T18:00:00Z"),
            (
                "18:00 Asia/Tokyo",
                "2026-11-20T09:00:00Z",
                "2026-11-21T09:00:00Z",
            ),
            ("yesterday", "2026-11-18T23:00:00Z", "2026-11-18T23:00:00Z"),
            (
                "yesterday 18:00",
                "2026-11-19T17:00:00Z",
                "2026-11-19T17:00:00Z",
            ),
            (
                "today 18:00 UTC",
                "2026-11-20T18:00:00Z",
                "2026-11-20T18:00:00Z",
            ),
            ("tomorrow", "2026-11-20T23:00:00Z", "2026-11-20T23:00:00Z"),
            ("now", "2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z"),
        ] {
            assert_eq!(parse(text).unwrap(), last, "{text}");
            assert_eq!(next(text).unwrap(), coming, "{text}");
        }
        for (text, time) in [
            ("2h ago", "2026-11-20T10:00:00Z"),
            ("90 minutes ago", "2026-11-20T10:30:00Z"),
            // The clocks were put back in between: the same time of day.
            ("30d ago", "2026-10-21T11:00:00Z"),
        ] {
            assert_eq!(parse(text).unwrap(), time, "{text}");
            assert!(next(text).is_err(), "{text}");
        }
        for (text, time) in [
            ("6h", "2026-11-20T18:00:00Z"),
            ("1w", "2026-11-27T12:00:00Z"),
        ] {
            assert_eq!(next(text).unwrap(), time, "{text}");
            assert!(parse(text).is_err(), "{text}");
        }
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
            "the day before",
            "yesterdays",
            "yesterday 3",
            "25:00",
            "-2h",
            "2 ago",
            "ago",
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
            let when = When::parse(&format!("2026-11-20T{text}"), &now("UTC")).unwrap();
            assert_eq!(AsOf::from(&when).is_exact, is_exact, "{text}");
            assert_eq!(when.to_string(), format!("2026-11-20 {told}"));
        }
    }

    #[test]
    fn a_time_is_printed_with_its_zone() {
        let when = When::parse("2026-11-20 03:00 Europe/Berlin", &now("UTC")).unwrap();
        assert_eq!(when.to_string(), "2026-11-20 03:00:00+01:00 Europe/Berlin");
        let utc = When::parse("2026-11-20T03:00Z", &now("UTC")).unwrap();
        assert_eq!(utc.to_string(), "2026-11-20 03:00:00Z");
    }
}
