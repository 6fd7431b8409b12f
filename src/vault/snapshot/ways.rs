//! The ways to rebuild V, and reading the log files of one of them: each once, spooled, with the digest it had.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures::{StreamExt, TryStreamExt, stream};

use super::super::Vault;
use super::super::ahead::ahead;
use super::super::log_replay::{read_actions, read_sidecars};
use super::Failure;
use super::log::{Bodies, Body, LOG_FILES_AHEAD, read_listed};
use super::pin::{self, Pinned};
use crate::delta::path::TableRoot;
use crate::delta::segment::Segment;
use crate::delta::{Action, CommitInfo, LogError, LogFile, LogFileKind};
use crate::error::Error;
use crate::format::page::log_order;
use crate::format::{Entry, EntryKind, Scope};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::{BaseUse, LogScope, LogStep, plan_log_file};
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
    /// With scope `history`, the commit of the checkpoint that it starts from: nothing of it is replayed, but its change
    /// data is held.
    pub(super) first_commit: Option<LogFile>,
}

impl Way {
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
    /// The sidecars of the checkpoint that the replay starts from.
    pub(super) replayed_sidecars: Vec<ObjectKey>,
    /// The sidecars of all checkpoints that entered now.
    pub(super) sidecars: HashSet<ObjectKey>,
    /// What V's own commit says of itself; empty when the log's clean-up has removed it.
    pub(super) info: CommitInfo,
}

impl LogRead {
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
            .map(|file| &file.key);
        files.chain(&self.replayed_sidecars)
    }
}

/// The ways to rebuild V, best first: from the base, or from each usable checkpoint and from version 0.
pub(super) fn ways(pinned: &Pinned, scope: Scope) -> Result<Vec<Way>, LogError> {
    let listing = &pinned.listing;
    if let Some(base) = pinned
        .base
        .as_ref()
        .filter(|base| base.using == BaseUse::Continue)
    {
        let commits = listing.commits(base.past.record.version, pinned.version)?;
        let tip = listing.commit(pinned.version).cloned();
        let segment = Segment {
            version: pinned.version,
            checkpoint: None,
            commits,
            tip,
        };
        return Ok(vec![Way {
            from_base: true,
            segment,
            first_commit: None,
        }]);
    }
    let candidates = listing.candidates(pinned.version)?;
    let mut ways: Vec<_> = candidates
        .map(|segment| Way {
            from_base: false,
            first_commit: segment
                .checkpoint
                .as_ref()
                .filter(|_| scope == Scope::History)
                .and_then(|checkpoint| listing.commit(checkpoint.version).cloned()),
            segment,
        })
        .collect();
    if scope == Scope::History {
        // The oldest way sees the most versions.
        ways.reverse();
    }
    Ok(ways)
}

/// Reads log files of one table into a spool.
pub(super) struct LogReader<'a> {
    pub(super) vault: &'a Vault,
    pub(super) source: &'a Source,
    pub(super) pinned: &'a Pinned,
    pub(super) root: &'a TableRoot,
    pub(super) folder: &'a Path,
    pub(super) spool: &'a mut Spool,
}

impl LogReader<'_> {
    /// Reads the log files that V is replayed from, one way.
    pub(super) async fn read(&mut self, way: Way) -> Result<LogRead, Failure> {
        let mut read = LogRead {
            way,
            bodies: Bodies::new(),
            replayed_sidecars: Vec::new(),
            sidecars: HashSet::new(),
            info: CommitInfo::default(),
        };
        if let Some(checkpoint) = read.way.segment.checkpoint.clone() {
            read.replayed_sidecars = self
                .read_checkpoint(&checkpoint.files, &mut read.bodies)
                .await?;
            read.sidecars.extend(read.replayed_sidecars.iter().cloned());
        }
        self.read_entering(&mut read).await?;
        self.read_commits(&mut read).await?;
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
    async fn read_checkpoint(
        &mut self,
        files: &[LogFile],
        bodies: &mut Bodies,
    ) -> Result<Vec<ObjectKey>, Failure> {
        self.read_all(files, bodies).await?;
        let mut sidecars = Vec::new();
        for file in files {
            sidecars.extend(self.sidecars_of(file, bodies).await?);
        }
        let (source, folder) = (self.source, self.folder);
        let wanted: Vec<_> = sidecars
            .iter()
            .filter(|key| !bodies.contains_key(*key))
            .cloned()
            .collect();
        let mut fetched = stream::iter(wanted)
            .map(|key| async move {
                let location = Location::Inside(key.clone());
                (key, source.fetch(&location, folder).await)
            })
            .buffered(CHECKPOINT_FILES_AHEAD);
        while let Some((key, fetched)) = fetched.next().await {
            match fetched {
                Ok(fetched) => self.keep(bodies, &key, fetched)?,
                Err(error) if error.is_not_found() => {
                    return Err(LogError::MissingSidecar {
                        file: key.to_string(),
                    }
                    .into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sidecars)
    }

    /// Reads every checkpoint that enters now, for the sidecars that it brings; one that cannot be understood is held as
    /// the bytes it is.
    async fn read_entering(&mut self, read: &mut LogRead) -> Result<(), Failure> {
        let listing = &self.pinned.listing;
        let scope = pin::log_scope(self.pinned);
        let lists_sidecars = listing
            .files()
            .any(|file| file.kind == LogFileKind::Sidecar);
        if !lists_sidecars && !scope.whole {
            return Ok(());
        }
        let held = self.held_checkpoints().await?;
        self.read_kept(&held, scope, read).await?;
        let entering = listing.held(self.pinned.version).filter(|file| {
            let may_name = matches!(
                file.kind,
                LogFileKind::UuidCheckpoint(_) | LogFileKind::ClassicCheckpoint
            );
            let same =
                |entry: &Entry| entry.etag.as_ref() == Some(&file.etag) && entry.size == file.size;
            may_name && !held.get(&file.key).is_some_and(same)
        });
        for file in entering {
            match self.sidecars_of(file, &mut read.bodies).await {
                Ok(named) => read.sidecars.extend(named),
                Err(Failure::Error(Error::Log(error))) if error.is_about_content() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads the checkpoints that stay although the source has cleaned them up, for the sidecars that stay with them.
    async fn read_kept(
        &mut self,
        held: &HashMap<ObjectKey, Entry>,
        scope: LogScope,
        read: &mut LogRead,
    ) -> Result<(), Failure> {
        let listing = &self.pinned.listing;
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

    /// The checkpoints whose entries, and whose sidecars' entries, are taken over from the base.
    ///
    /// A version does not tell, since a checkpoint may enter late: beside another of its version, or in its place.
    async fn held_checkpoints(&self) -> Result<HashMap<ObjectKey, Entry>, Failure> {
        let mut held = HashMap::new();
        let Some(base) = self.pinned.base.as_ref().filter(|base| base.reuse) else {
            return Ok(held);
        };
        let mut entries = self.vault.entries(&base.manifest.log_pages);
        while let Some(entry) = entries.try_next().await? {
            if let (EntryKind::Checkpoint, Location::Inside(key)) = (entry.kind, &entry.file) {
                held.insert(key.clone(), entry);
            }
        }
        Ok(held)
    }

    async fn read_commits(&mut self, read: &mut LogRead) -> Result<(), Failure> {
        let mut wanted = read.way.segment.commits.clone();
        // A checkpoint does not keep V's commitInfo: its commit is read although nothing is replayed from it.
        wanted.extend(self.pinned.commit().cloned());
        wanted.extend(read.way.first_commit.clone());
        let mut seen = HashSet::new();
        wanted.retain(|file| !read.bodies.contains_key(&file.key) && seen.insert(file.key.clone()));
        self.read_all(&wanted, &mut read.bodies).await
    }

    /// Reads log files as they were listed.
    async fn read_all(&mut self, files: &[LogFile], bodies: &mut Bodies) -> Result<(), Failure> {
        let (source, folder) = (self.source, self.folder);
        let reads: Vec<_> = files
            .iter()
            .filter(|file| !bodies.contains_key(&file.key))
            .collect();
        let reads = stream::iter(reads).map(|file| {
            let read = async move { (file, read_listed(source, file, folder).await) };
            (file.size.min(IN_MEMORY_LIMIT), read)
        });
        let mut fetched = ahead(reads, LOG_FILES_AHEAD);
        while let Some((file, fetched)) = fetched.next().await {
            self.keep(bodies, &file.key, fetched?)?;
        }
        Ok(())
    }

    /// Reads one checkpoint file and returns the sidecars that it names.
    async fn sidecars_of(
        &mut self,
        file: &LogFile,
        bodies: &mut Bodies,
    ) -> Result<Vec<ObjectKey>, Failure> {
        if !bodies.contains_key(&file.key) {
            let fetched = read_listed(self.source, file, self.folder).await?;
            self.keep(bodies, &file.key, fetched)?;
        }
        let Some(body) = bodies.get(&file.key) else {
            return Ok(Vec::new());
        };
        Ok(read_sidecars(&file.key, &body.spooled, self.root)?)
    }

    fn keep(
        &mut self,
        bodies: &mut Bodies,
        key: &ObjectKey,
        fetched: Fetched,
    ) -> Result<(), Failure> {
        let spooled = self
            .spool
            .append(&fetched.payload)
            .map_err(Error::Scratch)?;
        bodies.insert(
            key.clone(),
            Body {
                attributes: fetched.attributes,
                spooled,
            },
        );
        Ok(())
    }
}
