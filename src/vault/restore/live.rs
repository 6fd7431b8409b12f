//! Looks at the live table above V: what a rewind would lose, and which of its versions are still whole.

use std::collections::HashMap;

use futures::TryStreamExt;

use super::{Restorer, makes_a_version};
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::LogListing;
use crate::delta::{Action, LogError, LogFile, LogFileKind};
use crate::error::Error;
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::restore::LiveVersion;
use crate::plan::snapshot::{ByFile, whole_versions};
use crate::sort::Sorter;
use crate::spool::{Scratch, Spool, Spooled};
use crate::store::Attributes;
use crate::vault::listing::{KnownKeys, list_all};
use crate::vault::log_replay::{read_actions, read_sidecars, replay_segment};

/// What stands above V.
#[derive(Debug, Default)]
pub(super) struct Above {
    pub(super) versions: Vec<LiveVersion>,
    pub(super) whole: Vec<(Version, Version)>,
    /// The oldest version that the live log can still rebuild, where it can be told.
    pub(super) readable_from: Option<Version>,
    /// What is wrong with the live log: often why somebody restores, so it must not stop them.
    pub(super) trouble: Option<String>,
}

/// Takes what is wrong with a live log for an answer; what is wrong with the machine stays an error.
fn trouble(error: Error) -> Result<String, Error> {
    if let Error::Log(log) = &error
        && !matches!(log, LogError::Sort(_) | LogError::Read { .. })
    {
        return Ok(log.to_string());
    }
    if let Error::Store(store) = &error
        && store.is_not_found()
    {
        return Ok(format!("{} is gone", store.uri));
    }
    Err(error)
}

impl Restorer {
    /// The id in the live table's newest `metaData`; `None` when the live log cannot tell.
    pub(super) async fn live_delta_id(&self, files: &[LogFile]) -> Result<Option<String>, Error> {
        let mut newest_first: Vec<_> = files.iter().filter(|file| makes_a_version(file)).collect();
        newest_first.sort_by_key(|file| std::cmp::Reverse(file.version));
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
        let root = TableRoot::new(self.target.uri())?;
        for file in newest_first {
            let body = self.spool_log_file(&file.key, &scratch, &mut spool).await?;
            let mut found = None;
            let read = read_actions(&file.key, &body, &root, &mut |action| {
                if let Action::Metadata(metadata) = action {
                    found = metadata.id;
                }
                Ok(())
            });
            // A live log that cannot be read does not tell; the commits that differ do.
            if read.is_ok() && found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn spool_log_file(
        &self,
        key: &ObjectKey,
        scratch: &Scratch,
        spool: &mut Spool,
    ) -> Result<Spooled, Error> {
        let location = Location::Inside(key.clone());
        let fetched = self.as_source().fetch(&location, scratch.path()).await?;
        spool.append(&fetched.payload).map_err(Error::Scratch)
    }

    /// Reads the live log: each version above V, and which versions have all their files.
    pub(super) async fn look_above(
        &self,
        version: Version,
        tip: Version,
        log: &HashMap<ObjectKey, Attributes>,
    ) -> Result<Above, Error> {
        let listing = LogListing::new(log.values().cloned());
        let root = TableRoot::new(self.target.uri())?;
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
        let mut above = Above::default();
        for file in listing.files() {
            if file.kind == LogFileKind::Commit
                && let Some(number) = file.version
                && number > version
            {
                let body = self.spool_log_file(&file.key, &scratch, &mut spool).await?;
                let mut found = unread(number, file);
                if let Err(error) = describe(&mut found, &file.key, &body, &root) {
                    found.rows = None;
                    above.trouble.get_or_insert(trouble(error)?);
                }
                above.versions.push(found);
            }
        }
        above
            .versions
            .sort_by_key(|found| std::cmp::Reverse(found.version));
        match self
            .whole_live(&listing, tip, &root, &scratch, &mut spool)
            .await
        {
            Ok(Some((first, whole))) => {
                above.readable_from = Some(first);
                above.whole = whole;
            }
            Ok(None) => {}
            Err(error) => {
                above.trouble.get_or_insert(trouble(error)?);
            }
        }
        Ok(above)
    }

    /// Replays the live log from the oldest version that it can rebuild: that version, and which are whole.
    async fn whole_live(
        &self,
        listing: &LogListing,
        tip: Version,
        root: &TableRoot,
        scratch: &Scratch,
        spool: &mut Spool,
    ) -> Result<Option<(Version, Vec<(Version, Version)>)>, Error> {
        // The oldest way sees the most versions.
        let Some(way) = listing.candidates(tip).ok().and_then(Iterator::last) else {
            return Ok(None);
        };
        let mut bodies: HashMap<ObjectKey, Spooled> = HashMap::new();
        let mut names: Vec<ObjectKey> = way.files().map(|file| file.key.clone()).collect();
        while let Some(key) = names.pop() {
            let body = self.spool_log_file(&key, scratch, spool).await?;
            let listed = listing.checkpoints().iter().flat_map(|found| &found.files);
            if listed.map(|file| &file.key).any(|found| *found == key) {
                names.extend(read_sidecars(&key, &body, root)?);
            }
            bodies.insert(key, body);
        }
        let first = way
            .checkpoint
            .as_ref()
            .map_or(Version(0), |checkpoint| checkpoint.version);
        let mut replay = Replay::new(scratch.path())?;
        let body_of = |key: &ObjectKey| bodies.get(key).cloned();
        replay_segment(&way, body_of, root, &mut replay, &mut |_| {})?;
        let (_, files) = replay.finish_with_history()?;
        let mut spans: Sorter<ByFile<(Version, Option<Version>)>> = Sorter::new(scratch.path())?;
        let mut known = KnownKeys::default();
        for file in files {
            let file = file?;
            if let Location::Inside(key) = &file.add.file {
                known.see(key);
            }
            let span = (file.from, file.until);
            if let Some(vector) = file.add.dv.and_then(|dv| dv.file) {
                spans.push(ByFile {
                    file: vector,
                    row: span,
                })?;
            }
            spans.push(ByFile {
                file: file.add.file,
                row: span,
            })?;
        }
        let whole = whole_versions(first, tip, &self.missing_spans(spans, known).await?);
        Ok(Some((first, whole)))
    }

    /// The spans of the files that one listing of the table does not show.
    async fn missing_spans(
        &self,
        spans: Sorter<ByFile<(Version, Option<Version>)>>,
        known: KnownKeys,
    ) -> Result<Vec<(Version, Option<Version>)>, Error> {
        let ends = known.range_ends(self.target.as_ref());
        let mut listing = list_all(self.target.as_ref(), &ends);
        let mut next = listing.try_next().await?;
        let mut missing = Vec::new();
        for row in spans.finish()? {
            let ByFile {
                file: Location::Inside(key),
                row: span,
            } = row?
            else {
                continue;
            };
            while next.as_ref().is_some_and(|file| file.key < key) {
                next = listing.try_next().await?;
            }
            if next.as_ref().is_none_or(|file| file.key != key) {
                missing.push(span);
            }
        }
        Ok(missing)
    }
}

/// What is known of a commit before it is read.
fn unread(version: Version, file: &LogFile) -> LiveVersion {
    LiveVersion {
        version,
        time: Some(file.last_modified),
        operation: None,
        user: None,
        rows: Some(0),
        files_added: 0,
        files_removed: 0,
    }
}

/// Sums up one commit of the live table.
fn describe(
    found: &mut LiveVersion,
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
) -> Result<(), Error> {
    read_actions(key, body, root, &mut |action| {
        match action {
            Action::CommitInfo(info) => {
                found.operation = info.operation;
                found.user = info.user;
                found.time = info.in_commit_timestamp.or(info.timestamp).or(found.time);
            }
            Action::Add { add, .. } => {
                found.files_added += 1;
                found.rows = match (found.rows, add.rows.map(i64::try_from)) {
                    (Some(sum), Some(Ok(rows))) => sum.checked_add(rows),
                    _ => None,
                };
            }
            // A remove does not say how many rows go with it.
            Action::Remove { .. } => {
                found.files_removed += 1;
                found.rows = None;
            }
            Action::Cdc { .. }
            | Action::Unnameable { .. }
            | Action::Sidecar { .. }
            | Action::Protocol(_)
            | Action::Metadata(_)
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. } => {}
        }
        Ok(())
    })
    .map(drop)?;
    Ok(())
}
