//! Whether the checkpoint that a plan starts from since the log's clean-up has all that the base has: a checkpoint above the
//! base, in scope `history`, what the base and the commits after it have; one below the base, with the commits after it, what
//! the base has at its own version.
//!
//! Such a plan comes from the listed log alone, in which nothing tells what that checkpoint has lost. Readers of the live
//! table have no other way to the version either, so the snapshot holds what they see, and its owner reads of the rest.

use futures::TryStreamExt;

use super::super::log_replay::{read_checkpoint, replay_segment};
use super::attempt::{ends_only_its_way, said_difference};
use super::failure::Failure;
use super::past::Base;
use super::pinned::Pinned;
use super::replayed::{live_files_of, start_from, state_of};
use super::snapshotter::Snapshotter;
use super::ways::LogRead;
use crate::delta::path::TableRoot;
use crate::delta::replay::{Comparison, Detail, FilesCompared, LiveFile, Replay};
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{Action, LogError, LogFile, Spelling};
use crate::error::Error;
use crate::ids::{Location, ObjectKey};
use crate::spool::{Scratch, Spooled};

/// The checkpoint at the start, and what it is compared with.
struct Since<'a> {
    base: &'a Base,
    start: &'a CheckpointFiles,
    at: At<'a>,
}

/// How the checkpoint that a plan starts from, and what leads on from it, differs from the base.
pub(super) struct StartDiffers {
    pub(super) finding: String,
    /// Live files that the base alone has, and those that it lacks; `None` where that could not be found out.
    pub(super) base_has: Option<(u64, u64)>,
}

/// At which version both are compared.
enum At<'a> {
    /// At the checkpoint's: with the base and the commits after it.
    Checkpoint(&'a [LogFile]),
    /// At the base's: with the checkpoint and the commits after it, which lead to V.
    Base(&'a Segment),
}

impl Snapshotter {
    /// Compares the checkpoint that a plan starts from with the base; how they differ, if they do.
    pub(super) async fn compare_with_base(
        &self,
        pinned: &Pinned,
        log: &LogRead,
        root: &TableRoot,
        scratch: &Scratch,
    ) -> Result<Option<StartDiffers>, Failure> {
        let (Some(base), Some(start)) = (&pinned.base, &log.way.segment.checkpoint) else {
            return Ok(None);
        };
        let at = match &log.way.since_base {
            Some(commits) => At::Checkpoint(commits),
            None if log.way.passes_base => At::Base(&log.way.segment),
            None => return Ok(None),
        };
        let since = Since { base, start, at };
        let body_of = |key: &ObjectKey| log.bodies.get(key).map(|body| body.spooled.clone());
        // Sums that differ say that, and no more.
        for detail in [Detail::Sum, Detail::Rows] {
            let compared = self.compare_once(&since, body_of, root, scratch, detail);
            let (found, example) = match compared.await {
                Ok(compared) => compared,
                Err(Failure::Error(Error::Log(error))) if ends_only_its_way(&error) => {
                    return Ok(Some(StartDiffers {
                        finding: since.incomparable(&error),
                        base_has: None,
                    }));
                }
                Err(failure) => return Err(failure),
            };
            // Another table has other files.
            let found = found.filter(|found| !found.state_differs && !found.agrees());
            let Some(found) = found else {
                return Ok(None);
            };
            if let FilesCompared::Counted { adds, lacks } = found.files {
                return Ok(Some(StartDiffers {
                    finding: since.differs((adds, lacks), found.resized, example.as_ref()),
                    base_has: Some(match since.at {
                        At::Checkpoint(_) => (lacks, adds),
                        At::Base(_) => (adds, lacks),
                    }),
                }));
            }
        }
        Ok(None)
    }

    /// Replays the commits on the one, beside the other.
    async fn compare_once(
        &self,
        since: &Since<'_>,
        body_of: impl Fn(&ObjectKey) -> Option<Spooled>,
        root: &TableRoot,
        scratch: &Scratch,
        detail: Detail,
    ) -> Result<(Option<Comparison>, Option<Location>), Failure> {
        let Since { base, start, at } = since;
        let record = &base.past.record;
        let mut replay = Replay::new(scratch.path())?;
        let mut entries = self.vault.entries(&base.manifest.data_pages);
        match at {
            At::Checkpoint(commits) => {
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
                while let Some(entry) = entries.try_next().await? {
                    for known in live_files_of(entry, record.version) {
                        replay.start_file(known)?;
                    }
                }
            }
            At::Base(segment) => {
                let index = replay.compare(record.version, detail)?;
                for action in state_of(record) {
                    replay.compared(index, action)?;
                }
                while let Some(entry) = entries.try_next().await? {
                    let known = live_files_of(entry, record.version);
                    for LiveFile { add, .. } in known.filter(LiveFile::is_seen) {
                        let spelling = Spelling::default();
                        replay.compared(index, Action::Add { add, spelling })?;
                    }
                }
                replay_segment(segment, &body_of, root, &mut replay, &mut |_, _| {})?;
            }
        }
        let (_, mut files) = replay.finish()?;
        files.by_ref().try_for_each(|file| file.map(drop))?;
        let found = files.comparisons().pop().map(|(_, found)| found);
        Ok((found, files.findings().disputed_example.clone()))
    }
}

impl Since<'_> {
    fn differs(
        &self,
        (adds, lacks): (u64, u64),
        resized: u64,
        example: Option<&Location>,
    ) -> String {
        let snapshot = self.base.past.id.short();
        let version = self.start.version;
        // What is compared with the other is the checkpoint, or the base.
        let (both, counts) = match self.at {
            At::Checkpoint(_) => (
                format!(
                    "checkpoint {version} disagrees with snapshot {snapshot} and the commits after it: it"
                ),
                (adds, lacks),
            ),
            At::Base(_) => (
                format!(
                    "checkpoint {version} and the commits after it disagree with snapshot {snapshot}, which saw the commits before: this way"
                ),
                (lacks, adds),
            ),
        };
        format!(
            "{both} {}; the log's clean-up has left readers no other way to the version, and this snapshot holds what \
             the checkpoint names",
            said_difference(counts, resized, example),
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
