//! An older version out of a history snapshot: the part of its log up to that version, and the data files that were live
//! there, replayed from the vault's own bytes.

use std::collections::HashMap;
use std::path::Path;

use futures::{StreamExt, TryStreamExt, future};

use super::{RestoreRequest, Restorer};
use crate::delta::LogError;
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, log_order};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::ByFile;
use crate::sort::Sorter;
use crate::spool::{Scratch, Spool, Spooled};
use crate::vault::Entries;
use crate::vault::listing::KnownKeys;
use crate::vault::log_replay::{as_listed, replay_segment};

impl Restorer {
    /// The log entries that the version needs: all of the snapshot's, or those at or below an older version.
    pub(super) fn log_entries<'a>(
        &'a self,
        request: &RestoreRequest,
        manifest: &'a Manifest,
    ) -> Entries<'a> {
        let entries = self.vault.entries(&manifest.log_pages);
        if request.version == request.record.version {
            return entries;
        }
        let version = request.version;
        entries
            .try_filter(move |entry| future::ready(is_needed(entry, version)))
            .boxed()
    }

    /// The data entries that the version needs, and which keys the table is known to have.
    pub(super) async fn data_entries(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<(Sorter<ByFile<Entry>>, KnownKeys), Error> {
        let mut known = KnownKeys::default();
        let older = request.version != request.record.version;
        let mut needed = if older {
            let files = self.files_of(request, manifest, folder).await?;
            Some(files.finish()?.peekable())
        } else {
            None
        };
        let mut all: Sorter<ByFile<Entry>> = Sorter::new(folder)?;
        let mut entries = self.vault.entries(&manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file {
                known.see(key);
            }
            all.push(ByFile {
                file: entry.file.clone(),
                row: entry,
            })?;
        }
        let Some(needed) = &mut needed else {
            return Ok((all, known));
        };
        let mut wanted: Sorter<ByFile<Entry>> = Sorter::new(folder)?;
        for row in all.finish()? {
            let row = row?;
            while needed
                .next_if(|need| need.as_ref().is_ok_and(|need| need.file < row.file))
                .is_some()
            {}
            match needed.peek() {
                Some(Ok(need)) if need.file == row.file => wanted.push(row)?,
                Some(Err(_)) => {
                    if let Some(Err(error)) = needed.next() {
                        return Err(error.into());
                    }
                }
                Some(Ok(_)) | None => {}
            }
        }
        Ok((wanted, known))
    }

    /// The data files and vectors that are live at the older version, by a replay of the log that the vault holds.
    async fn files_of(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<Sorter<ByFile<()>>, Error> {
        let scratch = Scratch::create(folder).map_err(Error::Scratch)?;
        let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
        let mut bodies: HashMap<ObjectKey, Spooled> = HashMap::new();
        let mut listed = Vec::new();
        let mut entries = self.log_entries(request, manifest);
        while let Some(entry) = entries.try_next().await? {
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            if matches!(
                entry.kind,
                EntryKind::Commit | EntryKind::Checkpoint | EntryKind::Sidecar
            ) {
                let payload = self.vault.payload(&entry, scratch.path()).await?;
                let spooled = spool.append(&payload).map_err(Error::Scratch)?;
                listed.push(as_listed(key, &entry));
                bodies.insert(key.clone(), spooled);
            }
        }
        // Paths of the table's own root resolve against the root that the snapshot was taken at.
        let root = TableRoot::new(&request.record.table.uri)?;
        let listing = LogListing::new(listed);
        let mut replay = Replay::new(scratch.path())?;
        let Some(way) = listing.candidates(request.version)?.next() else {
            return Err(LogError::NoLog {
                files: bodies.len(),
            }
            .into());
        };
        let body_of = |key: &ObjectKey| bodies.get(key).cloned();
        replay_segment(&way, body_of, &root, &mut replay, &mut |_, _| {})?;
        let mut files: Sorter<ByFile<()>> = Sorter::new(folder)?;
        for file in replay.finish()?.1 {
            let file = file?;
            if let Some(vector) = file.add.dv.and_then(|dv| dv.file) {
                files.push(ByFile {
                    file: vector,
                    row: (),
                })?;
            }
            files.push(ByFile {
                file: file.add.file,
                row: (),
            })?;
        }
        Ok(files)
    }
}

/// Whether a log entry belongs to a version or to one below it. The hint may name a newer checkpoint, so it does not.
fn is_needed(entry: &Entry, version: Version) -> bool {
    match entry.kind {
        EntryKind::LastCheckpoint => false,
        EntryKind::Sidecar => true,
        EntryKind::Data
        | EntryKind::DeletionVector
        | EntryKind::ChangeData
        | EntryKind::Checkpoint
        | EntryKind::Commit
        | EntryKind::Compaction
        | EntryKind::Checksum
        | EntryKind::Other => log_order(entry).version().is_some_and(|own| own <= version),
    }
}
