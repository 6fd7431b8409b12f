//! Calendar periods: when one begins that a moment lies in, in UTC.
//!
//! Days begin at midnight. Weeks and months begin on a day that follows from the table's key, so that a fleet does not
//! promise and extend everything in one night; the policy may fix the day instead.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::Deserialize;

use crate::format::TableKey;
use crate::ids::Timestamp;

pub use jiff::civil::Weekday;

/// A calendar period. The order is that of their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// From midnight UTC.
    Day,
    /// Seven days.
    Week,
    /// A calendar month.
    Month,
}

impl Period {
    /// The period as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    fn length(self) -> Span {
        match self {
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
        }
    }
}

/// A day that every month has: 1 to 28.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonthDay(i8);

impl MonthDay {
    /// The day, when every month has it.
    pub fn new(day: i8) -> Option<Self> {
        (1..=28).contains(&day).then_some(Self(day))
    }
}

/// On which days the periods of one table begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Starts {
    week: Weekday,
    month: MonthDay,
}

impl Starts {
    /// What is fixed, else what follows from the table's hash: Monday plus `hash mod 7`, and 1 plus `(hash div 7) mod
    /// 28`.
    pub(super) fn of(
        table: &TableKey,
        week_starts: Option<Weekday>,
        month_starts: Option<MonthDay>,
    ) -> Self {
        let hash = table.hash().as_u128();
        let small = |number: u128| i8::try_from(number).unwrap_or_default();
        let days = small(hash % 7);
        Self {
            week: week_starts.unwrap_or(Weekday::Monday.wrapping_add(days)),
            month: month_starts.unwrap_or(MonthDay(1 + small(hash / 7 % 28))),
        }
    }

    /// When the period began that `now` lies in; `None` only before the calendar's first.
    pub(super) fn start(self, period: Period, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let date = match period {
            Period::Day => today,
            Period::Week => {
                let into = i64::from(today.weekday().since(self.week));
                today.checked_sub(into.days()).ok()?
            }
            Period::Month => {
                let this = Date::new(today.year(), today.month(), self.month.0).ok()?;
                if this <= today {
                    this
                } else {
                    this.checked_sub(1.month()).ok()?
                }
            }
        };
        midnight(date)
    }

    /// When the period begins that comes after the one that `now` lies in; `None` only at the calendar's end.
    pub(super) fn next(self, period: Period, now: Timestamp) -> Option<Timestamp> {
        let start = self.start(period, now)?.to_zoned(TimeZone::UTC).date();
        midnight(start.checked_add(period.length()).ok()?)
    }
}

fn midnight(date: Date) -> Option<Timestamp> {
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn periods_begin_at_midnight_utc_on_the_fixed_day() {
        let starts = Starts {
            week: Weekday::Sunday,
            month: MonthDay(28),
        };
        let cases = "
            day 2028-02-29T23:59:59Z 2028-02-29 2028-03-01
            day 2027-12-31T00:00:00Z 2027-12-31 2028-01-01
            # UTC has neither the hour that clocks skip nor the one they repeat.
            day 2027-03-28T01:30:00Z 2027-03-28 2027-03-29
            day 2027-10-31T00:30:00Z 2027-10-31 2027-11-01
            # 2028-02-27 is a Sunday.
            week 2028-02-29T03:00:00Z 2028-02-27 2028-03-05
            week 2028-02-27T00:00:00Z 2028-02-27 2028-03-05
            week 2028-02-26T23:59:59Z 2028-02-20 2028-02-27
            month 2028-02-29T03:00:00Z 2028-02-28 2028-03-28
            month 2027-02-28T00:00:00Z 2027-02-28 2027-03-28
            month 2027-03-01T00:00:00Z 2027-02-28 2027-03-28
            month 2028-01-27T23:59:59Z 2027-12-28 2028-01-28";
        let midnight = |date| Some(time(&format!("{date}T00:00:00Z")));
        let periods = [Period::Day, Period::Week, Period::Month];
        for case in cases.lines().skip(1).filter(|case| !case.contains('#')) {
            let words: Vec<_> = case.split_whitespace().collect();
            let [period, now, start, next] = words[..] else {
                panic!("{case}");
            };
            let period = periods
                .into_iter()
                .find(|it| it.as_str() == period)
                .unwrap();
            let found = [
                starts.start(period, time(now)),
                starts.next(period, time(now)),
            ];
            assert_eq!(found, [midnight(start), midnight(next)], "{case}");
        }
    }

    #[test]
    fn tables_have_days_of_their_own_and_every_day_has_its_share() {
        let mut weeks = [0; 7];
        let mut months = [0; 29];
        for n in 0..2800 {
            let uri = format!("s3://lake/table-{n}").parse().unwrap();
            let starts = Starts::of(&TableKey::of("aws", &uri).unwrap(), None, None);
            weeks[usize::try_from(starts.week.to_monday_zero_offset()).unwrap()] += 1;
            months[usize::try_from(starts.month.0).unwrap()] += 1;
        }
        assert!(
            weeks.iter().all(|count| (320..480).contains(count)),
            "{weeks:?}"
        );
        assert_eq!(months[0], 0);
        assert!(
            months[1..].iter().all(|count| (60..145).contains(count)),
            "{months:?}"
        );
        let uri = "s3://lake/sales/Orders".parse().unwrap();
        // python3 -c 'h=0x37def596bc86afd2280da522389b7bb0; print(h%7, 1+h//7%28)'
        let frozen = Starts::of(&TableKey::of("aws", &uri).unwrap(), None, None);
        assert_eq!((frozen.week, frozen.month.0), (Weekday::Monday, 21));
    }

    #[test]
    fn a_day_that_some_month_lacks_is_none() {
        assert!(MonthDay::new(28).is_some() && MonthDay::new(1).is_some());
        assert!(
            [0, -1, 29, 31]
                .map(MonthDay::new)
                .iter()
                .all(Option::is_none)
        );
    }
}
