//! An older version out of a history snapshot: the part of its log up to that version, and the data files that were live
//! there, replayed from the vault's own bytes.

use std::collections::HashMap;
use std::path::Path;

use futures::{StreamExt, TryStreamExt, future};

use super::content::LogReader;
use super::{RestoreRequest, Restorer};
use crate::delta::LogError;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, Tally, log_order};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::ByFile;
use crate::sort::Sorter;
use crate::vault::Entries;
use crate::vault::listing::KnownKeys;
use crate::vault::log_replay::as_listed;

impl Restorer {
    /// The log entries that the version needs: all of the snapshot's, or those at or below an older version.
    pub(super) fn log_entries<'a>(
        &'a self,
        request: &RestoreRequest,
        manifest: &'a Manifest,
    ) -> Entries<'a> {
        self.log_entries_seen(request, manifest, |_| {})
    }

    /// As [`Restorer::log_entries`]; `see` is shown the others, too.
    pub(super) fn log_entries_seen<'a>(
        &'a self,
        request: &RestoreRequest,
        manifest: &'a Manifest,
        see: impl FnMut(&Entry) + Send + 'a,
    ) -> Entries<'a> {
        let entries = self.vault.entries(&manifest.log_pages);
        let entries = entries.inspect_ok(see).boxed();
        let version = request.version;
        if version == request.record.version {
            return entries
                .try_filter(move |entry| future::ready(!entry.is_above(version)))
                .boxed();
        }
        entries
            .try_filter(move |entry| future::ready(is_needed(entry, version)))
            .boxed()
    }

    /// The data entries that the version needs, which keys the table is known to have, and the sums of all.
    pub(super) async fn data_entries(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<(Sorter<ByFile<Entry>>, KnownKeys, Tally), Error> {
        let (mut known, mut sums) = (KnownKeys::default(), Tally::default());
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
            sums.add(&entry);
            all.push(ByFile {
                file: entry.file.clone(),
                row: entry,
            })?;
        }
        let Some(needed) = &mut needed else {
            return Ok((all, known, sums));
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
        Ok((wanted, known, sums))
    }

    /// The data files and vectors that are live at the older version, by a replay of the log that the vault holds.
    async fn files_of(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<Sorter<ByFile<()>>, Error> {
        let mut held: HashMap<ObjectKey, Entry> = HashMap::new();
        let mut entries = self.log_entries(request, manifest);
        while let Some(entry) = entries.try_next().await? {
            let is_read = matches!(
                entry.kind,
                EntryKind::Commit | EntryKind::Checkpoint | EntryKind::Sidecar
            );
            if let (true, Location::Inside(key)) = (is_read, &entry.file) {
                held.insert(key.clone(), entry);
            }
        }
        let listing = LogListing::new(held.iter().map(|(key, entry)| as_listed(key, entry)));
        let Some(way) = listing.candidates(request.version)?.next() else {
            return Err(LogError::NoLog { files: held.len() }.into());
        };
        // Paths of the table's own root resolve against the root that the snapshot was taken at.
        let mut reader = LogReader::of_vault(self, &request.record.table.uri, &held)?;
        let replay = reader.read_and_replay(&way).await?;
        let mut files: Sorter<ByFile<()>> = Sorter::new(folder)?;
        for file in replay.finish()?.1 {
            let file = file?;
            let vector = file.add.dv.and_then(|dv| dv.file);
            for file in vector.into_iter().chain([file.add.file]) {
                files.push(ByFile { file, row: () })?;
            }
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
