//! Looks at the live table: what each of its versions did, which of them are still whole, how far streams have
//! written, and what its properties say.

use std::collections::{BTreeMap, HashMap};
use std::io::BufReader;

use super::content::LogReader;
use super::held::nothing_held;
use super::measure::Sizes;
use super::mend::LogAfter;
use super::{Counted, RestoreRequest, Restorer, live_tip, makes_a_version};
use crate::delta::partitions::{Partition, deleted_partitions};
use crate::delta::path::TableRoot;
use crate::delta::replay::{Detail, FilesCompared, Replay};
use crate::delta::segment::{LogListing, Segment};
use crate::delta::{Action, LogError, LogFile, LogFileKind, Metadata, Protocol, check_protocol};
use crate::error::Error;
use crate::ids::{Location, ObjectKey, Timestamp, Version};
use crate::plan::restore::LiveVersion;
use crate::plan::restore::under::NameUse;
use crate::plan::snapshot::{ByFile, Span, whole_versions};
use crate::plan::streams::Txns;
use crate::plan::suspect::{self, operation_name};
use crate::sort::Sorter;
use crate::spool::Spooled;
use crate::vault::listing::{KnownKeys, Listed, list_all};
use crate::vault::log_replay::{read_actions, read_checkpoint, read_sidecars, replay_segment};

/// Versions at or below V that are described: more than a person reads before choosing one.
const OLDER_DESCRIBED: usize = 32;

/// A live table, as far as its log can be read.
#[derive(Debug, Clone, Default)]
pub struct LiveTable {
    /// Every version above V, newest first.
    pub above: Vec<LiveVersion>,
    /// V and some versions below it, newest first, where the log has their commits.
    pub older: Vec<LiveVersion>,
    /// The versions that have all their files, as ascending inclusive ranges.
    pub whole: Vec<(Version, Version)>,
    /// The oldest version that the live log can still rebuild, where that is known.
    pub readable_from: Option<Version>,
    /// What is wrong with the live log: often why somebody restores, so it must not stop them.
    pub trouble: Option<String>,
    /// Whether that is only a checkpoint that disagrees with the commits: readers open the table all the same.
    pub ways_disagree: bool,
    /// The first commit that is missing where later ones are there and no checkpoint stands in: nobody can read it or
    /// what follows.
    pub hole: Option<Version>,
    /// Why no snapshot of the newest version can be taken, where that is known and is no trouble of its readers.
    pub unheld: Option<String>,
    /// The first file of the newest version that lies outside the table.
    pub outside: Option<String>,
    /// The newest commit above V that cannot be read.
    pub unreadable: Option<Version>,
    /// The newest version and the one before it, where the newest stands alone, far past the rest.
    pub lone: Option<(Version, Version)>,
    /// Commits above V that have no bytes: readers take each for a version that changed nothing.
    pub empty: Vec<Version>,
    /// Data files of the newest version that are gone, or have another size than the log says.
    pub faults: Counted,
    /// The table's properties, where they could be read.
    pub properties: Option<BTreeMap<String, String>>,
    /// The columns by which it is partitioned.
    pub partition_columns: Vec<String>,
    /// Whether the newest version needs not every file of V: the next VACUUM removes the others.
    pub drops_files: bool,
    /// When V was committed, by the oldest file of that version that is still in the log.
    pub committed: Option<Timestamp>,
    /// How far streams have written.
    pub txns: Option<Txns>,
    /// How far they had written in V, where the live log can still tell.
    pub txns_at: Option<Txns>,
    /// The version that is the likely cause and the partitions that it deleted whole, where it did just that.
    pub deleted_partitions: Option<(Version, Vec<Partition>)>,
}

impl LiveTable {
    /// Takes what is about the table as a whole.
    fn take_table(&mut self, protocol: Option<&Protocol>, metadata: Option<Metadata>) {
        if let Some(Err(error)) = protocol.map(check_protocol) {
            self.unheld = Some(error.to_string());
        }
        if let Some(metadata) = metadata {
            self.properties = Some(metadata.configuration);
            self.partition_columns = metadata.partition_columns;
        }
    }
}

/// Takes what is wrong with a live log for an answer; what is wrong with the machine stays an error.
pub(super) fn trouble(error: Error) -> Result<String, Error> {
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
        let mut reader = LogReader::of_target(self, nothing_held())?;
        for file in newest_first {
            let body = reader.body(&file.key).await?;
            let mut found = None;
            let read = read_actions(&file.key, &body, &reader.root, &mut |action| {
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

    /// Looks at the live table as it is now, for an owner who has not yet said what to put back.
    ///
    /// # Errors
    /// What the store says; what is wrong with the live log is part of the answer.
    pub async fn look_at_live(&self, request: &RestoreRequest) -> Result<LiveTable, Error> {
        let log = self.list_log().await?;
        match live_tip(&log) {
            Some(tip) => {
                let log = LogAfter {
                    files: log,
                    from_vault: HashMap::new(),
                };
                self.look_above(request.version, tip, &log, None).await
            }
            None => Ok(LiveTable::default()),
        }
    }

    /// Reads the live log, as it will be once what is planned was done to it: what each version did, and which versions
    /// have all their files. Where `uses` are asked for, they get what the versions from V on use names for; where the log
    /// has trouble, they are not all.
    pub(super) async fn look_above(
        &self,
        version: Version,
        tip: Version,
        log: &LogAfter,
        uses: Option<&mut Sorter<ByFile<NameUse>>>,
    ) -> Result<LiveTable, Error> {
        let listing = log.listing();
        let mut reader = LogReader::of_target(self, &log.from_vault)?;
        let mut live = LiveTable {
            committed: listing
                .files()
                .filter(|file| file.version == Some(version) && makes_a_version(file))
                .map(|file| file.last_modified)
                .min(),
            ..LiveTable::default()
        };
        let mut commits: Vec<&LogFile> = listing
            .files()
            .filter(|file| file.kind == LogFileKind::Commit)
            .collect();
        commits.sort_by_key(|file| std::cmp::Reverse(file.version));
        let above = commits.partition_point(|file| file.version > Some(version));
        if let Err(LogError::FarFuture {
            version,
            last_before,
            ..
        }) = listing.newest()
        {
            live.lone = Some((version, last_before));
        }
        // V's own as well: a snapshot holds it as it is.
        let from_v = commits.iter().filter(|file| file.version >= Some(version));
        let empty = from_v.filter(|file| file.size == 0);
        live.empty = empty.filter_map(|file| file.version).collect();
        commits.truncate(above + OLDER_DESCRIBED);
        reader.fetch(commits.iter().map(|file| &file.key)).await?;
        for file in commits {
            let (Some(number), Some(body)) = (file.version, reader.read(&file.key)) else {
                continue;
            };
            let mut found = LiveVersion {
                time: Some(file.last_modified),
                modified: Some(file.last_modified),
                rows: Some(0),
                commit: Some(body.sha256),
                ..LiveVersion::unread(number)
            };
            let described = describe(&mut found, &file.key, &body, &reader.root);
            if number > version {
                if let Err(error) = described {
                    found.rows = None;
                    live.unreadable.get_or_insert(number);
                    live.trouble.get_or_insert(trouble(error)?);
                }
                live.above.push(found);
            } else if described.is_ok() {
                live.older.push(found);
            }
        }
        let stands_above = listing.newest_commit_below(tip);
        if let Some(newest) = stands_above {
            live.ways_disagree = live.trouble.is_none();
            live.trouble.get_or_insert(format!(
                "checkpoint {tip} stands above the newest commit, {newest}, and readers start from it"
            ));
        }
        let Some(way) = oldest_way(&listing, tip, &mut live) else {
            return Ok(live);
        };
        let replayed = reader.replay_live(&listing, &way, version, uses, &mut live);
        if let Err(error) = replayed.await {
            live.trouble.get_or_insert(trouble(error)?);
        }
        if let Some(newest) = stands_above {
            live.whole.retain(|(first, _)| *first <= newest);
            for (_, last) in &mut live.whole {
                *last = newest.min(*last);
            }
        }
        reader.find_partitions(&mut live);
        Ok(live)
    }

    /// The spans of the files that one listing of the table does not show, or shows with another size. Takes note of
    /// those that the newest version has.
    async fn missing_spans(
        &self,
        spans: Sorter<ByFile<(Span, Option<u64>)>>,
        known: KnownKeys,
        version: Version,
        live: &mut LiveTable,
    ) -> Result<Vec<Span>, Error> {
        let ends = known.range_ends(self.target.as_ref());
        let mut listed = Listed::of(list_all(self.target.as_ref(), &ends)).await?;
        let mut missing = Vec::new();
        let mut dropped = Dropped::default();
        for row in spans.finish()? {
            let ByFile {
                file,
                row: (span, size),
            } = row?;
            dropped.see(&file, version, span);
            let Location::Inside(key) = file else {
                continue;
            };
            let fault = match (listed.find(&key).await?, size) {
                (None, _) => format!("{key} is gone"),
                (Some(found), Some(size)) if found.size != size => {
                    format!("{key} has size {}, the log says {size}", found.size)
                }
                (Some(_), _) => continue,
            };
            if span.1.is_none() {
                live.faults.add(&fault);
            }
            missing.push(span);
        }
        live.drops_files = dropped.any();
        Ok(missing)
    }
}

/// Looks for files that a version uses and the newest one does not; the spans come file by file.
#[derive(Default)]
struct Dropped {
    file: Option<Location>,
    is_used: bool,
    is_newest: bool,
    found: bool,
}

impl Dropped {
    fn see(&mut self, file: &Location, version: Version, (from, until): Span) {
        if self.file.as_ref() != Some(file) {
            *self = Self {
                file: Some(file.clone()),
                found: self.any(),
                ..Self::default()
            };
        }
        self.is_used |= from <= version && until.is_none_or(|until| until > version);
        self.is_newest |= until.is_none();
    }

    /// Whether there is one among those seen.
    fn any(&self) -> bool {
        self.found || (self.is_used && !self.is_newest)
    }
}

impl LogReader<'_> {
    /// Replays the live log from the oldest version that it can rebuild, and fills in what that tells.
    async fn replay_live(
        &mut self,
        listing: &LogListing,
        way: &Segment,
        version: Version,
        mut uses: Option<&mut Sorter<ByFile<NameUse>>>,
        live: &mut LiveTable,
    ) -> Result<(), Error> {
        // Where readers start; the way is the longest one.
        let mut checkpoints = listing.checkpoints().iter();
        let newest = checkpoints
            .find(|found| found.version <= way.version)
            .filter(|newest| way.checkpoint.as_ref() != Some(*newest));
        let read = newest.iter().flat_map(|newest| &newest.files);
        self.fetch(way.files().chain(read).map(|file| &file.key))
            .await?;
        let mut sidecars = Vec::new();
        for file in listing.checkpoints().iter().flat_map(|found| &found.files) {
            if let Some(body) = self.read(&file.key) {
                sidecars.extend(read_sidecars(&file.key, &body, &self.root)?);
            }
        }
        self.fetch(sidecars.iter()).await?;
        let first = way
            .checkpoint
            .as_ref()
            .map_or(Version(0), |checkpoint| checkpoint.version);
        let mut replay = Replay::new(self.scratch.path())?;
        let body_of = |key: &ObjectKey| self.read(key);
        if let Some(newest) = newest {
            let index = replay.compare(newest.version, Detail::Sum)?;
            let sink = &mut |action| replay.compared(index, action);
            if let Err(failed) = read_checkpoint(newest, body_of, &self.root, sink) {
                replay.drop_compared(index);
                live.trouble.get_or_insert(trouble((*failed.error).into())?);
            }
        }
        // A name that is added again while it is live goes on in the replay, and may be another file's all the same.
        let mut noted = Ok(());
        let mut note = |of: Version, action: &Action| {
            if let Action::Add { add, .. } = action
                && of > version
                && let Some(uses) = &mut uses
                && noted.is_ok()
            {
                let mut rows = NameUse::of(add.clone(), (of, Some(of.next())));
                noted = rows.try_for_each(|(file, row)| uses.push(ByFile { file, row }));
            }
        };
        replay_segment(way, body_of, &self.root, &mut replay, &mut note)?;
        noted?;
        let (state, mut files) = replay.finish_with_history()?;
        live.take_table(state.protocol.as_ref(), state.metadata);
        live.txns_at = if state.txns.is_empty() {
            Some(Txns::new())
        } else if first <= version {
            Some(self.txns_at(way, version)?)
        } else {
            None
        };
        live.txns = Some(state.txns);
        let mut spans: Sorter<ByFile<(Span, Option<u64>)>> = Sorter::new(self.scratch.path())?;
        let mut known = KnownKeys::default();
        let mut sizes = Sizes::default();
        for file in files.by_ref() {
            let file = file?;
            sizes.see(&file);
            match &file.add.file {
                Location::Inside(key) => known.see(key),
                Location::Outside(uri) if file.until.is_none() => {
                    live.outside.get_or_insert_with(|| uri.clone());
                }
                Location::Outside(_) => {}
            }
            for (file, row) in NameUse::of(file.add, (file.from, file.until)) {
                spans.push(ByFile {
                    file: file.clone(),
                    row: (row.span, row.size()),
                })?;
                if let Some(uses) = &mut uses
                    && row.is_from(version)
                {
                    uses.push(ByFile { file, row })?;
                }
            }
        }
        let measured = live.above.iter_mut().chain(&mut live.older);
        sizes.measure(first, measured.filter(|it| it.version <= way.version));
        let missing = self.restorer.missing_spans(spans, known, version, live);
        let missing = missing.await?;
        let mut last = way.version;
        let mut unlike = files.comparisons().into_iter();
        if let Some((_, found)) = unlike.find(|(_, found)| found.files != FilesCompared::Same) {
            let version = found.version;
            live.ways_disagree = live.trouble.is_none();
            live.trouble.get_or_insert(format!(
                "checkpoint {version} names other files than the commits, or gives them other sizes or spellings, and readers start from it"
            ));
            last = Version(version.0.saturating_sub(1));
        }
        live.whole = whole_versions(first, last, &missing);
        live.readable_from = Some(first);
        Ok(())
    }

    /// How far streams had written in a version, by the files of a way that leads to it or past it.
    fn txns_at(&self, way: &Segment, version: Version) -> Result<Txns, Error> {
        let checkpoint = way.checkpoint.iter().flat_map(|found| &found.files);
        let commits = way
            .commits
            .iter()
            .filter(|file| file.version <= Some(version));
        let mut txns = Txns::new();
        for file in checkpoint.chain(commits) {
            if let Some(body) = self.read(&file.key) {
                take_txns(&file.key, &body, &self.root, &mut txns)?;
            }
        }
        Ok(txns)
    }

    /// Looks for partitions that were deleted whole by the version that is the likely cause.
    fn find_partitions(&self, live: &mut LiveTable) {
        let Some(cause) = suspect::cause(&live.above).filter(|it| suspect::is_removal(it)) else {
            return;
        };
        let commit = format!("_delta_log/{:020}.json", cause.version.0);
        if let Some(body) = commit.parse().ok().and_then(|key| self.read(&key)) {
            let reader = BufReader::new(body.reader());
            let found = deleted_partitions(reader, &live.partition_columns);
            let version = cause.version;
            live.deleted_partitions = found.map(|found| (version, found));
        }
    }
}

/// The way to the newest version that sees the most versions, the oldest one. Where a commit is missing, the way to the
/// version before it.
fn oldest_way(listing: &LogListing, tip: Version, live: &mut LiveTable) -> Option<Segment> {
    let error = match listing.candidates(tip) {
        Ok(ways) => return ways.last(),
        Err(error) => error,
    };
    live.trouble.get_or_insert(error.to_string());
    let LogError::Gap { first_missing, .. } = error else {
        return None;
    };
    live.hole = Some(first_missing);
    let before = Version(first_missing.0.checked_sub(1)?);
    listing.candidates(before).ok()?.last()
}

/// Takes the transaction ids that a file of the log has, over those that are known from older files.
pub(super) fn take_txns(
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
    txns: &mut Txns,
) -> Result<(), LogError> {
    read_actions(key, body, root, &mut |action| {
        if let Action::Txn { app_id, version } = action {
            txns.insert(app_id, version);
        }
        Ok(())
    })
    .map(drop)
}

fn describe(
    found: &mut LiveVersion,
    key: &ObjectKey,
    body: &Spooled,
    root: &TableRoot,
) -> Result<(), Error> {
    read_actions(key, body, root, &mut |action| {
        match action {
            Action::CommitInfo(info) => {
                let mode = info.mode.as_deref();
                found.operation = info.operation.map(|it| operation_name(&it, mode));
                found.predicate = info.predicate;
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
            | Action::PassedOver { .. }
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
