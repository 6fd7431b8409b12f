//! Replays V from spooled log files: over the source's for the plan, over the vault's own bytes before anything is
//! published. The [`Fingerprint`]s of both live sets must be equal.
//!
//! Where a base is continued, only its files that the new commits touch take part: what a night costs follows what
//! changed, not the table.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::super::log_replay::{CheckpointFailed, read_actions, read_checkpoint, replay_segment};
use super::failure::Failure;
use super::pinned::Pinned;
use super::ways::{FailedCheckpoint, LogRead};
use crate::delta::path::TableRoot;
use crate::delta::replay::{Comparison, Detail, LiveFile, LiveFiles, Replay};
use crate::delta::segment::CheckpointFiles;
use crate::delta::{Action, Add, LogError, Metadata, Protocol};
use crate::error::Error;
use crate::format::{Entry, EntryKind, Placement, Record};
use crate::ids::{Digest, Location, ObjectKey, Version};

/// What identifies a live set: SHA-256 over its logical files in order, with everything a manifest keeps of them. Where a
/// base is continued, over those that the commits since then touch, and over which these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(Digest);

/// A file of the change data feed that a commit names.
#[derive(Debug)]
pub(super) struct ChangeData {
    pub(super) file: Location,
    pub(super) absolute: bool,
    pub(super) size: Option<u64>,
}

/// A replay of everything that was read of the log; where it goes on from a base, the base's files that it touches are
/// still to be added.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) replay: Replay,
    /// The change data that the commits name.
    pub(super) change_data: Vec<ChangeData>,
    /// Why the change data of the first commit is not known.
    pub(super) without_change_data: Option<String>,
    pub(super) touched: Touched,
    /// The checkpoints that take part in the replay only to be compared, by the index of their comparison.
    pub(super) compared: Vec<CheckpointFiles>,
    /// Checkpoints that could not be decoded to their end.
    pub(super) failed: Vec<FailedCheckpoint>,
}

/// What is odd about the base's entries that stay as they are.
#[derive(Debug, Default)]
pub(super) struct OddKept {
    pub(super) live_twice: u64,
    /// Logical files on which readers differ because of their spellings.
    pub(super) respelled: u64,
    respelled_example: Vec<String>,
}

impl OddKept {
    pub(super) fn see(&mut self, entry: &Entry) {
        self.live_twice += entry.live.len().saturating_sub(1) as u64;
        for live in entry.live.iter().filter(|it| it.is_respelled()) {
            self.respelled += 1;
            if self.respelled_example.is_empty() {
                let name = entry.file.to_string();
                let other = |text: &&String| **text != name;
                self.respelled_example = live.spelled.iter().filter(other).cloned().collect();
                self.respelled_example.truncate(1);
                self.respelled_example.push(name);
            }
        }
    }
}

/// The files that commits name which the base has not seen, and whether only these files have to be looked at.
///
/// Only hashes, so that millions fit in memory. Two files with one hash do no harm: what is taken for touched is looked
/// at closely and found to be as it was.
#[derive(Debug)]
pub(super) struct Touched {
    hashes: HashSet<u64>,
    all: bool,
    /// Nobody knows which: commits that the base has not seen are gone, or files may have been put again without one.
    unknown: bool,
}

impl Touched {
    /// Every file of the base has to be looked at.
    pub(super) fn all() -> Self {
        Self {
            hashes: HashSet::new(),
            all: true,
            unknown: false,
        }
    }

    /// Whether a base's entry is for sure V's entry too, as it is: live, held, and named by no commit since.
    pub(super) fn spares(&self, entry: &Entry) -> bool {
        !self.all
            && !self.unknown
            && entry.kind == EntryKind::Data
            && !entry.live.is_empty()
            && entry.placement != (Placement::Absent {})
            && !self.hashes.contains(&hash(&entry.file))
    }

    /// As it is, but every file of the base has to be looked at.
    pub(super) fn and_all(self) -> Self {
        Self { all: true, ..self }
    }

    /// Whether such a commit may name a file.
    pub(super) fn names(&self, file: &Location) -> bool {
        self.unknown || self.hashes.contains(&hash(file))
    }

    fn see(&mut self, action: &Action) {
        match action {
            Action::Add { add, .. } => {
                self.hashes.insert(hash(&add.file));
                // A vector's file may have been written again under its name, too.
                let vector = add.dv.as_ref().and_then(|dv| dv.file.as_ref());
                self.hashes.extend(vector.map(hash));
            }
            Action::Remove { file, .. } => {
                self.hashes.insert(hash(file));
            }
            Action::Cdc { .. }
            | Action::PassedOver { .. }
            | Action::Unnameable { .. }
            | Action::Sidecar { .. }
            | Action::Protocol(_)
            | Action::Metadata(_)
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_) => {}
        }
    }
}

fn hash(file: &Location) -> u64 {
    let mut hasher = DefaultHasher::new();
    file.hash(&mut hasher);
    hasher.finish()
}

/// Replays V from the log files that were read, and compares the other checkpoints with it: those in `closely` file by
/// file, the others by their sums.
pub(super) fn replay_log(
    pinned: &Pinned,
    log: &LogRead,
    root: &TableRoot,
    folder: &Path,
    closely: &[CheckpointFiles],
) -> Result<Replayed, Failure> {
    let base = pinned.base.as_ref();
    let mut replay = Replay::new(folder)?;
    let mut touched = Touched::all();
    let body_of = |key: &ObjectKey| log.bodies.get(key).map(|body| body.spooled.clone());
    let mut failed = Vec::new();
    for checkpoint in &log.way.compared {
        let detail = if closely.contains(checkpoint) {
            Detail::Rows
        } else {
            Detail::Sum
        };
        let index = replay.compare(checkpoint.version, detail)?;
        let sink = &mut |action| replay.compared(index, action);
        if let Err(blamed) = read_checkpoint(checkpoint, body_of, root, sink) {
            failed.extend(blamed.into_failed(checkpoint)?);
            replay.drop_compared(index);
        }
    }
    for checkpoint in &log.aside {
        if let Err(blamed) = read_checkpoint(checkpoint, body_of, root, &mut |_| Ok(())) {
            failed.extend(blamed.into_failed(checkpoint)?);
        }
    }
    if let Some(base) = base.filter(|_| log.way.from_base) {
        start_from(&mut replay, &base.past.record)?;
        // Compared file by file, a checkpoint takes part with all of its files. What is lost may be in any of them.
        touched.all = !closely.is_empty() || !base.lost.is_empty();
    }
    let first = log.way.first_version();
    touched.unknown = pinned.may_be_put_again()
        || !log.way.from_base && base.is_some_and(|base| first > base.past.record.version);
    let mut change_data = Vec::new();
    let mut without_change_data = None;
    let mut note = |version: Version, action: &Action| {
        if pinned.is_new(version) {
            touched.see(action);
        }
        if let Action::Cdc {
            file,
            absolute,
            size,
        } = action
        {
            let (absolute, size) = (*absolute, *size);
            change_data.push(ChangeData {
                file: file.clone(),
                absolute,
                size,
            });
        }
    };
    if let Some(file) = &log.way.first_commit
        && let (Some(version), Some(body)) = (file.version, body_of(&file.key))
    {
        let sink = &mut |action| {
            note(version, &action);
            Ok(())
        };
        match read_actions(&file.key, &body, root, sink) {
            Ok(_) => {}
            // Readers start from the checkpoint.
            Err(error) if error.is_about_content() => {
                without_change_data = Some(format!(
                    "commit {version} cannot be read ({error}): its change data is not held, and readers start from the \
                     checkpoint of that version"
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    replay_segment(&log.way.segment, body_of, root, &mut replay, &mut note)?;
    Ok(Replayed {
        replay,
        change_data,
        without_change_data,
        touched,
        compared: log.way.compared.clone(),
        failed,
    })
}

impl CheckpointFailed {
    /// Fails for what another checkpoint would not help against, a full disk for one.
    fn into_failed(
        self,
        checkpoint: &CheckpointFiles,
    ) -> Result<Option<FailedCheckpoint>, LogError> {
        let Self { file, error } = self;
        if !error.is_about_content() {
            return Err(*error);
        }
        Ok(FailedCheckpoint::of(checkpoint, Some(file), *error))
    }
}

/// Gives a replay the base's table state.
pub(super) fn start_from(replay: &mut Replay, record: &Record) -> Result<(), LogError> {
    for action in state_of(record) {
        replay.start(record.version, action)?;
    }
    Ok(())
}

/// The protocol and the metadata that a record has.
pub(super) fn state_of(record: &Record) -> [Action; 2] {
    let protocol = Protocol {
        min_reader_version: record.protocol.reader,
        min_writer_version: record.protocol.writer,
        reader_features: record.protocol.reader_features.clone(),
        writer_features: record.protocol.writer_features.clone(),
    };
    let metadata = Metadata {
        id: Some(record.table.delta_id.clone()),
        name: None,
        partition_columns: Vec::new(),
        configuration: record.properties.clone(),
    };
    [Action::Protocol(protocol), Action::Metadata(metadata)]
}

/// The logical files of an entry, whose base is of version `from`.
pub(super) fn live_files_of(entry: Entry, from: Version) -> impl Iterator<Item = LiveFile> {
    let Entry {
        absolute,
        file,
        live,
        modification_time,
        rows,
        size,
        ..
    } = entry;
    live.into_iter().map(move |used| LiveFile {
        add: Add {
            file: file.clone(),
            absolute,
            size,
            modification_time,
            rows,
            dv: used.dv,
        },
        from,
        until: None,
        by_text: used.by_text,
        off_newest: false,
        otherwise: Vec::new(),
        spelled: used.spelled,
    })
}

/// The fingerprint of V alone: what the proof compares.
pub(super) fn fingerprint(replay: Replay, touched: &Touched) -> Result<Fingerprint, Failure> {
    let (_, files) = replay.finish()?;
    let mut live = Watched::new(files);
    for file in &mut live {
        file?;
    }
    Ok(live.into_fingerprint(touched))
}

/// Live files on their way, hashed as they go by.
pub(super) struct Watched {
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
    /// The fingerprint of all that went by, and of what was not touched.
    pub(super) fn into_fingerprint(self, touched: &Touched) -> Fingerprint {
        self.fingerprint.finish(touched)
    }

    pub(super) fn new(files: LiveFiles) -> Self {
        Self {
            files,
            fingerprint: Fingerprinter::default(),
        }
    }

    /// What comparing the checkpoints found; complete once all files have gone by.
    pub(super) fn comparisons(&self) -> Vec<(usize, Comparison)> {
        self.files.comparisons()
    }

    /// A file that some ways to the version have live and others do not.
    pub(super) fn disputed(&self) -> Option<&Location> {
        self.files.findings().disputed_example.as_ref()
    }

    /// What the owner should know of the files, with those that were not touched; complete once they have all gone by.
    pub(super) fn findings(&self, kept: &OddKept) -> Vec<String> {
        let odd = self.files.findings();
        let live_twice = odd.live_twice + kept.live_twice;
        let respelled = odd.respelled + kept.respelled;
        let mut findings = Vec::new();
        if respelled > 0 {
            let example = if odd.respelled > 0 {
                &odd.respelled_example
            } else {
                &kept.respelled_example
            };
            let (files, live, them) = match respelled {
                1 => ("1 file is".to_owned(), "it is", "it"),
                more => (format!("{more} files are"), "they are", "them"),
            };
            findings.push(format!(
                "{files} spelled in several ways in the log (first: {}): readers differ on whether {live} live; this snapshot holds {them}",
                example.join(" and ")
            ));
        }
        if odd.contradicted > 0 {
            findings.push(format!(
                "{} files are removed and added by one commit",
                odd.contradicted
            ));
        }
        if let Some(first) = &odd.passed_over.first {
            let removes = match odd.passed_over.count {
                1 => "1 remove stands".to_owned(),
                more => format!("{more} removes stand"),
            };
            findings.push(format!(
                "{removes} on one line with an add (first: {first}): readers take the add alone, and this snapshot holds \
                 what was to be removed"
            ));
        }
        if let Some(first) = &odd.unnameable.first {
            findings.push(format!(
                "{} paths that are removed, or of change data, name no object and were passed over, first {first}",
                odd.unnameable.count
            ));
        }
        if live_twice > 0 {
            findings.push(format!(
                "{live_twice} files are live with several deletion vectors"
            ));
        }
        findings
    }
}

/// Hashes a live set file by file.
#[derive(Default)]
struct Fingerprinter(Sha256);

impl Fingerprinter {
    fn add(&mut self, file: &LiveFile) {
        let Add {
            file: location,
            absolute,
            size,
            modification_time,
            rows,
            dv,
        } = &file.add;
        let dv = dv.as_ref().map_or("", |dv| dv.id.as_str());
        let (by_text, spelled) = (file.by_text, &file.spelled);
        let line = format!(
            "{location:?}\t{absolute}\t{size}\t{modification_time:?}\t{rows:?}\t{dv}\t{by_text}\t{spelled:?}\n"
        );
        self.0.update(line.as_bytes());
    }

    /// What no commit touched is as the base's pages have it; so it is the same when the same is touched.
    fn finish(mut self, touched: &Touched) -> Fingerprint {
        let mut hashes: Vec<_> = touched.hashes.iter().collect();
        hashes.sort_unstable();
        for hash in hashes {
            self.0.update(hash.to_le_bytes());
        }
        Fingerprint(Digest::from_hasher(self.0))
    }
}
