//! Data files of V under a newer live table: what the live log and newer snapshots say of their names decides whether they
//! are put.

use std::collections::HashSet;
use std::iter::Peekable;

use super::LiveTable;
use super::data::Lacking;
use super::lost::unless_damaged;
use super::planning::Planning;
use crate::error::Error;
use crate::format::ledger::Bodies;
use crate::format::{TableKey, TableUri};
use crate::ids::{Location, Version};
use crate::plan::restore::under::{LaterCopy, NameConflict, NameUse, judge_name};
use crate::plan::restore::{FileState, LiveVersion};
use crate::plan::snapshot::{ByFile, Span, whole_versions};
use crate::progress::PlannedWork;
use crate::sort::{SortError, Sorted, Sorter};

/// Files of V that must not be put under the newer live table.
#[derive(Debug, Clone, Default)]
pub struct NotPut {
    /// Those that are gone.
    pub missing: PlannedWork,
    /// Those in whose place something else is.
    pub wrong: PlannedWork,
    /// How many of `wrong` are files of a newer version by its log: it does not lack V's.
    pub of_newer: u64,
    /// The first of them, and why.
    pub first: Option<(Location, NameConflict)>,
}

/// Rows of a sort, taken file by file in ascending order.
struct Rows<T: Eq>(Peekable<Sorted<ByFile<T>>>)
where
    ByFile<T>: crate::sort::Row;

impl<T: Eq> Rows<T>
where
    ByFile<T>: crate::sort::Row,
{
    fn of(sorter: Sorter<ByFile<T>>) -> Result<Self, SortError> {
        Ok(Self(sorter.finish()?.peekable()))
    }

    /// What is said of one file.
    fn take(&mut self, file: &Location) -> Result<Vec<T>, SortError> {
        let mut said = Vec::new();
        let at_or_before =
            |row: &Result<ByFile<T>, SortError>| row.as_ref().map_or(true, |row| row.file <= *file);
        while let Some(row) = self.0.next_if(at_or_before) {
            let row = row?;
            if row.file == *file {
                said.push(row.row);
            }
        }
        Ok(said)
    }
}

impl Planning<'_> {
    /// Decides about what V lacks. `uses` are the names in the live log, from V on.
    pub(super) async fn plan_under(
        &mut self,
        tip: Version,
        lacking: Sorter<ByFile<Lacking>>,
        uses: Sorter<ByFile<NameUse>>,
    ) -> Result<(), Error> {
        if lacking.is_empty() {
            return Ok(());
        }
        let mut later = Rows::of(self.held_later(tip).await?)?;
        let version = self.request.version;
        let mut uses = Rows::of(uses)?;
        let mut spoiled = Vec::new();
        for row in lacking.finish()? {
            let plan = &mut self.plan;
            let Lacking { entry, there, etag } = row?.row;
            let is_wrong = there.is_some();
            let state = if is_wrong {
                FileState::Wrong
            } else {
                FileState::Missing
            };
            let uses = uses.take(&entry.file)?;
            let later = later.take(&entry.file)?;
            let judged = match plan.live.trouble {
                None => judge_name(&entry, there, version, &uses, &later),
                Some(_) => Err(NameConflict::LogUnread),
            };
            // A version that can be read no more is in nobody's way, and serves nobody.
            let is_cleaned = plan.live.is_cleaned(version);
            if is_cleaned && judged != Ok(true) {
                plan.useless.files += 1;
                plan.useless.bytes += entry.size;
                continue;
            }
            let Err(why) = judged else {
                plan.serves_live |= is_cleaned;
                self.add_step(entry, &state, etag)?;
                continue;
            };
            if is_wrong {
                let up_to_v = uses.iter().filter(|it| it.has(version));
                spoiled.extend(up_to_v.map(|it| (it.span.0, Some(version.next()))));
            }
            plan.not_put.take(&entry.file, (is_wrong, entry.size), why);
            if let Location::Inside(key) = entry.file {
                plan.expected.except.insert(key);
            }
        }
        self.plan.live.without(&spoiled);
        self.plan.expected.live = self.plan.serves_live.then_some(tip);
        Ok(())
    }

    /// How newer snapshots of the live table's own history hold data files.
    async fn held_later(&self, tip: Version) -> Result<Sorter<ByFile<LaterCopy>>, Error> {
        let Self { request, plan, .. } = self;
        let vault = &self.restorer.vault;
        let mut later = Sorter::new(plan.scratch.path())?;
        let table = &request.record.table;
        let key = TableKey::of(&table.source, &table.uri.parse::<TableUri>()?)?;
        let history = vault.history(&key, Bodies::default()).await?;
        let mut seen = HashSet::new();
        for snapshot in &history.snapshots {
            let record = &snapshot.record;
            let version = record.version;
            let commit = record.commit.as_ref().map(|it| it.sha256);
            let is_live = |it: &LiveVersion| {
                it.version != version || it.commit.zip(commit).is_none_or(|(now, then)| now == then)
            };
            let is_newer = version > request.version && version <= tip;
            if !is_newer
                || snapshot.is_distrusted
                || record.table.delta_id != table.delta_id
                || !plan.live.above.iter().all(is_live)
            {
                continue;
            }
            // What is damaged, or was pruned, tells nothing.
            let Some(manifest) = unless_damaged(vault.manifest(record).await)? else {
                continue;
            };
            for page in &manifest.data_pages {
                if !seen.insert(page.page.sha256) {
                    continue;
                }
                let entries = unless_damaged(vault.page(page).await)?;
                for entry in entries.unwrap_or_default() {
                    let Some(sha256) = entry.sha256 else {
                        continue;
                    };
                    later.push(ByFile {
                        file: entry.file,
                        row: LaterCopy {
                            version,
                            sha256,
                            size: entry.size,
                            modification_time: entry.modification_time,
                        },
                    })?;
                }
            }
        }
        Ok(later)
    }
}

impl NotPut {
    fn take(&mut self, file: &Location, (is_wrong, bytes): (bool, u64), why: NameConflict) {
        let work = if is_wrong {
            &mut self.wrong
        } else {
            &mut self.missing
        };
        work.files += 1;
        work.bytes += bytes;
        if is_wrong && matches!(why, NameConflict::AnotherFile(_)) {
            self.of_newer += 1;
        }
        self.first.get_or_insert_with(|| (file.clone(), why));
    }

    /// How many there are.
    pub fn files(&self) -> u64 {
        self.missing.files + self.wrong.files
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl LiveTable {
    /// Whether the live log's own clean-up has taken what would rebuild a version.
    pub fn is_cleaned(&self, version: Version) -> bool {
        self.readable_from.is_some_and(|oldest| oldest > version)
    }

    /// Takes versions that lack a file out of those that have all of theirs.
    fn without(&mut self, spoiled: &[Span]) {
        let whole = std::mem::take(&mut self.whole).into_iter();
        let rest = whole.flat_map(|(first, last)| whole_versions(first, last, spoiled));
        self.whole = rest.collect();
    }
}
