//! What a snapshot has to do: which record it may build on, which files are known, which must be copied.
//!
//! Invariant: a file counts as known only when a trusted base holds it under the same path with the size and the
//! `modificationTime` that the log gives now, and, where a commit since then names it again, with the tag that the
//! source gives now. Everything else is read again.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::delta::replay::LiveFile;
use crate::delta::segment::LogListing;
use crate::delta::{DeletionVector, LogFile};
use crate::format::page::{PACK_LIMIT, PACKED_FILE_LIMIT, data_order};
use crate::format::{Change, Entry, EntryKind, LiveUse, Record, Scope};
use crate::ids::{Digest, Location, Version};
use crate::plan::price::Requests;
use crate::plan::transfer::{CopyMethod, MethodReason, PACK_FILES, UNKNOWN_SIZE};
use crate::source::LOG_PREFIX;
use crate::store::part_size;

mod known;
mod rotation;

pub use known::{Matched, Recheck, match_need};
pub use rotation::Rotation;

/// How V's commit file looks now, beside what the base's record says of its own commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitState {
    /// Same tag and size: the same file.
    Same,
    /// It is there with another tag or size; only its bytes can tell.
    MustRead,
    /// It is not there: cleaned up by the log's own retention, or never part of this table.
    Gone,
}

/// Compares the base's commit file with the listing of the live log.
pub fn compare_commit(record: &Record, listed: &LogListing) -> CommitState {
    match (listed.commit(record.version), &record.commit) {
        (Some(now), Some(then)) if now.etag == then.etag && now.size == then.size => {
            CommitState::Same
        }
        (Some(_), _) => CommitState::MustRead,
        (None, _) => CommitState::Gone,
    }
}

/// How a record can serve as the base of a snapshot of version V.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseUse {
    /// The table has not changed at all: the same manifest serves.
    Unchanged,
    /// The table went on from it: its live set and the new commits make V's live set.
    Continue,
    /// Its own commit was cleaned up, and every one since is there: as [`Self::Continue`], as long as the checkpoint
    /// that stands in its place is of the same table. Where that checkpoint lost files, only the base tells.
    Likely,
    /// V is planned from a checkpoint, but files that the base holds are known.
    HeldOnly,
    /// The table is not its continuation (rewound, or re-created).
    Untrusted,
}

impl BaseUse {
    /// Whether V's live set starts from the base's.
    pub fn goes_on(self) -> bool {
        matches!(self, Self::Continue | Self::Likely)
    }
}

/// What the planner knows when it judges a base.
#[derive(Debug, Clone, Copy)]
pub struct BaseEvidence {
    /// The base's commit was found to be the same file as then; `None` when it is gone.
    pub same_commit: Option<bool>,
    /// The pinned version.
    pub version: Version,
    /// Whether every commit after the base up to V was listed.
    pub commits_listed: bool,
    /// Whether there is a complete checkpoint of the base's version or a later one.
    pub checkpoint_since: bool,
    /// The digest of the listed log, computed as the base's record computed its own.
    pub log_digest: Digest,
    /// The scope of the new snapshot.
    pub scope: Scope,
}

/// Judges a base.
pub fn judge_base(record: &Record, evidence: &BaseEvidence) -> BaseUse {
    if evidence.version < record.version {
        return BaseUse::Untrusted;
    }
    let unchanged = evidence.version == record.version
        && evidence.log_digest == record.log_digest
        && evidence.scope == record.scope;
    match evidence.same_commit {
        Some(false) => BaseUse::Untrusted,
        _ if unchanged => BaseUse::Unchanged,
        // Of history, a manifest does not keep the spans of every file in the log.
        _ if evidence.scope == Scope::History || !evidence.commits_listed => BaseUse::HeldOnly,
        Some(true) => BaseUse::Continue,
        None if evidence.checkpoint_since => BaseUse::Likely,
        None => BaseUse::HeldOnly,
    }
}

/// The digest of a listed log from checkpoint version `from` on: what decides that nothing has changed.
///
/// SHA-256 over one line a file, `key TAB size TAB etag LF`, in the byte order of the keys.
pub fn log_digest(listed: &LogListing, from: Option<Version>) -> Digest {
    let start = from
        .map(|version| format!("{LOG_PREFIX}{:020}", version.0))
        .unwrap_or_default();
    let mut rows: Vec<_> = listed
        .files()
        .map(|file| (file.key.as_str(), file.size, &file.etag))
        .collect();
    rows.retain(|(key, ..)| *key >= start.as_str());
    rows.sort_unstable();
    let mut text = String::new();
    for (key, size, etag) in rows {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{key}\t{size}\t{}", etag.0);
    }
    Digest::of(text.as_bytes())
}

/// What to do with one name of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStep {
    /// The base's entry serves.
    Keep,
    /// It must be read from the source.
    Take,
    /// The source's own clean-up removed it, and no rule keeps it.
    Drop,
}

/// How far the listing of the log reached, for [`plan_log_file`].
#[derive(Debug, Clone, Copy)]
pub struct LogScope {
    /// Whether the whole log was listed: so when a checkpoint entered, or without a base.
    pub whole: bool,
    /// The second newest complete checkpoint at or below V: from there on entries stay although the source
    /// cleaned them up, so that V can be rebuilt in two ways.
    pub keep_from: Option<Version>,
}

/// Decides one name of the log from what the base holds and what was listed under it.
pub fn plan_log_file(
    held: Option<(&Entry, Option<Version>)>,
    listed: Option<&LogFile>,
    scope: LogScope,
) -> LogStep {
    match (held, listed) {
        (Some((entry, _)), Some(file)) => {
            if entry.etag.as_ref() == Some(&file.etag) && entry.size == file.size {
                LogStep::Keep
            } else {
                LogStep::Take
            }
        }
        (None, _) => LogStep::Take,
        (Some((_, version)), None) => {
            let kept = version.is_some() && version >= scope.keep_from;
            if !scope.whole || (kept && scope.keep_from.is_some()) {
                LogStep::Keep
            } else {
                LogStep::Drop
            }
        }
    }
}

/// In a finding about files on which readers differ and which the source lacks.
pub const NOT_AT_THE_SOURCE: &str = "no longer at the source";

/// Whatever a log says, no buffer is sized by more: 5 TiB.
const LIKELY_MAX: u64 = 5 << 40;

/// One object that V's closure needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Where it is.
    pub file: Location,
    /// What it is.
    pub kind: EntryKind,
    /// Whether the log names it by an absolute path although it lies below the table's own root.
    pub absolute: bool,
    /// Bytes by the log; a file of deletion vectors has no size there.
    pub size: Option<u64>,
    /// The sizes that other ways through the log give: the file is what the source has of any of them.
    pub other_sizes: Box<[u64]>,
    /// `modificationTime` by the log, milliseconds since 1970.
    pub modification_time: Option<i64>,
    /// `numRecords` by the log.
    pub rows: Option<u64>,
    /// The logical files of V that it carries.
    pub live: Vec<LiveUse>,
    /// The files of deletion vectors that its logical files use.
    pub vectors: Vec<VectorUse>,
    /// Bytes that it has at least, where the log gives no size.
    pub at_least: u64,
    /// The entry of a snapshot that may not be built on any more, which the vault may still hold.
    pub held: Option<Box<Entry>>,
    /// SHA-256 of what the base holds under the same name, size and time, where the source was asked whether it still has
    /// that.
    pub was: Option<Box<Digest>>,
    /// Whether V itself needs it. Otherwise only older versions or the change feed do, or readers differ on whether V
    /// does; it may be missing then.
    pub required: bool,
    /// The versions that need it.
    pub spans: Vec<Span>,
    /// Older versions, which needed another file under this name: one of another size.
    pub replaced: Vec<Span>,
}

/// Versions from one on, up to another exclusive; `None`: V is among them.
pub type Span = (Version, Option<Version>);

/// A file of deletion vectors that a logical file uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorUse {
    /// Where it is.
    pub file: Location,
    /// Whether the log names it by an absolute path.
    pub absolute: bool,
    /// Whether V itself needs it, by every reading of its log.
    pub required: bool,
    /// Where the vector ends in it.
    pub end: u64,
    /// The versions in which the logical file is live.
    pub span: Span,
}

impl VectorUse {
    /// The use of a vector that lies in a file.
    pub fn of(dv: &DeletionVector, span: Span) -> Option<Self> {
        // Before a vector stands its size, after it its checksum, of four bytes each.
        let end = dv.offset.unwrap_or(1).saturating_add(dv.size);
        Some(Self {
            file: dv.file.clone()?,
            absolute: dv.is_absolute(),
            required: span.1.is_none(),
            end: end.saturating_add(8),
            span,
        })
    }
}

impl Need {
    /// A file that the log names without its statistics.
    pub fn plain(file: Location, kind: EntryKind, size: Option<u64>, required: bool) -> Self {
        Self {
            file,
            kind,
            absolute: false,
            size,
            other_sizes: Box::default(),
            modification_time: None,
            rows: None,
            live: Vec::new(),
            vectors: Vec::new(),
            at_least: 0,
            held: None,
            was: None,
            required,
            spans: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// Bytes to count it with before it is read.
    pub fn likely_size(&self) -> u64 {
        let unknown = self.at_least.max(UNKNOWN_SIZE);
        let sizes = self.other_sizes.iter().copied();
        let largest = sizes.fold(self.size.unwrap_or(unknown), u64::max);
        largest.min(LIKELY_MAX)
    }

    /// Whether V needs it, by some reading of its log.
    pub fn is_of_v(&self) -> bool {
        self.spans.iter().any(|span| span.1.is_none())
    }

    /// Whether an object of so many bytes may be it.
    pub fn may_have(&self, size: u64) -> bool {
        let is_known = self.size.is_none_or(|known| known == size);
        size >= self.at_least && (is_known || self.other_sizes.contains(&size))
    }
}

/// Entries in the order of a manifest's data pages, for the external sorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDataOrder(pub Entry);

impl Ord for InDataOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        data_order(&self.0).cmp(&data_order(&other.0))
    }
}

impl PartialOrd for InDataOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Rows that order by the file they are about, for the external sorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByFile<T> {
    /// The file.
    pub file: Location,
    /// What is said about it.
    pub row: T,
}

impl<T: Eq> Ord for ByFile<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.file.cmp(&other.file)
    }
}

impl<T: Eq> PartialOrd for ByFile<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Gathers the logical files of each data file into one need; the files must come sorted by location.
pub fn data_needs<E>(
    files: impl Iterator<Item = Result<LiveFile, E>>,
) -> impl Iterator<Item = Result<Need, E>> {
    let mut files = files.peekable();
    std::iter::from_fn(move || {
        let first = match files.next()? {
            Ok(first) => first,
            Err(error) => return Some(Err(error)),
        };
        let size = Some(first.add.size);
        let mut need = Need::plain(first.add.file.clone(), EntryKind::Data, size, false);
        take_in(&mut need, first);
        while let Some(next) = files.next_if(|next| {
            next.as_ref()
                .map_or(true, |next| next.add.file == need.file)
        }) {
            match next {
                Ok(next) => take_in(&mut need, next),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(need))
    })
}

fn take_in(need: &mut Need, mut file: LiveFile) {
    if let Some(dv) = &mut file.add.dv {
        // Where ways differ, its file has to hold the smallest.
        let others = file.otherwise.iter().filter_map(|sizes| sizes.vector);
        dv.size = others.fold(dv.size, u64::min);
    }
    let span = (file.from, file.until);
    let vector = file.add.dv.as_ref();
    let vector = vector.and_then(|dv| VectorUse::of(dv, span));
    need.vectors.extend(vector.map(|used| VectorUse {
        required: used.required && file.is_seen(),
        ..used
    }));
    need.absolute |= file.add.absolute;
    // The newest use describes the object now; it may have been rewritten under its name.
    let is_newest = need.spans.iter().all(|known| ends(known) <= ends(&span));
    let others = file.otherwise.iter().map(|sizes| sizes.file);
    let sizes: BTreeSet<u64> = others.chain([file.add.size]).collect();
    let known: BTreeSet<u64> = need.other_sizes.iter().copied().chain(need.size).collect();
    // Where readers differ on what V needs, either may be right.
    let both_live = file.until.is_none() && need.spans.iter().any(|known| known.1.is_none());
    let is_same = both_live || !sizes.is_disjoint(&known);
    match (is_newest, is_same) {
        (true, false) => need.replaced.append(&mut need.spans),
        (false, false) => need.replaced.push(span),
        (_, true) => {}
    }
    if is_newest || is_same {
        need.spans.push(span);
    }
    if is_newest {
        need.size = Some(file.add.size);
        need.other_sizes = Box::default();
        need.modification_time = file.add.modification_time;
        need.rows = file.add.rows;
    }
    let may_have = match (is_newest, both_live) {
        (_, true) => &known | &sizes,
        (true, false) => sizes,
        (false, false) => known,
    };
    let may_have = may_have.into_iter().filter(|size| need.size != Some(*size));
    need.other_sizes = may_have.collect();
    if file.until.is_none() {
        need.required |= file.is_seen();
        need.live.push(LiveUse {
            by_text: file.by_text,
            dv: file.add.dv,
            spelled: file.spelled,
        });
    }
}

/// Where spans stand in time: those that reach V are behind all others.
fn ends(span: &Span) -> (u64, Version) {
    (span.1.map_or(u64::MAX, |until| until.0), span.0)
}

/// Counts the logical files that came and went under one data file.
pub fn count_change(change: &mut Change, now: &[LiveUse], then: &[LiveUse]) {
    let lacks = |files: &[LiveUse], file: &LiveUse| files.iter().all(|it| it.dv != file.dv);
    change.files_added += now.iter().filter(|file| lacks(then, file)).count() as u64;
    change.files_removed += then.iter().filter(|file| lacks(now, file)).count() as u64;
}

/// Files that are carried out together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Small files, in this order, for one pack.
    Pack(Vec<Need>),
    /// One file with a blob of its own.
    Single(Need),
}

/// Cuts a sequence of needs into batches: files up to 1 MiB together, up to 16 MiB or 4,096 files; larger ones alone.
///
/// The same sequence gives the same packs, so a run that is repeated finds its packs in place.
pub fn plan_batches<E>(
    mut needs: impl Iterator<Item = Result<Need, E>>,
) -> impl Iterator<Item = Result<Batch, E>> {
    let mut pack = Vec::new();
    let mut bytes = 0;
    std::iter::from_fn(move || {
        for need in needs.by_ref() {
            let need = match need {
                Ok(need) => need,
                Err(error) => return Some(Err(error)),
            };
            let size = need.likely_size();
            if size > PACKED_FILE_LIMIT {
                return Some(Ok(Batch::Single(need)));
            }
            if bytes + size > PACK_LIMIT || pack.len() == PACK_FILES {
                bytes = size;
                return Some(Ok(Batch::Pack(std::mem::replace(&mut pack, vec![need]))));
            }
            bytes += size;
            pack.push(need);
        }
        (!pack.is_empty()).then(|| Ok(Batch::Pack(std::mem::take(&mut pack))))
    })
}

impl Batch {
    /// Its files.
    pub fn needs(&self) -> &[Need] {
        match self {
            Self::Pack(needs) => needs,
            Self::Single(need) => std::slice::from_ref(need),
        }
    }

    /// Its bytes, as far as can be known before they are read.
    pub fn likely_size(&self) -> u64 {
        self.needs().iter().map(Need::likely_size).sum()
    }

    /// The requests that it takes by a method.
    pub fn requests(&self, method: CopyMethod) -> Requests {
        let (reads, writes) = match (self, method) {
            (Self::Pack(needs), _) => (needs.len() as u64, 1),
            (Self::Single(_), CopyMethod::Pack | CopyMethod::Stream) => (1, 1),
            // A look before, and one after where the answer has no digest.
            (Self::Single(_), CopyMethod::Copy) => (2, 1),
            (Self::Single(need), CopyMethod::Parts) => {
                let size = need.likely_size();
                (2, 2 + size.div_ceil(part_size(size)))
            }
        };
        Requests { reads, writes }
    }
}

/// What goes into the vault by one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodTotals {
    /// The method.
    pub method: CopyMethod,
    /// Why.
    pub reason: MethodReason,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How a snapshot's new files would go into the vault, method by method, and the requests that this takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forecast {
    /// By method.
    pub methods: Vec<MethodTotals>,
    /// The requests, log and manifest included.
    pub requests: Requests,
}

/// What publishing takes whatever is new: `vault.json`, ledger, head, journals, log, hint; page, manifest, record.
const ALWAYS: Requests = Requests {
    reads: 10,
    writes: 4,
};

impl Forecast {
    /// Nothing to copy, all the same a record to publish.
    pub fn new() -> Self {
        Self {
            methods: Vec::new(),
            requests: ALWAYS,
        }
    }

    /// Adds a batch that goes by a method.
    pub fn add(&mut self, batch: &Batch, (method, reason): (CopyMethod, MethodReason)) {
        let before = self.requests;
        let requests = batch.requests(method);
        self.requests.reads += requests.reads;
        self.requests.writes += requests.writes;
        let files = batch.needs().len() as u64;
        // A journal and a page for about every thousand files.
        let all = |requests: &Requests| requests.reads / 1000;
        self.requests.writes += 2 * (all(&self.requests) - all(&before));
        let bytes = batch.likely_size();
        match self
            .methods
            .iter_mut()
            .find(|totals| totals.method == method)
        {
            Some(totals) => {
                totals.files += files;
                totals.bytes += bytes;
            }
            None => self.methods.push(MethodTotals {
                method,
                reason,
                files,
                bytes,
            }),
        }
    }
}

/// Whether a version lies in one of some inclusive ranges.
pub fn is_in(ranges: &[(Version, Version)], version: Version) -> bool {
    let mut ranges = ranges.iter();
    ranges.any(|(first, last)| (*first..=*last).contains(&version))
}

/// Which versions of `first..=last` no absent file spoils, as ascending inclusive ranges.
pub fn whole_versions(first: Version, last: Version, absent: &[Span]) -> Vec<(Version, Version)> {
    let mut holes: Vec<_> = absent
        .iter()
        .map(|(from, until)| (from.0, until.map_or(u64::MAX, |until| until.0)))
        .collect();
    holes.sort_unstable();
    let mut whole = Vec::new();
    let mut next = first.0;
    for (from, until) in holes {
        if from > next && next <= last.0 {
            whole.push((Version(next), Version(last.0.min(from - 1))));
        }
        next = next.max(until);
    }
    if next <= last.0 {
        whole.push((Version(next), last));
    }
    whole
}

#[cfg(test)]
mod tests;
