//! Which snapshot of a table is meant: by id, by version, by time, or the newest.
//!
//! Refuses rather than guesses. Where two snapshots answer the question with different content (a table that was
//! rewound, or dropped and re-created) the owner chooses by id. A distrusted snapshot is only ever chosen by its
//! id. A record that needs a newer tool may be the very snapshot that is asked for, so it stands in the way of
//! every choice but the one by id.

use std::sync::Arc;

use crate::format::ledger::{
    Chain, LedgerError, LedgerFinding, Link, LinkBody, PrefixError, UnreadRecord, resolve_prefix,
    taken_back, trusted,
};
use crate::format::record::TableIdentity;
use crate::format::{Record, TableKey};
use crate::ids::{Digest, ObjectVersion, SnapshotId, Timestamp, Version};
use crate::plan::snapshot::is_in;

pub use self::at::{AsOf, CommitTimes, Undated};
pub use self::error::ChooseError;
pub use self::mark::Mark;

mod at;
mod error;
mod mark;
mod unread;

/// One snapshot of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its table.
    pub table: TableKey,
    /// Its id.
    pub id: SnapshotId,
    /// Its slot in the ledger.
    pub seq: u64,
    /// The object version that its record is, where the store keeps versions.
    pub record_version: Option<ObjectVersion>,
    /// What its record says.
    pub record: Arc<Record>,
    /// Whether nothing may be built on it, because it or one below it is distrusted.
    pub is_distrusted: bool,
    /// Whether a prune has deleted what it held. A ledger does not say so, so this is false until somebody looks: see
    /// `Vault::mark_pruned`.
    pub is_pruned: bool,
}

/// What a table's ledger holds, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The table.
    pub table: TableKey,
    /// The snapshots that this tool can read, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The records that need a newer tool, oldest first.
    pub newer: Vec<NewerSnapshot>,
    /// The findings about the ledger.
    pub findings: Vec<LedgerFinding>,
}

/// A snapshot that only a newer tool can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its slot in the ledger.
    pub seq: u64,
    /// Which tool it needs.
    pub error: LedgerError,
    /// Whether a later record distrusts it.
    pub is_distrusted: bool,
}

/// Which state of a table is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest snapshot.
    Latest,
    /// The snapshot whose id begins so.
    Snapshot(String),
    /// A version.
    Version(Version),
    /// A version out of the snapshot whose id begins so.
    VersionOf(String, Version),
    /// The newest version committed at or before a time.
    AsOf(AsOf),
}

/// The snapshot that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The version to put back: the snapshot's own, or an older one that it is whole at.
    pub version: Version,
    /// When that was committed, where it is known.
    pub committed: Option<Timestamp>,
    /// Versions that may be meant as well, where a time was asked for.
    pub between: Option<Undated>,
}

/// How far a choice has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// It is made.
    Done(Chosen<'a>),
    /// It takes the times at which the versions in this history snapshot were committed.
    Read(&'a Snapshot),
}

impl History {
    /// Takes what a full walk of the ledger found.
    pub fn new(table: TableKey, chain: Chain) -> Self {
        let trusted = trusted(&chain.links, &[]);
        let is_trusted = |link: &Link| {
            trusted
                .binary_search_by_key(&link.seq, |link| link.seq)
                .is_ok()
        };
        let taken_back = taken_back(&chain.links);
        let mut snapshots = Vec::new();
        let mut newer = Vec::new();
        for link in &chain.links {
            match &link.body {
                LinkBody::Record(record) => snapshots.push(Snapshot {
                    table: table.clone(),
                    id: link.id,
                    seq: link.seq,
                    record_version: link.version.clone(),
                    record: Arc::clone(record),
                    // Whoever put a record of another table here did not mean well.
                    is_distrusted: !is_trusted(link) || !table.is_of(&record.table),
                    is_pruned: false,
                }),
                LinkBody::Newer(body) => newer.push(NewerSnapshot {
                    id: link.id,
                    seq: link.seq,
                    error: LedgerError::NewerRecord {
                        seq: link.seq,
                        id: link.id,
                        tool: body.preamble.tool.clone(),
                        source: body.reason.clone(),
                    },
                    is_distrusted: taken_back.iter().any(|range| range.contains(&link.seq)),
                }),
            }
        }
        Self {
            table,
            snapshots,
            newer,
            findings: chain.findings,
        }
    }

    /// The table's name as the newest snapshot that is of it records it, else the readable half of its key.
    pub fn name(&self) -> &str {
        let newest = self.trusted().rev().chain(self.snapshots.iter().rev());
        let mut own = newest
            .map(|it| &it.record.table)
            .filter(|it| self.table.is_of(it));
        own.find_map(TableIdentity::name)
            .unwrap_or(self.table.slug())
    }

    /// The newest snapshot that is not distrusted.
    pub fn newest_trusted(&self) -> Option<&Snapshot> {
        self.trusted().next_back()
    }

    /// Every id, newest first; those of pruned snapshots and of records that need a newer tool come last.
    pub fn ids(&self) -> impl Iterator<Item = SnapshotId> {
        let newer = self.newer.iter().map(|newer| newer.id);
        let newest_first = || self.snapshots.iter().rev();
        let held = newest_first().filter(|snapshot| !snapshot.is_pruned);
        let pruned = newest_first().filter(|snapshot| snapshot.is_pruned);
        let snapshots = held.chain(pruned).map(|snapshot| snapshot.id);
        snapshots.chain(newer)
    }

    /// Finds a snapshot by its id.
    ///
    /// # Errors
    /// [`ChooseError::Ledger`] when it needs a newer tool. `None`: the ledger does not have it.
    pub fn find(&self, id: SnapshotId) -> Result<Option<&Snapshot>, ChooseError> {
        if let Some(newer) = self.newer.iter().find(|newer| newer.id == id) {
            return Err(newer.error.clone().into());
        }
        Ok(self.snapshots.iter().find(|snapshot| snapshot.id == id))
    }

    /// The first record that could not be read: whatever else the ledger holds, a snapshot may be missing from it.
    pub fn unread(&self) -> Option<UnreadRecord> {
        UnreadRecord::first(&self.table, &self.findings)
    }

    /// The error for a `wanted` that was not found, where it may be in a record that could not be read.
    pub fn not_whole(&self, wanted: impl Into<String>) -> Option<ChooseError> {
        self.unread().map(|unread| ChooseError::LedgerNotWhole {
            wanted: wanted.into(),
            table: self.name().to_owned(),
            source: Box::new(unread),
        })
    }

    /// Chooses the snapshot that is meant. `times` has what [`Step::Read`] asked for.
    ///
    /// # Errors
    /// [`ChooseError::Prefix`], [`ChooseError::VersionNotHeld`], [`ChooseError::NothingHeldAt`], or
    /// [`ChooseError::LedgerNotWhole`] where the ledger cannot tell; [`ChooseError::Several`] where different content
    /// answers; [`ChooseError::Ledger`] where a record that needs a newer tool could.
    pub fn choose(&self, wanted: &Wanted, times: &CommitTimes) -> Result<Step<'_>, ChooseError> {
        let is_by_id = matches!(wanted, Wanted::Snapshot(_) | Wanted::VersionOf(..));
        let mut newer = self.newer.iter().rev().filter(|it| !it.is_distrusted);
        if let Some(newer) = newer.next().filter(|_| !is_by_id) {
            return Err(newer.error.clone().into());
        }
        let chosen = match wanted {
            Wanted::Latest => self.latest(),
            Wanted::Version(version) => self.by_version(*version),
            Wanted::AsOf(time) => return self.by_time(*time, times),
            Wanted::Snapshot(prefix) => self.by_id(prefix),
            Wanted::VersionOf(prefix, version) => self.version_of(prefix, *version),
        };
        chosen.map(Step::Done)
    }

    fn trusted(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.snapshots
            .iter()
            .filter(|snapshot| !snapshot.is_distrusted)
    }

    /// The trusted snapshots that can be restored.
    fn held(&self) -> impl DoubleEndedIterator<Item = &Snapshot> {
        self.trusted().filter(|snapshot| !snapshot.is_pruned)
    }

    fn by_id(&self, prefix: &str) -> Result<Chosen<'_>, ChooseError> {
        let id = resolve_prefix(self.ids(), prefix).map_err(|error| match error {
            PrefixError::Unknown { .. } => self
                .not_whole(format!("snapshot {prefix}"))
                .unwrap_or(error.into()),
            PrefixError::NotHex { .. }
            | PrefixError::TooShort { .. }
            | PrefixError::Ambiguous { .. } => error.into(),
        })?;
        let found = self.find(id)?.map(Chosen::whole);
        found.ok_or_else(|| PrefixError::unknown(prefix, self.ids()).into())
    }

    fn latest(&self) -> Result<Chosen<'_>, ChooseError> {
        let newest = self.held().next_back().or(self.newest_trusted());
        if let Some(newest) = newest
            && self.unread().is_some()
            // A snapshot takes the first empty slot: that of a lost record, below those that were taken before.
            && let Some(last) = self.held().max_by_key(|it| it.record.taken_at)
            && last.record.taken_at > newest.record.taken_at
        {
            let what = format!(
                "the ledger of {} is not whole: the snapshot that was taken last is not the last of the ledger",
                self.name()
            );
            return Err(owner_must_choose(what, &[last, newest], None));
        }
        let newest = newest.map(|newest| Chosen::whole(self.without_doubt(newest)));
        newest.ok_or_else(|| {
            self.only_distrusted("the newest snapshot", |_| true)
                .or_else(|| self.not_whole("a snapshot of it"))
                .unwrap_or_else(|| ChooseError::NoSnapshot {
                    table: self.name().to_owned(),
                })
        })
    }

    /// For a snapshot in doubt, the newest other one of its version that is not in doubt, if there is one.
    fn without_doubt<'a>(&'a self, snapshot: &'a Snapshot) -> &'a Snapshot {
        let record = &snapshot.record;
        if record.doubt.is_none() {
            return snapshot;
        }
        let is_better = |other: &&Snapshot| {
            let other = &other.record;
            let same =
                (other.version, &other.table.delta_id) == (record.version, &record.table.delta_id);
            same && other.doubt.is_none()
        };
        self.held().rev().find(is_better).unwrap_or(snapshot)
    }

    fn by_version(&self, version: Version) -> Result<Chosen<'_>, ChooseError> {
        let mut candidates = Vec::new();
        // What was overwritten since is of a history that the table has left: only where nothing else holds the version.
        for left_too in [false, true] {
            let counts = |it: &&Snapshot| left_too || !self.is_overwritten(it, version);
            let own = self.held().filter(|it| it.record.version == version);
            candidates = newest_of_each(own.filter(counts), Snapshot::has_content_of);
            if candidates.is_empty() {
                let older = self.held().filter(|it| it.is_whole_at(version));
                candidates = newest_of_each(older.filter(counts), |a, b| self.is_built_on(a, b));
            }
            if !candidates.is_empty() {
                break;
            }
        }
        let mut pruned = self.trusted().filter(|it| it.is_pruned).rev();
        match candidates.as_slice() {
            [snapshot] if snapshot.record.version == version => {
                Ok(Chosen::of(self.without_doubt(snapshot), version))
            }
            [snapshot] => Ok(Chosen::of(snapshot, version)),
            // Reading it reports that it was pruned, and which are kept.
            [] if let Some(snapshot) = pruned.find(|it| it.holds(version)) => {
                Ok(Chosen::of(snapshot, version))
            }
            [] => {
                let what = format!("version {version}");
                Err(self
                    .only_distrusted(&what, |it| it.holds(version))
                    .unwrap_or_else(|| self.version_not_held(version)))
            }
            several => {
                let what = format!(
                    "version {version} of {} was committed more than once",
                    self.name()
                );
                Err(owner_must_choose(what, several, Some(version)))
            }
        }
    }

    /// A version that a snapshot holds: its own, or an older one that it is whole at.
    fn version_of(&self, prefix: &str, version: Version) -> Result<Chosen<'_>, ChooseError> {
        let snapshot = self.by_id(prefix)?.snapshot;
        let record = &snapshot.record;
        if record.version == version || snapshot.is_whole_at(version) {
            return Ok(Chosen::of(snapshot, version));
        }
        let own = std::iter::once((record.version, record.version));
        Err(ChooseError::VersionNotHeld {
            table: format!("snapshot {} of {}", snapshot.id.short(), self.name()),
            version,
            held: joined(own.chain(record.whole_versions.iter().copied()).collect()),
        })
    }

    fn version_not_held(&self, version: Version) -> ChooseError {
        if let Some(not_whole) = self.not_whole(format!("version {version}")) {
            return not_whole;
        }
        let own = self.held().map(|it| (it.record.version, it.record.version));
        let older = self
            .held()
            .flat_map(|it| it.record.whole_versions.iter().copied());
        let held = joined(own.chain(older).collect());
        ChooseError::VersionNotHeld {
            table: self.name().to_owned(),
            version,
            held,
        }
    }

    /// The error where only distrusted snapshots fit: it names them, and none is chosen.
    fn only_distrusted(&self, what: &str, fits: impl Fn(&Snapshot) -> bool) -> Option<ChooseError> {
        let fitting: Vec<&Snapshot> = self.snapshots.iter().rev().filter(|it| fits(it)).collect();
        (!fitting.is_empty()).then(|| {
            owner_must_choose(
                format!("only distrusted snapshots of {} hold {what}", self.name()),
                &fitting,
                None,
            )
        })
    }

    /// Whether `newer` took entries over from `older`, directly or through others: both are of one history then,
    /// because a base counts only while its commit is still the table's.
    fn is_built_on(&self, newer: &Snapshot, older: &Snapshot) -> bool {
        let mut at = newer;
        while at.id != older.id {
            let Some(base) = at
                .record
                .base
                .and_then(|base| self.snapshots.iter().find(|it| it.id == base))
                // A record never builds on a later one; a forged one that does would send this in circles.
                .filter(|base| base.seq < at.seq)
            else {
                return false;
            };
            at = base;
        }
        true
    }
}

/// Joins stretches of versions that overlap or follow one another; the newest first.
fn joined(mut stretches: Vec<(Version, Version)>) -> Vec<(Version, Version)> {
    stretches.sort_unstable_by(|a, b| b.cmp(a));
    let mut joined: Vec<(Version, Version)> = Vec::new();
    for (first, last) in stretches {
        match joined.last_mut() {
            Some((lowest, highest)) if last.next() >= *lowest => {
                *lowest = first.min(*lowest);
                *highest = last.max(*highest);
            }
            _ => joined.push((first, last)),
        }
    }
    joined
}

impl Snapshot {
    /// Whether both hold the same state of the same table: the same manifest, or the same commit.
    pub fn has_content_of(&self, other: &Self) -> bool {
        let commit = |it: &Self| it.record.commit.as_ref().map(|commit| commit.sha256);
        let same_commit = match (commit(self), commit(other)) {
            (Some(one), Some(another)) => {
                one == another && self.record.table.delta_id == other.record.table.delta_id
            }
            _ => false,
        };
        same_commit || self.manifest() == other.manifest()
    }

    /// Whether it holds a version: its own, or an older one whole.
    fn holds(&self, version: Version) -> bool {
        self.record.version == version || self.is_whole_at(version)
    }

    /// Whether it holds an older version whole.
    pub fn is_whole_at(&self, version: Version) -> bool {
        is_in(&self.record.whole_versions, version)
    }

    fn manifest(&self) -> Digest {
        self.record.manifest.sha256
    }
}

impl<'a> Chosen<'a> {
    fn whole(snapshot: &'a Snapshot) -> Self {
        Self::of(snapshot, snapshot.record.version)
    }

    fn of(snapshot: &'a Snapshot, version: Version) -> Self {
        let record = &snapshot.record;
        Self {
            snapshot,
            version,
            committed: (version == record.version).then_some(record.commit_time),
            between: None,
        }
    }
}

/// Keeps the newest of those that are alike; `alike` is asked with the newer one first.
fn newest_of_each<'a>(
    snapshots: impl DoubleEndedIterator<Item = &'a Snapshot>,
    alike: impl Fn(&Snapshot, &Snapshot) -> bool,
) -> Vec<&'a Snapshot> {
    let mut kept: Vec<&Snapshot> = Vec::new();
    for snapshot in snapshots.rev() {
        if !kept.iter().any(|newer| alike(newer, snapshot)) {
            kept.push(snapshot);
        }
    }
    kept
}

fn owner_must_choose(
    what: String,
    snapshots: &[&Snapshot],
    version: Option<Version>,
) -> ChooseError {
    let choices = snapshots.iter().map(|snapshot| {
        let record = &snapshot.record;
        let mark = match snapshot {
            it if it.is_pruned => ", pruned",
            it if it.is_distrusted => ", distrusted",
            _ => "",
        };
        let older = version.filter(|version| *version != record.version);
        let older = older.map_or_else(String::new, |older| format!(" --version {older}"));
        format!(
            "--snapshot {}{older} (version {}, committed {}, taken {}{mark})",
            snapshot.id.short(),
            record.version,
            record.commit_time,
            record.taken_at
        )
    });
    ChooseError::Several {
        what,
        choices: choices.collect(),
    }
}

#[cfg(test)]
mod tests;
