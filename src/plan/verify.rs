//! The rules for a vault, and the findings where it breaks them.
//!
//! The rules between records, manifests and pages (`rules.rs`), the judgement of what a listing shows of one key,
//! and which objects a run reads again. `vault::verify` brings the bytes.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::count::{counted, counted_are};
use crate::exit_code::ExitCode;
use crate::format::layout::VaultKey;
use crate::format::{Reference, TableKey, VaultFile};
use crate::ids::{Digest, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::retention::lock_ceiling;

mod complete;
mod known;
mod rules;

pub use complete::{
    Comparison, HeldCommit, HeldFile, VectorRow, WayEnd, compare, completeness_problems,
};
pub use known::{KnownRecord, NoKnownRecord};
pub use rules::{
    PageSummary, VaultFileProblem, check_inlined, generation_problem, is_over, ledger_problem,
    manifest_problems, not_looked_at, pages_problems, record_problems, stray, unnamed_below,
    unpublished, vanished, vault_file_problem,
};

/// A sample reads one object in this many, and some of every table's newest snapshot.
///
/// A damage of one object in a thousand shows within two months of nights with a probability of half, at a
/// sixty-fourth of the cost of reading everything.
pub const SAMPLE_ONE_IN: u64 = 64;

/// A sample reads at least this many objects of every table's newest snapshot, if it has them.
pub const SAMPLE_OF_NEWEST: usize = 4;

/// How bad a finding is. The order is the order of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, nothing to do.
    Info,
    /// Somebody should look; every promise holds.
    #[serde(rename = "finding")]
    Warning,
    /// It could not be read, so nothing is known about it.
    Unchecked,
    /// A promise is broken.
    Damage,
}

/// A finding of a verification. `R` is what to do about it: a [`Remedy`], or its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding<R = Remedy> {
    /// How bad it is.
    pub severity: Severity,
    /// The table's name, where it is one's.
    pub table: Option<String>,
    /// The table's key.
    #[serde(skip)]
    pub key: Option<TableKey>,
    /// The snapshots that use the object, newest first: with a damage, those that cannot be restored whole.
    pub snapshots: Vec<SnapshotId>,
    /// The object, as a key of the vault.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: R,
}

/// What to do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// What this says.
    Text(&'static str),
    /// Put records back into the ledger from a replica; what else this says.
    PutBack(&'static str),
    /// Put the bytes back; where no copy is left, take a snapshot that does not build on them.
    Repair,
    /// Take a snapshot that does not build on it.
    Retake,
    /// Find out who wrote a record; if it is a forgery, do not build on it.
    Distrust,
    /// Read all bytes.
    ReadAll,
    /// Find out who shortened locks; hold the snapshot until that is known.
    Relock,
    /// Find out who took legal holds off, and put them on again.
    HoldAgain,
}

impl From<&'static str> for Remedy {
    fn from(text: &'static str) -> Self {
        Self::Text(text)
    }
}

impl Finding {
    /// The remedy as people read it. `typed` is what means the table on a command line, `read` how much was read, `from`
    /// the replica that was named, and `command` spells a command of this tool from its words.
    pub fn advice(
        &self,
        typed: Option<&str>,
        read: ReadBytes,
        from: Option<&str>,
        command: &dyn Fn(&[&str]) -> String,
    ) -> String {
        let spell = |words: &[&str]| format!("`{}`", command(words));
        let oldest = self.snapshots.last().map(SnapshotId::short);
        let retake = || {
            let mut words = vec!["snapshot"];
            words.extend(typed);
            if let (Some(_), Some(id)) = (typed, &oldest) {
                words.extend(["--distrust", id]);
            }
            spell(&words)
        };
        let verify = |flags: &[&str], from: Option<&str>| {
            let mut words = vec!["verify"];
            words.extend(typed);
            words.extend(flags);
            words.extend(from.into_iter().flat_map(|from| ["--from", from]));
            spell(&words)
        };
        match self.remedy {
            Remedy::Text(text) => text.to_owned(),
            Remedy::PutBack(text) => {
                let repair = verify(&["--repair"], Some(from.unwrap_or(A_REPLICA)));
                format!("{repair} puts back what a replica still has; {text}")
            }
            Remedy::Repair => {
                let repair = match read {
                    ReadBytes::None => verify(&["--repair"], from),
                    ReadBytes::Sample => verify(&["--read", "sample", "--repair"], from),
                    ReadBytes::All => verify(&["--read", "all", "--repair"], from),
                };
                let retake = retake();
                format!(
                    "{repair} puts it back from wherever a copy still is; otherwise {retake} takes a snapshot that does not \
                     build on it"
                )
            }
            Remedy::Retake => {
                let retake = retake();
                format!("restore an earlier snapshot; {retake} takes one that does not build on it")
            }
            Remedy::Distrust => {
                let who = "find out who wrote the record; if it is a forgery,";
                match (typed, &oldest) {
                    (Some(_), Some(_)) => {
                        format!("{who} {} does not build on it; {NO_TABLE}", retake())
                    }
                    _ => format!("{who} `snapshot --distrust` does not build on it; {NO_TABLE}"),
                }
            }
            Remedy::ReadAll => format!("{} reads it", verify(&["--read", "all"], None)),
            Remedy::Relock => {
                let newest = self.snapshots.first().map(SnapshotId::short);
                let hold = newest.map_or_else(|| "`hold`".to_owned(), |id| spell(&["hold", &id]));
                format!("{RELOCK}; {hold} keeps the snapshot until that is known")
            }
            Remedy::HoldAgain => {
                let hold = |id: &SnapshotId| spell(&["hold", &id.short()]);
                let again: Vec<String> = self.snapshots.iter().map(hold).collect();
                let again = if again.is_empty() {
                    "`hold`".to_owned()
                } else {
                    again.join(", ")
                };
                format!("find out whose credentials took it off; {again} puts all of them on again")
            }
        }
    }

    /// The finding with its remedy as people read it.
    pub fn with_remedy(self, remedy: String) -> Finding<String> {
        Finding {
            severity: self.severity,
            table: self.table,
            key: self.key,
            snapshots: self.snapshots,
            object: self.object,
            what: self.what,
            remedy,
        }
    }
}

/// How many bytes to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
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

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl Serialize for Subset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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
    /// Whether the lock of a referenced object is looked at: that of all that is read, and of a sample where nothing is.
    pub fn looks_at_lock(&self, sha256: Digest, is_always_sampled: bool) -> bool {
        let read = match self.read {
            ReadBytes::None | ReadBytes::Sample => ReadBytes::Sample,
            ReadBytes::All => ReadBytes::All,
        };
        Self { read, ..*self }.reads(sha256, is_always_sampled)
    }

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

/// Whether a lock ends before a promise. Locks are to the second.
pub fn is_locked_short(until: Option<Timestamp>, promise: Timestamp) -> bool {
    until.is_none_or(|until| until < promise)
}

/// What is said of `count` objects that are locked for less than is promised, the first of them until `first`.
pub fn unlocked(count: u64, first: Option<Timestamp>) -> Problem {
    let objects = counted_are(count, "object");
    let what = match first {
        Some(until) => {
            format!("{objects} locked for less than is promised, this one until {until}")
        }
        None => format!("{objects} promised without a visible lock"),
    };
    Problem::new(Severity::Damage, what, Remedy::Relock)
}

/// Whether a lock ends later than any that a snapshot taken at `taken_at` may have set: the longest promise, rounded up to
/// a generation, and a day.
pub fn is_locked_long(until: Timestamp, taken_at: Timestamp, vault: &VaultFile) -> bool {
    until > lock_ceiling(taken_at, vault)
}

/// What is said of `count` objects that are locked for longer than the vault allows, the first of them until `first`.
pub fn overlocked(count: u64, first: Timestamp) -> Problem {
    let what = format!(
        "{} locked for longer than this vault allows, this one until {first}",
        counted_are(count, "object")
    );
    Problem::warning(what, OVERLOCKED)
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Tables.
    pub tables: u64,
    /// Records of the chain, which are snapshots.
    #[serde(rename = "snapshots")]
    pub records: u64,
    /// Manifests read, each once.
    #[serde(skip)]
    pub manifests: u64,
    /// Pages read, each once a table.
    #[serde(skip)]
    pub pages: u64,
    /// Snapshots of which every live file that their log names is held.
    #[serde(skip)]
    pub proven: u64,
    /// Files that were checked inside their pages.
    #[serde(skip)]
    pub inlined: u64,
    /// Referenced objects whose presence and size were checked.
    pub objects: u64,
    /// Referenced objects, other than manifests and pages, whose bytes were read and hashed.
    pub objects_read: u64,
    /// All bytes that were read.
    pub bytes_read: u64,
    /// How many bytes were to be read again.
    pub read: ReadBytes,
    /// Which part of them; all without.
    pub subset: Option<Subset>,
    /// Objects that no record names: what unfinished runs left, or what somebody planted. `None` when not everything that
    /// could name them was checked.
    pub unreferenced: Option<u64>,
    /// Their bytes.
    pub unreferenced_bytes: Option<u64>,
    /// Findings of severity [`Severity::Info`].
    pub infos: u64,
    /// Findings of severity [`Severity::Warning`].
    #[serde(rename = "findings")]
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
    pub remedy: Remedy,
}

impl Problem {
    pub(crate) fn new(
        severity: Severity,
        what: impl Into<String>,
        remedy: impl Into<Remedy>,
    ) -> Self {
        Self {
            severity,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// What a record, a manifest or a page says wrong.
    pub(crate) fn damage(what: impl Into<String>) -> Self {
        Self::new(Severity::Damage, what, Remedy::Retake)
    }

    /// Bytes that are lost.
    pub(crate) fn lost(what: impl Into<String>) -> Self {
        Self::new(Severity::Damage, what, Remedy::Repair)
    }

    /// Whether bytes are lost that could be put again.
    pub(crate) fn is_lost(&self) -> bool {
        self.remedy == Remedy::Repair
    }

    pub(crate) fn warning(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self::new(Severity::Warning, what, remedy)
    }

    pub(crate) fn info(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self::new(Severity::Info, what, remedy)
    }

    /// Something of which nothing is known.
    pub(crate) fn unchecked(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self::new(Severity::Unchecked, what, remedy)
    }
}

/// What to do where records may have been deleted.
const LOOK_FOR_DELETIONS: Remedy = Remedy::PutBack(
    "look in the access log for deletions in the ledger; where there were none, the journal is a forgery, \
                     and `--forged KEY` treats it as absent",
);
/// What to do about a manifest that no record names.
const UNPUBLISHED: Remedy = Remedy::PutBack(
    "do that first, because the next snapshot of the table takes the place of the record; where a run ended early, that \
     snapshot is all that is needed",
);
/// Stands for the replica in a command that is printed.
pub const A_REPLICA: &str = "REPLICA";
/// What to do about a record or `vault.json` that was changed.
pub const REPLACED: &str =
    "compare it with a replica, and put it back from there under the same key";
/// What to do about wrong bytes for which others serve.
pub const SERVED: &str = "nothing is lost; find out what damaged it";
/// What to do about a forgery for a table that nobody has: there is nothing to take a snapshot of.
const NO_TABLE: &str = "where no such table ever was, `--forged KEY` treats it as absent";
/// What to do about events of a table without records.
pub const EVENTS_ALONE: &str = "bring its records back from a replica; where no such table ever was, `--forged KEY` treats an event \
                                as absent, each by its key";
/// What to do about what lies where it does not belong.
pub const WHO_WROTE_IT: &str =
    "nothing is lost and nothing has to be removed; find out whose credentials wrote it";
/// What to do about locks that are too short.
const RELOCK: &str =
    "find out who shortened them, and whether this role may see locks (s3:GetObjectRetention)";
/// What to do about locks that are too long.
pub const OVERLOCKED: &str = "nothing is lost, and their storage is paid for until then; find out whose credentials did it, \
                              and apply the bucket policy that `iam render` prints";
/// What to do about what a newer tool wrote.
pub const USE_NEWER: &str = "use the deltavault that wrote it, or a newer one";
/// What to do about what could not be read.
pub const READ_AGAIN: &str = "make it readable and verify again: nothing is known about it";

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
            (1, 0) => "1 object version that no record names is on it".to_owned(),
            (objects, 0) => format!("{objects} object versions that no record names are on it"),
            (0, markers) => format!("{} on it", counted_are(markers, "delete marker")),
            (objects, markers) => format!(
                "{} that no record names and {} are on it",
                counted(objects, "object version"),
                counted(markers, "delete marker")
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

#[cfg(test)]
mod tests;
