//! The log as a listing shows it: which version is newest, every way to rebuild a version, and what a backup of it
//! keeps.
//!
//! Decided from names alone. `_last_checkpoint` is never consulted: missing, stale or corrupt it must not change a
//! plan. A checkpoint counts when all its parts are there; whether it can be read is found out by reading it, which is
//! why there is more than one way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{LogError, LogFile, LogFileKind};
use crate::ids::{ObjectKey, Version};
use crate::store::Attributes;

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
        listing
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
            }),
            _ => Ok(version),
        }
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
mod tests {
    use super::*;
    use crate::ids::{ETag, Timestamp};

    const UUID: &str = "80a083e8-7026-4e79-81be-64bd76c43a11";

    /// `3` is a commit, `c3` a classic checkpoint, `u3` a UUID one, `m3.1/2` a part; anything else is a literal name.
    fn listing(short: &str) -> LogListing {
        LogListing::new(short.split_whitespace().map(|name| Attributes {
            key: format!("_delta_log/{}", long(name)).parse().unwrap(),
            size: 1,
            last_modified: Timestamp::UNIX_EPOCH,
            etag: ETag(String::new()),
            version: None,
            sha256: None,
            locked_until: None,
        }))
    }

    fn long(short: &str) -> String {
        let number = |text: &str| text.parse::<u64>().ok();
        if let Some(n) = number(short) {
            return format!("{n:020}.json");
        }
        if let Some(n) = short.strip_prefix('c').and_then(number) {
            return format!("{n:020}.checkpoint.parquet");
        }
        if let Some(n) = short.strip_prefix('u').and_then(number) {
            return format!("{n:020}.checkpoint.{UUID}.json");
        }
        if let Some((n, part, parts)) = short.strip_prefix('m').and_then(|rest| {
            let (n, rest) = rest.split_once('.')?;
            let (part, parts) = rest.split_once('/')?;
            Some((number(n)?, number(part)?, number(parts)?))
        }) {
            return format!("{n:020}.checkpoint.{part:010}.{parts:010}.parquet");
        }
        short.to_owned()
    }

    /// `uuid 3: 4 5` for a way that starts at a UUID checkpoint of version 3.
    fn ways(listing: &LogListing, version: u64) -> Result<Vec<String>, String> {
        let segments = listing
            .candidates(Version(version))
            .map_err(|error| error.to_string())?;
        Ok(segments
            .map(|segment| {
                let start =
                    segment
                        .checkpoint
                        .as_ref()
                        .map_or("nothing".to_owned(), |checkpoint| {
                            format!(
                                "{:?} {} x{}",
                                checkpoint.kind,
                                checkpoint.version,
                                checkpoint.files.len()
                            )
                        });
                let commits = segment
                    .commits
                    .iter()
                    .map(|file| format!(" {}", file.version.unwrap()));
                format!("{start}:{}", commits.collect::<String>())
            })
            .collect())
    }

    #[test]
    fn ways_are_best_first_and_end_with_the_commits_alone() {
        let listing = listing("0 1 2 3 4 5 c2 c4 u4 m4.1/2 m4.2/2 _last_checkpoint");
        assert_eq!(
            ways(&listing, 5).unwrap(),
            [
                "Uuid 4 x1: 5",
                "Classic 4 x1: 5",
                "MultiPart 4 x2: 5",
                "Classic 2 x1: 3 4 5",
                "nothing: 0 1 2 3 4 5"
            ]
        );
        assert_eq!(ways(&listing, 4).unwrap()[0], "Uuid 4 x1:");
        assert_eq!(
            ways(&listing, 3).unwrap(),
            ["Classic 2 x1: 3", "nothing: 0 1 2 3"]
        );
    }

    #[test]
    fn own_commit_is_named_once_even_when_the_checkpoint_is_of_the_same_version() {
        let listing = listing("0 1 2 c2");
        for (version, names) in [(2, "c2 2"), (1, "0 1")] {
            let segment = listing
                .candidates(Version(version))
                .unwrap()
                .next()
                .unwrap();
            let files: Vec<_> = segment.files().map(LogFile::name).collect();
            assert_eq!(
                files,
                names.split(' ').map(long).collect::<Vec<_>>(),
                "{version}"
            );
        }
    }

    #[test]
    fn checkpoint_without_its_commit_is_a_version() {
        let listing = listing("c7");
        assert_eq!(listing.newest().unwrap(), Version(7));
        assert_eq!(ways(&listing, 7).unwrap(), ["Classic 7 x1:"]);
        assert!(
            listing
                .candidates(Version(7))
                .unwrap()
                .next()
                .unwrap()
                .tip
                .is_none()
        );
    }

    #[test]
    fn gap_between_commits_is_refused_with_the_first_missing() {
        for (files, version, first_missing, checkpoint) in [
            ("0 2", 2, 1, None),
            ("1 2", 2, 0, None),
            ("0 1 2 c2 3 5 6", 6, 4, Some(2)),
            ("0 1 2 c2 4", 4, 3, Some(2)),
            ("5 c7", 6, 0, None),
            // No reader lets a compaction fill a gap.
            (
                "0 2 00000000000000000000.00000000000000000002.compacted.json",
                2,
                1,
                None,
            ),
        ] {
            let listing = listing(files);
            let error = listing.candidates(Version(version)).err().unwrap();
            assert!(
                matches!(error, LogError::Gap { version: v, first_missing: f, checkpoint: c }
                    if v.0 == version && f.0 == first_missing && c == checkpoint.map(Version)),
                "{files}: {error}"
            );
        }
    }

    #[test]
    fn gap_below_a_checkpoint_only_takes_older_ways_away() {
        let listing = listing("0 1 c1 2 4 5 c5 6");
        assert_eq!(ways(&listing, 6).unwrap(), ["Classic 5 x1: 6"]);
        assert_eq!(
            ways(&listing, 2).unwrap(),
            ["Classic 1 x1: 2", "nothing: 0 1 2"]
        );
    }

    #[test]
    fn incomplete_multi_part_checkpoint_is_ignored_while_there_is_another_way() {
        assert_eq!(
            ways(&listing("0 1 2 m2.1/2"), 2).unwrap(),
            ["nothing: 0 1 2"]
        );
        assert_eq!(
            ways(&listing("0 1 2 m2.1/3 m2.3/3 m2.1/2 m2.2/2"), 2).unwrap()[0],
            "MultiPart 2 x2:"
        );
        for torn in ["m2.0/2 m2.1/2", "m2.0/0", "m2.2/3 m2.3/3 m2.4/3"] {
            assert_eq!(
                ways(&listing(&format!("0 1 2 {torn}")), 2).unwrap(),
                ["nothing: 0 1 2"],
                "{torn}"
            );
        }
    }

    #[test]
    fn torn_checkpoint_without_another_way_is_refused_as_such() {
        let error = listing("2 3 m2.2/3").candidates(Version(3)).err().unwrap();
        assert_eq!(
            error.to_string(),
            "version 3 cannot be rebuilt: 1 of 3 parts of checkpoint 2 are there"
        );
    }

    #[test]
    fn folder_without_commits_or_checkpoints_is_no_log() {
        for (files, count) in [
            ("", 0),
            ("_last_checkpoint .tmp/00000000000000000000.json m2.1/2", 3),
        ] {
            let listing = listing(files);
            for error in [
                listing.newest().unwrap_err(),
                listing.candidates(Version(0)).err().unwrap(),
            ] {
                assert!(
                    matches!(error, LogError::NoLog { files } if files == count),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn version_past_the_newest_does_not_exist() {
        let error = listing("0 1").candidates(Version(u64::MAX)).err().unwrap();
        assert!(
            matches!(
                error,
                LogError::NoSuchVersion {
                    newest: Version(1),
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn lone_version_far_past_the_rest_is_not_taken_for_the_newest() {
        for (files, expected) in [
            ("0 1 2 3 9999 c9999", None),
            ("0 1 9223372036854775807", None),
            ("c10 11 112", None),
            ("c10 11 111", Some(111)),
            ("0 1 3", Some(3)),
            // Somebody has gone on from there, or nothing but the checkpoint is left: no reason to doubt.
            ("0 1 9999 c9999 10000", Some(10000)),
            ("9999 c9999", Some(9999)),
            ("c9999", Some(9999)),
        ] {
            assert_eq!(
                listing(files).newest().ok().map(|version| version.0),
                expected,
                "{files}"
            );
        }
        let error = listing("0 1 13 9999 c9999").newest().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the newest version 9999 stands alone, the one before it is 13"
        );
        // Asked for by number it is the owner's word.
        assert_eq!(
            ways(&listing("0 1 9999 c9999"), 9999).unwrap(),
            ["Classic 9999 x1:"]
        );
    }

    #[test]
    fn commits_after_a_known_state_have_no_hole() {
        let listing = listing("3 4 5 7 c5");
        let commits = |after, to| {
            let files = listing
                .commits(Version(after), Version(to))
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(
                files
                    .iter()
                    .map(|file| file.version.unwrap().0)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(commits(2, 5).unwrap(), [3, 4, 5]);
        assert!(commits(4, 4).unwrap().is_empty());
        assert!(commits(5, 4).unwrap().is_empty());
        assert_eq!(
            commits(4, 7).unwrap_err(),
            "version 7 cannot be rebuilt: commit 6 is missing"
        );
        assert!(commits(1, 5).unwrap_err().contains("commit 2 "));
        assert!(commits(5, 6).unwrap_err().contains("commit 6 "));
    }

    #[test]
    fn held_is_everything_that_names_a_version_at_or_below() {
        let keep = "0 1 2 c1 u2 m2.1/3 00000000000000000002.crc 00000000000000000001.invented \
                    00000000000000000000.00000000000000000002.compacted.json";
        let drop = "3 c3 00000000000000000003.crc 00000000000000000001.00000000000000000003.compacted.json \
                    _last_checkpoint _sidecars/a.parquet .00000000000000000001.json.crc \
                    _staged_commits/00000000000000000001.x.json .tmp/00000000000000000001.json notes.txt";
        let listing = listing(&format!("{keep} {drop}"));
        let mut held: Vec<_> = listing
            .held(Version(2))
            .map(|file| file.name().to_owned())
            .collect();
        let mut expected: Vec<_> = keep.split_whitespace().map(long).collect();
        held.sort();
        expected.sort();
        assert_eq!(held, expected);
        assert!(listing.last_checkpoint().is_some());
        assert!(
            listing
                .sidecar(&"_delta_log/_sidecars/a.parquet".parse().unwrap())
                .is_some()
        );
        assert_eq!(
            listing.files().count(),
            (keep.to_owned() + " " + drop).split_whitespace().count()
        );
    }
}
