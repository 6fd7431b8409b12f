//! Empty commits that later ones may have been written without.
//!
//! Readers take a commit of 0 bytes for a version that changes nothing, and so do writers: what one commits then may do
//! again what the lost commit did, or replace a table that its files are no part of. With its bytes, rows would come back
//! that nobody has in the table. So the bytes stay out where a later commit removes what the lost one removed, and nobody
//! added since; or where the first one that removes rows at all removes none of the files that the lost one added.

use std::collections::{BTreeSet, HashSet};

use super::super::content::LogReader;
use super::super::planning::Planning;
use super::LogAfter;
use crate::delta::LogFileKind;
use crate::error::Error;
use crate::ids::{ObjectKey, Version};
use crate::plan::restore::{FileState, Situation};

/// An empty commit, and the first later one that was written without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenWithout {
    /// The empty commit.
    pub empty: Version,
    /// The later one.
    pub by: Version,
}

/// Which of the empty commits later ones may have been written without. Commits come ascending; of one that cannot be read
/// nobody knows what it was written with.
fn written_without(
    commits: &[(Version, Option<Changes>)],
    empty: &BTreeSet<Version>,
) -> Vec<WrittenWithout> {
    let lost = commits
        .iter()
        .filter(|(version, _)| empty.contains(version));
    let found = lost.filter_map(|(version, lost)| {
        let lost = lost.as_ref()?;
        let mut removed = lost.removed.clone();
        let later = commits.iter().filter(|(later, _)| later > version);
        for (by, changes) in later.filter(|(later, _)| !empty.contains(later)) {
            let without = WrittenWithout {
                empty: *version,
                by: *by,
            };
            let Some(changes) = changes else {
                return Some(without);
            };
            if !changes.removed.is_disjoint(&lost.added) {
                return None;
            }
            let again = !changes.removed.is_disjoint(&removed);
            if again || (!changes.removed.is_empty() && !changes.is_rewrite) {
                return Some(without);
            }
            removed.retain(|file| !changes.added.contains(file));
        }
        None
    });
    found.collect()
}

/// What a commit does, by hashes of logical files.
#[derive(Debug, Default)]
pub(in crate::vault::restore) struct Changes {
    pub(in crate::vault::restore) removed: HashSet<u64>,
    pub(in crate::vault::restore) added: HashSet<u64>,
    /// Whether it leaves every row as it was.
    pub(in crate::vault::restore) is_rewrite: bool,
}

impl Planning<'_> {
    /// The empty commits that get their bytes again.
    pub(super) fn refilled(&self, after: &LogAfter) -> BTreeSet<Version> {
        let is_empty = |key: &ObjectKey| {
            self.held
                .listed
                .get(key)
                .is_some_and(|listed| listed.size == 0)
        };
        let listing = after.listing();
        let refilled = listing.files().filter(|file| {
            file.kind == LogFileKind::Commit
                && self.state(&file.key) == FileState::Broken
                && is_empty(&file.key)
        });
        refilled.filter_map(|file| file.version).collect()
    }

    /// Leaves the empty commits as they are that later ones were written without.
    pub(super) async fn leave_empty(&mut self, skip: &HashSet<ObjectKey>) -> Result<(), Error> {
        let Situation::NewerLive { tip } = self.plan.situation else {
            return Ok(());
        };
        let after = self.after(skip);
        let listing = after.listing();
        let empty = self.refilled(&after);
        let Some(first) = empty.first().copied() else {
            return Ok(());
        };
        let mut reader = LogReader::of_target(self.restorer, &after.from_vault)?;
        let mut commits = Vec::new();
        for (version, file) in listing.commits_among(first..=tip) {
            let changes = reader.changes(&file.key).await?;
            commits.push((version, changes));
        }
        for found in written_without(&commits, &empty) {
            if let Some(file) = listing.commit(found.empty) {
                self.held.states.insert(file.key.clone(), FileState::Wrong);
                self.held.broken.remove(&file.key);
            }
            self.plan.written_without.push(found);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits as `-` and `+` with the numbers of files; those marked `!` were lost, and
    /// those with `~` rewrite; `?` cannot be read.
    fn found(commits: &[&str]) -> Vec<(u64, u64)> {
        let mut empty = BTreeSet::new();
        let read = |(version, text): (u64, &&str)| {
            let mut changes = Changes::default();
            let mut unreadable = false;
            for word in text.split_whitespace() {
                if let Some(file) = word.strip_prefix('-') {
                    changes.removed.insert(file.parse().unwrap());
                } else if let Some(file) = word.strip_prefix('+') {
                    changes.added.insert(file.parse().unwrap());
                } else if word == "?" {
                    unreadable = true;
                } else if word == "~" {
                    changes.is_rewrite = true;
                } else {
                    empty.insert(Version(version));
                }
            }
            (Version(version), (!unreadable).then_some(changes))
        };
        let commits: Vec<_> = (0..).zip(commits).map(read).collect();
        let found = written_without(&commits, &empty);
        found.iter().map(|it| (it.empty.0, it.by.0)).collect()
    }

    #[test]
    fn a_later_commit_tells_whether_it_knew_the_one_that_was_lost() {
        // Removed twice.
        assert_eq!(found(&["+1 +2", "! -1 -2 +3", "~ -1 -2 +4"]), [(1, 2)]);
        assert_eq!(found(&["+1", "! -1", "+2", "-1"]), [(1, 3)]);
        // An overwrite that left out what the lost one added.
        assert_eq!(found(&["+1", "! +2", "-1 +3"]), [(1, 2)]);
        assert_eq!(found(&["+1", "! +2", "+3", "! +4", "-1 -4"]), [(1, 4)]);
        // Nobody knows.
        assert_eq!(found(&["+1", "! +2", "?", "-2"]), [(1, 2)]);
        // It knew it.
        assert_eq!(found(&["+1", "! -1 +2", "-2 +3", "-3 +4"]), []);
        assert_eq!(found(&["+1", "! +2", "-1 -2 +3"]), []);
        // Nothing tells that it did not.
        assert_eq!(found(&["+1", "! +2", "+3", "~ -1 -3 +4"]), []);
        assert_eq!(found(&["+1", "! -1", "+1", "~ -1 +2"]), []);
        // Only what was lost is looked at.
        assert_eq!(found(&["+1", "-1", "-1"]), []);
    }
}
