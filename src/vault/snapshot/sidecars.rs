//! Whether the sidecars of the checkpoints that the base holds are still what it holds: that a checkpoint's own file is
//! unchanged says nothing of the files that it names.

use std::path::Path;

use super::super::Vault;
use super::super::log_replay::read_sidecars;
use super::failure::Failure;
use super::inherited::Inherited;
use crate::delta::LogFileKind;
use crate::delta::path::TableRoot;
use crate::delta::segment::{CheckpointFiles, CheckpointKind, LogListing};
use crate::error::Error;
use crate::ids::{ObjectKey, Version};
use crate::source::Source;
use crate::spool::{Scratch, Spool};

/// What came of looking at the checkpoints that the base holds.
#[derive(Debug, Default)]
pub(super) struct Strayed {
    /// Those that name a sidecar that is gone, is back, or was overwritten, and those that the vault has lost: all of them
    /// enter again.
    pub(super) checkpoints: Vec<CheckpointFiles>,
    /// The files of those that the vault has lost, with their objects.
    pub(super) lost: Vec<(ObjectKey, ObjectKey)>,
}

/// Looks at the checkpoints up to `version` that the base holds as they are listed.
pub(super) async fn strayed(
    vault: &Vault,
    source: &Source,
    (listing, version): (&LogListing, Version),
    inherited: &Inherited,
    folder: &Path,
) -> Result<Strayed, Failure> {
    let mut strayed = Strayed::default();
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
            Err(Error::Damaged { .. }) => {
                strayed.checkpoints.push(checkpoint.clone());
                let object = entry.placement.reference().map(|it| it.key.clone());
                strayed
                    .lost
                    .extend(object.map(|object| (file.key.clone(), object)));
                continue;
            }
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
            strayed.checkpoints.push(checkpoint.clone());
        }
    }
    Ok(strayed)
}
