//! What a vault must be like, and what is to be said where it is not.
//!
//! The rules between records, manifests and pages, the judgement of what a listing shows of one key, and which
//! objects a run reads again. [`crate::vault::verify`] brings the bytes.

use crate::error::ExitCode;
use crate::format::layout::VaultKey;
use crate::format::ledger::{self, LedgerFinding, ScarReason};
use crate::format::page::log_order_of;
use crate::format::record::Scope;
use crate::format::{Entry, Manifest, PageRef, Placement, Record, Reference, Totals, VaultFile};
use crate::ids::{Digest, Location, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::choose::{History, Snapshot};

/// A sample reads one object in this many, and some of every table's newest snapshot.
///
/// A damage of one object in a thousand shows within two months of nights with a probability of half, at a
/// sixty-fourth of the cost of reading everything.
pub const SAMPLE_ONE_IN: u64 = 64;

/// A sample reads at least this many objects of every table's newest snapshot, if it has them.
pub const SAMPLE_OF_NEWEST: usize = 4;

/// How bad a finding is. The order is the order of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Info,
    /// Somebody should look; every promise holds.
    Warning,
    /// It could not be read, so nothing is known about it.
    Unchecked,
    /// A promise is broken.
    Damage,
}

/// Something that a verification has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The table's name, where it is one's.
    pub table: Option<String>,
    /// The snapshots that use the object, newest first: with a damage, those that cannot be restored whole.
    pub snapshots: Vec<SnapshotId>,
    /// The object, as a key of the vault.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How many bytes to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadBytes {
    /// None but those of records, manifests and pages, with what is inlined in them.
    #[default]
    None,
    /// A part, chosen by digest: the same objects in every run.
    Sample,
    /// All.
    All,
}

/// The n-th of m parts of the objects, by digest: m runs read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    /// Which part, 1 to `of`.
    pub part: u32,
    /// How many parts.
    pub of: u32,
}

/// What a verification is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyPlan {
    /// How many bytes to read again.
    pub read: ReadBytes,
    /// Which part of them; all without.
    pub subset: Option<Subset>,
    /// The time now: what no promise covers any more may be gone.
    pub now: Timestamp,
}

impl VerifyPlan {
    /// Whether a referenced object is read again.
    pub fn reads(&self, sha256: Digest, is_always_sampled: bool) -> bool {
        let [first, second, ..] = words(sha256);
        let in_subset = self.subset.is_none_or(|subset| {
            let of = u64::from(subset.of.max(1));
            first % of == u64::from(subset.part.saturating_sub(1))
        });
        in_subset
            && match self.read {
                ReadBytes::None => false,
                // Another part of the digest than the subset's, so that the two do not exclude each other.
                ReadBytes::Sample => is_always_sampled || second % SAMPLE_ONE_IN == 0,
                ReadBytes::All => true,
            }
    }
}

/// A digest as four numbers.
fn words(digest: Digest) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.as_bytes().chunks_exact(8)) {
        *word = bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

/// What was checked, and how much was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Tables.
    pub tables: u64,
    /// Records of the chain, which are snapshots.
    pub records: u64,
    /// Manifests read, each once.
    pub manifests: u64,
    /// Pages read, each once a table.
    pub pages: u64,
    /// Files that were checked inside their pages.
    pub inlined: u64,
    /// Referenced objects whose presence and size were checked.
    pub objects: u64,
    /// Referenced objects, other than manifests and pages, whose bytes were read and hashed.
    pub objects_read: u64,
    /// All bytes that were read.
    pub bytes_read: u64,
    /// Objects, and their bytes, that no record names: what unfinished runs left, or what somebody planted. `None`
    /// when not everything that could name them was checked.
    pub unreferenced: Option<(u64, u64)>,
    /// Findings of severity [`Severity::Info`].
    pub infos: u64,
    /// Findings of severity [`Severity::Warning`].
    pub warnings: u64,
    /// Findings of severity [`Severity::Unchecked`].
    pub unchecked: u64,
    /// Findings of severity [`Severity::Damage`].
    pub damaged: u64,
}

impl VerifyReport {
    /// Counts a finding.
    pub fn count(&mut self, severity: Severity) {
        *match severity {
            Severity::Info => &mut self.infos,
            Severity::Warning => &mut self.warnings,
            Severity::Unchecked => &mut self.unchecked,
            Severity::Damage => &mut self.damaged,
        } += 1;
    }

    /// How the process ends: 12 with damage, 1 where something could not be read, 3 with warnings, else 0.
    pub fn exit_code(&self) -> ExitCode {
        if self.damaged > 0 {
            ExitCode::Damage
        } else if self.unchecked > 0 {
            ExitCode::Failed
        } else if self.warnings > 0 {
            ExitCode::Findings
        } else {
            ExitCode::Done
        }
    }
}

/// A rule that is broken, before it is known who suffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Problem {
    pub(crate) fn damage(what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Damage,
            what: what.into(),
            remedy: RESTORE_FROM_REPLICA,
        }
    }

    pub(crate) fn warning(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            severity: Severity::Warning,
            what: what.into(),
            remedy,
        }
    }
}

/// What to do about bytes that are gone.
pub const RESTORE_FROM_REPLICA: &str = "put the object back from a replica under the same key; a fresh snapshot \
                                        of the live table holds again what the table still has";
/// What to do about what lies where it does not belong.
pub const WHO_WROTE_IT: &str =
    "nothing is lost and nothing has to be removed; find out whose credentials wrote it";
/// What to do about a record that lies.
pub const DISTRUST: &str =
    "find out who wrote the record; when it is a forgery, `snapshot --distrust` it";
/// What to do about what could not be read.
pub const READ_AGAIN: &str = "make it readable and verify again: nothing is known about it";

/// What a finding of the ledger is here, and the slot whose object it is about.
pub fn ledger_problem(finding: &LedgerFinding) -> (u64, Problem) {
    let mut problem = Problem {
        severity: match finding.severity() {
            ledger::Severity::Warning => Severity::Warning,
            ledger::Severity::Damage => Severity::Damage,
        },
        what: finding.to_string(),
        remedy: finding.remedy(),
    };
    let seq = match finding {
        // The one that names is as it was written; the one that is named is not.
        LedgerFinding::Broken { previous, .. } => previous.seq,
        // For a reader of the ledger it is a scar, whoever is at fault. It may as well be the newest snapshot,
        // put out of sight by a bit that flipped in the record below it.
        LedgerFinding::Scar {
            reason: ScarReason::PreviousMissing { previous },
            ..
        } => {
            problem.severity = Severity::Damage;
            problem.remedy = "compare both slots with a replica: when the lower one was changed, put it back and \
                              both snapshots are there again; when the upper one is a forgery, nothing is lost";
            *previous
        }
        LedgerFinding::Scar { .. }
        | LedgerFinding::Planted { .. }
        | LedgerFinding::BeyondGap { .. }
        | LedgerFinding::OtherVersion { .. }
        | LedgerFinding::Fork { .. } => finding.seq(),
    };
    (seq, problem)
}

/// Checks what a record says of itself and of the vault; `history` is the ledger that it is in.
///
/// That it names the right `vault.json` is checked by [`vault_file_problems`].
pub fn record_problems(snapshot: &Snapshot, history: &History, vault: &VaultFile) -> Vec<Problem> {
    let record = snapshot.record.as_ref();
    let mut problems = Vec::new();
    let mut warn = |is_broken: bool, what: &str| {
        if is_broken {
            problems.push(Problem::warning(what, DISTRUST));
        }
    };
    warn(
        !snapshot
            .table
            .is_made_from(&record.table.source, &record.table.uri),
        "it is about another table than the ledger that it is in",
    );
    let below = |id: SnapshotId| {
        let snapshots = history.snapshots.iter().map(|it| (it.id, it.seq));
        let newer = history.newer.iter().map(|it| (it.id, it.seq));
        snapshots
            .chain(newer)
            .any(|(known, seq)| known == id && seq < snapshot.seq)
    };
    warn(
        record.base.is_some_and(|base| !below(base)),
        "the snapshot that it took entries over from is not below it in the chain",
    );
    warn(
        record.distrusts.iter().any(|id| !below(*id)),
        "it distrusts a snapshot that is not below it in the chain",
    );
    warn(
        record.lock_mode != vault.lock_mode,
        "its lock mode is not the vault's",
    );
    warn(
        !are_whole_versions(record),
        "its ranges of whole versions break the rules",
    );
    warn(
        record
            .checkpoint
            .is_some_and(|checkpoint| checkpoint > record.version),
        "its checkpoint is above its version",
    );
    problems
}

fn are_whole_versions(record: &Record) -> bool {
    let ranges = &record.whole_versions;
    (record.scope == Scope::History || ranges.is_empty())
        && ranges
            .iter()
            .all(|(first, last)| first <= last && *last < record.version)
        && ranges
            .iter()
            .zip(ranges.iter().skip(1))
            .all(|((_, last), (first, _))| last < first)
}

/// What the records say of `vault.json`: when none of them knows it as it is, it was changed; a single record
/// that does not is itself suspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VaultFileProblem {
    /// Every record names other bytes.
    Changed,
    /// These do, others do not.
    Records(Vec<SnapshotId>),
}

/// Compares the SHA-256 of `vault.json` with what each record names.
pub fn vault_file_problem(
    actual: Digest,
    named: impl IntoIterator<Item = (SnapshotId, Digest)>,
) -> Option<VaultFileProblem> {
    let (right, wrong): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|(_, named)| *named == actual);
    if wrong.is_empty() {
        None
    } else if right.is_empty() {
        Some(VaultFileProblem::Changed)
    } else {
        let ids = wrong.into_iter().map(|(id, _)| id);
        Some(VaultFileProblem::Records(ids.collect()))
    }
}

/// What has to be remembered of a page to check the manifests that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSummary {
    entries: u64,
    is_log: bool,
    totals: Totals,
    first: Place,
    last: Place,
}

/// What the order of entries looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    last_modified: Option<Timestamp>,
    file: Location,
}

impl Place {
    fn of(entry: &Entry) -> Self {
        Self {
            last_modified: entry.last_modified,
            file: entry.file.clone(),
        }
    }

    fn is_before(&self, other: &Self, is_log: bool) -> bool {
        if is_log {
            log_order_of(&self.file) < log_order_of(&other.file)
        } else {
            (self.last_modified, &self.file) < (other.last_modified, &other.file)
        }
    }
}

impl PageSummary {
    /// Sums a page up, and says what is wrong inside it.
    pub fn of(entries: &[Entry]) -> (Option<Self>, Vec<Problem>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return (None, vec![Problem::damage("it has no entries")]);
        };
        let is_log = first.kind.is_log();
        let mut problems = Vec::new();
        if entries.iter().any(|entry| entry.kind.is_log() != is_log) {
            problems.push(Problem::damage("it has files of the log and others"));
        }
        let pairs = entries.iter().zip(entries.iter().skip(1));
        if pairs
            .map(|(one, next)| (Place::of(one), Place::of(next)))
            .any(|(one, next)| !one.is_before(&next, is_log))
        {
            problems.push(Problem::damage("its entries are not in their order"));
        }
        let mut sums = Sums::default();
        for entry in entries {
            sums.add(entry);
        }
        let summary = Self {
            entries: entries.len() as u64,
            is_log,
            totals: sums.into_totals(),
            first: Place::of(first),
            last: Place::of(last),
        };
        (Some(summary), problems)
    }
}

/// Sums over entries as a manifest has them.
#[derive(Debug, Clone, Copy)]
struct Sums {
    totals: Totals,
    rows: Option<u64>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            rows: Some(0),
        }
    }
}

impl Sums {
    fn add(&mut self, entry: &Entry) {
        let totals = &mut self.totals;
        for live in &entry.live {
            let deleted = live.dv.as_ref().map_or(0, |dv| dv.cardinality);
            let rows = entry.rows.and_then(|rows| rows.checked_sub(deleted));
            self.rows = plus(self.rows, rows);
            totals.live_files = totals.live_files.saturating_add(1);
        }
        if matches!(entry.placement, Placement::Absent {}) {
            totals.absent_files = totals.absent_files.saturating_add(1);
            return;
        }
        totals.files = totals.files.saturating_add(1);
        totals.bytes = totals.bytes.saturating_add(entry.size);
        if !entry.kind.is_log() {
            totals.data_files = totals.data_files.saturating_add(1);
            totals.data_bytes = totals.data_bytes.saturating_add(entry.size);
        }
    }

    fn add_page(&mut self, page: &Totals) {
        let totals = &mut self.totals;
        for (sum, part) in [
            (&mut totals.absent_files, page.absent_files),
            (&mut totals.bytes, page.bytes),
            (&mut totals.data_bytes, page.data_bytes),
            (&mut totals.data_files, page.data_files),
            (&mut totals.files, page.files),
            (&mut totals.live_files, page.live_files),
        ] {
            *sum = sum.saturating_add(part);
        }
        self.rows = plus(self.rows, page.rows);
    }

    fn into_totals(self) -> Totals {
        Totals {
            rows: self.rows,
            ..self.totals
        }
    }
}

fn plus(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one?.checked_add(other?)
}

/// Compares a manifest with a record that names it.
pub fn manifest_problems(record: &Record, manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    if manifest.version != record.version {
        problems.push(Problem::damage(format!(
            "its manifest is of version {}, the record of version {}",
            manifest.version, record.version
        )));
    }
    if manifest.delta_id != record.table.delta_id {
        problems.push(Problem::damage(
            "its manifest is of another Delta id than the record",
        ));
    }
    if manifest.totals != record.totals {
        problems.push(Problem::damage("its totals are not those of its manifest"));
    }
    problems
}

/// Checks a manifest against its pages: their kinds, their order, their counts and the sums over all of them.
/// `page` is `None` for a page that could not be read, which was said already.
pub fn pages_problems<'a>(
    manifest: &Manifest,
    page: impl Fn(&PageRef) -> Option<&'a PageSummary>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut sums = Sums::default();
    let mut is_complete = true;
    for (pages, is_log) in [(&manifest.log_pages, true), (&manifest.data_pages, false)] {
        let mut before: Option<&PageSummary> = None;
        for named in pages {
            let Some(summary) = page(named) else {
                is_complete = false;
                before = None;
                continue;
            };
            let mut damage = |what: &str| {
                problems.push(Problem::damage(format!("{what}: {}", named.page.key)));
            };
            if summary.entries != named.entries {
                damage("a page has another number of entries than it says");
            }
            if summary.is_log != is_log {
                damage("a page of the log is among the data pages, or the other way round");
            } else if before.is_some_and(|before| !before.last.is_before(&summary.first, is_log)) {
                damage("a page is not in its order");
            }
            sums.add_page(&summary.totals);
            before = Some(summary);
        }
    }
    let sums = sums.into_totals();
    if is_complete && sums != manifest.totals {
        problems.push(Problem::damage(format!(
            "its totals are not the sums of its entries: {:?}, not {sums:?}",
            manifest.totals
        )));
    }
    problems
}

/// Checks the bytes that are inlined in a page; returns how many there are.
pub fn check_inlined(entries: &[Entry]) -> (u64, Option<Problem>) {
    let mut inlined = 0;
    let mut wrong = Vec::new();
    for entry in entries {
        if let Placement::Inline(bytes) = &entry.placement {
            inlined += 1;
            if entry.sha256 != Some(Digest::of(bytes)) {
                wrong.push(entry.file.as_str());
            }
        }
    }
    let problem = wrong.first().map(|first| {
        Problem::damage(format!(
            "{} file(s) inlined in it do not have their SHA-256, first {first}",
            wrong.len()
        ))
    });
    (inlined, problem)
}

/// What a listing shows of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Object versions, oldest first, with their sizes; of very many only those that were asked for and some
    /// others.
    pub objects: Vec<(Option<ObjectVersion>, u64)>,
    /// How many object versions there are.
    pub count: u64,
    /// How many delete markers.
    pub markers: u64,
}

/// What a listing says of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The object version that it names is there, with its size.
    AsNamed,
    /// It is there with another size.
    OtherSize(u64),
    /// It is not there.
    Gone,
}

impl Listed {
    /// Looks for the object version that a reference names.
    pub fn presence(&self, version: Option<&ObjectVersion>, size: u64) -> Presence {
        let mut objects = self.objects.iter();
        match objects.find(|(listed, _)| listed.as_ref() == version) {
            Some((_, listed)) if *listed == size => Presence::AsNamed,
            Some((_, listed)) => Presence::OtherSize(*listed),
            None => Presence::Gone,
        }
    }

    /// The object versions, other than the one named, that could serve in its place.
    pub fn others(
        &self,
        version: Option<&ObjectVersion>,
        size: u64,
    ) -> impl Iterator<Item = Option<&ObjectVersion>> {
        self.objects
            .iter()
            .filter(move |(listed, bytes)| *bytes == size && listed.as_ref() != version)
            .map(|(listed, _)| listed.as_ref())
    }

    /// What lies on a key besides what is used of it: `used` object versions.
    pub fn planted(&self, used: u64) -> Option<Problem> {
        let objects = self.count.saturating_sub(used);
        let what = match (objects, self.markers) {
            (0, 0) => return None,
            (objects, 0) => format!("{objects} object version(s) that no record names lie on it"),
            (0, markers) => format!("{markers} delete marker(s) lie on it"),
            (objects, markers) => format!(
                "{objects} object version(s) that no record names and {markers} delete marker(s) lie on it"
            ),
        };
        Some(Problem::warning(what, WHO_WROTE_IT))
    }
}

/// Whether a reference's key is one that the vault has for such bytes.
pub fn is_named_right(reference: &Reference) -> bool {
    match VaultKey::parse(reference.key.as_str()) {
        Some(VaultKey::Content { sha256, .. }) => sha256 == reference.sha256,
        Some(VaultKey::Copy(_)) => true,
        _ => false,
    }
}

/// Whether nothing promises a snapshot any more: it may have been pruned, the newest ones never are.
pub fn is_over(snapshot: &Snapshot, history: &History, now: Timestamp) -> bool {
    let is = |newest: Option<&Snapshot>| newest.is_some_and(|newest| newest.id == snapshot.id);
    let is_newest = is(history.snapshots.last()) || is(history.newest_trusted());
    snapshot.record.promise < now && !is_newest
}
