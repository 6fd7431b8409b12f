//! Whether the sidecars of the checkpoints that the base holds are still what it holds: that a checkpoint's own file is
//! unchanged says nothing of the files that it names.

use std::path::Path;

use super::super::Vault;
use super::super::log_replay::read_sidecars;
use super::Failure;
use super::inherit::{Inherited, is_same};
use super::log::read_listed;
use crate::delta::LogFileKind;
use crate::delta::path::TableRoot;
use crate::delta::segment::{CheckpointFiles, CheckpointKind, LogListing};
use crate::error::Error;
use crate::ids::{ObjectKey, Version};
use crate::source::Source;
use crate::spool::{Scratch, Spool};

/// A sidecar that is not what the base holds, and the checkpoint that names it.
#[derive(Debug)]
pub(super) struct Strayed {
    pub(super) checkpoint: CheckpointFiles,
    pub(super) sidecar: ObjectKey,
    pub(super) became: Became,
}

/// What became of a sidecar since the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It has other bytes.
    Overwritten,
    /// It is gone, or was gone already.
    Gone,
    /// It was gone, and is back.
    Back,
}

impl Strayed {
    /// What the owner should know, where planning from the whole log does not tell it by itself.
    pub(super) fn finding(&self, id: &str) -> Option<String> {
        let what = "has other bytes than snapshot";
        (self.became == Became::Overwritten).then(|| {
            format!(
                "sidecar {} of checkpoint {} {what} {id} holds: a writer overwrote it, so the version was planned \
                 from the whole log",
                self.sidecar, self.checkpoint.version
            )
        })
    }
}

/// Looks at the sidecars of the checkpoints up to `version` that the base holds as they are listed.
pub(super) async fn strayed(
    vault: &Vault,
    source: &Source,
    (listing, version): (&LogListing, Version),
    inherited: &Inherited,
    folder: &Path,
) -> Result<Vec<Strayed>, Failure> {
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
        for sidecar in named {
            let held = inherited.sidecar(&sidecar);
            let became = match (held, listing.sidecar(&sidecar)) {
                (_, None) => Became::Gone,
                (None, Some(_)) => Became::Back,
                (Some(entry), Some(file)) if is_same(entry, file) => continue,
                (Some(entry), Some(file)) if entry.size == file.size => {
                    let fetched = read_listed(source, file, scratch.path()).await?;
                    if entry.sha256 == Some(fetched.payload.sha256) {
                        continue;
                    }
                    Became::Overwritten
                }
                (Some(_), Some(_)) => Became::Overwritten,
            };
            strayed.push(Strayed {
                checkpoint: checkpoint.clone(),
                sidecar,
                became,
            });
        }
    }
    Ok(strayed)
}
