//! The ways to rebuild V, and reading the log files of one of them: each once, spooled, with the digest it had.

use std::collections::HashSet;
use std::io::BufReader;
use std::path::Path;

use futures::StreamExt;

use super::Failure;
use super::log::{Bodies, Body, read_listed};
use super::pin::Pinned;
use super::replayed::read_commit_body;
use crate::delta::checkpoint::read_sidecar_names;
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;
use crate::delta::segment::Segment;
use crate::delta::{Action, CheckpointFormat, CommitInfo, LogError, LogFile, LogFileKind};
use crate::error::Error;
use crate::format::Scope;
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::BaseUse;
use crate::source::{Fetched, Source};
use crate::spool::Spool;

/// A way to rebuild V.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// From the base's live set.
    Base,
    /// From a checkpoint, or from version 0.
    Segment(Segment),
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
    /// The oldest version that the replay sees.
    pub(super) fn first_version(&self) -> Version {
        match &self.way {
            Way::Segment(Segment {
                checkpoint: Some(checkpoint),
                ..
            }) => checkpoint.version,
            Way::Segment(_) | Way::Base => Version(0),
        }
    }

    /// The commits that are replayed, ascending.
    pub(super) fn commits(&self, pinned: &Pinned) -> Result<Vec<LogFile>, LogError> {
        match (&self.way, &pinned.base) {
            (Way::Segment(segment), _) => Ok(segment.commits.clone()),
            (Way::Base, Some(base)) => pinned
                .listing
                .commits(base.past.record.version, pinned.version),
            (Way::Base, None) => Ok(Vec::new()),
        }
    }

    /// Every log file that the replay reads.
    pub(super) fn replayed_files(&self, commits: &[LogFile]) -> Vec<ObjectKey> {
        let checkpoint = match &self.way {
            Way::Segment(Segment {
                checkpoint: Some(checkpoint),
                ..
            }) => &checkpoint.files[..],
            Way::Segment(_) | Way::Base => &[],
        };
        let files = checkpoint
            .iter()
            .chain(commits)
            .map(|file| file.key.clone());
        files
            .chain(self.replayed_sidecars.iter().cloned())
            .collect()
    }
}

/// Commits read at a time, in order.
const COMMITS_AHEAD: usize = 16;

/// The ways to rebuild V, best first: from the base, or from each usable checkpoint and from version 0.
pub(super) fn ways(pinned: &Pinned, scope: Scope) -> Result<Vec<Way>, LogError> {
    if pinned
        .base
        .as_ref()
        .is_some_and(|base| base.using == BaseUse::Continue)
    {
        return Ok(vec![Way::Base]);
    }
    let mut ways: Vec<_> = pinned.listing.candidates(pinned.version)?.collect();
    if scope == Scope::History {
        // The oldest way sees the most versions.
        ways.reverse();
    }
    Ok(ways.into_iter().map(Way::Segment).collect())
}

/// Reads the log files that V is replayed from, one way.
pub(super) async fn read_log(
    source: &Source,
    pinned: &Pinned,
    way: Way,
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
) -> Result<LogRead, Failure> {
    let mut read = LogRead {
        way,
        bodies: Bodies::new(),
        replayed_sidecars: Vec::new(),
        sidecars: HashSet::new(),
        info: CommitInfo::default(),
    };
    if let Way::Segment(Segment {
        checkpoint: Some(checkpoint),
        ..
    }) = &read.way
    {
        read.replayed_sidecars = read_checkpoint(
            source,
            &checkpoint.files,
            root,
            folder,
            spool,
            &mut read.bodies,
        )
        .await?;
        read.sidecars.extend(read.replayed_sidecars.iter().cloned());
    }
    // Every checkpoint that enters now brings its sidecars; one that cannot be read is held as the bytes it is.
    let known = pinned
        .base
        .as_ref()
        .and_then(|base| base.past.record.checkpoint);
    for file in pinned.listing.held(pinned.version) {
        let may_name = matches!(
            file.kind,
            LogFileKind::UuidCheckpoint(_) | LogFileKind::ClassicCheckpoint
        );
        if may_name && file.version > known {
            match sidecars_of(source, file, root, folder, spool, &mut read.bodies).await {
                Ok(named) => read.sidecars.extend(named),
                Err(Failure::Error(Error::Log(error))) if error.is_about_content() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let mut wanted = read.commits(pinned)?;
    // A checkpoint does not keep V's commitInfo: its commit is read although nothing is replayed from it.
    wanted.extend(pinned.commit().cloned());
    wanted.dedup();
    wanted.retain(|file| !read.bodies.contains_key(&file.key));
    let mut fetched = futures::stream::iter(&wanted)
        .map(|file| async move { (file, read_listed(source, file, folder).await) })
        .buffered(COMMITS_AHEAD);
    while let Some((file, fetched)) = fetched.next().await {
        keep(&mut read.bodies, spool, &file.key, fetched?)?;
    }
    drop(fetched);
    if let Some(file) = pinned.commit()
        && let Some(body) = read.bodies.get(&file.key)
    {
        read_commit_body(&file.key, body, root, &mut |action| {
            if let Action::CommitInfo(info) = action {
                read.info = info;
            }
            Ok(())
        })?;
    }
    Ok(read)
}

/// Reads a checkpoint's files and sidecars into the spool; returns the sidecars' keys.
async fn read_checkpoint(
    source: &Source,
    files: &[LogFile],
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
    bodies: &mut Bodies,
) -> Result<Vec<ObjectKey>, Failure> {
    let mut sidecars = Vec::new();
    for file in files {
        sidecars.extend(sidecars_of(source, file, root, folder, spool, bodies).await?);
    }
    for key in &sidecars {
        if bodies.contains_key(key) {
            continue;
        }
        let fetched = match source.fetch(&Location::Inside(key.clone()), folder).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => {
                return Err(LogError::MissingSidecar {
                    file: key.to_string(),
                }
                .into());
            }
            Err(error) => return Err(Error::from(error).into()),
        };
        keep(bodies, spool, key, fetched)?;
    }
    Ok(sidecars)
}

/// Reads one checkpoint file into the spool and returns the sidecars that it names.
async fn sidecars_of(
    source: &Source,
    file: &LogFile,
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
    bodies: &mut Bodies,
) -> Result<Vec<ObjectKey>, Failure> {
    if !bodies.contains_key(&file.key) {
        let fetched = read_listed(source, file, folder).await?;
        keep(bodies, spool, &file.key, fetched)?;
    }
    let Some(body) = bodies.get(&file.key) else {
        return Ok(Vec::new());
    };
    let name = file.key.as_str();
    if file.format() == Some(CheckpointFormat::Parquet) {
        let named = read_sidecar_names(body.spooled.clone(), name, root)?;
        return Ok(named.into_iter().map(|(key, _)| key).collect());
    }
    let mut sidecars = Vec::new();
    read_commit(
        BufReader::new(body.spooled.reader()),
        name,
        root,
        &mut |action| {
            if let Action::Sidecar { key, .. } = action {
                sidecars.push(key);
            }
            Ok(())
        },
    )?;
    Ok(sidecars)
}

fn keep(
    bodies: &mut Bodies,
    spool: &mut Spool,
    key: &ObjectKey,
    fetched: Fetched,
) -> Result<(), Failure> {
    let spooled = spool.append(&fetched.payload).map_err(Error::Scratch)?;
    bodies.insert(
        key.clone(),
        Body {
            attributes: fetched.attributes,
            spooled,
        },
    );
    Ok(())
}
