//! How large a table is in each of its versions, from the spans of versions in which its files are live.

use std::collections::BTreeMap;

use crate::delta::replay::LiveFile;
use crate::ids::Version;
use crate::plan::restore::LiveVersion;

/// What entered and left a table, by version.
#[derive(Debug, Default)]
pub(super) struct Sizes(BTreeMap<Version, Step>);

/// What one version brought and took.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    added: Count,
    removed: Count,
}

/// Logical files and their rows after deletion vectors.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    files: u64,
    rows: u64,
    /// Files whose rows nobody counted.
    uncounted: u64,
}

impl Count {
    fn add(&mut self, rows: Option<u64>) {
        self.files = self.files.saturating_add(1);
        match rows {
            Some(rows) => self.rows = self.rows.saturating_add(rows),
            None => self.uncounted = self.uncounted.saturating_add(1),
        }
    }

    fn plus(self, step: Step) -> Self {
        let change =
            |now: u64, added: u64, removed: u64| now.saturating_add(added).saturating_sub(removed);
        Self {
            files: change(self.files, step.added.files, step.removed.files),
            rows: change(self.rows, step.added.rows, step.removed.rows),
            uncounted: change(self.uncounted, step.added.uncounted, step.removed.uncounted),
        }
    }

    fn known_rows(self) -> Option<u64> {
        (self.uncounted == 0).then_some(self.rows)
    }
}

impl Sizes {
    /// Takes a logical file with the versions in which it is live.
    pub(super) fn see(&mut self, file: &LiveFile) {
        let deleted = file.add.dv.as_ref().map_or(0, |dv| dv.cardinality);
        let rows = file.add.rows.map(|rows| rows.saturating_sub(deleted));
        self.0.entry(file.from).or_default().added.add(rows);
        if let Some(until) = file.until {
            self.0.entry(until).or_default().removed.add(rows);
        }
    }

    /// Fills in what each version did to the table's rows, and how large it left the table. `first` is the oldest
    /// version that was replayed: what it did itself is only known when it is the table's first.
    pub(super) fn measure<'a>(
        &self,
        first: Version,
        versions: impl Iterator<Item = &'a mut LiveVersion>,
    ) {
        let mut after: BTreeMap<Version, Count> = BTreeMap::new();
        let mut now = Count::default();
        for (version, step) in &self.0 {
            now = now.plus(*step);
            after.insert(*version, now);
        }
        for found in versions.filter(|found| found.version >= first) {
            let size = after.range(..=found.version).next_back();
            let size = size.map_or_else(Count::default, |(_, size)| *size);
            found.files_after = Some(size.files);
            found.rows_after = size.known_rows();
            if found.version == first && first > Version(0) {
                continue;
            }
            let step = self.0.get(&found.version).copied().unwrap_or_default();
            let (added, removed) = (step.added.known_rows(), step.removed.known_rows());
            found.rows_removed = removed;
            found.rows = added.zip(removed).and_then(|(added, removed)| {
                i64::try_from(i128::from(added) - i128::from(removed)).ok()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{Add, DeletionVector};
    use crate::ids::Location;

    fn file(rows: Option<u64>, deleted: u64, from: u64, until: Option<u64>) -> LiveFile {
        let dv = (deleted > 0).then(|| DeletionVector {
            cardinality: deleted,
            file: None,
            id: "i".into(),
            offset: None,
            size: 1,
        });
        LiveFile {
            add: Add {
                file: Location::Inside("a".parse().unwrap()),
                size: 1,
                absolute: false,
                modification_time: None,
                rows,
                dv,
            },
            from: Version(from),
            until: until.map(Version),
            by_text: false,
            off_newest: false,
            otherwise: Vec::new(),
            spelled: Vec::new(),
        }
    }

    /// Rows, rows removed, rows and files after, of each version.
    fn measured(first: u64, files: &[LiveFile], last: u64) -> Vec<[Option<i64>; 4]> {
        let mut sizes = Sizes::default();
        for file in files {
            sizes.see(file);
        }
        let mut versions: Vec<LiveVersion> = (first..=last)
            .map(|it| LiveVersion::unread(Version(it)))
            .collect();
        sizes.measure(Version(first), versions.iter_mut());
        let signed = |count: Option<u64>| count.map(u64::cast_signed);
        let told = versions.iter().map(|it| {
            let after = [
                signed(it.rows_removed),
                signed(it.rows_after),
                signed(it.files_after),
            ];
            [it.rows, after[0], after[1], after[2]]
        });
        told.collect()
    }

    #[test]
    fn a_remove_takes_the_rows_that_its_add_brought() {
        let files = [
            file(Some(10), 0, 0, Some(2)),
            file(Some(5), 0, 1, None),
            file(Some(3), 0, 2, None),
        ];
        let (some, n) = (Some, None);
        assert_eq!(
            measured(0, &files, 3),
            [
                [some(10), some(0), some(10), some(1)],
                [some(5), some(0), some(15), some(2)],
                [some(-7), some(10), some(8), some(2)],
                [some(0), some(0), some(8), some(2)],
            ]
        );
        let from_checkpoint = measured(1, &[file(Some(10), 0, 1, Some(2))], 2);
        assert_eq!(
            from_checkpoint[0],
            [n, n, some(10), some(1)],
            "what it did itself is not known"
        );
        assert_eq!(from_checkpoint[1], [some(-10), some(10), some(0), some(0)]);
    }

    #[test]
    fn a_deletion_vector_takes_its_rows_only() {
        let files = [file(Some(10), 0, 0, Some(1)), file(Some(10), 4, 1, None)];
        assert_eq!(
            measured(0, &files, 1)[1],
            [Some(-4), Some(10), Some(6), Some(1)]
        );
    }

    #[test]
    fn rows_that_nobody_counted_make_only_their_versions_unknown() {
        let files = [
            file(None, 0, 0, Some(1)),
            file(Some(3), 0, 1, None),
            file(Some(4), 0, 2, None),
        ];
        assert_eq!(
            measured(0, &files, 2),
            [
                [None, Some(0), None, Some(1)],
                [None, None, Some(3), Some(1)],
                [Some(4), Some(0), Some(7), Some(2)],
            ]
        );
    }
}
