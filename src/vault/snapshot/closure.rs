//! V's closure: the objects that its live files need, and which of them are held already.

use std::path::Path;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::super::Vault;
use super::failure::Failure;
use super::past::Base;
use super::pin;
use super::pinned::Pinned;
use super::presence::{self, Looked};
use super::replayed::{
    ChangeData, Fingerprint, OddKept, Replayed, Touched, Watched, live_files_of,
};
use super::ways::FailedCheckpoint;
use crate::count::{are, counted};
use crate::delta::replay::{Comparison, FilesCompared, Replay, TableState};
use crate::delta::segment::CheckpointFiles;
use crate::error::Error;
use crate::format::{Change, Entry, EntryKind};
use crate::ids::{Location, ObjectKey, Timestamp, Version};
use crate::plan::snapshot::{
    ByFile, InDataOrder, Matched, Need, Recheck, Span, VectorUse, count_change, data_needs,
    match_need,
};
use crate::sort::{SortError, Sorted, Sorter};
use crate::source::Source;
use crate::source::outside::{Folders, Outside};
use crate::spool::{Rows, Scratch};
use crate::store::Attributes;

/// Files that are asked about at a time: S3 answers many small requests side by side.
const REQUESTS_AHEAD: usize = 32;

pub(super) struct Closure {
    pub(super) state: TableState,
    /// Which of the base's entries are V's as they are, in the order of its pages.
    pub(super) touched: Touched,
    /// What was odd about the live files.
    pub(super) findings: Vec<String>,
    pub(super) copies: Copies,
    pub(super) expected: Expected,
    /// The compared checkpoints, and what was found.
    pub(super) compared: Vec<(CheckpointFiles, Comparison)>,
    /// A file that some ways to V have live and others do not.
    pub(super) disputed: Option<Location>,
    pub(super) failed: Vec<FailedCheckpoint>,
}

/// The files that V needs: which are in the vault, and which must be copied.
pub(super) struct Copies {
    /// Where the log may name files outside the table's folder.
    outside: Outside,
    /// Files that it names elsewhere.
    refused: Folders,
    /// How many of the base's entries stay as they are.
    pub(super) kept: u64,
    /// Other entries that serve, brought up to V.
    pub(super) known: Sorter<InDataOrder>,
    pub(super) needs: Sorter<ByFile<Need>>,
    /// Its bytes, as far as the log says.
    pub(super) bytes: u64,
    /// What the source has to be asked about before it is known or copied.
    again: Rows<Recheck>,
    /// How many files it was asked about.
    pub(super) asked: u64,
    pub(super) change: Change,
    /// The older versions that needed another file than the one that has the name now.
    pub(super) replaced: Vec<Span>,
}

impl Closure {
    /// The checkpoints whose sums are not the replay's, to be compared file by file.
    pub(super) fn unequal(&self) -> Vec<CheckpointFiles> {
        let unequal = self
            .compared
            .iter()
            .filter(|(_, found)| found.files == FilesCompared::Differ);
        unequal.map(|(checkpoint, _)| checkpoint.clone()).collect()
    }

    /// The checkpoints that were compared file by file.
    pub(super) fn compared_closely(&self) -> Vec<CheckpointFiles> {
        let closely = self
            .compared
            .iter()
            .filter(|(_, found)| matches!(found.files, FilesCompared::Counted { .. }));
        closely.map(|(checkpoint, _)| checkpoint.clone()).collect()
    }
}

/// What the proof needs of the plan: what it must come to, and the base's entries that take part in it.
pub(super) struct Expected {
    pub(super) fingerprint: Fingerprint,
    pub(super) base: Rows<Entry>,
}

/// What V's needs are matched with, beside the replay.
pub(super) struct Matching<'a> {
    pub(super) pinned: &'a Pinned,
    /// Whether the replay goes on from the base.
    pub(super) from_base: bool,
    pub(super) history: bool,
    /// Where the log may name files outside the table's folder.
    pub(super) outside: &'a Outside,
    /// What unfinished runs have placed.
    pub(super) held: Stored,
}

/// Matches V's needs with what is held, asks the source about files that were named again, and sorts the rest for
/// copying.
pub(super) async fn close(
    vault: &Vault,
    source: &Source,
    replayed: Replayed,
    matching: Matching<'_>,
    scratch: &Scratch,
) -> Result<Closure, Failure> {
    let folder = scratch.path();
    let Replayed {
        mut replay,
        change_data,
        without_change_data,
        touched,
        compared,
        failed,
    } = replayed;
    let Matching {
        pinned,
        from_base,
        history,
        outside,
        mut held,
    } = matching;
    let mut taken = Taken::new(scratch)?;
    let touched = match &pinned.base {
        Some(base) if base.reuse && from_base => touched,
        Some(_) | None => touched.and_all(),
    };
    if let Some(base) = &pinned.base {
        let record = &base.past.record;
        let mut pages = vault.read_pages(&base.manifest.data_pages);
        let mut refs = base.manifest.data_pages.iter();
        while let Some(page) = pages.try_next().await? {
            let of = refs.next().map(|page| &page.page.key);
            for entry in page {
                if touched.spares(&entry) {
                    untouched(&mut replay, record.version, &entry);
                    taken.keep(record.version, &entry, of)?;
                    continue;
                }
                if from_base {
                    taken.rows.push(&entry).map_err(Error::Scratch)?;
                    for known in live_files_of(entry.clone(), record.version) {
                        replay.start_file(known)?;
                    }
                }
                held.push(entry, base)?;
            }
        }
    }
    let (state, files) = if history {
        replay.finish_with_history()?
    } else {
        replay.finish()?
    };
    let mut copies = Copies::new(taken.count, outside.clone(), scratch)?;
    let mut live = Watched::new(files);
    let mut vectors = taken.vectors;
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
    copies.join(needs, held.data, &touched)?;
    copies.join(unique(vectors.finish()?), held.vectors, &touched)?;
    let feed = if history { change_data } else { Vec::new() };
    let feed = feed_needs(feed, folder)?;
    copies.join(unique(feed.finish()?), held.feed, &touched)?;
    copies.refuse_outside(source)?;
    let mut odd = taken.odd;
    let newest = pin::newest_checkpoint(&pinned.listing, pinned.version);
    if (pinned.base.as_ref()).is_none_or(|base| newest != base.past.record.checkpoint) {
        // Readers start from a checkpoint that was written since, and agree.
        odd.respelled = 0;
    }
    let mut findings = live.findings(&odd);
    findings.extend(without_change_data);
    findings.extend(copies.ask_again(vault, source, scratch).await?);
    Ok(Closure {
        state,
        findings,
        copies,
        disputed: live.disputed().cloned(),
        compared: with_results(compared, live.comparisons()),
        expected: Expected {
            fingerprint: live.into_fingerprint(&touched),
            base: taken.rows,
        },
        touched,
        failed,
    })
}

/// Takes note of an entry that no commit has touched since the base of version `from`.
fn untouched(replay: &mut Replay, from: Version, entry: &Entry) {
    for used in &entry.live {
        let file = (&entry.file, entry.size);
        replay.untouched(from, file, used.dv.as_ref(), &used.spelled);
    }
}

/// The compared checkpoints of which there is a result, and what it is.
fn with_results(
    compared: Vec<CheckpointFiles>,
    results: Vec<(usize, Comparison)>,
) -> Vec<(CheckpointFiles, Comparison)> {
    let mut compared: Vec<_> = compared.into_iter().map(Some).collect();
    let with_result = |(index, comparison)| {
        let checkpoint = compared.get_mut(index).and_then(Option::take)?;
        Some((checkpoint, comparison))
    };
    results.into_iter().filter_map(with_result).collect()
}

fn feed_needs(named: Vec<ChangeData>, folder: &Path) -> Result<Sorter<ByFile<Need>>, Failure> {
    let mut feed = Sorter::new(folder)?;
    for ChangeData {
        file,
        absolute,
        size,
    } in named
    {
        let plain = Need::plain(file.clone(), EntryKind::ChangeData, size, false);
        let row = Need { absolute, ..plain };
        feed.push(ByFile { file, row })?;
    }
    Ok(feed)
}

struct Taken {
    /// Entries that are V's as they are.
    count: u64,
    odd: OddKept,
    /// The files of deletion vectors that these use.
    vectors: Sorter<ByFile<Need>>,
    last: Option<(Option<Timestamp>, Location)>,
    rows: Rows<Entry>,
}

impl Taken {
    fn new(scratch: &Scratch) -> Result<Self, Failure> {
        Ok(Self {
            count: 0,
            odd: OddKept::default(),
            vectors: Sorter::new(scratch.path())?,
            last: None,
            rows: Rows::create(scratch).map_err(Error::Scratch)?,
        })
    }

    /// Counts an entry that stays as it is; it is read again when the pages are written.
    fn keep(
        &mut self,
        version: Version,
        entry: &Entry,
        page: Option<&ObjectKey>,
    ) -> Result<(), Failure> {
        let place = (entry.last_modified, &entry.file);
        if let Some((time, file)) = &self.last
            && place <= (*time, file)
        {
            let object = page.map_or_else(String::new, ToString::to_string);
            let what = format!("{} is not where its time and name belong", entry.file);
            return Err(Failure::Error(Error::Damaged { object, what }));
        }
        self.last = Some((entry.last_modified, entry.file.clone()));
        self.count += 1;
        self.odd.see(entry);
        for live in &entry.live {
            let dv = live.dv.as_ref();
            if let Some(mut used) = dv.and_then(|dv| VectorUse::of(dv, (version, None))) {
                used.required &= !live.by_text;
                let row = vector_need(&used);
                let file = used.file;
                self.vectors.push(ByFile { file, row })?;
            }
        }
        Ok(())
    }
}

/// Entries that a base or a journal holds, by what they are.
pub(super) struct Stored {
    data: Sorter<ByFile<StoredEntry>>,
    vectors: Sorter<ByFile<StoredEntry>>,
    feed: Sorter<ByFile<StoredEntry>>,
}

/// An entry, and whether its placement may be used again or only tells what was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredEntry {
    entry: Entry,
    from_base: bool,
    reuse: bool,
}

impl Stored {
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            data: Sorter::new(folder)?,
            vectors: Sorter::new(folder)?,
            feed: Sorter::new(folder)?,
        })
    }

    fn push(&mut self, entry: Entry, base: &Base) -> Result<(), Failure> {
        let reuse = base.reuses(&entry);
        self.push_row(entry, true, reuse)
    }

    /// Adds what an unfinished run has placed.
    pub(super) fn push_journalled(&mut self, entry: Entry) -> Result<(), Failure> {
        self.push_row(entry, false, true)
    }

    fn push_row(&mut self, entry: Entry, from_base: bool, reuse: bool) -> Result<(), Failure> {
        let sorter = match entry.kind {
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
        let file = entry.file.clone();
        let row = StoredEntry {
            entry,
            from_base,
            reuse,
        };
        Ok(sorter.push(ByFile { file, row })?)
    }
}

impl Copies {
    fn new(kept: u64, outside: Outside, scratch: &Scratch) -> Result<Self, Failure> {
        let folder = scratch.path();
        Ok(Self {
            outside,
            refused: Folders::default(),
            kept,
            known: Sorter::new(folder)?,
            needs: Sorter::new(folder)?,
            bytes: 0,
            again: Rows::create(scratch).map_err(Error::Scratch)?,
            asked: 0,
            change: Change::default(),
            replaced: Vec::new(),
        })
    }

    /// Merges needs and held entries, both in the order of their files.
    fn join(
        &mut self,
        needs: impl Iterator<Item = Result<Need, Error>>,
        held: Sorter<ByFile<StoredEntry>>,
        touched: &Touched,
    ) -> Result<(), Failure> {
        let mut held = held.finish()?.peekable();
        for need in needs {
            let mut need = need?;
            self.replaced.append(&mut need.replaced);
            while let Some(passed) = held.next_if(|row| before(row, &need.file)) {
                self.passed(&passed?.row);
            }
            let mut same = Vec::new();
            while let Some(row) = held.next_if(|row| is_of(row, &need.file)) {
                same.push(row?.row);
            }
            let of_base = same.iter().filter(|held| held.from_base);
            let then = of_base.flat_map(|held| held.entry.live.iter().cloned());
            count_change(&mut self.change, &need.live, &then.collect::<Vec<_>>());
            let (mut published, mut placed, mut told) = (Vec::new(), Vec::new(), Vec::new());
            for StoredEntry {
                entry,
                from_base,
                reuse,
            } in same
            {
                match (reuse, from_base) {
                    (true, true) => published.push(entry),
                    (true, false) => placed.push(entry),
                    (false, _) => told.push(entry),
                }
            }
            let is_named_again = touched.names(&need.file);
            match match_need(need, &published, &placed, is_named_again) {
                Matched::Known(entry) => self.known.push(InDataOrder(entry))?,
                Matched::Recheck(Recheck { need, .. }) | Matched::Copy(need)
                    if self.is_refused(&need) => {}
                Matched::Recheck(again) => self.again.push(&again).map_err(Error::Scratch)?,
                Matched::Copy(mut need) => {
                    // Not to be referenced again, but there: should the source lose the file, its bytes serve.
                    let held = told.into_iter().find(|entry| need.is_held_by(entry));
                    need.held = held.map(Box::new);
                    self.copy(need)?;
                }
            }
        }
        for passed in held {
            self.passed(&passed?.row);
        }
        Ok(())
    }

    /// Takes note of a file that V needs where its log may name none. One that only older versions need is out of reach.
    fn is_refused(&mut self, need: &Need) -> bool {
        match &need.file {
            Location::Outside(uri) if need.required && self.outside.place_of(uri).is_none() => {
                self.refused.note(uri);
                true
            }
            Location::Outside(_) | Location::Inside(_) => false,
        }
    }

    fn refuse_outside(&mut self, source: &Source) -> Result<(), Error> {
        let refused = std::mem::take(&mut self.refused);
        if refused.files == 0 {
            return Ok(());
        }
        Err(Error::OutsideRefused {
            table: source.uri().to_owned(),
            files: refused.files,
            folders: refused.named(),
        })
    }

    fn copy(&mut self, need: Need) -> Result<(), Error> {
        self.bytes += need.size.unwrap_or_default();
        let file = need.file.clone();
        Ok(self.needs.push(ByFile { file, row: need })?)
    }

    /// Asks the source whether files that were named again are still the objects that are held. What it has no more is
    /// held only where the vault still has it.
    async fn ask_again(
        &mut self,
        vault: &Vault,
        source: &Source,
        scratch: &Scratch,
    ) -> Result<Option<String>, Failure> {
        let none = Rows::create(scratch).map_err(Error::Scratch)?;
        let again = std::mem::replace(&mut self.again, none);
        let again = again.read().map_err(Error::Scratch)?;
        let mut answers = stream::iter(again)
            .map(async |again| {
                let again = again.map_err(Error::Scratch)?;
                match source.attributes(&again.need.file).await {
                    Ok(found) => Ok((again, AtSource::Is(found))),
                    Err(error) if error.is_not_found() => {
                        let gone = look_in_vault(vault, &again, scratch).await?;
                        Ok((again, gone))
                    }
                    Err(error) => Err(Error::from(error)),
                }
            })
            .buffered(REQUESTS_AHEAD);
        let mut gone = None;
        let mut count = 0_u64;
        while let Some((again, found)) = answers.try_next().await? {
            self.asked += 1;
            let found = match &found {
                AtSource::Is(found) => Some((&found.etag, found.size)),
                AtSource::GoneAndLost => {
                    self.copy(again.into_lost())?;
                    continue;
                }
                AtSource::Gone if !again.need.required => None,
                AtSource::Gone => {
                    count += 1;
                    gone.get_or_insert_with(|| again.need.file.clone());
                    None
                }
            };
            match again.settle(found) {
                Ok(entry) => self.known.push(InDataOrder(entry))?,
                Err(need) => self.copy(*need)?,
            }
        }
        Ok(gone.map(|first| {
            format!(
                "{} that the version needs {} gone from the source, first {first}: this snapshot holds bytes that were \
                 taken before, and readers of the live table miss them",
                counted(count, "file"),
                are(count)
            )
        }))
    }

    /// Takes note of a held entry that V does not need any more.
    fn passed(&mut self, held: &StoredEntry) {
        if held.from_base {
            count_change(&mut self.change, &[], &held.entry.live);
        }
    }
}

/// What the source has of a file that was named again.
enum AtSource {
    Is(Attributes),
    /// Nothing; the vault has what it was.
    Gone,
    /// Nothing, and the vault has lost what it held of it.
    GoneAndLost,
}

/// Looks whether the vault has what it held of a file that the source lacks.
async fn look_in_vault(
    vault: &Vault,
    again: &Recheck,
    scratch: &Scratch,
) -> Result<AtSource, Error> {
    // Which of several the source had is not known; all have to be there.
    for entry in again.held() {
        if let Looked::Lost(_) = presence::look_at(vault, entry, scratch.path()).await? {
            return Ok(AtSource::GoneAndLost);
        }
    }
    Ok(AtSource::Gone)
}

fn before(row: &Result<ByFile<StoredEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file < *file)
}

fn is_of(row: &Result<ByFile<StoredEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file == *file)
}

/// The files of deletion vectors that a data file's logical files use.
fn vector_needs(need: &Need) -> impl Iterator<Item = Need> {
    need.vectors.iter().map(vector_need)
}

fn vector_need(used: &VectorUse) -> Need {
    Need {
        absolute: used.absolute,
        at_least: used.end,
        spans: vec![used.span],
        ..Need::plain(
            used.file.clone(),
            EntryKind::DeletionVector,
            None,
            used.required,
        )
    }
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
            need.absolute |= same.row.absolute;
            // What V needs of it counts; it may be too short for older versions.
            if need.required == same.row.required {
                need.at_least = need.at_least.max(same.row.at_least);
            } else if same.row.required {
                need.at_least = same.row.at_least;
            }
            need.required |= same.row.required;
            need.spans.extend(same.row.spans);
        }
        Some(Ok(need))
    })
}
