//! Verifies a vault: what every record promises is there, whole and as it was written.
//!
//! In three steps. Each table's ledger is walked, and every manifest and page that a record names is read once
//! and checked against the rules of [`crate::plan::verify`]. What the pages refer to goes through an external
//! sort and is merged with one listing of the vault's objects. What the plan chooses is read again and hashed as
//! it streams by, and its lock compared with the promises that rest on it. Memory holds something for each page, never
//! for each file.
//!
//! Nothing that is damaged or unreadable stops the rest. Nothing but the vault is asked: no index, no
//! configuration. The newest record, which no other one names, is compared with its seal.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::pin::pin;

use futures::{TryStreamExt, stream};

use self::checker::{Checker, Outcome};
use self::merge::{Merge, Merged, Unreferenced};
use self::slots::Seals;
use self::sums::{Kind, Sums};
use self::units::Units;
use self::wanted::Use;
use super::unnamed::Newest;
use super::{Vault, oldest_version};
use crate::error::Error;
use crate::format::{LockMode, TableKey, VaultKey};
use crate::ids::{Digest, ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::verify::{
    Finding, Listed, Problem, READ_AGAIN, REPLACED, Remedy, Severity, VaultFileProblem, VerifyPlan,
    VerifyReport, is_locked_short, vault_file_problem,
};
use crate::progress::Progress;
use crate::sort::Sorter;
use crate::store::{ListedVersion, StoreError, StoreErrorKind};

mod checker;
mod complete;
mod events;
mod known;
mod losses;
mod merge;
mod objects;
mod parts;
mod rescue;
mod slots;
mod sums;
mod table;
mod tail;
mod units;
mod wanted;

pub use losses::{Hurt, Losses, Lost, LostKind, PackedFile, Substitute};

/// Objects that are checked side by side: enough to keep a disk or a connection busy while others are hashed.
const OBJECTS_AHEAD: usize = 8;

/// Up to this many uses, a verification of single tables asks for each object alone: that costs no more than the
/// listing of a vault with a million objects, which comes a thousand keys at a time.
const ASKED_FOR_ALONE: u64 = 1000;

/// Takes findings as they are made; what it returns ends the verification.
pub type Found<'a> = dyn FnMut(Finding) -> Result<(), Error> + Send + 'a;

impl Vault {
    /// Verifies `tables`, or all of them; each finding goes to `found`. Rows that are sorted wait in `spill`; what is lost is
    /// in memory, for a repair.
    ///
    /// # Errors
    /// Only what leaves nothing to go on with: `spill` fails, the tables cannot be listed, `found` refuses.
    pub async fn verify(
        &self,
        tables: Option<&[TableKey]>,
        plan: VerifyPlan,
        spill: &Path,
        progress: &dyn Progress,
        found: &mut Found<'_>,
    ) -> Result<(VerifyReport, Losses), Error> {
        let all = match tables {
            Some(_) => Vec::new(),
            None => self.tables().await?,
        };
        let mut verify = Verify {
            vault: self,
            plan,
            progress,
            found,
            report: VerifyReport {
                read: plan.read,
                subset: plan.subset,
                ..VerifyReport::default()
            },
            tables: Vec::new(),
            snapshots: Vec::new(),
            units: Units::default(),
            spill,
            uses: Sorter::new(spill)?,
            sampled: HashSet::new(),
            vault_files: Vec::new(),
            sums: Sums::default(),
            lost: Vec::new(),
            names_everything: tables.is_none(),
            manifests: HashSet::new(),
        };
        for table in tables.unwrap_or(&all) {
            verify.table(table).await?;
        }
        verify.vault_file().await?;
        verify.objects(tables.is_none()).await
    }
}

struct Verify<'a, 'f> {
    vault: &'a Vault,
    plan: VerifyPlan,
    progress: &'a dyn Progress,
    found: &'a mut Found<'f>,
    report: VerifyReport,
    tables: Vec<CheckedTable>,
    /// By ordinal; those of a table follow each other, newest first.
    snapshots: Vec<CheckedSnapshot>,
    units: Units,
    spill: &'a Path,
    uses: Sorter<Use>,
    /// Objects of each table's newest snapshot that a sample reads whatever their digest.
    sampled: HashSet<Digest>,
    /// What each record names as the SHA-256 of `vault.json`.
    vault_files: Vec<(SnapshotId, Digest)>,
    sums: Sums,
    lost: Vec<Lost>,
    /// Whether everything that could name an object was read.
    names_everything: bool,
    /// The manifests that records name.
    manifests: HashSet<Digest>,
}

struct CheckedTable {
    key: TableKey,
    name: String,
    newest: Option<Newest>,
    /// The Delta ids of its records.
    delta_ids: BTreeSet<String>,
}

/// A snapshot that was verified.
#[derive(Debug, Clone, Copy)]
struct CheckedSnapshot {
    table: usize,
    id: SnapshotId,
    is_distrusted: bool,
    is_over: bool,
    is_held: bool,
    promise: Timestamp,
    taken_at: Timestamp,
}

impl Verify<'_, '_> {
    /// Reports an object of a table that some of its snapshots use.
    fn report_to(
        &mut self,
        table: Option<usize>,
        snapshots: Vec<SnapshotId>,
        object: &str,
        problem: Problem,
    ) -> Result<(), Error> {
        let table = table.and_then(|table| self.tables.get(table));
        let finding = Finding {
            severity: problem.severity,
            table: table.map(|table| table.name.clone()),
            key: table.map(|table| table.key.clone()),
            snapshots,
            object: object.to_owned(),
            what: problem.what,
            remedy: problem.remedy,
        };
        self.report.count(finding.severity);
        (self.found)(finding)
    }

    /// Reports an object that belongs to no snapshot.
    fn report_alone(
        &mut self,
        table: Option<usize>,
        object: &str,
        problem: Problem,
    ) -> Result<(), Error> {
        self.report_to(table, Vec::new(), object, problem)
    }

    /// Reports an object that snapshots use, once for each table.
    fn report_users(
        &mut self,
        users: &[usize],
        object: &str,
        problem: &Problem,
    ) -> Result<(), Error> {
        let by_table = self.by_table(users);
        if by_table.is_empty() {
            return self.report_alone(None, object, problem.clone());
        }
        for (table, snapshots) in by_table {
            if problem.is_lost() && snapshots.iter().all(|snapshot| snapshot.is_over) {
                self.note_of((Kind::Over, table), snapshots, object, None);
                continue;
            }
            let mut problem = problem.clone();
            if problem.severity == Severity::Damage
                && snapshots.iter().all(|snapshot| snapshot.is_distrusted)
            {
                problem.severity = Severity::Warning;
                problem.what.push_str("; only distrusted snapshots use it");
            }
            let ids = snapshots.iter().map(|snapshot| snapshot.id).collect();
            self.report_to(Some(table), ids, object, problem)?;
        }
        Ok(())
    }

    /// Checks `vault.json` against what the records name, what the store attests and what lies on top of it.
    async fn vault_file(&mut self) -> Result<(), Error> {
        let key = VaultKey::VaultFile.object_key()?;
        let actual = self.vault.file_digest();
        let named = std::mem::take(&mut self.vault_files);
        match vault_file_problem(actual, named) {
            None => {}
            Some(VaultFileProblem::Changed) => {
                let users: Vec<usize> = (0..self.snapshots.len()).collect();
                let what = "it is not the one that every record names by its SHA-256";
                let problem = Problem::new(Severity::Damage, what, REPLACED);
                self.report_users(&users, key.as_str(), &problem)?;
            }
            Some(VaultFileProblem::Records(ids)) => {
                for id in ids {
                    let users: Vec<usize> = (0..self.snapshots.len())
                        .filter(|user| self.snapshots.get(*user).is_some_and(|it| it.id == id))
                        .collect();
                    let what = format!("record {} names another vault.json", id.short());
                    let problem = Problem::warning(what, Remedy::Distrust);
                    self.report_users(&users, key.as_str(), &problem)?;
                }
            }
        }
        match oldest_version(self.vault.store(), &key).await {
            Ok(oldest) => {
                let version = oldest.and_then(|oldest| oldest.version);
                self.attested(None, &key, version.as_ref(), actual).await?;
            }
            Err(error) => self.report_alone(None, key.as_str(), unreadable(&error))?,
        }
        self.on_top(None, key.as_str(), true).await?;
        Ok(())
    }

    /// Compares the digest of bytes that were read with the one that the store attests.
    async fn attested(
        &mut self,
        user: Option<usize>,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        actual: Digest,
    ) -> Result<(), Error> {
        let problem = match self.vault.store().attributes(key, version).await {
            Ok(attributes) if attributes.sha256.is_some_and(|sha256| sha256 != actual) => {
                let what = "its bytes are not those that the store once took";
                Problem::new(Severity::Damage, what, REPLACED)
            }
            Ok(_) => return Ok(()),
            // Hidden by a delete marker, which is reported as such.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => unreadable(&error),
        };
        let users: Vec<usize> = user.into_iter().collect();
        self.report_users(&users, key.as_str(), &problem)
    }

    /// Reports delete markers, and with `objects` of other object versions, on keys that begin with `prefix`; returns the
    /// seals that are among them.
    async fn on_top(
        &mut self,
        table: Option<usize>,
        prefix: &str,
        objects: bool,
    ) -> Result<Seals, Error> {
        let mut seals = Seals::new();
        let mut on_top: BTreeMap<ObjectKey, (u64, u64)> = BTreeMap::new();
        let mut listing = self.vault.store().list_versions(prefix, None);
        let mut first: Option<ObjectKey> = None;
        loop {
            match listing.try_next().await {
                Ok(None) => break,
                Ok(Some(ListedVersion::DeleteMarker { key })) => {
                    on_top.entry(key).or_default().1 += 1;
                }
                Ok(Some(ListedVersion::Object(object))) => {
                    let is_first = first.as_ref() != Some(&object.key);
                    let is_seal = is_seal(&object.key);
                    if (objects || is_seal) && !is_first {
                        on_top.entry(object.key.clone()).or_default().0 += 1;
                    }
                    if is_seal && is_first {
                        seals.insert(object.key.clone(), object.version);
                    }
                    first = Some(object.key);
                }
                Err(error) => {
                    drop(listing);
                    self.report_alone(table, prefix, unreadable(&error))?;
                    return Ok(seals);
                }
            }
        }
        drop(listing);
        for (key, (objects, markers)) in on_top {
            let listed = Listed {
                objects: Vec::new(),
                count: objects,
                markers,
            };
            if let Some(problem) = listed.planted(0) {
                self.report_alone(table, key.as_str(), problem)?;
            }
        }
        Ok(seals)
    }

    /// Merges what the pages refer to with the listing, and reads again what the plan chooses.
    async fn objects(mut self, is_whole_vault: bool) -> Result<(VerifyReport, Losses), Error> {
        let uses = std::mem::replace(&mut self.uses, Sorter::new(self.spill)?);
        let lists = is_whole_vault || uses.len() > ASKED_FOR_ALONE;
        let sampled = std::mem::take(&mut self.sampled);
        let is_held = |user: &usize| self.snapshots.get(*user).is_some_and(|it| it.is_held);
        let held = self.units.used_by_any(is_held);
        let checker = Checker {
            vault: self.vault,
            plan: self.plan,
            sampled: &sampled,
            held: &held,
            locks: self.vault.file().lock_mode != LockMode::None,
            progress: self.progress,
        };
        let merge = Merge::new(uses.finish()?, self.vault.store(), lists);
        let done = stream::try_unfold(merge, |mut merge| async move {
            let next = merge.next().await?;
            Ok::<_, Error>(next.map(|next| (next, merge)))
        })
        .map_ok(|merged| async {
            Ok::<_, Error>(match merged {
                Merged::Key(job) => Done::Key(checker.check(job).await),
                Merged::Unlistable(prefix, error) => Done::Unlistable(prefix, error),
                Merged::Unreferenced(unreferenced) => Done::Unreferenced(unreferenced),
            })
        })
        .try_buffered(OBJECTS_AHEAD);
        let mut done = pin!(done);
        let mut unnamed = None;
        while let Some(done) = done.try_next().await? {
            match done {
                Done::Key(outcome) => self.outcome(&outcome)?,
                Done::Unlistable(prefix, error) => {
                    self.names_everything = false;
                    self.report_alone(None, prefix, unreadable(&error))?;
                }
                Done::Unreferenced(unreferenced) => {
                    let Unreferenced {
                        objects,
                        bytes,
                        manifests,
                    } = unreferenced;
                    let is_known = is_whole_vault && self.names_everything;
                    self.report.unreferenced = is_known.then_some(objects);
                    self.report.unreferenced_bytes = is_known.then_some(bytes);
                    unnamed = is_known.then_some(manifests);
                }
            }
        }
        match unnamed {
            Some(manifests) => self.unnamed(manifests).await?,
            None => self.unnamed_of_tables().await?,
        }
        self.sums()?;
        let snapshots = self.snapshots.iter().filter_map(|snapshot| {
            let table = self.tables.get(snapshot.table)?;
            Some(Hurt {
                table: table.key.clone(),
                name: table.name.clone(),
                id: snapshot.id,
                promise: snapshot.promise,
                counts: !snapshot.is_distrusted && !snapshot.is_over,
            })
        });
        let losses = Losses {
            snapshots: snapshots.collect(),
            objects: self.lost,
        };
        Ok((self.report, losses))
    }

    /// Takes note of an object in whose place serves what a repair put. Where that is locked for less than is promised,
    /// a repair has to lock it for longer.
    fn repaired(&mut self, users: &[usize], object: &str, lost: &[Lost]) -> Result<(), Error> {
        let until = lost
            .iter()
            .map(Lost::substitutes_locked_until)
            .min()
            .flatten();
        let snapshots = users.iter().filter_map(|user| self.snapshots.get(*user));
        let counts = |it: &&CheckedSnapshot| !it.is_distrusted && it.promise > self.plan.now;
        let promise = snapshots.filter(counts).map(|it| it.promise).max();
        let has_locks = self.vault.file().lock_mode != LockMode::None;
        if has_locks && promise.is_some_and(|promise| is_locked_short(until, promise)) {
            let until = until.map_or_else(
                || "not locked".to_owned(),
                |it| format!("locked until {it}"),
            );
            let what = format!("what a repair put in its place is {until}, less than is promised");
            self.lost.extend(lost.iter().map(|lost| Lost {
                users: users.to_vec(),
                ..lost.clone()
            }));
            return self.report_users(users, object, &Problem::lost(what));
        }
        self.note(Kind::Repaired, users, object);
        Ok(())
    }

    fn outcome(&mut self, outcome: &Outcome) -> Result<(), Error> {
        self.report.objects += 1;
        self.report.objects_read += outcome.objects_read;
        self.report.bytes_read += outcome.bytes_read;
        let key = outcome.key.as_str();
        for (units, lost) in &outcome.lost {
            self.lost.push(Lost {
                users: self.units.users(units),
                ..lost.clone()
            });
        }
        for (units, problem) in &outcome.problems {
            let users = self.units.users(units);
            self.report_users(&users, key, problem)?;
        }
        for (units, lost) in &outcome.repaired {
            let users = self.units.users(units);
            self.repaired(&users, key, lost)?;
        }
        if !outcome.moved.is_empty() {
            let users = self.units.users(&outcome.moved);
            self.note(Kind::Moved, &users, key);
        }
        if !outcome.unproven.is_empty() {
            let users = self.units.users(&outcome.unproven);
            self.note(Kind::Unproven, &users, key);
        }
        for units in &outcome.unheld {
            let mut users = self.units.users(units);
            users.retain(|user| self.snapshots.get(*user).is_some_and(|it| it.is_held));
            self.note(Kind::Unheld, &users, key);
        }
        for (units, until) in &outcome.locks {
            let users = self.units.users(units);
            self.note_lock(&users, key, *until);
        }
        Ok(())
    }
}

enum Done {
    Key(Outcome),
    Unlistable(&'static str, StoreError),
    Unreferenced(Unreferenced),
}

/// The problem of an object that the store could not return.
fn unreadable(error: &StoreError) -> Problem {
    let what = format!("it could not be checked: {error}: {}", error.kind);
    Problem::unchecked(what, READ_AGAIN)
}

/// What a failed read says of an object that should have `size` bytes; `None` when it says nothing of it.
fn lost(kind: &StoreErrorKind, size: u64) -> Option<String> {
    match kind {
        StoreErrorKind::NotFound => Some("it is gone".to_owned()),
        StoreErrorKind::InvalidRange => Some(format!("it has fewer than {size} bytes")),
        StoreErrorKind::TooLarge { size: found, .. } => {
            Some(format!("it has {found} bytes, not {size}"))
        }
        StoreErrorKind::WrongDigest { actual, .. } => {
            Some(format!("its bytes have SHA-256 {actual}"))
        }
        StoreErrorKind::InvalidKey { reason } => {
            Some(format!("there is something else in its place: {reason}"))
        }
        StoreErrorKind::InTheWay { .. } => {
            Some(format!("there is something else in its place: {kind}"))
        }
        StoreErrorKind::AlreadyExists
        | StoreErrorKind::NoBucket
        | StoreErrorKind::Archived
        | StoreErrorKind::WrongRegion { .. }
        | StoreErrorKind::ClockSkew
        | StoreErrorKind::Unreachable { .. }
        | StoreErrorKind::Credentials { .. }
        | StoreErrorKind::Changed
        | StoreErrorKind::Denied { .. }
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::NoSpace
        | StoreErrorKind::NoScratchSpace
        | StoreErrorKind::Unsupported { .. }
        | StoreErrorKind::Interrupted
        | StoreErrorKind::Io { .. } => None,
    }
}

/// Whether it seals a slot. What lies on top of a slot itself is found with the chain.
fn is_seal(key: &ObjectKey) -> bool {
    matches!(
        VaultKey::parse(key.as_str()),
        Some(VaultKey::RecordSeal { .. } | VaultKey::EventSeal { .. })
    )
}
