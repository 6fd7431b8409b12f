//! Which state of a table a time means: the newest version committed by then, be it a snapshot's own or an older one that
//! a history snapshot holds whole.
//!
//! Records say when the snapshots' own versions were committed. When the versions between two of them were, only the log
//! says that a history snapshot holds: it is asked for where it can matter, usually that of one snapshot.

use std::collections::BTreeMap;

use super::{ChooseError, Chosen, History, Snapshot, Step, owner_must_choose};
use crate::ids::{SnapshotId, Timestamp, Version};

/// When versions were committed, as far as the log of a history snapshot says so; by that snapshot.
pub type CommitTimes = BTreeMap<SnapshotId, BTreeMap<Version, Timestamp>>;

/// The time that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsOf {
    /// The time.
    pub time: Timestamp,
    /// Whether its fraction of a second counts. Else all of its second is meant, because commit times are printed without
    /// their fractions.
    pub is_exact: bool,
}

impl AsOf {
    /// Whether something was committed at or before it. To the millisecond: that is how engines compare, while folders
    /// know nanoseconds.
    fn includes(self, committed: Timestamp) -> bool {
        if self.is_exact {
            return committed.as_millisecond() <= self.time.as_millisecond();
        }
        committed.as_second() <= self.time.as_second()
    }
}

/// Versions above the chosen one of which it is not known that they were committed later than the time asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undated {
    /// The first of them.
    pub first: Version,
    /// The last.
    pub last: Version,
    /// Whether the vault holds one of them, and cannot tell when it was committed.
    pub is_held: bool,
}

impl History {
    pub(super) fn by_time(&self, at: AsOf, times: &CommitTimes) -> Result<Step<'_>, ChooseError> {
        let committed = || self.trusted().filter(|it| it.is_committed_by(at));
        let newest = committed().next_back();
        let latest = committed().max_by_key(|it| (it.record.commit_time, it.seq));
        if let Some((newest, latest)) = newest.zip(latest)
            && newest.went_back_behind(latest)
        {
            return Err(owner_must_choose(
                format!(
                    "{} went back from version {} to {}, at a time that the vault does not know",
                    self.name(),
                    latest.record.version,
                    newest.record.version
                ),
                &[newest, latest],
                None,
            ));
        }
        let mut best: Option<Chosen<'_>> = None;
        for delta_id in self.tables_since(newest) {
            let own = newest.filter(|it| it.record.table.delta_id == delta_id);
            let mut search = Search::new(self, own, delta_id, at);
            if let Some(unread) = search.run(at, times) {
                return Ok(Step::Read(unread));
            }
            // A table that was created again takes the place of the one before it.
            if let Some(chosen) = search.chosen()
                && best.is_none_or(|best| chosen.committed >= best.committed)
            {
                best = Some(chosen);
            }
        }
        best.map(Step::Done).ok_or_else(|| self.nothing_held_at(at))
    }

    /// The Delta ids of the newest snapshot that counts and of all that came after it, in that order.
    fn tables_since(&self, newest: Option<&Snapshot>) -> Vec<&str> {
        let since = newest.map_or(0, |newest| newest.seq);
        let mut ids: Vec<&str> = Vec::new();
        for snapshot in self.trusted().filter(|it| it.seq >= since) {
            let id = snapshot.record.table.delta_id.as_str();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn nothing_held_at(&self, at: AsOf) -> ChooseError {
        let what = format!("a version committed at or before {}", at.time);
        self.only_distrusted(&what, |it| it.is_committed_by(at))
            .or_else(|| self.not_whole(what))
            .unwrap_or_else(|| ChooseError::NothingHeldAt {
                table: self.name().to_owned(),
                at: at.time,
                oldest: self.held().map(|it| it.record.commit_time).min(),
            })
    }
}

/// Looks for the newest version of one Delta table that was committed by a time.
struct Search<'a> {
    /// The snapshot of the newest version of which the records say so.
    own: Option<&'a Snapshot>,
    /// The snapshots of versions that were committed later, oldest first.
    later: Vec<&'a Snapshot>,
    /// The lowest version that is looked for.
    from: Version,
    /// The lowest version of which the first of them, or a log, says that it was committed later.
    until: Option<Version>,
    /// What a history snapshot holds.
    found: Option<Chosen<'a>>,
}

impl<'a> Search<'a> {
    fn new(history: &'a History, own: Option<&'a Snapshot>, delta_id: &str, at: AsOf) -> Self {
        // Another snapshot may hold the same state.
        let held = own.and_then(|own| {
            let mut held = history.held().rev();
            held.find(|it| it.has_content_of(own))
        });
        let own = held.or(own);
        let from = match own.map(|own| (own.record.version, own.is_pruned)) {
            None => Version(0),
            Some((version, true)) => version,
            Some((version, false)) => version.next(),
        };
        let of_table = history
            .trusted()
            .filter(|it| it.record.table.delta_id == delta_id);
        let later = of_table.filter(|it| {
            // One that was taken before and is of a lower version says nothing, whatever its clock showed.
            let is_past = own.is_some_and(|own| it.seq < own.seq && it.record.version < from);
            !is_past && !it.is_committed_by(at)
        });
        let later: Vec<&Snapshot> = later.collect();
        Self {
            own,
            from,
            until: later.first().map(|it| it.record.version),
            later,
            found: None,
        }
    }

    /// Goes through the snapshots that hold a version of interest, and returns the first whose times were not read.
    fn run(&mut self, at: AsOf, times: &CommitTimes) -> Option<&'a Snapshot> {
        // When a snapshot was taken, the table was at its version: whatever a later one has that was committed before,
        // it has below that version, even where the table went back and on from there.
        let mut until = self.until?;
        for snapshot in self.later.clone() {
            until = until.min(snapshot.record.version);
            if snapshot.is_pruned || !snapshot.is_whole_within(self.from, until) {
                continue;
            }
            let Some(times) = times.get(&snapshot.id) else {
                return Some(snapshot);
            };
            let times = || {
                let times = times.range(self.from..);
                times.take_while(move |(version, _)| **version < until)
            };
            let whole = times().filter(|(version, _)| snapshot.is_whole_at(**version));
            let found = whole.filter(|(_, time)| at.includes(**time)).last();
            let found = found.map(|(version, time)| (*version, *time));
            let from = found.map_or(self.from, |(version, _)| version.next());
            let mut rest = times().filter(|(version, _)| **version >= from);
            let later = rest.find(|(_, time)| !at.includes(**time));
            if let Some((version, time)) = found {
                self.found = Some(Chosen {
                    committed: Some(time),
                    ..Chosen::of(snapshot, version)
                });
            }
            self.from = from;
            if let Some((version, _)) = later {
                until = *version;
                self.until = self.until.min(Some(until));
            }
        }
        None
    }

    fn chosen(&self) -> Option<Chosen<'a>> {
        let chosen = self.found.or(self.own.map(Chosen::whole))?;
        let between = self.until.filter(|until| *until > self.from).map(|until| {
            let mut held = self.later.iter().filter(|it| !it.is_pruned);
            Undated {
                first: self.from,
                last: Version(until.0.saturating_sub(1)),
                is_held: held.any(|it| it.is_whole_within(self.from, until)),
            }
        });
        Some(Chosen { between, ..chosen })
    }
}

impl Snapshot {
    fn is_committed_by(&self, at: AsOf) -> bool {
        at.includes(self.record.commit_time)
    }

    /// Whether it holds a version whole that is not below `from` and is below `until`.
    fn is_whole_within(&self, from: Version, until: Version) -> bool {
        let mut ranges = self.record.whole_versions.iter();
        ranges.any(|(first, last)| {
            let first = *first.max(&from);
            first <= *last && first < until
        })
    }

    /// Whether the table was at a lower version, or another table, after `latest` had been committed.
    fn went_back_behind(&self, latest: &Self) -> bool {
        let (newest, latest) = (&self.record, &latest.record);
        newest.version < latest.version || newest.table.delta_id != latest.table.delta_id
    }
}
