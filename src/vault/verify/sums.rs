//! Findings that concern many objects at once: each is reported once a table, with their number and the first of them.

use std::collections::BTreeMap;

use super::{CheckedSnapshot, Verify};
use crate::count::counted_are;
use crate::error::Error;
use crate::ids::{SnapshotId, Timestamp};
use crate::plan::verify::{Problem, Remedy, is_locked_long, is_locked_short, overlocked, unlocked};

/// What is found of many objects at once, in the order in which it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Held, but not in the object version that was recorded.
    Moved,
    /// Gone or damaged, with what a repair put in their place.
    Repaired,
    /// As `Moved`, where nobody read the other object version.
    Unproven,
    /// Locked for less than a snapshot promises, or not that anybody could see.
    Unlocked,
    /// As `Unlocked`, where only distrusted snapshots promise more.
    UnlockedDistrusted,
    /// Without a legal hold, though a snapshot on hold needs them.
    Unheld,
    /// Locked for longer than the vault ever does.
    Overlocked,
    /// Gone or damaged, and used only by snapshots whose promise is over.
    Over,
}

/// Objects of one kind and table.
pub(super) struct Objects {
    count: u64,
    /// The first, and until when that is locked, for the kinds that are about it.
    first: (String, Option<Timestamp>),
    snapshots: Vec<SnapshotId>,
}

/// By kind and table: objects that something is to be said of, all together.
pub(super) type Sums = BTreeMap<(Kind, usize), Objects>;

impl Objects {
    fn problem(&self, kind: Kind) -> Problem {
        let count = self.count;
        let objects = counted_are(count, "object");
        match (kind, self.first.1) {
            (Kind::Moved, _) => Problem::warning(
                format!(
                    "{objects} not in the object version that was recorded, but in another one of the same key"
                ),
                "in a replica or a copy of the vault that is so; elsewhere find out who deleted them",
            ),
            (Kind::Repaired, _) => Problem::info(
                format!(
                    "{objects} gone or damaged in the place that was recorded; what a repair put serves"
                ),
                "nothing has to be done",
            ),
            (Kind::Unproven, _) => Problem::warning(
                format!(
                    "{objects} not in the object version that was recorded; another one of the same key has the same size, and \
                     was not read"
                ),
                Remedy::ReadAll,
            ),
            (Kind::Unlocked, until) => unlocked(count, until),
            (Kind::UnlockedDistrusted, until) => {
                let Problem { what, remedy, .. } = unlocked(count, until);
                Problem::warning(
                    format!("{what}; only distrusted snapshots use them"),
                    remedy,
                )
            }
            (Kind::Unheld, _) => Problem::warning(
                format!("{objects} without a legal hold, though a snapshot on hold needs them"),
                Remedy::HoldAgain,
            ),
            (Kind::Overlocked, until) => overlocked(count, until.unwrap_or_default()),
            (Kind::Over, _) => Problem::info(
                format!(
                    "{objects} gone or damaged, and used only by snapshots whose promise is over"
                ),
                "nothing has to be done: no promise covers them",
            ),
        }
    }
}

impl Verify<'_, '_> {
    /// Takes note of an object that some snapshots use.
    pub(super) fn note(&mut self, kind: Kind, users: &[usize], object: &str) {
        self.note_until(kind, users, object, None);
    }

    /// Takes note of an object whose lock ends before a promise that counts still, or later than any may.
    pub(super) fn note_lock(&mut self, users: &[usize], object: &str, until: Option<Timestamp>) {
        let short = users.iter().copied().filter(|user| {
            let snapshot = self.snapshots.get(*user);
            snapshot
                .is_some_and(|it| it.promise > self.plan.now && is_locked_short(until, it.promise))
        });
        let is_distrusted =
            |user: &usize| self.snapshots.get(*user).is_some_and(|it| it.is_distrusted);
        let (distrusted, short): (Vec<usize>, Vec<usize>) = short.partition(is_distrusted);
        let (kind, short) = match short[..] {
            [] => (Kind::UnlockedDistrusted, distrusted),
            [..] => (Kind::Unlocked, short),
        };
        self.note_until(kind, &short, object, until);
        let snapshots = users.iter().filter_map(|user| self.snapshots.get(*user));
        let newest = snapshots.map(|snapshot| snapshot.taken_at).max();
        if let Some((end, newest)) = until.zip(newest)
            && is_locked_long(end, newest, self.vault.file())
        {
            self.note_until(Kind::Overlocked, users, object, until);
        }
    }

    fn note_until(&mut self, kind: Kind, users: &[usize], object: &str, until: Option<Timestamp>) {
        for (table, snapshots) in self.by_table(users) {
            self.note_of((kind, table), snapshots, object, until);
        }
    }

    /// As [`Verify::note`], where all `snapshots` that use the object are of one table.
    pub(super) fn note_of(
        &mut self,
        sum: (Kind, usize),
        snapshots: Vec<CheckedSnapshot>,
        object: &str,
        until: Option<Timestamp>,
    ) {
        let sum = self.sums.entry(sum).or_insert_with(|| Objects {
            count: 0,
            first: (object.to_owned(), until),
            snapshots: Vec::new(),
        });
        sum.count += 1;
        for snapshot in snapshots {
            if !sum.snapshots.contains(&snapshot.id) {
                sum.snapshots.push(snapshot.id);
            }
        }
    }

    /// The snapshots of each table among some.
    pub(super) fn by_table(&self, users: &[usize]) -> BTreeMap<usize, Vec<CheckedSnapshot>> {
        let mut by_table: BTreeMap<usize, Vec<CheckedSnapshot>> = BTreeMap::new();
        for snapshot in users.iter().filter_map(|user| self.snapshots.get(*user)) {
            by_table.entry(snapshot.table).or_default().push(*snapshot);
        }
        by_table
    }

    /// Reports what is reported once a table, however many objects it is about.
    pub(super) fn sums(&mut self) -> Result<(), Error> {
        for ((kind, table), objects) in std::mem::take(&mut self.sums) {
            let problem = objects.problem(kind);
            self.report_to(Some(table), objects.snapshots, &objects.first.0, problem)?;
        }
        Ok(())
    }
}
