//! Replays log files that were spooled, wherever they came from: a live table, or the vault.

use std::collections::HashSet;
use std::io::BufReader;

use crate::delta::checkpoint::{Coverage, Wants, read_parquet, read_sidecar_names};
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{Action, LogError, Sink, is_json};
use crate::error::Error;
use crate::format::Entry;
use crate::ids::{ETag, ObjectKey, Version};
use crate::spool::Spooled;
use crate::store::{Attributes, StoreError, StoreErrorKind};

/// What reading a file of the log failed with.
pub(super) fn of_log(error: StoreError, key: &ObjectKey) -> Error {
    let StoreErrorKind::TooLarge { size, limit } = error.kind else {
        return error.into();
    };
    let file = key.to_string();
    LogError::FileTooLarge { file, size, limit }.into()
}

/// A log entry as a listing of its source would have shown it.
pub(super) fn as_listed(key: &ObjectKey, entry: &Entry) -> Attributes {
    Attributes {
        key: key.clone(),
        size: entry.size,
        last_modified: entry.last_modified.unwrap_or_default(),
        etag: entry.etag.clone().unwrap_or_else(|| ETag(String::new())),
        version: None,
        sha256: entry.sha256,
        locked_until: None,
        mode: entry.mode,
    }
}

/// Reads the actions of a commit, or of a checkpoint's file, whichever way it is written.
pub(super) fn read_actions(
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    read_wanted(key, body, root, Wants::State, sink)
}

/// As [`read_actions`], of a checkpoint only what is wanted.
pub(super) fn read_wanted(
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
    wants: Wants,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    let name = key.as_str();
    if is_json(key) {
        read_commit(BufReader::new(body.reader()), name, root, sink)?;
        return Ok(Coverage::JSON);
    }
    read_parquet(body.clone(), name, root, wants, sink)
}

/// Reads which sidecars a checkpoint's file names.
pub(super) fn read_sidecars(
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
) -> Result<Vec<ObjectKey>, LogError> {
    if !is_json(key) {
        let named = read_sidecar_names(body.clone(), key.as_str(), root)?;
        return Ok(named.into_iter().map(|(key, _)| key).collect());
    }
    let mut sidecars = Vec::new();
    read_commit(
        BufReader::new(body.reader()),
        key.as_str(),
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

/// A checkpoint that could not be read to its end.
#[derive(Debug)]
pub(super) struct CheckpointFailed {
    /// The file of it, or the sidecar, that is to blame.
    pub(super) file: ObjectKey,
    pub(super) error: Box<LogError>,
}

/// Reads the actions of a complete checkpoint: of its files, then of the sidecars that these name. `body_of` has what was
/// spooled.
///
/// # Errors
/// What the files say; [`LogError::MissingSidecar`] for one that was not spooled.
pub(super) fn read_checkpoint(
    checkpoint: &CheckpointFiles,
    body_of: impl Fn(&ObjectKey) -> Option<Spooled>,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<(), CheckpointFailed> {
    let mut coverage = Coverage::default();
    let mut sidecars = Vec::new();
    let mut seen = HashSet::new();
    for file in &checkpoint.files {
        let read = read_file(&file.key, &body_of, root, &mut |action| {
            if let Action::Sidecar { key, .. } = &action
                && seen.insert(key.clone())
            {
                sidecars.push(key.clone());
            }
            sink(action)
        });
        coverage = coverage.and(read.map_err(|error| failed(&file.key, error))?);
    }
    if let Some(first) = checkpoint.files.first() {
        let covers = coverage.check(first.key.as_str());
        covers.map_err(|error| failed(&first.key, error))?;
    }
    for key in &sidecars {
        // A sidecar is there for the files that it names; one that names none is damaged.
        let read = read_file(key, &body_of, root, sink);
        let covers = read.and_then(|coverage| coverage.check(key.as_str()));
        covers.map_err(|error| failed(key, error))?;
    }
    Ok(())
}

fn failed(file: &ObjectKey, error: LogError) -> CheckpointFailed {
    CheckpointFailed {
        file: file.clone(),
        error: Box::new(error),
    }
}

fn read_file(
    key: &ObjectKey,
    body_of: impl Fn(&ObjectKey) -> Option<Spooled>,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    match body_of(key) {
        Some(body) => read_actions(key, &body, root, sink),
        None => Err(LogError::MissingSidecar {
            file: key.to_string(),
        }),
    }
}

/// Replays one way to a version: its checkpoint with the sidecars that it names, then its commits. `body_of` has what was
/// spooled; `watch` sees the commits' actions.
///
/// # Errors
/// What the files say; [`LogError::MissingSidecar`] and [`LogError::Gap`] for one that was not spooled.
pub(super) fn replay_segment(
    segment: &Segment,
    body_of: impl Fn(&ObjectKey) -> Option<Spooled>,
    root: &TableRoot,
    replay: &mut Replay,
    watch: &mut dyn FnMut(Version, &Action),
) -> Result<(), LogError> {
    if let Some(checkpoint) = &segment.checkpoint {
        read_checkpoint(checkpoint, &body_of, root, &mut |action| {
            replay.start(checkpoint.version, action)
        })
        .map_err(|failed| *failed.error)?;
    }
    for file in &segment.commits {
        let (Some(version), Some(body)) = (file.version, body_of(&file.key)) else {
            return Err(LogError::Gap {
                version: segment.version,
                first_missing: file.version.unwrap_or(segment.version),
                checkpoint: segment
                    .checkpoint
                    .as_ref()
                    .map(|checkpoint| checkpoint.version),
            });
        };
        read_actions(&file.key, &body, root, &mut |action| {
            watch(version, &action);
            replay.commit(version, action)
        })
        .map(drop)?;
    }
    Ok(())
}
