//! Where the log's clean-up has passed the base: whether the checkpoint that a `history` plan starts from has all that the
//! base and the commits since have.
//!
//! Such a plan comes from the listed log alone, in which nothing tells what that checkpoint has lost. Readers of the live
//! table have no other way to the version either, so the snapshot holds what they see, and its owner reads of the rest.

use futures::TryStreamExt;

use super::super::log_replay::{read_checkpoint, replay_segment};
use super::attempt::{ends_only_its_way, said_difference};
use super::pin::{Base, Pinned};
use super::replayed::{live_files_of, start_from};
use super::ways::LogRead;
use super::{Failure, Snapshotter};
use crate::delta::path::TableRoot;
use crate::delta::replay::{Comparison, Detail, FilesCompared, Replay};
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{LogError, LogFile};
use crate::error::Error;
use crate::ids::{Location, ObjectKey};
use crate::spool::{Scratch, Spooled};

/// The checkpoint at the start, and what it is compared with.
struct Since<'a> {
    base: &'a Base,
    commits: &'a [LogFile],
    start: &'a CheckpointFiles,
}

impl Snapshotter {
    /// Compares the checkpoint that a plan starts from with the base; what the owner should know of the difference.
    pub(super) async fn compare_with_base(
        &self,
        pinned: &Pinned,
        log: &LogRead,
        root: &TableRoot,
        scratch: &Scratch,
    ) -> Result<Option<String>, Failure> {
        let (Some(base), Some(commits), Some(start)) = (
            &pinned.base,
            &log.way.since_base,
            &log.way.segment.checkpoint,
        ) else {
            return Ok(None);
        };
        let since = Since {
            base,
            commits,
            start,
        };
        let body_of = |key: &ObjectKey| log.bodies.get(key).map(|body| body.spooled.clone());
        // Sums that differ say that, and no more.
        for detail in [Detail::Sum, Detail::Rows] {
            let compared = self.compare_once(&since, body_of, root, scratch, detail);
            let (found, example) = match compared.await {
                Ok(compared) => compared,
                Err(Failure::Error(Error::Log(error))) if ends_only_its_way(&error) => {
                    return Ok(Some(since.incomparable(&error)));
                }
                Err(failure) => return Err(failure),
            };
            // Another table has other files.
            let found = found.filter(|found| !found.state_differs);
            match found.map(|found| found.files) {
                Some(FilesCompared::Differ) => {}
                Some(FilesCompared::Counted { adds, lacks }) => {
                    return Ok(Some(since.differs((adds, lacks), example.as_ref())));
                }
                Some(FilesCompared::Same) | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Replays the commits after the base on its live set, beside the checkpoint.
    async fn compare_once(
        &self,
        since: &Since<'_>,
        body_of: impl Fn(&ObjectKey) -> Option<Spooled>,
        root: &TableRoot,
        scratch: &Scratch,
        detail: Detail,
    ) -> Result<(Option<Comparison>, Option<Location>), Failure> {
        let Since {
            base,
            commits,
            start,
        } = since;
        let record = &base.past.record;
        let mut replay = Replay::new(scratch.path())?;
        let index = replay.compare(start.version, detail)?;
        read_checkpoint(start, &body_of, root, &mut |action| {
            replay.compared(index, action)
        })
        .map_err(|failed| *failed.error)?;
        start_from(&mut replay, record)?;
        let segment = Segment {
            version: start.version,
            checkpoint: None,
            commits: commits.to_vec(),
            tip: None,
        };
        replay_segment(&segment, &body_of, root, &mut replay, &mut |_, _| {})?;
        let mut entries = self.vault.entries(&base.manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            for known in live_files_of(entry, record.version) {
                replay.start_file(known)?;
            }
        }
        let (_, mut files) = replay.finish()?;
        files.by_ref().try_for_each(|file| file.map(drop))?;
        let found = files.comparisons().pop().map(|(_, found)| found);
        Ok((found, files.findings().disputed_example.clone()))
    }
}

impl Since<'_> {
    fn differs(&self, counts: (u64, u64), example: Option<&Location>) -> String {
        format!(
            "checkpoint {} disagrees with snapshot {} and the commits after it: it {}; the log's clean-up has left readers \
             no other way to the version, and this snapshot holds what the checkpoint names",
            self.start.version,
            self.base.past.id.short(),
            said_difference(counts, example),
        )
    }

    fn incomparable(&self, error: &LogError) -> String {
        format!(
            "checkpoint {} could not be compared with snapshot {} and the commits after it: {error}",
            self.start.version,
            self.base.past.id.short()
        )
    }
}
