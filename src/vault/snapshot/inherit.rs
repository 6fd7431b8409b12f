//! What the live log, as it was listed, says about the log files that the base holds: whether V may be planned from the
//! base's live set, or has to be planned from the whole log.
//!
//! A base's live set is true for the log bytes that it was replayed from. So it ends with the first commit at or below
//! the base that has other bytes now, and with a checkpoint below the base that the base does not hold: that one can
//! only be compared by replaying from it.

use std::collections::HashMap;
use std::path::Path;

use futures::{TryStreamExt, stream};

use super::super::Vault;
use super::super::ahead::ahead;
use super::Failure;
use super::log::{LOG_FILES_AHEAD, read_listed};
use crate::delta::LogFile;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::format::page::log_order;
use crate::format::{Entry, EntryKind, Manifest};
use crate::ids::{Digest, Location, ObjectKey, Version};
use crate::source::Source;
use crate::spool::IN_MEMORY_LIMIT;

/// The base's log files beside the listing.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The checkpoint files that the base holds.
    checkpoints: HashMap<ObjectKey, Entry>,
    /// The sidecars that the base holds.
    sidecars: HashMap<ObjectKey, Entry>,
    /// Files of checkpoints, sidecars too, that could not be decoded.
    unreadable: HashMap<ObjectKey, Entry>,
    /// The commits at or below the base that have other bytes than it holds, ascending.
    pub(super) overwritten: Vec<Version>,
}

impl Inherited {
    /// The checkpoint files that the base holds.
    pub(super) fn checkpoints(&self) -> &HashMap<ObjectKey, Entry> {
        &self.checkpoints
    }

    /// The base's entry of a sidecar, whatever is listed under its name.
    pub(super) fn sidecar(&self, key: &ObjectKey) -> Option<&Entry> {
        self.sidecars.get(key)
    }

    /// Whether the base holds sidecars.
    pub(super) fn has_sidecars(&self) -> bool {
        !self.sidecars.is_empty()
    }

    /// Takes a checkpoint for one that enters now.
    pub(super) fn forget(&mut self, checkpoint: &CheckpointFiles) {
        for file in &checkpoint.files {
            self.checkpoints.remove(&file.key);
        }
    }

    /// Takes every checkpoint for one that enters now.
    pub(super) fn forget_checkpoints(&mut self) {
        self.checkpoints.clear();
    }

    /// The files that could not be decoded when they were taken and are still there as they were.
    pub(super) fn unreadable(&self, listing: &LogListing) -> Vec<&ObjectKey> {
        let mut keys: Vec<_> = listing
            .files()
            .filter_map(|file| {
                let (key, entry) = self.unreadable.get_key_value(&file.key)?;
                is_same(entry, file).then_some(key)
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Whether the base holds a checkpoint's files as they were listed, and so has compared it already.
    pub(super) fn knows(&self, checkpoint: &CheckpointFiles) -> bool {
        checkpoint
            .files
            .iter()
            .all(|file| self.holds(file).is_some())
    }

    /// The base's entry of a listed file, where it is of the same bytes.
    pub(super) fn holds(&self, file: &LogFile) -> Option<&Entry> {
        self.checkpoints
            .get(&file.key)
            .filter(|entry| is_same(entry, file))
    }
}

/// Whether a listed file is the one that was taken, as far as the listing tells.
pub(super) fn is_same(entry: &Entry, file: &LogFile) -> bool {
    entry.etag.as_ref() == Some(&file.etag) && entry.size == file.size
}

/// Compares the base's log entries with the listing; reads the commits that only their bytes can tell about.
pub(super) async fn examine(
    vault: &Vault,
    source: &Source,
    manifest: &Manifest,
    listing: &LogListing,
    folder: &Path,
) -> Result<Inherited, Failure> {
    let mut inherited = Inherited::default();
    let mut doubtful: Vec<(Version, Digest, &LogFile)> = Vec::new();
    let mut entries = vault.entries(&manifest.log_pages);
    while let Some(entry) = entries.try_next().await? {
        let Location::Inside(key) = &entry.file else {
            continue;
        };
        if entry.unreadable {
            inherited.unreadable.insert(key.clone(), entry.clone());
        }
        match entry.kind {
            EntryKind::Commit => {}
            EntryKind::Checkpoint => {
                inherited.checkpoints.insert(key.clone(), entry);
                continue;
            }
            EntryKind::Sidecar => {
                inherited.sidecars.insert(key.clone(), entry);
                continue;
            }
            EntryKind::ChangeData
            | EntryKind::Checksum
            | EntryKind::Compaction
            | EntryKind::Data
            | EntryKind::DeletionVector
            | EntryKind::LastCheckpoint
            | EntryKind::Other => continue,
        }
        let version = log_order(&entry).version();
        let listed = version.and_then(|version| Some((version, listing.commit(version)?)));
        match (listed, entry.sha256) {
            (Some((_, file)), _) if is_same(&entry, file) => {}
            (Some((version, file)), Some(sha256)) if entry.size == file.size => {
                doubtful.push((version, sha256, file));
            }
            (Some((version, _)), _) => inherited.overwritten.push(version),
            (None, _) => {}
        }
    }
    let reads = doubtful.into_iter().map(|(version, held, file)| {
        let read = async move {
            let fetched = read_listed(source, file, folder).await?;
            Ok::<_, Failure>((fetched.payload.sha256 != held).then_some(version))
        };
        (file.size.min(IN_MEMORY_LIMIT), read)
    });
    let mut reads = ahead(stream::iter(reads), LOG_FILES_AHEAD);
    while let Some(differs) = reads.try_next().await? {
        inherited.overwritten.extend(differs);
    }
    inherited.overwritten.sort_unstable();
    Ok(inherited)
}
