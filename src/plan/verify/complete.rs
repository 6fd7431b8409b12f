//! Whether a snapshot holds what its own log names: the live files of every way through the log that it holds, merged
//! with the entries of its data pages.
//!
//! A record and its manifest may be wrong together, by a fault of the tool that wrote them or by a forgery; the log
//! files beside them are a second witness. What the log names and the manifest lacks would be missing after a restore.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Problem, Remedy};
use crate::count::counted_are;
use crate::delta::replay::LiveFile;
use crate::delta::{LogError, Protocol};
use crate::format::record::ProtocolRecord;
use crate::format::{Entry, EntryKind, Placement, Record};
use crate::ids::{Digest, Location, ObjectKey, Version};
use crate::plan::snapshot::{ByFile, NOT_AT_THE_SOURCE, VectorUse};

/// What is said where the source's log has a way that leads nowhere.
const ANOTHER_WAY: &str =
    "the source's own log was so; readers who take another way through it see the table";

/// How many files a finding names.
const EXAMPLES: usize = 5;

/// What an entry of a data page says of a file, as far as its log can confirm it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    kind: EntryKind,
    size: u64,
    is_absent: bool,
    live: Vec<HeldUse>,
}

/// A logical file that an entry carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeldUse {
    /// The id of its deletion vector; `None` for one without.
    id: Option<String>,
    /// Whether only readers that compare paths as text have it live: maybe by commits that the source has cleaned up.
    by_text: bool,
}

impl HeldFile {
    /// What `entry` says.
    pub fn of(entry: &Entry) -> ByFile<Self> {
        let live = entry.live.iter().map(|live| HeldUse {
            id: live.dv.as_ref().map(|dv| dv.id.clone()),
            by_text: live.by_text,
        });
        ByFile {
            file: entry.file.clone(),
            row: Self {
                kind: entry.kind,
                size: entry.size,
                is_absent: entry.placement == (Placement::Absent {}),
                live: live.collect(),
            },
        }
    }
}

/// A file of deletion vectors, on one of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorRow {
    /// An entry holds so many bytes of it.
    Held(u64),
    /// A live file uses the vector that ends there.
    Used(u64),
}

/// Files of one kind of trouble, of which the first few are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Examples {
    count: u64,
    first: Vec<String>,
}

impl Examples {
    fn add(&mut self, file: &Location) {
        self.count += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(file.to_string());
        }
    }

    fn list(&self) -> String {
        let named = self.first.join(", ");
        match self.count.saturating_sub(self.first.len() as u64) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

/// What the merge of both sides came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Live by the log, and not held.
    missing: Examples,
    /// Live by the log only for readers that do not start from the newest checkpoint, and not held.
    off_newest: Examples,
    /// Live by the log only for readers that compare paths as text, and not held.
    by_text: Examples,
    /// Held, and live by the log in a way that the entry does not say.
    unmarked: Examples,
    /// Held with a size that is not the log's.
    resized: Examples,
    /// Live by the entry, and by no way through the log.
    surplus: Examples,
    /// In the data pages more than once.
    twice: Examples,
    /// Files of deletion vectors that are not held, or end before a vector does.
    vectors: Examples,
    /// By way: logical files that only others name, and that only it names.
    differences: Vec<(u64, u64)>,
}

/// Merges the live files of each way, in the order of [`LiveFile`]s, with what the entries say, in the order of files. The
/// way that readers take comes first.
/// What concerns files of deletion vectors goes to `vectors`, for [`Comparison::add_vectors`].
///
/// # Errors
/// The first error of any side.
pub fn compare<E>(
    ways: Vec<impl Iterator<Item = Result<LiveFile, E>>>,
    held: impl Iterator<Item = Result<ByFile<HeldFile>, E>>,
    vectors: &mut dyn FnMut(ByFile<VectorRow>) -> Result<(), E>,
) -> Result<Comparison, E> {
    let mut comparison = Comparison {
        differences: vec![(0, 0); ways.len()],
        ..Comparison::default()
    };
    let mut ways: Vec<_> = ways.into_iter().map(Ahead::new).collect();
    let mut held = Ahead::new(held);
    loop {
        let mut first = held.peek()?.map(|row| row.file.clone());
        for way in &mut ways {
            if let Some(named) = way.peek()?
                && first.as_ref().is_none_or(|first| named.add.file < *first)
            {
                first = Some(named.add.file.clone());
            }
        }
        let Some(file) = first else {
            return Ok(comparison);
        };
        let mut logical = LogicalFiles::default();
        for (index, way) in ways.iter_mut().enumerate() {
            while let Some(named) = way.next_if(|named| named.add.file == file)? {
                logical.add(index, named);
            }
        }
        logical.used_vectors().try_for_each(&mut *vectors)?;
        let mut entries = Vec::new();
        while let Some(row) = held.next_if(|row| row.file == file)? {
            let HeldFile {
                kind,
                size,
                is_absent,
                ..
            } = row.row;
            if kind == EntryKind::DeletionVector && !is_absent {
                vectors(ByFile {
                    file: row.file,
                    row: VectorRow::Held(size),
                })?;
            }
            entries.push(row.row);
        }
        comparison.judge(&file, &logical, &entries);
    }
}

/// The logical files of one data file, by the id of their vectors.
#[derive(Default)]
struct LogicalFiles(BTreeMap<Option<String>, Logical>);

#[derive(Default)]
struct Logical {
    /// The ways that name it with the sizes that they give.
    named: Vec<(usize, u64)>,
    /// Whether some way has it live for every reader.
    is_certain: bool,
    /// Whether the first way does.
    is_seen: bool,
    /// Its deletion vector, as the way has it that needs the least of it.
    vector: Option<VectorUse>,
}

impl LogicalFiles {
    fn add(&mut self, way: usize, named: LiveFile) {
        let vector = named.add.dv.as_ref();
        let vector = vector.and_then(|dv| VectorUse::of(dv, (named.from, None)));
        let id = named.add.dv.map(|dv| dv.id);
        let logical = self.0.entry(id).or_default();
        let vectors = logical.vector.take().into_iter().chain(vector);
        logical.vector = vectors.min_by_key(|used| used.end);
        logical.named.push((way, named.add.size));
        logical.is_certain |= !named.by_text;
        logical.is_seen |= !named.by_text && way == 0;
    }

    /// The vectors that readers need who start from the newest checkpoint.
    fn used_vectors(&self) -> impl Iterator<Item = ByFile<VectorRow>> {
        let seen = self.0.values().filter(|logical| logical.is_seen);
        let vectors = seen.filter_map(|logical| logical.vector.as_ref());
        vectors.map(|used| ByFile {
            file: used.file.clone(),
            row: VectorRow::Used(used.end),
        })
    }
}

impl Comparison {
    fn judge(&mut self, file: &Location, logical: &LogicalFiles, entries: &[HeldFile]) {
        for by in logical.0.values().filter(|it| it.is_certain) {
            self.count_differences(&by.named);
        }
        let data = |entry: &&HeldFile| entry.kind == EntryKind::Data && !entry.is_absent;
        let held: Vec<_> = entries.iter().filter(data).collect();
        let carries = |id: &Option<String>| {
            let mut uses = held.iter().flat_map(|entry| &entry.live);
            uses.any(|used| used.id == *id)
        };
        if entries.len() > 1 {
            self.twice.add(file);
        }
        let lacking = || logical.0.iter().filter(|(id, _)| !carries(id));
        let lacking = || lacking().map(|(_, logical)| logical);
        if lacking().any(|it| it.is_seen) {
            let lacks = if held.is_empty() {
                &mut self.missing
            } else {
                &mut self.unmarked
            };
            lacks.add(file);
        } else if lacking().any(|it| it.is_certain) {
            self.off_newest.add(file);
        } else if lacking().next().is_some() {
            self.by_text.add(file);
        }
        let named = || logical.0.values().flat_map(|logical| &logical.named);
        let has_a_size = |entry: &&HeldFile| named().any(|(_, size)| *size == entry.size);
        // What only some readers have live may be held with a size that they do not expect.
        if logical.0.values().any(|it| it.is_seen) && !held.iter().all(has_a_size) {
            self.resized.add(file);
        }
        let mut live = entries.iter().flat_map(|entry| &entry.live);
        if live.any(|used| !used.by_text && !logical.0.contains_key(&used.id)) {
            self.surplus.add(file);
        }
    }

    /// What is wrong with files, kind by kind; `is_said` says whether the record mentions files that only some readers
    /// have live and that are not held.
    fn damaged_files(&self, is_said: bool) -> impl Iterator<Item = String> {
        let file = "file";
        let off_newest = (
            &self.off_newest,
            file,
            "live by one of several ways through its own log and not held",
        );
        let kinds = [
            (&self.missing, file, "live by its own log and not held"),
            (
                &self.vectors,
                "file of deletion vectors",
                "needed by its own log and not held whole",
            ),
            (
                &self.unmarked,
                file,
                "held, and live by its own log in a way that its data pages do not say",
            ),
            (
                &self.resized,
                file,
                "held with another size than its own log gives",
            ),
            (&self.twice, file, "in its data pages more than once"),
        ];
        kinds
            .into_iter()
            .chain((!is_said).then_some(off_newest))
            .filter(|(files, ..)| files.count > 0)
            .map(|(files, noun, what)| {
                format!(
                    "{} {what}: {}",
                    counted_are(files.count, noun),
                    files.list()
                )
            })
    }

    fn count_differences(&mut self, by: &[(usize, u64)]) {
        let all = self.differences.len();
        for (way, (lacks, adds)) in self.differences.iter_mut().enumerate() {
            let has = by.iter().any(|(named_by, _)| *named_by == way);
            match (has, by.len()) {
                (false, _) => *lacks += 1,
                (true, 1) if all > 1 => *adds += 1,
                (true, _) => {}
            }
        }
    }

    /// Compares what was said of files of deletion vectors, in the order of files.
    ///
    /// # Errors
    /// The first error of `rows`.
    pub fn add_vectors<E>(
        &mut self,
        rows: impl Iterator<Item = Result<ByFile<VectorRow>, E>>,
    ) -> Result<(), E> {
        let mut rows = Ahead::new(rows);
        while let Some(first) = rows.peek()? {
            let file = first.file.clone();
            let (mut held, mut used) = (None, None);
            while let Some(row) = rows.next_if(|row| row.file == file)? {
                match row.row {
                    VectorRow::Held(size) => held = held.max(Some(size)),
                    VectorRow::Used(end) => used = used.max(Some(end)),
                }
            }
            if used > held {
                self.vectors.add(&file);
            }
        }
        Ok(())
    }
}

/// An iterator with one row to look ahead, whose errors come out at the first look.
struct Ahead<I: Iterator<Item = Result<T, E>>, T, E> {
    rows: I,
    next: Option<T>,
}

impl<I: Iterator<Item = Result<T, E>>, T, E> Ahead<I, T, E> {
    fn new(rows: I) -> Self {
        Self { rows, next: None }
    }

    fn peek(&mut self) -> Result<Option<&T>, E> {
        if self.next.is_none() {
            self.next = self.rows.next().transpose()?;
        }
        Ok(self.next.as_ref())
    }

    fn next_if(&mut self, takes: impl FnOnce(&T) -> bool) -> Result<Option<T>, E> {
        let is_next = self.peek()?.is_some_and(takes);
        Ok(if is_next { self.next.take() } else { None })
    }
}

/// What the log says at the end of one way through it.
#[derive(Debug)]
pub struct WayEnd {
    /// The checkpoint that the way starts from, by its version and first file; `None` for one from version 0.
    pub checkpoint: Option<(Version, ObjectKey)>,
    /// The protocol and the table's id; the error, when the way could not be gone.
    pub end: Result<(Protocol, String), LogError>,
}

impl WayEnd {
    /// Whether the record says that the way's checkpoint differs in its state: one without protocol or metadata, which
    /// was found so, does not damage the snapshot.
    fn is_declared(&self, record: &Record, error: &LogError) -> bool {
        let lacks_state = matches!(
            error,
            LogError::NoProtocol { .. } | LogError::NoMetadata { .. }
        );
        lacks_state
            && self.checkpoint.as_ref().is_some_and(|(version, file)| {
                let mut found = record.disagreements.iter();
                found.any(|it| it.state && it.checkpoint == *version && it.file == *file)
            })
    }

    /// Whether the log was so at its source. Commits are held as they were, and so is what lacks a protocol or metadata:
    /// that ends its way, and does not damage the snapshot.
    fn already(error: &LogError) -> bool {
        match error.file() {
            Some(file) => file.contains(".json") && !file.contains(".checkpoint."),
            None => matches!(
                error,
                LogError::NoProtocol { .. } | LogError::NoMetadata { .. }
            ),
        }
    }

    fn name(&self) -> String {
        match &self.checkpoint {
            Some((version, file)) => format!("checkpoint {version} ({file})"),
            None => "the commits from version 0 on".to_owned(),
        }
    }
}

/// V's commit as the manifest's entry of it has it: its SHA-256 and its size.
pub type HeldCommit = (Digest, u64);

/// What is wrong with the manifest that `record` names by the log that it holds. `ways` are all ways that were tried; those
/// without an error are the comparison's, in the same order.
pub fn completeness_problems(
    record: &Record,
    delta_id: &str,
    commit: Option<HeldCommit>,
    ways: &[WayEnd],
    comparison: &Comparison,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let has_way = ways.iter().any(|way| way.end.is_ok());
    for way in ways {
        let Err(error) = &way.end else { continue };
        let what = format!("{} cannot be replayed: {error}", way.name());
        if way.is_declared(record, error) {
            continue;
        }
        problems.push(if has_way && WayEnd::already(error) {
            Problem::warning(what, ANOTHER_WAY)
        } else {
            Problem::damage(what)
        });
    }
    let mut damage = |what: String| problems.push(Problem::damage(what));
    let mut ends = ways
        .iter()
        .filter_map(|way| way.end.as_ref().ok())
        .peekable();
    if ends.peek().is_none() {
        damage("no way through the log that it holds leads to its version".to_owned());
        return problems;
    }
    // Where the record says so, its owner knows.
    let mut said = record.findings.iter();
    let is_said = said.any(|it| it.contains(NOT_AT_THE_SOURCE));
    for what in comparison.damaged_files(is_said) {
        damage(what);
    }
    let says = |is: &dyn Fn(&(Protocol, String)) -> bool| ends.clone().any(is);
    if !says(&|(protocol, _)| ProtocolRecord::of(protocol) == record.protocol) {
        damage("its protocol is not the one that its own log has".to_owned());
    }
    if !says(&|(_, id)| id == delta_id) {
        damage("its Delta id is not the one that its own log has".to_owned());
    }
    let named = record.commit.as_ref();
    let named = named.map(|file| (file.sha256, file.size));
    if named.is_some() && named != commit {
        damage(format!(
            "the commit of version {} that it names is not the one that is held",
            record.version
        ));
    }
    if named.is_none() && commit.is_some() {
        let what = format!(
            "it holds the commit of version {}, and its record does not name it",
            record.version
        );
        problems.push(Problem::warning(what, Remedy::Distrust));
    }
    let surplus = &comparison.surplus;
    if surplus.count > 0 {
        let what = format!(
            "{} live by its entries, and by no way through its own log: {}",
            counted_are(surplus.count, "file"),
            surplus.list()
        );
        let explained: u64 = record.disagreements.iter().map(|found| found.adds).sum();
        problems.push(if surplus.count <= explained {
            Problem::warning(
                what,
                "a checkpoint that is no longer held named them; nothing is lost",
            )
        } else {
            Problem::damage(what)
        });
    }
    let by_text = &comparison.by_text;
    if by_text.count > 0 && !is_said {
        let what = format!(
            "{} not held, spelled in several ways by its log and live only for readers that compare paths as text: {}",
            counted_are(by_text.count, "file"),
            by_text.list()
        );
        let remedy = "the source lacked them when it was taken; other readers do without them";
        problems.push(Problem::warning(what, remedy));
    }
    problems.extend(undeclared(record, ways, comparison));
    problems
}

/// Says where ways differ that the record does not tell apart.
fn undeclared(record: &Record, ways: &[WayEnd], comparison: &Comparison) -> Option<Problem> {
    let gone = ways.iter().filter(|way| way.end.is_ok());
    let differing: Vec<String> = gone
        .zip(&comparison.differences)
        .filter(|(_, difference)| **difference != (0, 0))
        .map(|(way, (lacks, adds))| format!("{} lacks {lacks} and alone names {adds}", way.name()))
        .collect();
    if differing.is_empty() || !record.disagreements.is_empty() {
        return None;
    }
    let what = format!(
        "the ways through its log name different files, and it does not say so: {}",
        differing.join("; ")
    );
    Some(Problem::warning(what, Remedy::Distrust))
}

#[cfg(test)]
mod tests;
