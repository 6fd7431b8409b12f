//! V's closure: replay, the objects that the live files need, and which of them are held already.
//!
//! The same replay runs twice: once over the source's log files for the plan, once over the vault's own bytes before
//! anything is published. Their [`Fingerprint`]s must be equal.

use std::collections::{BTreeMap, HashSet};
use std::io::BufReader;
use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::Vault;
use super::Failure;
use super::log::{Bodies, Body, read_listed};
use super::pin::{Base, Pinned};
use crate::delta::checkpoint::{Coverage, Wants, read_parquet, read_sidecar_names};
use crate::delta::commit::read_commit;
use crate::delta::path::TableRoot;
use crate::delta::replay::{LiveFile, LiveFiles, Replay, TableState};
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{
    Action, Add, CheckpointFormat, CommitInfo, LogError, LogFile, LogFileKind, Metadata, Protocol,
    Sink,
};
use crate::error::Error;
use crate::format::{Change, Entry, EntryKind, Record, Scope};
use crate::ids::{Digest, Location, ObjectKey, Version};
use crate::plan::snapshot::{
    BaseUse, ByFile, InDataOrder, Matched, Need, Span, count_change, data_needs, match_need,
};
use crate::sort::{SortError, Sorted, Sorter};
use crate::source::{Fetched, Source};
use crate::spool::Spool;

/// A way to rebuild V.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// From the base's live set.
    Base,
    /// From a checkpoint, or from version 0.
    Segment(Segment),
}

/// The log files that a plan replays, read and spooled.
#[derive(Debug)]
pub(super) struct LogRead {
    pub(super) way: Way,
    pub(super) bodies: Bodies,
    /// The sidecars of the checkpoint that the replay starts from.
    pub(super) replayed_sidecars: Vec<ObjectKey>,
    /// The sidecars of all checkpoints that entered now.
    pub(super) sidecars: HashSet<ObjectKey>,
    /// What V's own commit says of itself; empty when the log's clean-up has removed it.
    pub(super) info: CommitInfo,
}

impl LogRead {
    /// The oldest version that the replay sees.
    pub(super) fn first_version(&self) -> Version {
        match &self.way {
            Way::Segment(Segment {
                checkpoint: Some(checkpoint),
                ..
            }) => checkpoint.version,
            Way::Segment(_) | Way::Base => Version(0),
        }
    }

    /// The commits that are replayed, ascending.
    pub(super) fn commits(&self, pinned: &Pinned) -> Result<Vec<LogFile>, LogError> {
        match (&self.way, &pinned.base) {
            (Way::Segment(segment), _) => Ok(segment.commits.clone()),
            (Way::Base, Some(base)) => pinned
                .listing
                .commits(base.past.record.version, pinned.version),
            (Way::Base, None) => Ok(Vec::new()),
        }
    }

    /// Every log file that the replay reads.
    pub(super) fn replayed_files(&self, commits: &[LogFile]) -> Vec<ObjectKey> {
        let checkpoint = match &self.way {
            Way::Segment(Segment {
                checkpoint: Some(checkpoint),
                ..
            }) => &checkpoint.files[..],
            Way::Segment(_) | Way::Base => &[],
        };
        let files = checkpoint
            .iter()
            .chain(commits)
            .map(|file| file.key.clone());
        files
            .chain(self.replayed_sidecars.iter().cloned())
            .collect()
    }
}

/// What identifies a live set: SHA-256 over its logical files in order, with everything a manifest keeps of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(Digest);

/// Everything that the plan found out about V.
pub(super) struct Closure {
    pub(super) state: TableState,
    /// What was odd about the live files.
    pub(super) findings: Vec<String>,
    pub(super) fingerprint: Fingerprint,
    /// Entries that serve as they are, brought up to V.
    pub(super) known: Sorter<InDataOrder>,
    /// The versions that lack a file which was gone already when the base was taken.
    pub(super) absent: Vec<Span>,
    /// What must be copied.
    pub(super) copy: Sorter<ByFile<Need>>,
    pub(super) copy_bytes: u64,
    pub(super) change: Change,
}

/// Commits read at a time, in order.
const COMMITS_AHEAD: usize = 16;

/// The ways to rebuild V, best first: from the base, or from each usable checkpoint and from version 0.
pub(super) fn ways(pinned: &Pinned, scope: Scope) -> Result<Vec<Way>, LogError> {
    if pinned
        .base
        .as_ref()
        .is_some_and(|base| base.using == BaseUse::Continue)
    {
        return Ok(vec![Way::Base]);
    }
    let mut ways: Vec<_> = pinned.listing.candidates(pinned.version)?.collect();
    if scope == Scope::History {
        // The oldest way sees the most versions.
        ways.reverse();
    }
    Ok(ways.into_iter().map(Way::Segment).collect())
}

/// Reads the log files that V is replayed from, one way.
pub(super) async fn read_log(
    source: &Source,
    pinned: &Pinned,
    way: Way,
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
) -> Result<LogRead, Failure> {
    let mut read = LogRead {
        way,
        bodies: Bodies::new(),
        replayed_sidecars: Vec::new(),
        sidecars: HashSet::new(),
        info: CommitInfo::default(),
    };
    if let Way::Segment(Segment {
        checkpoint: Some(checkpoint),
        ..
    }) = &read.way
    {
        read.replayed_sidecars = read_checkpoint(
            source,
            &checkpoint.files,
            root,
            folder,
            spool,
            &mut read.bodies,
        )
        .await?;
        read.sidecars.extend(read.replayed_sidecars.iter().cloned());
    }
    // Every checkpoint that enters now brings its sidecars; one that cannot be read is held as the bytes it is.
    let base = pinned.base.as_ref().filter(|base| base.reuse);
    let known = base.and_then(|base| base.past.record.checkpoint);
    for file in pinned.listing.held(pinned.version) {
        let may_name = matches!(
            file.kind,
            LogFileKind::UuidCheckpoint(_) | LogFileKind::ClassicCheckpoint
        );
        if may_name && file.version > known {
            match sidecars_of(source, file, root, folder, spool, &mut read.bodies).await {
                Ok(named) => read.sidecars.extend(named),
                Err(Failure::Error(Error::Log(error))) if error.is_about_content() => {}
                Err(error) => return Err(error),
            }
        }
    }
    let mut wanted = read.commits(pinned)?;
    // A checkpoint does not keep V's commitInfo: its commit is read although nothing is replayed from it.
    wanted.extend(pinned.commit().cloned());
    wanted.dedup();
    wanted.retain(|file| !read.bodies.contains_key(&file.key));
    let mut fetched = futures::stream::iter(&wanted)
        .map(|file| async move { (file, read_listed(source, file, folder).await) })
        .buffered(COMMITS_AHEAD);
    while let Some((file, fetched)) = fetched.next().await {
        keep(&mut read.bodies, spool, &file.key, fetched?)?;
    }
    drop(fetched);
    if let Some(file) = pinned.commit()
        && let Some(body) = read.bodies.get(&file.key)
    {
        read_commit_body(&file.key, body, root, &mut |action| {
            if let Action::CommitInfo(info) = action {
                read.info = info;
            }
            Ok(())
        })?;
    }
    Ok(read)
}

/// Reads a checkpoint's files and sidecars into the spool; returns the sidecars' keys.
async fn read_checkpoint(
    source: &Source,
    files: &[LogFile],
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
    bodies: &mut Bodies,
) -> Result<Vec<ObjectKey>, Failure> {
    let mut sidecars = Vec::new();
    for file in files {
        sidecars.extend(sidecars_of(source, file, root, folder, spool, bodies).await?);
    }
    for key in &sidecars {
        if bodies.contains_key(key) {
            continue;
        }
        let fetched = match source.fetch(&Location::Inside(key.clone()), folder).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => {
                return Err(LogError::MissingSidecar {
                    file: key.to_string(),
                }
                .into());
            }
            Err(error) => return Err(Error::from(error).into()),
        };
        keep(bodies, spool, key, fetched)?;
    }
    Ok(sidecars)
}

/// Reads one checkpoint file into the spool and returns the sidecars that it names.
async fn sidecars_of(
    source: &Source,
    file: &LogFile,
    root: &TableRoot,
    folder: &Path,
    spool: &mut Spool,
    bodies: &mut Bodies,
) -> Result<Vec<ObjectKey>, Failure> {
    if !bodies.contains_key(&file.key) {
        let fetched = read_listed(source, file, folder).await?;
        keep(bodies, spool, &file.key, fetched)?;
    }
    let Some(body) = bodies.get(&file.key) else {
        return Ok(Vec::new());
    };
    let name = file.key.as_str();
    if file.format() == Some(CheckpointFormat::Parquet) {
        let named = read_sidecar_names(body.spooled.clone(), name, root)?;
        return Ok(named.into_iter().map(|(key, _)| key).collect());
    }
    let mut sidecars = Vec::new();
    read_commit(
        BufReader::new(body.spooled.reader()),
        name,
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

fn keep(
    bodies: &mut Bodies,
    spool: &mut Spool,
    key: &ObjectKey,
    fetched: Fetched,
) -> Result<(), Failure> {
    let spooled = spool.append(&fetched.payload).map_err(Error::Scratch)?;
    bodies.insert(
        key.clone(),
        Body {
            attributes: fetched.attributes,
            spooled,
        },
    );
    Ok(())
}

/// Reads the actions of a commit that was spooled.
fn read_commit_body(
    key: &ObjectKey,
    body: &Body,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<(), LogError> {
    read_commit(
        BufReader::new(body.spooled.reader()),
        key.as_str(),
        root,
        sink,
    )
}

/// Reads the actions of a checkpoint's file that was spooled, whichever way it is written.
fn read_body(
    key: &ObjectKey,
    body: &Body,
    root: &TableRoot,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    if key.as_str().ends_with(".json") {
        return read_commit_body(key, body, root, sink).map(|()| Coverage::JSON);
    }
    read_parquet(body.spooled.clone(), key.as_str(), root, Wants::State, sink)
}

/// Replays a whole checkpoint.
fn read_whole_checkpoint(
    checkpoint: &CheckpointFiles,
    log: &LogRead,
    root: &TableRoot,
    replay: &mut Replay,
) -> Result<(), LogError> {
    let mut coverage = Coverage::default();
    let files = checkpoint.files.iter().map(|file| &file.key);
    for key in files.clone().chain(&log.replayed_sidecars) {
        if let Some(body) = log.bodies.get(key) {
            coverage = coverage.and(read_body(key, body, root, &mut |action| {
                replay.start(checkpoint.version, action)
            })?);
        }
    }
    files
        .take(1)
        .try_for_each(|key| coverage.check(key.as_str()))
}

/// A file of the change data feed that a commit names.
pub(super) type ChangeData = (Location, u64);

/// Replays V over the commits, all taken from what was read; also returns the change data that the commits name.
pub(super) async fn replay_version(
    vault: &Vault,
    base: Option<&Base>,
    log: &LogRead,
    commits: &[LogFile],
    root: &TableRoot,
    folder: &Path,
) -> Result<(Replay, Vec<ChangeData>), Failure> {
    let mut replay = Replay::new(folder)?;
    let mut change_data = Vec::new();
    match (&log.way, base) {
        (Way::Segment(segment), _) => {
            if let Some(checkpoint) = &segment.checkpoint {
                read_whole_checkpoint(checkpoint, log, root, &mut replay)?;
            }
        }
        (Way::Base, Some(base)) => {
            let record = &base.past.record;
            start_from(&mut replay, record)?;
            let mut entries = vault.entries(&base.manifest.data_pages);
            while let Some(entry) = entries.try_next().await? {
                for add in adds_of(entry) {
                    replay.start_file(record.version, add)?;
                }
            }
        }
        (Way::Base, None) => {}
    }
    for file in commits {
        if let (Some(version), Some(body)) = (file.version, log.bodies.get(&file.key)) {
            read_commit_body(&file.key, body, root, &mut |action| match action {
                Action::Cdc { file, size } => {
                    change_data.push((file, size));
                    Ok(())
                }
                action => replay.commit(version, action),
            })?;
        }
    }
    Ok((replay, change_data))
}

/// What a replay has to be closed with.
pub(super) struct Replayed {
    pub(super) replay: Replay,
    pub(super) change_data: Vec<ChangeData>,
    pub(super) history: bool,
}

/// Gives a replay the base's table state.
fn start_from(replay: &mut Replay, record: &Record) -> Result<(), LogError> {
    let protocol = Protocol {
        min_reader_version: record.protocol.reader,
        min_writer_version: record.protocol.writer,
        reader_features: record.protocol.reader_features.clone(),
        writer_features: record.protocol.writer_features.clone(),
    };
    replay.start(record.version, Action::Protocol(protocol))?;
    let metadata = Metadata {
        id: Some(record.table.delta_id.clone()),
        name: None,
        partition_columns: Vec::new(),
        configuration: BTreeMap::new(),
    };
    replay.start(record.version, Action::Metadata(metadata))
}

/// The logical files that a base's entry carries.
fn adds_of(entry: Entry) -> impl Iterator<Item = Add> {
    let Entry {
        file,
        live,
        modification_time,
        rows,
        size,
        ..
    } = entry;
    live.into_iter().map(move |used| Add {
        file: file.clone(),
        size,
        modification_time: modification_time.unwrap_or_default(),
        rows,
        dv: used.dv,
    })
}

/// Matches V's needs with what is held and sorts the rest for copying.
pub(super) async fn close(
    vault: &Vault,
    pinned: &Pinned,
    replayed: Replayed,
    mut held: Held,
    folder: &Path,
) -> Result<Closure, Failure> {
    let Replayed {
        replay,
        change_data,
        history,
    } = replayed;
    let (state, files) = if history {
        replay.finish_with_history()?
    } else {
        replay.finish()?
    };
    let mut closure = Closure {
        state,
        findings: Vec::new(),
        fingerprint: Fingerprint(Digest::of(b"")),
        known: Sorter::new(folder)?,
        absent: Vec::new(),
        copy: Sorter::new(folder)?,
        copy_bytes: 0,
        change: Change::default(),
    };
    if let Some(base) = &pinned.base {
        let mut entries = vault.entries(&base.manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            held.push(entry, base.reuse)?;
        }
    }
    let mut live = Watched {
        files,
        fingerprint: Fingerprinter::default(),
    };
    let mut vectors: Sorter<ByFile<Need>> = Sorter::new(folder)?;
    let needs = data_needs(&mut live).map(|need| {
        let need = need?;
        for vector in vector_needs(&need) {
            vectors.push(ByFile {
                file: vector.file.clone(),
                row: vector,
            })?;
        }
        Ok(need)
    });
    closure.join(needs, held.data.finish()?)?;
    closure.join(unique(vectors.finish()?), held.vectors.finish()?)?;
    let mut feed: Sorter<ByFile<Need>> = Sorter::new(folder)?;
    if history {
        for (file, size) in change_data {
            let need = Need::plain(file.clone(), EntryKind::ChangeData, Some(size), false);
            feed.push(ByFile { file, row: need })?;
        }
    }
    closure.join(unique(feed.finish()?), held.feed.finish()?)?;
    closure.findings = live.findings();
    closure.fingerprint = live.fingerprint.finish();
    Ok(closure)
}

/// The fingerprint of V's live set alone: what the proof compares.
pub(super) fn fingerprint(replay: Replay) -> Result<Fingerprint, Failure> {
    let (_, files) = replay.finish()?;
    let mut live = Watched {
        files,
        fingerprint: Fingerprinter::default(),
    };
    for file in &mut live {
        file?;
    }
    Ok(live.fingerprint.finish())
}

/// Live files on their way, hashed as they go by.
struct Watched {
    files: LiveFiles,
    fingerprint: Fingerprinter,
}

impl Iterator for Watched {
    type Item = Result<LiveFile, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.files.next()?;
        if let Ok(file) = &file
            && file.until.is_none()
        {
            self.fingerprint.add(file);
        }
        Some(file.map_err(Error::from))
    }
}

impl Watched {
    /// What the owner should know of the files; complete once they have all gone by.
    fn findings(&self) -> Vec<String> {
        let odd = self.files.findings();
        let mut findings = Vec::new();
        if odd.respelled > 0 {
            let example = odd.respelled_examples.first().map(ToString::to_string);
            findings.push(format!(
                "{} files are spelled in several ways in the log, first {}: readers differ about them",
                odd.respelled,
                example.unwrap_or_default()
            ));
        }
        if odd.contradicted > 0 {
            findings.push(format!(
                "{} files are removed and added by one commit",
                odd.contradicted
            ));
        }
        if odd.live_twice > 0 {
            findings.push(format!(
                "{} files are live with several deletion vectors",
                odd.live_twice
            ));
        }
        findings
    }
}

/// Entries that a base or a journal holds, by what they are.
pub(super) struct Held {
    data: Sorter<ByFile<HeldEntry>>,
    vectors: Sorter<ByFile<HeldEntry>>,
    feed: Sorter<ByFile<HeldEntry>>,
}

/// An entry, and whether its placement may be used again or only tells what was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeldEntry {
    entry: Entry,
    from_base: bool,
    reuse: bool,
}

impl Held {
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            data: Sorter::new(folder)?,
            vectors: Sorter::new(folder)?,
            feed: Sorter::new(folder)?,
        })
    }

    fn push(&mut self, entry: Entry, reuse: bool) -> Result<(), Failure> {
        self.push_row(HeldEntry {
            entry,
            from_base: true,
            reuse,
        })
    }

    /// Adds what an unfinished run has placed.
    pub(super) fn push_journalled(&mut self, entry: Entry) -> Result<(), Failure> {
        self.push_row(HeldEntry {
            entry,
            from_base: false,
            reuse: true,
        })
    }

    fn push_row(&mut self, row: HeldEntry) -> Result<(), Failure> {
        let sorter = match row.entry.kind {
            EntryKind::Data => &mut self.data,
            EntryKind::DeletionVector => &mut self.vectors,
            EntryKind::ChangeData => &mut self.feed,
            EntryKind::Sidecar
            | EntryKind::Checkpoint
            | EntryKind::Compaction
            | EntryKind::Checksum
            | EntryKind::Other
            | EntryKind::Commit
            | EntryKind::LastCheckpoint => return Ok(()),
        };
        Ok(sorter.push(ByFile {
            file: row.entry.file.clone(),
            row,
        })?)
    }
}

impl Closure {
    /// Merges needs and held entries, both in the order of their files.
    fn join(
        &mut self,
        needs: impl Iterator<Item = Result<Need, Error>>,
        held: Sorted<ByFile<HeldEntry>>,
    ) -> Result<(), Failure> {
        let mut held = held.peekable();
        for need in needs {
            let need = need?;
            while let Some(passed) = held.next_if(|row| before(row, &need.file)) {
                self.passed(passed?.row);
            }
            let mut same = Vec::new();
            while let Some(row) = held.next_if(|row| is_of(row, &need.file)) {
                same.push(row?.row);
            }
            let then: Vec<_> = same
                .iter()
                .filter(|held| held.from_base)
                .flat_map(|held| held.entry.live.iter().cloned())
                .collect();
            count_change(&mut self.change, &need.live, &then);
            let usable: Vec<_> = same
                .into_iter()
                .filter(|held| held.reuse)
                .map(|held| held.entry)
                .collect();
            match match_need(need, &usable) {
                Matched::Known(entry) => self.known.push(InDataOrder(entry))?,
                Matched::Absent(entry, spans) => {
                    self.absent.extend(spans);
                    self.known.push(InDataOrder(entry))?;
                }
                Matched::Copy(need) => {
                    self.copy_bytes += need.size.unwrap_or_default();
                    self.copy.push(ByFile {
                        file: need.file.clone(),
                        row: need,
                    })?;
                }
            }
        }
        for passed in held {
            self.passed(passed?.row);
        }
        Ok(())
    }

    /// Takes note of a held entry that V does not need any more.
    fn passed(&mut self, held: HeldEntry) {
        if held.from_base {
            count_change(&mut self.change, &[], &held.entry.live);
        }
    }
}

fn before(row: &Result<ByFile<HeldEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file < *file)
}

fn is_of(row: &Result<ByFile<HeldEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file == *file)
}

/// The files of deletion vectors that a data file's logical files use.
fn vector_needs(need: &Need) -> impl Iterator<Item = Need> {
    need.vectors.iter().map(|(file, span)| Need {
        spans: vec![*span],
        ..Need::plain(
            file.clone(),
            EntryKind::DeletionVector,
            None,
            span.1.is_none(),
        )
    })
}

/// Merges repeated needs of one file; they come sorted.
fn unique(needs: Sorted<ByFile<Need>>) -> impl Iterator<Item = Result<Need, Error>> {
    let mut needs = needs.peekable();
    std::iter::from_fn(move || {
        let mut need = match needs.next()? {
            Ok(need) => need.row,
            Err(error) => return Some(Err(error.into())),
        };
        while let Some(Ok(same)) =
            needs.next_if(|next| next.as_ref().is_ok_and(|next| next.file == need.file))
        {
            need.required |= same.row.required;
            need.spans.extend(same.row.spans);
        }
        Some(Ok(need))
    })
}

/// Hashes a live set file by file.
#[derive(Default)]
struct Fingerprinter(Sha256);

impl Fingerprinter {
    fn add(&mut self, file: &LiveFile) {
        let Add {
            file: location,
            size,
            modification_time,
            rows,
            dv,
        } = &file.add;
        let dv = dv.as_ref().map_or("", |dv| dv.id.as_str());
        let line = format!("{location:?}\t{size}\t{modification_time}\t{rows:?}\t{dv}\n");
        self.0.update(line.as_bytes());
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(Digest::from_hasher(self.0))
    }
}
