//! Which snapshots of a table are kept, and why: what `prune` may collect is what no kept one needs.
//!
//! Pure: `now` comes in as an argument. The rules, the first that fits being the reason: a snapshot is kept while its
//! promise lasts; while it is held; when it is the newest of a table that was not retired; when it is the newest without
//! an alarm of such a table; when it is the newest that may be built on of such a table. Everything else has expired. A
//! retirement counts as long as no record stands above those that it was about: a table that is backed up again is in
//! use again.
//!
//! What can be deleted is not decided here: the store enforces locks and legal holds.

use std::collections::BTreeMap;
use std::fmt;

use crate::format::{Event, EventAction};
use crate::ids::{SnapshotId, Timestamp};

/// What decides whether a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: SnapshotId,
    /// Its slot in the ledger.
    pub seq: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Until when it is promised.
    pub promise: Timestamp,
    /// Whether an alarm was raised when it was taken.
    pub has_alarm: bool,
    /// Whether it may be built on.
    pub is_trusted: bool,
}

/// What was decided about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its slot in the ledger.
    pub seq: u64,
    /// Why it is kept or not.
    pub reason: KeepReason,
    /// Since when nothing keeps it, at the earliest; of no meaning for what is kept.
    pub free_since: Timestamp,
}

/// Why a snapshot is kept or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// Its promise lasts.
    Promised {
        /// Until then.
        until: Timestamp,
    },
    /// Somebody holds it.
    Held {
        /// Since then.
        since: Timestamp,
        /// Who.
        by: String,
    },
    /// It is the newest of its table.
    Newest,
    /// It is the newest of its table without an alarm.
    NewestWithoutAlarm,
    /// It is the newest of its table that may be built on.
    NewestTrusted,
    /// Nothing keeps it.
    Expired {
        /// Since then.
        since: Timestamp,
        /// Whether it would have been kept, had its table not been retired.
        retired: bool,
    },
}

impl KeepReason {
    /// Whether the snapshot is kept.
    pub fn keeps(&self) -> bool {
        match self {
            Self::Promised { .. }
            | Self::Held { .. }
            | Self::Newest
            | Self::NewestWithoutAlarm
            | Self::NewestTrusted => true,
            Self::Expired { .. } => false,
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promised { until } => write!(f, "promised until {until}"),
            Self::Held { since, by } => write!(f, "held since {since} by {by}"),
            Self::Newest => f.write_str("the newest of its table"),
            Self::NewestWithoutAlarm => f.write_str("the newest of its table without an alarm"),
            Self::NewestTrusted => f.write_str("the newest of its table that is trusted"),
            Self::Expired { since, retired } => {
                write!(f, "its promise ended {since}")?;
                if *retired {
                    f.write_str(", and its table was retired")?;
                }
                Ok(())
            }
        }
    }
}

/// The snapshots that are held, and since when by whom. `events` in the order of their chain.
pub fn held<'a>(
    events: impl IntoIterator<Item = &'a Event>,
) -> BTreeMap<SnapshotId, (Timestamp, String)> {
    let mut held = BTreeMap::new();
    for event in events {
        match &event.action {
            EventAction::Hold { snapshot } => {
                held.entry(*snapshot)
                    .or_insert_with(|| (event.at, event.principal.clone()));
            }
            EventAction::Release { snapshot } => {
                held.remove(snapshot);
            }
            EventAction::Retire { .. } | EventAction::Deed(_) | EventAction::Unknown(_) => {}
        }
    }
    held
}

/// Whether a table with that newest snapshot is retired.
pub fn is_retired<'a>(events: impl IntoIterator<Item = &'a Event>, newest: SnapshotId) -> bool {
    events
        .into_iter()
        .any(|event| matches!(event.action, EventAction::Retire { snapshot } if snapshot == newest))
}

/// Decides about every snapshot of one table; both in the order of their chains, oldest first.
pub fn decide(snapshots: &[Candidate], events: &[Event], now: Timestamp) -> Vec<Decision> {
    let held = held(events);
    let newest = snapshots.last().map(|newest| newest.id);
    let retired = newest.is_some_and(|newest| is_retired(events, newest));
    let last = |fits: fn(&Candidate) -> bool| {
        let newest = snapshots.iter().rev().find(|snapshot| fits(snapshot));
        newest.map(|newest| newest.seq)
    };
    let without_alarm = last(|snapshot| !snapshot.has_alarm);
    let trusted = last(|snapshot| snapshot.is_trusted);
    let decide = |snapshot: &Candidate| {
        if snapshot.promise > now {
            let until = snapshot.promise;
            return KeepReason::Promised { until };
        }
        if let Some((since, by)) = held.get(&snapshot.id) {
            let (since, by) = (*since, by.clone());
            return KeepReason::Held { since, by };
        }
        let of_table = if Some(snapshot.id) == newest {
            Some(KeepReason::Newest)
        } else if Some(snapshot.seq) == without_alarm {
            Some(KeepReason::NewestWithoutAlarm)
        } else if Some(snapshot.seq) == trusted {
            Some(KeepReason::NewestTrusted)
        } else {
            None
        };
        match of_table {
            Some(reason) if !retired => reason,
            of_table => KeepReason::Expired {
                since: snapshot.promise,
                retired: of_table.is_some(),
            },
        }
    };
    let free = free_since(snapshots, events, retired);
    snapshots
        .iter()
        .zip(free)
        .map(|(snapshot, free_since)| Decision {
            id: snapshot.id,
            seq: snapshot.seq,
            reason: decide(snapshot),
            free_since,
        })
        .collect()
}

/// Since when nothing keeps each snapshot: its promise ended, it was released, others took its place, its table was
/// retired, whichever came last.
fn free_since(snapshots: &[Candidate], events: &[Event], retired: bool) -> Vec<Timestamp> {
    let mut released: BTreeMap<SnapshotId, Timestamp> = BTreeMap::new();
    let mut retired_at = None;
    for event in events {
        match &event.action {
            EventAction::Release { snapshot } => {
                released.insert(*snapshot, event.at);
            }
            EventAction::Retire { .. } if retired => retired_at = Some(event.at),
            EventAction::Hold { .. }
            | EventAction::Retire { .. }
            | EventAction::Deed(_)
            | EventAction::Unknown(_) => {}
        }
    }
    // The next one of each sort, seen from the snapshot at hand.
    let (mut next, mut without_alarm, mut trusted) = (None, None, None);
    let mut free = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots.iter().rev() {
        // What nothing followed was kept until its table was retired.
        let followed = |by: Option<Timestamp>| by.or(retired_at);
        let since = [
            followed(next),
            followed(without_alarm).filter(|_| !snapshot.has_alarm),
            followed(trusted).filter(|_| snapshot.is_trusted),
            released.get(&snapshot.id).copied(),
        ];
        let since = since.into_iter().flatten().max();
        free.push(since.map_or(snapshot.promise, |since| since.max(snapshot.promise)));
        next = Some(snapshot.taken_at);
        if !snapshot.has_alarm {
            without_alarm = next;
        }
        if snapshot.is_trusted {
            trusted = next;
        }
    }
    free.reverse();
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::event;
    use crate::ids::Digest;

    fn id(seq: u64) -> SnapshotId {
        SnapshotId(Digest::of(&seq.to_be_bytes()))
    }

    fn day(day: u32) -> Timestamp {
        format!("2026-03-{day:02}T00:00:00Z").parse().unwrap()
    }

    /// Snapshots of slots 1, 2, …, by the day on which each promise ends; `!` has an alarm, `?` is distrusted.
    fn snapshots(text: &str) -> Vec<Candidate> {
        text.split_whitespace()
            .zip(1..)
            .map(|(word, seq)| Candidate {
                id: id(seq),
                seq,
                taken_at: day(u32::try_from(seq).unwrap()),
                promise: day(word.trim_end_matches(['!', '?']).parse().unwrap()),
                has_alarm: word.contains('!'),
                is_trusted: !word.contains('?'),
            })
            .collect()
    }

    /// `h2` holds the snapshot of slot 2, `r2` releases it, `x5` retires the table at slot 5, `o` is something else.
    fn events(text: &str) -> Vec<Event> {
        text.split_whitespace()
            .zip(1..)
            .map(|(word, seq)| {
                let (what, slot) = word.split_at(1);
                let slot = slot.parse().unwrap_or(0);
                let snapshot = id(slot);
                let action = match what {
                    "h" => EventAction::Hold { snapshot },
                    "r" => EventAction::Release { snapshot },
                    "x" => EventAction::Retire { snapshot },
                    _ => serde_json::from_str(r#"{"drill":null}"#).unwrap(),
                };
                Event {
                    action,
                    ..event(seq, None)
                }
            })
            .collect()
    }

    #[test]
    fn each_decision_has_one_reason() {
        let held = "held since 2026-02-01T00:00:00Z by legal@desk";
        let over = |day: u32| format!("its promise ended 2026-03-{day:02}T00:00:00Z");
        let retired = |day: u32| format!("{}, and its table was retired", over(day));
        let until = |day: u32| format!("promised until 2026-03-{day:02}T00:00:00Z");
        let newest = || "the newest of its table".to_owned();
        let without_alarm = || "the newest of its table without an alarm".to_owned();
        let trusted = || "the newest of its table that is trusted".to_owned();
        let cases: Vec<(&str, &str, Vec<String>)> = vec![
            // The promise ends with its last second: on the day itself it is over.
            ("9 10 11", "", vec![over(9), over(10), until(11)]),
            ("1 2 3", "", vec![over(1), over(2), newest()]),
            ("1 2 3!", "", vec![over(1), without_alarm(), newest()]),
            ("1 2! 3!", "", vec![without_alarm(), over(2), newest()]),
            ("1! 2!", "", vec![over(1), newest()]),
            ("1 2 3?", "", vec![over(1), trusted(), newest()]),
            ("1 2! 3?", "", vec![over(1), trusted(), newest()]),
            // A distrusted one without an alarm does not keep the last good one from being kept.
            ("1 2?! 3?!", "", vec![without_alarm(), over(2), newest()]),
            ("1! 2? 3!?", "", vec![trusted(), without_alarm(), newest()]),
            ("1 2 3", "h1", vec![held.to_owned(), over(2), newest()]),
            ("1 2 3", "h1 r1", vec![over(1), over(2), newest()]),
            ("1 2 3", "h1 h1 r1", vec![over(1), over(2), newest()]),
            (
                "1 2 3",
                "h1 r1 h1",
                vec![held.to_owned(), over(2), newest()],
            ),
            ("1 2 3", "r1 o h1", vec![held.to_owned(), over(2), newest()]),
            ("20 2 3", "h1", vec![until(20), over(2), newest()]),
            ("1 2 3", "x3", vec![over(1), over(2), retired(3)]),
            ("1 2 3!", "x3", vec![over(1), retired(2), retired(3)]),
            // A snapshot that came after it takes a retirement back.
            ("1 2 3", "x2", vec![over(1), over(2), newest()]),
            // One for a slot that does not exist yet never counts.
            ("1 2 3", "x4", vec![over(1), over(2), newest()]),
            ("1 2 12", "x3", vec![over(1), over(2), until(12)]),
            ("1 2 3", "x3 h3", vec![over(1), over(2), held.to_owned()]),
            ("", "x3 h3", vec![]),
        ];
        for (these, done, expected) in cases {
            let decisions = decide(&snapshots(these), &events(done), day(10));
            let reasons: Vec<String> = decisions.iter().map(|it| it.reason.to_string()).collect();
            assert_eq!(reasons, expected, "{these:?} {done:?}");
            for decision in &decisions {
                let expired = matches!(decision.reason, KeepReason::Expired { .. });
                assert_eq!(decision.reason.keeps(), !expired);
            }
        }
    }

    #[test]
    fn grace_begins_when_the_last_reason_to_keep_ended() {
        let free = |these: &str, done: &str| {
            let decisions = decide(&snapshots(these), &events(done), day(20));
            let days = decisions.iter().map(|it| it.free_since.to_string());
            days.map(|it| it[..10].to_owned()).collect::<Vec<_>>()
        };
        // Taken on days 1, 2, 3; the second followed the first before its promise ended.
        assert_eq!(free("5 6 7", "")[..2], ["2026-03-05", "2026-03-06"]);
        assert_eq!(free("1 1 7", "")[..2], ["2026-03-02", "2026-03-03"]);
        // Only the third one made the first superfluous.
        assert_eq!(free("1 1! 7", "")[..2], ["2026-03-03", "2026-03-03"]);
        assert_eq!(free("1 1? 7", "")[..2], ["2026-03-03", "2026-03-03"]);
        let retired: Timestamp = "2026-04-01T00:00:00Z".parse().unwrap();
        let mut late = events("x2 h1 r1");
        late[0].at = retired;
        late[2].at = day(15);
        let decisions = decide(&snapshots("1 2"), &late, retired);
        assert_eq!(decisions[0].free_since, day(15));
        assert_eq!(decisions[1].free_since, retired);
    }

    #[test]
    fn what_is_kept_only_shrinks_as_time_goes_by() {
        let (these, done) = (snapshots("3 9 4! 7? 5!"), events("h1 o h4 r4"));
        let kept = |now| {
            let decisions = decide(&these, &done, now);
            let kept = decisions.into_iter().filter(|it| it.reason.keeps());
            kept.map(|it| it.seq).collect::<Vec<u64>>()
        };
        let mut before = kept(day(1));
        assert_eq!(before, [1, 2, 3, 4, 5]);
        for now in 2..30 {
            let after = kept(day(now));
            assert!(after.iter().all(|seq| before.contains(seq)), "day {now}");
            before = after;
        }
        assert_eq!(before, [1, 4, 5]);
    }
}
