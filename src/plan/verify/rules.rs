//! The rules between records, manifests and pages.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{LOOK_FOR_DELETIONS, Problem, Remedy, Severity, UNPUBLISHED, WHO_WROTE_IT};
use crate::count::{counted, counted_are};
use crate::format::ledger::{LedgerFinding, ScarReason};
use crate::format::page::log_order_of;
use crate::format::record::{Operation, Scope, check_features};
use crate::format::{
    Entry, LockMode, Manifest, PageRef, Placement, Record, Tally, Totals, VaultFile,
};
use crate::ids::{Digest, Generation, Location, SnapshotId, Timestamp, Version};
use crate::plan::choose::{History, Snapshot};
use crate::plan::retention::CLOCK_SKEW;

/// What to do about a record that names one which is not there.
const PREVIOUS_MISSING: &str = "where the lower slot was changed, both snapshots are there again then; where the upper one is a \
                                forgery, nothing is lost. Where nobody has the lower one any more, `snapshot --distrust ID` gives \
                                the upper one up, whose ID `restore` prints, and `prune` works again";

/// What a finding of the ledger is here, and the slot whose object it is about.
pub fn ledger_problem(finding: &LedgerFinding) -> (u64, Problem) {
    let mut problem = Problem {
        severity: if finding.is_damage() {
            Severity::Damage
        } else {
            Severity::Warning
        },
        what: finding.to_string(),
        remedy: if finding.may_be_put_back() {
            Remedy::PutBack(finding.remedy())
        } else {
            finding.remedy().into()
        },
    };
    // For a reader of the ledger it is a scar, whoever is at fault. It may as well be the newest snapshot, put out of
    // sight by a bit that flipped in the record below it.
    if let LedgerFinding::Scar {
        reason: ScarReason::PreviousMissing { .. },
        ..
    } = finding
    {
        problem.severity = Severity::Damage;
        problem.remedy = Remedy::PutBack(PREVIOUS_MISSING);
    }
    (finding.slot(), problem)
}

/// Checks what a record says of itself and of the vault; `history` is the ledger that it is in.
///
/// That it names the right `vault.json` is checked by [`vault_file_problem`].
pub fn record_problems(
    snapshot: &Snapshot,
    history: &History,
    vault: &VaultFile,
    now: Timestamp,
) -> Vec<Problem> {
    let record = snapshot.record.as_ref();
    let mut problems = Vec::new();
    let mut warn = |is_broken: bool, what: &str| {
        if is_broken {
            problems.push(Problem::warning(what, Remedy::Distrust));
        }
    };
    warn(
        !snapshot
            .table
            .is_made_from(&record.table.source, &record.table.uri),
        "it is about another table than its ledger",
    );
    let below = |id: SnapshotId| {
        let snapshots = history.snapshots.iter().map(|it| (it.id, it.seq));
        let newer = history.newer.iter().map(|it| (it.id, it.seq));
        snapshots
            .chain(newer)
            .any(|(known, seq)| known == id && seq < snapshot.seq)
    };
    warn(
        // What was given up may have been built on a record that is lost.
        !snapshot.is_distrusted && record.base.is_some_and(|base| !below(base)),
        "the snapshot that it took entries from is not below it in the chain",
    );
    let given_up = history.findings.iter().map(|finding| {
        let LedgerFinding::TakenBack(given_up) = finding else {
            return 0;
        };
        match given_up.as_ref() {
            LedgerFinding::Scar { seq, .. } => usize::from(*seq < snapshot.seq),
            LedgerFinding::Lost { seq, ids, .. } if *seq <= snapshot.seq => ids.len(),
            LedgerFinding::Lost { .. }
            | LedgerFinding::Planted { .. }
            | LedgerFinding::StraySeals { .. }
            | LedgerFinding::BeyondGap { .. }
            | LedgerFinding::OtherVersion { .. }
            | LedgerFinding::Broken { .. }
            | LedgerFinding::Fork { .. }
            | LedgerFinding::TakenBack(_) => 0,
        }
    });
    let not_below = record.distrusts.iter().filter(|id| !below(**id)).count();
    warn(
        not_below > given_up.sum(),
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
    warn(
        record.scope == Scope::Live && record.totals.absent_files > 0,
        "it lacks files, which only scope `history` may",
    );
    problems.extend(promise_problem(record, vault));
    if snapshot.is_distrusted {
        // Nothing is built on it, whatever it asks for and whenever it says that it was taken.
        return problems;
    }
    for (operation, what) in [
        (Operation::Write, "no snapshot is taken after it"),
        (Operation::Delete, "prune deletes nothing"),
    ] {
        if let Err(error) = check_features(&record.requires, operation, &record.tool) {
            let what = format!("{error}: {what}");
            problems.push(Problem::warning(what, Remedy::Distrust));
        }
    }
    problems.extend(time_problem(record, now));
    problems
}

/// Checks that a record was not taken in the future: by the clock of whoever wrote it, which nothing else vouches for.
fn time_problem(record: &Record, now: Timestamp) -> Option<Problem> {
    let taken_at = record.taken_at;
    (taken_at.duration_since(now) > CLOCK_SKEW).then(|| {
        let what = format!("it says that it was taken at {taken_at}, and now it is {now}");
        Problem::warning(what, Remedy::Distrust)
    })
}

/// Checks how long a record promises its snapshot, by what the vault allows.
fn promise_problem(record: &Record, vault: &VaultFile) -> Option<Problem> {
    let (shortest, longest) = (vault.shortest_days, vault.longest_days);
    let length = record.promise.duration_since(record.taken_at);
    let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
    let what = if length <= SignedDuration::ZERO {
        "its promise was over when it was taken".to_owned()
    } else if length < days(shortest) {
        format!("its promise is shorter than the {shortest} days that this vault allows")
    } else if length > days(longest) {
        format!("its promise is longer than the {longest} days that this vault allows")
    } else {
        return None;
    };
    Some(Problem::warning(what, Remedy::Distrust))
}

/// Checks what a record states of locks by the generations of all objects that it leads to.
pub fn generation_problem<'a>(
    record: &Record,
    vault: &VaultFile,
    mut generations: impl Iterator<Item = &'a Generation>,
) -> Option<Problem> {
    let what = if vault.lock_mode == LockMode::None {
        let is_locked = |generation: &Generation| *generation != Generation::default();
        if record.locks.is_empty() && !generations.any(is_locked) {
            return None;
        }
        "it states locks, and this vault has none".to_owned()
    } else {
        let is_short = |generation: &&Generation| {
            let lock = record.locks.get(generation);
            lock.is_none_or(|lock| *lock < record.promise)
        };
        let short = generations.find(is_short)?;
        format!(
            "it states no lock up to its promise for generation {}, of which it has objects",
            short.0
        )
    };
    Some(Problem::warning(what, Remedy::Distrust))
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

/// What the checks of manifests need of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSummary {
    entries: u64,
    is_log: bool,
    totals: Totals,
    generations: BTreeSet<Generation>,
    first: Place,
    last: Place,
    /// The highest version that a file of the log names.
    highest: Option<Version>,
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
            problems.push(Problem::damage("it mixes files of the log with others"));
        }
        let pairs = entries.iter().zip(entries.iter().skip(1));
        if pairs
            .map(|(one, next)| (Place::of(one), Place::of(next)))
            .any(|(one, next)| !one.is_before(&next, is_log))
        {
            problems.push(Problem::damage("its entries are out of order"));
        }
        let is_inlined = |entry: &&Entry| matches!(entry.placement, Placement::Inline(_));
        let mut inlined = entries.iter().filter(is_inlined);
        if let Some(entry) = inlined.find(|entry| !entry.kind.is_log()) {
            let what = format!("{} is inlined in it, and is no file of the log", entry.file);
            problems.push(Problem::warning(what, WHO_WROTE_IT));
        }
        let mut sums = Tally::default();
        for entry in entries {
            sums.add(entry);
        }
        let references = entries.iter().filter_map(|it| it.placement.reference());
        let summary = Self {
            entries: entries.len() as u64,
            is_log,
            totals: sums.totals(),
            generations: references.map(|it| it.generation).collect(),
            first: Place::of(first),
            last: Place::of(last),
            highest: entries.iter().filter_map(Entry::log_version).max(),
        };
        (Some(summary), problems)
    }

    /// The lock generations of what its entries refer to.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        self.generations.iter().copied()
    }
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
    let mut sums = Tally::default();
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
                damage("a page does not have as many entries as the manifest says");
            }
            if summary.is_log != is_log {
                damage("a page of the log is among the data pages, or the other way round");
            } else if before.is_some_and(|before| !before.last.is_before(&summary.first, is_log)) {
                damage("a page is out of order");
            }
            if summary.highest > Some(manifest.version) {
                damage("a page holds a file of the log of a newer version than the manifest's");
            }
            sums.add_totals(&summary.totals);
            before = Some(summary);
        }
    }
    let sums = sums.totals();
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
            "{} inlined in it with other bytes than the SHA-256 says, first {first}",
            counted_are(wrong.len() as u64, "file")
        ))
    });
    (inlined, problem)
}

/// What is said of a journal for slot `next`, which was the first empty one then, where slots below it are empty now.
pub fn vanished(history: &History, next: u64) -> Option<Problem> {
    let is_gap = |finding: &LedgerFinding| matches!(finding, LedgerFinding::BeyondGap { .. });
    let read = history.snapshots.iter().map(|snapshot| snapshot.seq);
    let newer = history.newer.iter().map(|newer| newer.seq);
    let scars = history.findings.iter().map(LedgerFinding::seq);
    let taken = read.chain(newer).chain(scars).max().unwrap_or(0);
    // A gap is a finding of its own.
    if next <= taken.saturating_add(1) || history.findings.iter().any(is_gap) {
        return None;
    }
    let what = format!(
        "its run began when the slots up to {} were taken, and now they are up to {taken}: the newest records were \
         deleted, or the journal was written for a later slot",
        next.saturating_sub(1)
    );
    let problem = Problem::new(Severity::Damage, what, LOOK_FOR_DELETIONS);
    Some(problem)
}

/// What is said of a manifest of `version` that no record names, where the newest record is of an older version.
pub fn unpublished(version: Version) -> Problem {
    let what = format!(
        "no record names this manifest of version {version}, which is newer than the newest record: it is of a snapshot that \
         was never finished, or whose record is lost"
    );
    Problem::warning(what, UNPUBLISHED)
}

/// What is said of manifests of a table of which there is no record, the newest of them of `version`.
pub fn stray(delta_id: &str, manifests: u64, version: Version) -> Problem {
    let what = format!(
        "{} up to version {version} of a table of which there is no record, Delta id {}: its first snapshot was never \
         finished, or its records are lost",
        counted(manifests, "manifest"),
        delta_id.escape_debug()
    );
    Problem::warning(what, UNPUBLISHED)
}

/// What is said of `manifests` that no record names and that are not newer than their table's newest record, the first
/// of them of `version`.
pub fn unnamed_below(manifests: u64, version: Version) -> Problem {
    let them = counted(manifests, "manifest");
    let what = format!(
        "no record names {them}, the first of version {version}: of snapshots that were never finished, or whose \
         records are lost"
    );
    let remedy = "`prune` keeps what they lead to and names each; a record that was lost comes back with `verify --repair \
                  --from REPLICA`";
    Problem::info(what, remedy)
}

/// What is said of `more` manifests that may be newer than a table's newest record, and that nobody looked at.
pub fn not_looked_at(more: u64) -> Problem {
    let what = format!(
        "{} not looked at: one of a newer version than the newest record may be among them",
        counted_are(more, "manifest")
    );
    Problem::info(what, "verify the whole vault, without a table")
}

/// Whether nothing promises a snapshot any more: it may have been pruned, the newest ones never are.
pub fn is_over(snapshot: &Snapshot, history: &History, now: Timestamp) -> bool {
    let is = |newest: Option<&Snapshot>| newest.is_some_and(|newest| newest.id == snapshot.id);
    let is_newest = is(history.snapshots.last()) || is(history.newest_trusted());
    snapshot.record.promise < now && !is_newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::{data_entry, log_entry, record};
    use crate::ids::Id128;

    #[test]
    fn one_record_that_names_another_vault_file_is_suspect_and_all_of_them_are_not() {
        let id = |n: u8| SnapshotId(Digest::of(&[n]));
        let (here, other) = (Digest::of(b"here"), Digest::of(b"other"));
        let problem = |named: &[(u8, Digest)]| {
            vault_file_problem(here, named.iter().map(|(n, digest)| (id(*n), *digest)))
        };
        assert_eq!(problem(&[]), None);
        assert_eq!(problem(&[(1, here), (2, here)]), None);
        assert_eq!(
            problem(&[(1, other), (2, other)]),
            Some(VaultFileProblem::Changed)
        );
        assert_eq!(
            problem(&[(1, here), (2, other)]),
            Some(VaultFileProblem::Records(vec![id(2)]))
        );
    }

    #[test]
    fn pages_are_of_one_kind_and_in_order() {
        let time = |second: u8| format!("2026-01-01T00:00:0{second}Z");
        let data = |name: &str, second| data_entry(name, Some(&time(second)));
        let log = |version: u64| log_entry(&format!("_delta_log/{version:020}.json"));
        let problems = |entries: &[Entry]| {
            let (_, problems) = PageSummary::of(entries);
            problems.into_iter().map(|it| it.what).collect::<Vec<_>>()
        };
        assert_eq!(problems(&[]), ["it has no entries"]);
        for sound in [
            vec![data("b", 1), data("a", 2)],
            vec![log(1), log(2), log(10)],
        ] {
            assert!(problems(&sound).is_empty(), "{sound:?}");
        }
        for unsorted in [vec![data("b", 1), data("a", 1)], vec![log(10), log(2)]] {
            assert_eq!(problems(&unsorted), ["its entries are out of order"]);
        }
        let mixed = problems(&[log(1), data("a", 1)]);
        assert!(
            mixed.contains(&"it mixes files of the log with others".to_owned()),
            "{mixed:?}"
        );
    }

    #[test]
    fn every_generation_is_locked_up_to_the_promise() {
        let record = record();
        let longer = record.promise + SignedDuration::from_hours(1);
        let shorter = record.promise - SignedDuration::from_nanos(1);
        let vault = VaultFile {
            lock_mode: LockMode::Compliance,
            ..VaultFile::new(Id128::from_bytes([1; 16]), record.taken_at)
        };
        let locks = [(1, longer), (2, record.promise), (3, shorter)];
        let locks = locks.map(|(generation, lock)| (Generation(generation), lock));
        let record = Record {
            locks: locks.into(),
            ..record
        };
        for (generations, wrong) in [
            (&[][..], None),
            (&[1, 2], None),
            (&[1, 3, 2], Some("generation 3")),
            (&[4], Some("generation 4")),
            (&[0], Some("generation 0")),
        ] {
            let generations: Vec<_> = generations.iter().copied().map(Generation).collect();
            let problem = generation_problem(&record, &vault, generations.iter());
            let what = problem.map(|problem| problem.what).unwrap_or_default();
            assert_eq!(what.is_empty(), wrong.is_none(), "{generations:?}: {what}");
            assert!(what.contains(wrong.unwrap_or_default()), "{what}");
        }
    }
}
