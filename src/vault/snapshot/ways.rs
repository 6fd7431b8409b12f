//! The ways to rebuild V, and reading the log files of one of them: each once, spooled, with the digest it had.

use std::collections::HashSet;
use std::path::Path;

use futures::{StreamExt, stream};

use super::super::Vault;
use super::super::ahead::ahead;
use super::super::log_replay::{of_log, read_actions, read_sidecars};
use super::failure::Failure;
use super::log_files::{Bodies, Body, LOG_FILES_AHEAD, read_listed};
use super::pin;
use super::pinned::Pinned;
use crate::delta::path::TableRoot;
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{Action, CommitInfo, LogError, LogFile, LogFileKind};
use crate::error::Error;
use crate::format::Scope;
use crate::format::page::log_order;
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::{LogScope, LogStep, plan_log_file};
use crate::source::{Fetched, Source};
use crate::spool::{IN_MEMORY_LIMIT, Spool};

/// Sidecars read at a time; their sizes are not known before.
const CHECKPOINT_FILES_AHEAD: usize = 8;

/// A way to rebuild V.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// Whether it starts from the base's live set instead of a checkpoint or of nothing.
    pub(super) from_base: bool,
    /// What is replayed then.
    pub(super) segment: Segment,
    /// The other complete checkpoints at or after its start: each begins a way of its own, and is compared.
    pub(super) compared: Vec<CheckpointFiles>,
    /// With scope `history`, the commit of the checkpoint that it starts from: nothing of it is replayed, but its change
    /// data is held.
    pub(super) first_commit: Option<LogFile>,
    /// Where the log's clean-up has passed the base: the commits after the base up to the checkpoint that it starts from,
    /// which has to come to what the base and they do.
    pub(super) since_base: Option<Vec<LogFile>>,
    /// Whether it starts from a checkpoint below the base, in a log that was cleaned up, and passes the base's own version:
    /// then it has to come to what the base holds there.
    pub(super) passes_base: bool,
}

impl Way {
    /// Whether it needs a log file.
    pub(super) fn needs(&self, file: &str) -> bool {
        self.segment
            .files()
            .any(|needed| *needed.key.as_str() == *file)
    }

    /// The oldest version that a replay of it sees.
    pub(super) fn first_version(&self) -> Version {
        self.segment
            .checkpoint
            .as_ref()
            .map_or(Version(0), |checkpoint| checkpoint.version)
    }
}

/// The log files that a plan replays, read and spooled.
#[derive(Debug)]
pub(super) struct LogRead {
    pub(super) way: Way,
    pub(super) bodies: Bodies,
    /// Checkpoints that entered and begin no way to V, which only have to be decoded.
    pub(super) aside: Vec<CheckpointFiles>,
    pub(super) failed: Vec<FailedCheckpoint>,
    /// The sidecars of the checkpoint that the replay starts from.
    pub(super) replayed_sidecars: Vec<ObjectKey>,
    /// The sidecars of all checkpoints that entered now.
    pub(super) sidecars: HashSet<ObjectKey>,
    /// The `commitInfo` of V's commit; empty when the log's clean-up has removed it.
    pub(super) info: CommitInfo,
}

impl LogRead {
    /// The files of checkpoints that could not be decoded, or whose sidecars are not there.
    pub(super) fn unreadable(&self) -> HashSet<ObjectKey> {
        let marked = self.failed.iter().map(|failed| {
            if failed.is_unreadable() {
                &failed.file
            } else {
                &failed.top
            }
        });
        marked.cloned().collect()
    }

    /// Every file of the compared checkpoints, sidecars apart.
    pub(super) fn compared_files(&self) -> impl Iterator<Item = &ObjectKey> {
        let files = self.way.compared.iter().flat_map(|found| &found.files);
        files.map(|file| &file.key)
    }

    /// Every log file that the replay reads.
    pub(super) fn replayed_files(&self) -> impl Iterator<Item = &ObjectKey> {
        let checkpoint = self
            .way
            .segment
            .checkpoint
            .iter()
            .flat_map(|found| &found.files);
        let files = checkpoint
            .chain(&self.way.segment.commits)
            .chain(&self.way.first_commit)
            .map(|file| &file.key);
        files.chain(&self.replayed_sidecars)
    }
}

/// A checkpoint that cannot be read to its end, and what is wrong with it.
#[derive(Debug)]
pub(super) struct FailedCheckpoint {
    pub(super) version: Version,
    /// Its first file.
    pub(super) top: ObjectKey,
    /// The file that is to blame.
    pub(super) file: ObjectKey,
    pub(super) error: LogError,
}

impl FailedCheckpoint {
    /// A checkpoint that failed, for a file of its own unless another is `blamed`.
    pub(super) fn of(
        checkpoint: &CheckpointFiles,
        blamed: Option<ObjectKey>,
        error: LogError,
    ) -> Option<Self> {
        let top = checkpoint.files.first()?.key.clone();
        Some(Self {
            version: checkpoint.version,
            file: blamed.unwrap_or_else(|| top.clone()),
            top,
            error,
        })
    }

    /// Whether the file's own bytes are to blame, and not that it is missing.
    pub(super) fn is_unreadable(&self) -> bool {
        !matches!(self.error, LogError::MissingSidecar { .. })
    }

    pub(super) fn finding(&self) -> String {
        let Self { version, error, .. } = self;
        if self.is_unreadable() {
            format!(
                "checkpoint {version} cannot be decoded ({error}): the version was planned without it"
            )
        } else {
            format!(
                "checkpoint {version} is incomplete ({error}): no reader can open the table by it"
            )
        }
    }
}

/// The ways to rebuild V that are tried, in this order: on from the base; else the longest first, since only from there
/// every other complete checkpoint can be compared.
pub(super) fn ways(pinned: &Pinned, scope: Scope) -> Result<Vec<Way>, LogError> {
    let listing = &pinned.listing;
    let inherited = &pinned.inherited;
    let base = pinned.base.as_ref();
    if let Some(base) = base.filter(|base| base.using.goes_on()) {
        let from = base.past.record.version;
        let compared = listing.checkpoints().iter().rev();
        let compared = compared.filter(|found| {
            (from..=pinned.version).contains(&found.version) && !inherited.knows(found)
        });
        return Ok(vec![Way {
            from_base: true,
            segment: Segment {
                version: pinned.version,
                checkpoint: None,
                commits: listing.commits(from, pinned.version)?,
                tip: listing.commit(pinned.version).cloned(),
            },
            compared: compared.cloned().collect(),
            first_commit: None,
            since_base: None,
            passes_base: false,
        }]);
    }
    let mut segments: Vec<_> = listing.candidates(pinned.version)?.collect();
    segments.reverse();
    // Where the base has compared them, those that it holds need not be read on every night.
    let known = pinned.base.is_some() && !pinned.ended;
    let checkpoints: Vec<_> = segments
        .iter()
        .filter_map(|segment| segment.checkpoint.clone())
        .collect();
    let ways = segments.into_iter().map(|segment| {
        let start = segment.checkpoint.as_ref();
        let from = start.map_or(Version(0), |start| start.version);
        // With a start that enters now nothing was compared yet.
        let known = known && start.is_none_or(|start| inherited.knows(start));
        let compared = checkpoints.iter().filter(|found| {
            found.version >= from && start != Some(*found) && !(known && inherited.knows(found))
        });
        let compared: Vec<_> = compared.cloned().collect();
        let unproven = start.filter(|start| is_unproven(pinned, start, &compared));
        Way {
            from_base: false,
            compared,
            first_commit: start
                .filter(|_| scope == Scope::History)
                .and_then(|start| listing.commit(start.version).cloned()),
            since_base: unproven.and_then(|start| since_base(pinned, start)),
            passes_base: unproven.is_some_and(|start| passes_base(pinned, start)),
            segment,
        }
    });
    Ok(ways.collect())
}

/// Whether only the base can tell what a way from a checkpoint has lost: the base has not seen the checkpoint, or found that
/// a checkpoint disagrees which begins this way, or which is gone.
fn is_unproven(pinned: &Pinned, start: &CheckpointFiles, compared: &[CheckpointFiles]) -> bool {
    let Some(base) = &pinned.base else {
        return false;
    };
    let is_compared = |file: &ObjectKey| {
        let mut files = compared.iter().flat_map(|found| &found.files);
        files.any(|compared| compared.key == *file)
    };
    let mut disagreements = base.past.record.disagreements.iter();
    pinned.inherited.overwritten.is_empty()
        && (!pinned.inherited.knows(start) || disagreements.any(|it| !is_compared(&it.file)))
}

/// The commits after the base up to a checkpoint, if all are there.
fn since_base(pinned: &Pinned, start: &CheckpointFiles) -> Option<Vec<LogFile>> {
    let from = pinned.base.as_ref()?.past.record.version;
    let commits = (from <= start.version).then(|| pinned.listing.commits(from, start.version));
    commits?.ok()
}

/// Whether a way from a checkpoint passes the base's version.
fn passes_base(pinned: &Pinned, start: &CheckpointFiles) -> bool {
    pinned.base.as_ref().is_some_and(|base| {
        let record = &base.past.record;
        start.version < record.version && record.version <= pinned.version
    })
}

/// Reads log files of one table into a spool.
pub(super) struct LogReader<'a> {
    pub(super) vault: &'a Vault,
    pub(super) source: &'a Source,
    pub(super) pinned: &'a Pinned,
    pub(super) root: &'a TableRoot,
    pub(super) folder: &'a Path,
    pub(super) spool: &'a mut Spool,
    /// What was read before, and what a read that failed has come to.
    pub(super) bodies: Bodies,
}

impl LogReader<'_> {
    /// Reads the log files that V is replayed from, one way, and the checkpoints that are compared.
    pub(super) async fn read(&mut self, way: Way) -> Result<LogRead, Failure> {
        let mut read = LogRead {
            way,
            bodies: Bodies::new(),
            aside: Vec::new(),
            failed: Vec::new(),
            replayed_sidecars: Vec::new(),
            sidecars: HashSet::new(),
            info: CommitInfo::default(),
        };
        if let Some(checkpoint) = read.way.segment.checkpoint.clone() {
            read.replayed_sidecars = self.read_checkpoint(&checkpoint.files).await?;
            read.sidecars.extend(read.replayed_sidecars.iter().cloned());
        }
        self.read_entering(&mut read).await?;
        self.read_commits(&mut read).await?;
        read.bodies = std::mem::take(&mut self.bodies);
        if let Some(file) = self.pinned.commit()
            && let Some(body) = read.bodies.get(&file.key)
        {
            let sink = &mut |action| {
                if let Action::CommitInfo(info) = action {
                    read.info = info;
                }
                Ok(())
            };
            read_actions(&file.key, &body.spooled, self.root, sink).map(drop)?;
        }
        Ok(read)
    }

    /// Reads a checkpoint's files and sidecars; returns the sidecars' keys.
    async fn read_checkpoint(&mut self, files: &[LogFile]) -> Result<Vec<ObjectKey>, Failure> {
        self.read_all(files).await?;
        let mut sidecars = Vec::new();
        for file in files {
            sidecars.extend(self.sidecars_of(file)?);
        }
        // A checkpoint may name one twice.
        let mut seen = HashSet::new();
        sidecars.retain(|key| seen.insert(key.clone()));
        let (source, folder) = (self.source, self.folder);
        let wanted: Vec<_> = sidecars
            .iter()
            .filter(|key| !self.bodies.contains_key(*key))
            .cloned()
            .collect();
        let mut fetched = stream::iter(wanted)
            .map(|key| async move {
                let location = Location::Inside(key.clone());
                (key, source.fetch_log(&location, folder).await)
            })
            .buffered(CHECKPOINT_FILES_AHEAD);
        while let Some((key, fetched)) = fetched.next().await {
            match fetched {
                Ok(fetched) => self.keep(&key, fetched)?,
                Err(error) if error.is_not_found() => {
                    let file = key.to_string();
                    return Err(LogError::MissingSidecar { file }.into());
                }
                Err(error) => return Err(of_log(error, &key).into()),
            }
        }
        Ok(sidecars)
    }

    /// Reads every complete checkpoint that enters now, with its sidecars: those that are compared, and those that begin
    /// no way to V.
    async fn read_entering(&mut self, read: &mut LogRead) -> Result<(), Failure> {
        let inherited = &self.pinned.inherited;
        let scope = pin::log_scope(self.pinned);
        self.read_kept(scope, read).await?;
        let compared = std::mem::take(&mut read.way.compared);
        for checkpoint in compared {
            if self.read_one(&checkpoint, read).await? {
                read.way.compared.push(checkpoint);
            }
        }
        let start = read.way.segment.checkpoint.clone();
        let entering = self.pinned.listing.checkpoints().iter().filter(|found| {
            found.version <= self.pinned.version
                && !inherited.knows(found)
                && start.as_ref() != Some(*found)
        });
        for checkpoint in entering {
            let is_read = read.way.compared.contains(checkpoint)
                || read.failed.iter().any(|failed| {
                    failed.version == checkpoint.version
                        && checkpoint.files.iter().any(|file| file.key == failed.file)
                });
            if !is_read && self.read_one(checkpoint, read).await? {
                read.aside.push(checkpoint.clone());
            }
        }
        Ok(())
    }

    /// Reads a checkpoint's files and sidecars; one of which that cannot be done is noted, and the answer is no.
    async fn read_one(
        &mut self,
        checkpoint: &CheckpointFiles,
        read: &mut LogRead,
    ) -> Result<bool, Failure> {
        match self.read_checkpoint(&checkpoint.files).await {
            Ok(sidecars) => {
                read.sidecars.extend(sidecars);
                Ok(true)
            }
            Err(Failure::Error(Error::Log(error))) if error.is_about_content() => {
                let blamed = error.file().and_then(|file| file.parse().ok());
                read.failed
                    .extend(FailedCheckpoint::of(checkpoint, blamed, error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the checkpoints that stay although the source has cleaned them up, for the sidecars that stay with them.
    async fn read_kept(&mut self, scope: LogScope, read: &mut LogRead) -> Result<(), Failure> {
        let listing = &self.pinned.listing;
        let lists_sidecars = listing
            .files()
            .any(|file| file.kind == LogFileKind::Sidecar);
        let reuse = self.pinned.reused().is_some();
        if !reuse || !(lists_sidecars || scope.whole) {
            return Ok(());
        }
        let held = self.pinned.inherited.checkpoints();
        let listed: HashSet<_> = listing.files().map(|file| &file.key).collect();
        let gone = held.iter().filter(|(key, _)| !listed.contains(key));
        for (key, entry) in gone {
            let held = Some((entry, log_order(entry).version()));
            if plan_log_file(held, None, scope) == LogStep::Drop {
                continue;
            }
            let payload = self.vault.payload(entry, self.folder).await?;
            let spooled = self.spool.append(&payload).map_err(Error::Scratch)?;
            if let Ok(named) = read_sidecars(key, &spooled, self.root) {
                read.sidecars.extend(named);
            }
        }
        Ok(())
    }

    async fn read_commits(&mut self, read: &mut LogRead) -> Result<(), Failure> {
        let mut wanted = read.way.segment.commits.clone();
        // A checkpoint does not keep V's commitInfo: its commit is read although nothing is replayed from it.
        wanted.extend(self.pinned.commit().cloned());
        wanted.extend(read.way.first_commit.clone());
        wanted.extend(read.way.since_base.iter().flatten().cloned());
        let mut seen = HashSet::new();
        wanted.retain(|file| seen.insert(file.key.clone()));
        self.read_all(&wanted).await
    }

    async fn read_all(&mut self, files: &[LogFile]) -> Result<(), Failure> {
        let (source, folder) = (self.source, self.folder);
        let reads: Vec<_> = files
            .iter()
            .filter(|file| !self.bodies.contains_key(&file.key))
            .collect();
        let reads = stream::iter(reads).map(|file| {
            let read = async move { (file, read_listed(source, file, folder).await) };
            (file.size.min(IN_MEMORY_LIMIT), read)
        });
        let mut fetched = ahead(reads, LOG_FILES_AHEAD);
        while let Some((file, fetched)) = fetched.next().await {
            self.keep(&file.key, fetched?)?;
        }
        Ok(())
    }

    /// The sidecars that a checkpoint's file names, which was read.
    fn sidecars_of(&self, file: &LogFile) -> Result<Vec<ObjectKey>, Failure> {
        let Some(body) = self.bodies.get(&file.key) else {
            return Ok(Vec::new());
        };
        Ok(read_sidecars(&file.key, &body.spooled, self.root)?)
    }

    fn keep(&mut self, key: &ObjectKey, fetched: Fetched) -> Result<(), Failure> {
        let spooled = self.spool.append(&fetched.payload);
        let body = Body {
            attributes: fetched.attributes,
            spooled: spooled.map_err(Error::Scratch)?,
        };
        self.bodies.insert(key.clone(), body);
        Ok(())
    }
}
