//! Chooses which state of a table is meant, reading from the vault what the records do not say.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt;

use super::Vault;
use super::log_replay::read_actions;
use crate::delta::path::TableRoot;
use crate::delta::{Action, LogError};
use crate::error::Error;
use crate::format::{Entry, EntryKind, log_order};
use crate::ids::{Location, Timestamp, Version};
use crate::plan::choose::{Chosen, CommitTimes, History, Snapshot, Step, Wanted};
use crate::spool::{Scratch, Spool, Spooled};

impl Vault {
    /// Chooses the snapshot and the version that are meant; see [`History::choose`]. Where a time is asked for and a
    /// history snapshot holds versions around it, this reads the log pages of that snapshot.
    ///
    /// # Errors
    /// As [`History::choose`], and what the store says. A log that is damaged stops nothing: when its versions were
    /// committed is not known then.
    pub async fn choose<'a>(
        &self,
        history: &'a History,
        wanted: &Wanted,
        temp: &Path,
    ) -> Result<Chosen<'a>, Error> {
        let mut times = CommitTimes::new();
        loop {
            match history.choose(wanted, &times)? {
                Step::Done(chosen) => return Ok(chosen),
                Step::Read(snapshot) => {
                    let read = match self.commit_times(snapshot, temp).await {
                        Err(Error::Log(_)) => BTreeMap::new(),
                        Err(error) if error.is_damage() => BTreeMap::new(),
                        read => read?,
                    };
                    times.insert(snapshot.id, read);
                }
            }
        }
    }

    /// When the versions in a snapshot's log were committed, by the rule of the records: the in-commit
    /// timestamp where the table has that feature, else when the source took the commit, else its checkpoint.
    async fn commit_times(
        &self,
        snapshot: &Snapshot,
        temp: &Path,
    ) -> Result<BTreeMap<Version, Timestamp>, Error> {
        let record = &snapshot.record;
        let has_in_commit_timestamps = record.protocol.has_in_commit_timestamps();
        let root = TableRoot::new(&record.table.uri)?;
        let scratch = Scratch::create(temp).map_err(Error::Scratch)?;
        let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
        let mut commits = BTreeMap::new();
        let mut checkpoints = BTreeMap::new();
        let manifest = self.manifest(record).await?;
        let mut entries = self.entries(&manifest.log_pages);
        while let Some(entry) = entries.try_next().await? {
            let (Some(version), Some(taken)) = (log_order(&entry).version(), entry.last_modified)
            else {
                continue;
            };
            match entry.kind {
                // Its bytes matter only where it can be chosen.
                EntryKind::Commit if has_in_commit_timestamps => {
                    if !snapshot.is_whole_at(version) {
                        continue;
                    }
                    let payload = self.payload(&entry, scratch.path()).await?;
                    let body = spool.append(&payload).map_err(Error::Scratch)?;
                    let told = in_commit_timestamp(&entry, &body, &root)?;
                    commits.insert(version, told.unwrap_or(taken));
                }
                EntryKind::Commit => {
                    commits.insert(version, taken);
                }
                EntryKind::Checkpoint => {
                    let newest = checkpoints.entry(version).or_insert(taken);
                    *newest = taken.max(*newest);
                }
                EntryKind::Data
                | EntryKind::DeletionVector
                | EntryKind::ChangeData
                | EntryKind::Sidecar
                | EntryKind::Compaction
                | EntryKind::Checksum
                | EntryKind::LastCheckpoint
                | EntryKind::Other => {}
            }
        }
        checkpoints.extend(commits);
        Ok(checkpoints)
    }
}

fn in_commit_timestamp(
    entry: &Entry,
    body: &Spooled,
    root: &TableRoot,
) -> Result<Option<Timestamp>, LogError> {
    let Location::Inside(key) = &entry.file else {
        return Ok(None);
    };
    let mut told = None;
    read_actions(key, body, root, &mut |action| {
        if let Action::CommitInfo(info) = action {
            told = info.in_commit_timestamp;
        }
        Ok(())
    })
    .map(drop)?;
    Ok(told)
}
