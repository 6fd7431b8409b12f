//! Findings that concern many objects at once: each is told once a table, with their number and the first of them.

use std::collections::BTreeMap;

use super::Verify;
use crate::count::counted_are;
use crate::error::Error;
use crate::ids::{SnapshotId, Timestamp};
use crate::plan::verify::{
    Finding, Problem, Remedy, Severity, is_locked_long, is_locked_short, overlocked, unlocked,
};

/// Objects of which only the first is named.
#[derive(Default)]
pub(super) struct Several {
    count: u64,
    first: Option<String>,
    snapshots: Vec<SnapshotId>,
}

impl Several {
    pub(super) fn add(&mut self, object: &str, snapshots: &[SnapshotId]) {
        self.count += 1;
        self.first.get_or_insert_with(|| object.to_owned());
        for id in snapshots {
            if !self.snapshots.contains(id) {
                self.snapshots.push(*id);
            }
        }
    }
}

/// By table: objects that something is to be said of, all together.
#[derive(Default)]
pub(super) struct Sums {
    /// Held, but not in the object version that was recorded.
    moved: BTreeMap<usize, Several>,
    /// Gone or damaged, with what a repair put in their place.
    repaired: BTreeMap<usize, Several>,
    /// As `moved`, where nobody read the other object version.
    unproven: BTreeMap<usize, Several>,
    /// Locked for less than a snapshot promises, or not that anybody could see; and until when the first is.
    unlocked: BTreeMap<usize, (Several, Option<Timestamp>)>,
    /// Locked for longer than the vault ever does; and until when the first is.
    overlocked: BTreeMap<usize, (Several, Timestamp)>,
}

impl Verify<'_, '_> {
    /// Takes note of an object that is held, but not where it was recorded.
    pub(super) fn note_moved(&mut self, users: &[usize], object: &str) {
        for (table, ids) in self.by_table(users) {
            self.sums.moved.entry(table).or_default().add(object, &ids);
        }
    }

    /// Takes note of an object in whose place serves what a repair put.
    pub(super) fn note_repaired(&mut self, users: &[usize], object: &str) {
        for (table, ids) in self.by_table(users) {
            let repaired = self.sums.repaired.entry(table).or_default();
            repaired.add(object, &ids);
        }
    }

    /// Takes note of an object that may be held in another object version.
    pub(super) fn note_unproven(&mut self, users: &[usize], object: &str) {
        for (table, ids) in self.by_table(users) {
            let unproven = self.sums.unproven.entry(table).or_default();
            unproven.add(object, &ids);
        }
    }

    /// Takes note of an object whose lock ends before a promise that counts still, or later than any may.
    pub(super) fn note_lock(&mut self, users: &[usize], object: &str, until: Option<Timestamp>) {
        let short = users.iter().copied().filter(|user| {
            let snapshot = self.snapshots.get(*user);
            snapshot
                .is_some_and(|it| it.promise > self.plan.now && is_locked_short(until, it.promise))
        });
        let short: Vec<usize> = short.collect();
        for (table, ids) in self.by_table(&short) {
            let unlocked = self.sums.unlocked.entry(table);
            let (several, _) = unlocked.or_insert_with(|| (Several::default(), until));
            several.add(object, &ids);
        }
        let snapshots = users.iter().filter_map(|user| self.snapshots.get(*user));
        let newest = snapshots.map(|snapshot| snapshot.taken_at).max();
        let Some((until, newest)) = until.zip(newest) else {
            return;
        };
        if is_locked_long(until, newest, self.vault.file()) {
            for (table, ids) in self.by_table(users) {
                let overlocked = self.sums.overlocked.entry(table);
                let (several, _) = overlocked.or_insert_with(|| (Several::default(), until));
                several.add(object, &ids);
            }
        }
    }

    fn by_table(&self, users: &[usize]) -> BTreeMap<usize, Vec<SnapshotId>> {
        let mut by_table: BTreeMap<usize, Vec<SnapshotId>> = BTreeMap::new();
        for snapshot in users.iter().filter_map(|user| self.snapshots.get(*user)) {
            let ids = by_table.entry(snapshot.table).or_default();
            ids.push(snapshot.id);
        }
        by_table
    }

    /// Tells what is told once a table, however many objects it is about.
    pub(super) fn sums(&mut self) -> Result<(), Error> {
        let sums = std::mem::take(&mut self.sums);
        for (table, moved) in sums.moved {
            let what = format!(
                "{} not in the object version that was recorded, but in another one of the same key",
                counted_are(moved.count, "object")
            );
            let remedy = "in a replica or a copy of the vault that is so; elsewhere find out who deleted them";
            self.tell_several(table, moved, Problem::warning(what, remedy))?;
        }
        for (table, repaired) in sums.repaired {
            let problem = Problem {
                severity: Severity::Info,
                what: format!(
                    "{} gone or damaged in the place that was recorded; what a repair put serves",
                    counted_are(repaired.count, "object")
                ),
                remedy: "nothing has to be done".into(),
            };
            self.tell_several(table, repaired, problem)?;
        }
        for (table, unproven) in sums.unproven {
            let what = format!(
                "{} not in the object version that was recorded; another one of the same key has the same size, and was \
                 not read",
                counted_are(unproven.count, "object")
            );
            self.tell_several(table, unproven, Problem::warning(what, Remedy::ReadAll))?;
        }
        for (table, (several, first)) in sums.unlocked {
            let problem = unlocked(several.count, first);
            self.tell_several(table, several, problem)?;
        }
        for (table, (several, first)) in sums.overlocked {
            let problem = overlocked(several.count, first);
            self.tell_several(table, several, problem)?;
        }
        for table in 0..self.tables.len() {
            let Some(checked) = self.tables.get_mut(table) else {
                continue;
            };
            let over = std::mem::take(&mut checked.over);
            if over.count == 0 {
                continue;
            }
            let problem = Problem {
                severity: Severity::Info,
                what: format!(
                    "{} gone or damaged, and used only by snapshots whose promise is over",
                    counted_are(over.count, "object")
                ),
                remedy: "nothing has to be done: no promise covers them".into(),
            };
            self.tell_several(table, over, problem)?;
        }
        Ok(())
    }

    fn tell_several(
        &mut self,
        table: usize,
        several: Several,
        problem: Problem,
    ) -> Result<(), Error> {
        let table = self.tables.get(table);
        let finding = Finding {
            severity: problem.severity,
            table: table.map(|table| table.name.clone()),
            key: table.map(|table| table.key.clone()),
            snapshots: several.snapshots,
            object: several.first.unwrap_or_default(),
            what: problem.what,
            remedy: problem.remedy,
        };
        self.tell(finding)
    }
}
