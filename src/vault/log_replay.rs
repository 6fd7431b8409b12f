//! Replays log files that were spooled, wherever they came from: a live table, or the vault.

use std::io::BufReader;

use crate::delta::checkpoint::{Coverage, Wants, read_parquet, read_sidecar_names};
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::Segment;
use crate::delta::{Action, LogError, Sink, is_json};
use crate::ids::ObjectKey;
use crate::spool::Spooled;

/// Reads the actions of a commit, or of a checkpoint's file, whichever way it is written.
pub(super) fn read_actions(
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    let name = key.as_str();
    if is_json(key) {
        read_commit(BufReader::new(body.reader()), name, root, sink)?;
        return Ok(Coverage::JSON);
    }
    read_parquet(body.clone(), name, root, Wants::State, sink)
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
    watch: &mut dyn FnMut(&Action),
) -> Result<(), LogError> {
    if let Some(checkpoint) = &segment.checkpoint {
        let mut coverage = Coverage::default();
        let mut sidecars = Vec::new();
        let mut read = |key: &ObjectKey, sidecars: &mut Vec<ObjectKey>| match body_of(key) {
            Some(body) => read_actions(key, &body, root, &mut |action| {
                if let Action::Sidecar { key, .. } = &action {
                    sidecars.push(key.clone());
                }
                replay.start(checkpoint.version, action)
            }),
            None => Err(LogError::MissingSidecar {
                file: key.to_string(),
            }),
        };
        for file in &checkpoint.files {
            coverage = coverage.and(read(&file.key, &mut sidecars)?);
        }
        if let Some(first) = checkpoint.files.first() {
            coverage.check(first.key.as_str())?;
        }
        for key in &sidecars {
            // A sidecar is there for the files that it names; one that cannot tell of any is damaged.
            read(key, &mut Vec::new())?.check(key.as_str())?;
        }
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
            watch(&action);
            replay.commit(version, action)
        })
        .map(drop)?;
    }
    Ok(())
}
