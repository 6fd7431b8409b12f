//! Whether the sidecars of the checkpoints that the base holds are still what it holds: that a checkpoint's own file is
//! unchanged says nothing of the files that it names.

use std::path::Path;

use super::super::Vault;
use super::super::log_replay::read_sidecars;
use super::Failure;
use super::inherit::Inherited;
use crate::delta::LogFileKind;
use crate::delta::path::TableRoot;
use crate::delta::segment::{CheckpointFiles, CheckpointKind, LogListing};
use crate::error::Error;
use crate::ids::{ObjectKey, Version};
use crate::source::Source;
use crate::spool::{Scratch, Spool};

/// Of the checkpoints up to `version` that the base holds as they are listed, those that name a sidecar that is gone, is
/// back, or was overwritten.
pub(super) async fn strayed(
    vault: &Vault,
    source: &Source,
    (listing, version): (&LogListing, Version),
    inherited: &Inherited,
    folder: &Path,
) -> Result<Vec<CheckpointFiles>, Failure> {
    let mut strayed = Vec::new();
    let is_v2 = |checkpoint: &CheckpointFiles| checkpoint.kind == CheckpointKind::Uuid;
    let has_some = inherited.has_sidecars()
        || listing
            .files()
            .any(|file| file.kind == LogFileKind::Sidecar)
        || listing.checkpoints().iter().any(is_v2);
    if !has_some {
        return Ok(strayed);
    }
    let root = TableRoot::new(source.uri())?;
    let scratch = Scratch::create(folder).map_err(Error::Scratch)?;
    let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
    for checkpoint in listing.checkpoints() {
        // What enters now is read with its sidecars; parts have none.
        let [file] = &checkpoint.files[..] else {
            continue;
        };
        let Some(entry) = inherited.holds(file).filter(|entry| !entry.unreadable) else {
            continue;
        };
        if checkpoint.version > version {
            continue;
        }
        let payload = match vault.payload(entry, scratch.path()).await {
            Ok(payload) => payload,
            Err(Error::Damaged { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let spooled = spool.append(&payload).map_err(Error::Scratch)?;
        let Ok(named) = read_sidecars(&file.key, &spooled, &root) else {
            continue;
        };
        let is_as_held = |sidecar: &ObjectKey| {
            listing.sidecar(sidecar).is_some() && inherited.has_unchanged_sidecar(sidecar)
        };
        if !named.iter().all(is_as_held) {
            strayed.push(checkpoint.clone());
        }
    }
    Ok(strayed)
}
