//! The log as a listing shows it: which version is newest, every way to rebuild a version, and what a backup of it
//! keeps.
//!
//! Decided from names alone. `_last_checkpoint` is never consulted: missing, stale or corrupt it must not change a
//! plan. A checkpoint counts when all its parts are there; whether it can be read is found out by reading it, which is
//! why there is more than one way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{LogError, LogFile, LogFileKind};
use crate::ids::{ObjectKey, Version};
use crate::store::Attributes;

/// The most checkpoints of one version that are looked at. Two writers at once make two.
const CHECKPOINTS_OF_VERSION: usize = 32;

/// How far past all others a newest version may be.
///
/// A log that its own clean-up has shortened may have old versions left over below a hole, but then many versions
/// lead up to the newest: it keeps weeks of them. One version alone, with more than this many missing below it, is
/// rather a slip or a forgery (`…9999.json`), and taking it for the tip would leave the real table without a backup.
const FAR: u64 = 100;

/// The files of a log, sorted by what they are.
#[derive(Debug, Clone, Default)]
pub struct LogListing {
    commits: BTreeMap<Version, LogFile>,
    /// Complete ones only, best first.
    checkpoints: Vec<CheckpointFiles>,
    torn: Vec<TornCheckpoint>,
    sidecars: BTreeMap<ObjectKey, LogFile>,
    last_checkpoint: Option<LogFile>,
    rest: Vec<LogFile>,
    crowded: Option<Version>,
}

/// A checkpoint with all its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// The version whose state it holds.
    pub version: Version,
    /// What kind it is.
    pub kind: CheckpointKind,
    /// Its files, in the order of their parts; sidecars, which only its content names, are not among them.
    pub files: Vec<LogFile>,
}

/// Kinds of checkpoints. The order is the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointKind {
    /// Named by a UUID: nobody else can have overwritten it.
    Uuid,
    /// One file.
    Classic,
    /// Several files.
    MultiPart,
}

/// One way to rebuild a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The version.
    pub version: Version,
    /// The checkpoint to start from; `None` to start from nothing.
    pub checkpoint: Option<CheckpointFiles>,
    /// The commits after it up to the version, without a hole, ascending.
    pub commits: Vec<LogFile>,
    /// The version's own commit, where the log still has it: provenance and in-commit timestamp are in no checkpoint.
    pub tip: Option<LogFile>,
}

impl Segment {
    /// All files of this way, each once, apart from the sidecars that its checkpoint may name.
    pub fn files(&self) -> impl Iterator<Item = &LogFile> {
        let checkpoint = self
            .checkpoint
            .iter()
            .flat_map(|checkpoint| &checkpoint.files);
        let tip = self.tip.iter().filter(|_| self.commits.is_empty());
        checkpoint.chain(&self.commits).chain(tip)
    }
}

#[derive(Debug, Clone)]
struct TornCheckpoint {
    version: Version,
    parts: u64,
    files: Vec<LogFile>,
}

impl LogListing {
    /// Sorts a listing of the table's `_delta_log/` prefix. Objects elsewhere are ignored.
    pub fn new(objects: impl IntoIterator<Item = Attributes>) -> Self {
        let mut listing = Self::default();
        let mut parts: BTreeMap<(Version, u64), BTreeMap<u64, LogFile>> = BTreeMap::new();
        for file in objects.into_iter().filter_map(LogFile::parse) {
            match (file.kind, file.version) {
                (LogFileKind::Commit, Some(version)) => {
                    listing.commits.insert(version, file);
                }
                (LogFileKind::ClassicCheckpoint, Some(version)) => {
                    listing.whole(version, CheckpointKind::Classic, vec![file]);
                }
                (LogFileKind::UuidCheckpoint(_), Some(version)) => {
                    listing.whole(version, CheckpointKind::Uuid, vec![file]);
                }
                (LogFileKind::CheckpointPart { part, parts: of }, Some(version)) => {
                    parts.entry((version, of)).or_default().insert(part, file);
                }
                (LogFileKind::Sidecar, _) => {
                    listing.sidecars.insert(file.key.clone(), file);
                }
                (LogFileKind::LastCheckpoint, _) => listing.last_checkpoint = Some(file),
                _ => listing.rest.push(file),
            }
        }
        for ((version, of), parts) in parts {
            // Part numbers are distinct, so the count and the two ends say that none is missing.
            let complete = parts.len() as u64 == of
                && parts.keys().next() == Some(&1)
                && parts.keys().next_back() == Some(&of);
            let files = parts.into_values().collect();
            if complete {
                listing.whole(version, CheckpointKind::MultiPart, files);
            } else {
                listing.torn.push(TornCheckpoint {
                    version,
                    parts: of,
                    files,
                });
            }
        }
        listing.checkpoints.sort_by(|a, b| {
            let rank =
                |checkpoint: &CheckpointFiles| (Reverse(checkpoint.version), checkpoint.kind);
            rank(a).cmp(&rank(b)).then_with(|| {
                let key = |checkpoint: &CheckpointFiles| {
                    checkpoint.files.first().map(|file| file.key.clone())
                };
                key(a).cmp(&key(b))
            })
        });
        listing.leave_out_crowds();
        listing
    }

    /// Leaves out what one version has too many checkpoints of: each is read, and compared with the others.
    fn leave_out_crowds(&mut self) {
        let (mut version, mut count) = (None, 0);
        let crowded = &mut self.crowded;
        self.checkpoints.retain(|checkpoint| {
            count = if version == Some(checkpoint.version) {
                count + 1
            } else {
                1
            };
            version = Some(checkpoint.version);
            if count > CHECKPOINTS_OF_VERSION {
                *crowded = Some(checkpoint.version);
            }
            count <= CHECKPOINTS_OF_VERSION
        });
    }

    /// A version that has more checkpoints than are looked at.
    pub fn crowded(&self) -> Option<Version> {
        self.crowded
    }

    fn whole(&mut self, version: Version, kind: CheckpointKind, files: Vec<LogFile>) {
        self.checkpoints.push(CheckpointFiles {
            version,
            kind,
            files,
        });
    }

    /// The newest version: of a commit, or of a complete checkpoint (which is the tip for every reader even when its
    /// commit is gone).
    ///
    /// # Errors
    /// [`LogError::NoLog`]. [`LogError::FarFuture`] when there are other versions, and the newest of those is more
    /// than 100 below this one. Asking for such a version by number is not refused.
    pub fn newest(&self) -> Result<Version, LogError> {
        let versions = self.versions();
        let mut descending = versions.iter().rev();
        let &version = descending.next().ok_or_else(|| self.no_log())?;
        match descending.next() {
            Some(&last_before) if version.0 - last_before.0 > FAR => Err(LogError::FarFuture {
                version,
                last_before,
                can_be_rebuilt: self.candidates(version).is_ok(),
            }),
            _ => Ok(version),
        }
    }

    /// As [`LogListing::newest`], where a version that stands alone may be known: `held` is one of which there is a
    /// snapshot, and `accepted` what the owner calls the newest, the lone one or the one before it, or, where
    /// the newest cannot be rebuilt, the last one before a gap.
    ///
    /// # Errors
    /// As [`LogListing::newest`].
    pub fn tip(
        &self,
        accepted: Option<Version>,
        held: Option<Version>,
    ) -> Result<Version, LogError> {
        match self.newest() {
            Err(LogError::FarFuture { version, .. }) if accepted.or(held) == Some(version) => {
                Ok(version)
            }
            Err(LogError::FarFuture { last_before, .. }) if accepted == Some(last_before) => {
                Ok(last_before)
            }
            Ok(newest) => Ok(accepted
                .filter(|accepted| *accepted < newest && self.is_before_a_gap(*accepted))
                .filter(|_| self.candidates(newest).is_err())
                .unwrap_or(newest)),
            Err(error) => Err(error),
        }
    }

    fn is_before_a_gap(&self, version: Version) -> bool {
        let versions = self.versions();
        versions.contains(&version) && !versions.contains(&version.next())
    }

    /// The commits of 0 bytes at or below a version, ascending: to readers, versions that change nothing.
    pub fn empty_commits(&self, version: Version) -> impl DoubleEndedIterator<Item = Version> + '_ {
        let commits = self.commits.range(..=version);
        commits
            .filter(|(_, file)| file.size == 0)
            .map(|(version, _)| *version)
    }

    /// The newest commit, where a version above it has a checkpoint and no commit: a log's clean-up leaves no older commit
    /// than that of the checkpoint.
    pub fn newest_commit_below(&self, version: Version) -> Option<Version> {
        let (newest, _) = self.commits.range(..=version).next_back()?;
        (*newest < version).then_some(*newest)
    }

    /// Every version that has a commit or a complete checkpoint, ascending.
    pub fn versions(&self) -> BTreeSet<Version> {
        let checkpoints = self.checkpoints.iter().map(|checkpoint| checkpoint.version);
        self.commits.keys().copied().chain(checkpoints).collect()
    }

    /// Every way to rebuild a version, best first and at least one: from the newest complete checkpoint at or below
    /// it, then from older ones, at last from version 0 by commits alone.
    ///
    /// # Errors
    /// [`LogError::NoLog`], [`LogError::NoSuchVersion`], [`LogError::Gap`]; [`LogError::TornCheckpoint`] where a
    /// multi-part checkpoint would have been a way if all its parts were there.
    pub fn candidates(
        &self,
        version: Version,
    ) -> Result<impl Iterator<Item = Segment> + '_, LogError> {
        let newest = self.versions().last().copied();
        match newest {
            None => return Err(self.no_log()),
            Some(newest) if newest < version => {
                return Err(LogError::NoSuchVersion { version, newest });
            }
            Some(_) => {}
        }
        // Commits from here up to the version are all there.
        let unbroken = self.unbroken_from(version);
        let starts_a_way =
            move |checkpoint: Version| checkpoint <= version && checkpoint.next() >= unbroken;
        let usable = move |checkpoint: &&CheckpointFiles| starts_a_way(checkpoint.version);
        let from_nothing = unbroken == Version(0);
        if !from_nothing
            && !self
                .checkpoints
                .iter()
                .any(|checkpoint| usable(&checkpoint))
        {
            let torn = self.torn.iter().rev();
            let mut torn = torn.filter(|torn| starts_a_way(torn.version));
            return Err(match torn.next() {
                Some(torn) => LogError::TornCheckpoint {
                    version,
                    checkpoint: torn.version,
                    present: torn.files.len(),
                    parts: torn.parts,
                },
                None => self.gap(version),
            });
        }
        let ways = self.checkpoints.iter().filter(usable).map(Some);
        let ways = ways.chain(from_nothing.then_some(None));
        Ok(ways.map(move |checkpoint| self.segment(version, checkpoint)))
    }

    /// The commits after `after` up to `to`, ascending, to carry a known state on.
    ///
    /// # Errors
    /// [`LogError::Gap`].
    pub fn commits(&self, after: Version, to: Version) -> Result<Vec<LogFile>, LogError> {
        if after < to && self.unbroken_from(to) > after.next() {
            let mut first_missing = after.next();
            while self.commits.contains_key(&first_missing) {
                first_missing = first_missing.next();
            }
            return Err(LogError::Gap {
                version: to,
                first_missing,
                checkpoint: None,
            });
        }
        Ok(self.commits_between(Some(after), to))
    }

    /// The commit of a version.
    pub fn commit(&self, version: Version) -> Option<&LogFile> {
        self.commits.get(&version)
    }

    /// The commits of some versions that are there, ascending.
    pub fn commits_among(
        &self,
        versions: RangeInclusive<Version>,
    ) -> impl Iterator<Item = (Version, &LogFile)> {
        let commits = self.commits.range(versions);
        commits.map(|(version, file)| (*version, file))
    }

    /// Whether each of these versions has its commit.
    pub fn has_every_commit(&self, versions: RangeInclusive<Version>) -> bool {
        let (first, last) = (versions.start().0, versions.end().0);
        let wanted = last
            .checked_sub(first)
            .map_or(0, |more| u128::from(more) + 1);
        self.commits_among(versions).count() as u128 == wanted
    }

    /// The complete checkpoints, newest first, the best of a version first.
    pub fn checkpoints(&self) -> &[CheckpointFiles] {
        &self.checkpoints
    }

    /// The multi-part checkpoints of which parts are missing: version, parts that are there, parts there should be.
    pub fn torn(&self) -> impl Iterator<Item = (Version, usize, u64)> + '_ {
        let torn = self.torn.iter();
        torn.map(|torn| (torn.version, torn.files.len(), torn.parts))
    }

    /// A sidecar by its key.
    pub fn sidecar(&self, key: &ObjectKey) -> Option<&LogFile> {
        self.sidecars.get(key)
    }

    /// The hint `_last_checkpoint`.
    pub fn last_checkpoint(&self) -> Option<&LogFile> {
        self.last_checkpoint.as_ref()
    }

    /// Every file of the log that the listing showed, in no particular order.
    pub fn files(&self) -> impl Iterator<Item = &LogFile> {
        let checkpoints = self
            .checkpoints
            .iter()
            .flat_map(|checkpoint| &checkpoint.files);
        let torn = self.torn.iter().flat_map(|torn| &torn.files);
        self.commits
            .values()
            .chain(checkpoints)
            .chain(torn)
            .chain(self.sidecars.values())
            .chain(&self.last_checkpoint)
            .chain(&self.rest)
    }

    /// The files at or below a version that a backup keeps: everything that names such a version, needed for it or
    /// not, down to the parts of an incomplete checkpoint and to names that are not known. Sidecars and
    /// `_last_checkpoint` name no version; the content of the checkpoints, and the caller, decide about them.
    pub fn held(&self, version: Version) -> impl Iterator<Item = &LogFile> {
        self.files()
            .filter(move |file| file.version.is_some_and(|own| own <= version))
    }

    fn segment(&self, version: Version, checkpoint: Option<&CheckpointFiles>) -> Segment {
        Segment {
            version,
            checkpoint: checkpoint.cloned(),
            commits: self.commits_between(checkpoint.map(|checkpoint| checkpoint.version), version),
            tip: self.commit(version).cloned(),
        }
    }

    fn commits_between(&self, after: Option<Version>, to: Version) -> Vec<LogFile> {
        let from = after.map_or(Version(0), Version::next);
        if from > to {
            return Vec::new();
        }
        self.commits
            .range(from..=to)
            .map(|(_, file)| file.clone())
            .collect()
    }

    /// The least version from which all commits up to `to` are there; the version after `to` when its own is not.
    fn unbroken_from(&self, to: Version) -> Version {
        let mut from = to.next();
        for &version in self.commits.range(..=to).rev().map(|(version, _)| version) {
            if version.next() != from {
                break;
            }
            from = version;
        }
        from
    }

    fn gap(&self, version: Version) -> LogError {
        let checkpoint = self
            .checkpoints
            .iter()
            .map(|checkpoint| checkpoint.version)
            .find(|&checkpoint| checkpoint <= version);
        let mut first_missing = checkpoint.map_or(Version(0), Version::next);
        while self.commits.contains_key(&first_missing) {
            first_missing = first_missing.next();
        }
        LogError::Gap {
            version,
            first_missing,
            checkpoint,
        }
    }

    fn no_log(&self) -> LogError {
        LogError::NoLog {
            files: self.files().count(),
        }
    }
}

#[cfg(test)]
mod tests;
