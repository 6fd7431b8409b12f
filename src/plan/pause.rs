//! The longest time in which a vault in a folder was not used, as far as the times in it tell.
//!
//! A folder has no clock but that of the machine. Where it was set ahead, every promise looks as if it were over, and the
//! snapshots that the same machine takes say the wrong time, too: all that shows it is a pause in which nothing seems to have
//! happened. A machine that was off looks the same, so only its owner can tell the two apart.

use std::collections::BTreeMap;

use crate::ids::Timestamp;

/// How many seconds are kept as one, so that years of nights stay small.
const GRAIN: i64 = 3600;

/// How many whole days without any use are taken for real without being asked about.
pub const PAUSE_DAYS: u16 = 7;

/// The times at which a vault was used.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    /// The first and the last of each hour, by records and events.
    said: BTreeMap<i64, (Timestamp, Timestamp)>,
    /// Likewise, by the times of files, which say less: a copy of a vault has new ones.
    seen: BTreeMap<i64, (Timestamp, Timestamp)>,
}

/// A time in which a vault was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The last use before it.
    pub after: Timestamp,
    /// The first use after it, or now.
    pub until: Timestamp,
}

impl Pause {
    /// Its whole days.
    pub fn days(&self) -> u64 {
        u64::try_from(self.until.duration_since(self.after).as_hours() / 24).unwrap_or_default()
    }
}

impl Uses {
    /// Takes note of the time that a record or an event says.
    pub fn say(&mut self, at: Timestamp) {
        note(&mut self.said, at);
    }

    /// Takes note of the time of a file.
    pub fn see(&mut self, at: Timestamp) {
        note(&mut self.seen, at);
    }

    /// The longest pause between `since`, when the clock was last believed, and `now`; without it, since the first record
    /// or event. None where there is no time before `now`.
    pub fn longest_pause(&self, since: Option<Timestamp>, now: Timestamp) -> Option<Pause> {
        let said = self.said.values().map(|(first, _)| *first);
        let begin = since.into_iter().chain(said).find(|at| *at <= now)?;
        let mut times: Vec<Timestamp> = self
            .said
            .values()
            .chain(self.seen.values())
            .flat_map(|(first, last)| [*first, *last])
            .filter(|at| (begin..=now).contains(at))
            .chain([begin, now])
            .collect();
        times.sort_unstable();
        let pauses = times.windows(2).filter_map(|two| match *two {
            [after, until] => Some(Pause { after, until }),
            _ => None,
        });
        pauses.max_by_key(|pause| pause.until.duration_since(pause.after))
    }
}

fn note(times: &mut BTreeMap<i64, (Timestamp, Timestamp)>, at: Timestamp) {
    let hour = times
        .entry(at.as_second().div_euclid(GRAIN))
        .or_insert((at, at));
    *hour = (hour.0.min(at), hour.1.max(at));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What records say, what files say, the last prune, now; expected: after, until, days.
    type Case<'a> = (
        &'a [&'a str],
        &'a [&'a str],
        Option<&'a str>,
        &'a str,
        Option<(&'a str, &'a str, u64)>,
    );

    fn at(text: &str) -> Timestamp {
        format!("2026-{text}Z").parse().unwrap()
    }

    #[test]
    fn the_longest_pause_is_found_wherever_the_wrong_clock_wrote_first() {
        let nights = ["11-01T03:00", "11-02T03:05", "11-03T03:00"];
        let cases: &[Case<'_>] = &[
            (&[], &[], None, "11-03T04:00", None),
            (&[], &["10-01T00:00"], None, "11-03T04:00", None),
            (
                &nights,
                &[],
                None,
                "11-03T04:00",
                Some((nights[0], nights[1], 1)),
            ),
            // Only the prune ran with the wrong clock.
            (
                &nights,
                &[],
                Some(nights[2]),
                "12-25T04:00",
                Some((nights[2], "12-25T04:00", 52)),
            ),
            // A snapshot ran with the wrong clock before it.
            (
                &["11-01T03:00", "11-02T03:05", "12-25T03:00"],
                &["12-25T03:00"],
                Some("11-02T04:00"),
                "12-25T04:00",
                Some(("11-02T04:00", "12-25T03:00", 52)),
            ),
            // The owner believed it once.
            (
                &["11-01T03:00", "12-25T03:00"],
                &[],
                Some("12-25T03:30"),
                "12-25T04:00",
                Some(("12-25T03:30", "12-25T04:00", 0)),
            ),
            // A file was written in between.
            (
                &["11-01T03:00"],
                &["10-01T03:00", "11-06T03:00", "12-01T00:00"],
                None,
                "11-12T04:00",
                Some(("11-06T03:00", "11-12T04:00", 6)),
            ),
            // The clock was set back: what lies in the future says nothing.
            (
                &["11-01T03:00", "12-25T03:00"],
                &[],
                Some("12-26T03:30"),
                "11-02T04:00",
                Some(("11-01T03:00", "11-02T04:00", 1)),
            ),
        ];
        for (said, seen, since, now, expected) in cases {
            let mut uses = Uses::default();
            said.iter().for_each(|it| uses.say(at(it)));
            seen.iter().for_each(|it| uses.see(at(it)));
            let pause = uses.longest_pause(since.map(at), at(now));
            let found = pause.map(|it| (it.after, it.until, it.days()));
            let expected = expected.map(|(after, until, days)| (at(after), at(until), days));
            assert_eq!(found, expected, "{said:?} {since:?} {now}");
        }
    }

    #[test]
    fn an_hour_with_many_uses_keeps_its_first_and_last() {
        let mut uses = Uses::default();
        for minute in 0..60 {
            uses.say(at(&format!("11-01T03:{minute:02}")));
        }
        uses.say(at("11-09T03:00"));
        let pause = uses.longest_pause(None, at("11-09T04:00")).unwrap();
        assert_eq!(pause.after, at("11-01T03:59"));
        assert_eq!(pause.days(), 7);
    }
}
