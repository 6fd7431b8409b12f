//! Reads the vault and decides: what is kept, what is needed for it, and what is to become of everything else.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use futures::TryStreamExt;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::doubtful::{Doubtful, without};
use super::facts::{Fact, Gathered, What, gather};
use super::table_read::{TableRead, decide, obstacles, read_table};
use super::{Amount, EachTable, Patience, Pruner, Sums, Survey, TableKept, Why};
use crate::error::Error;
use crate::format::layout::{MANIFESTS_PREFIX, PRUNE_PREFIX, PRUNED_PREFIXES};
use crate::format::prune_plan::PLAN_LIMIT;
use crate::format::{
    Event, EventAction, EventRole, GarbageReason, LockMode, PlanRow, PrunePlan, Reference,
    TableKey, VaultKey,
};
use crate::ids::{Digest, Id128, ObjectKey, SnapshotId, Timestamp};
use crate::plan::choose::{History, Snapshot};
use crate::plan::keep;
use crate::plan::keep::Decision;
use crate::plan::pause::Uses;
use crate::plan::prune::{
    By, Missing, PLAN_LIFE, Planned, Rules, Verdict, judge, may_be_substitute,
};
use crate::sort::Sorter;
use crate::store::{Attributes, ListedVersion, read_all};
use crate::vault::Vault;
use crate::vault::key_merge::{KeyMerge, Next};
use crate::vault::unnamed::named_by;
use crate::vault::walk::{OnDamage, Place, Seen, each_object, place, walk};

const OBSTACLES_NAMED: usize = 20;

pub(super) struct Reading<'a, 'f> {
    /// Asked for its pages itself, not a cache: what cannot be read there must not be taken for read.
    pub(super) vault: Vault,
    pub(super) pruner: &'a Pruner,
    pub(super) now: Timestamp,
    each_table: &'a mut EachTable<'f>,
    pub(super) facts: Sorter<Fact>,
    /// Hashes of the manifests that lie in the vault: of their keys and versions, and of their digests.
    manifests: HashSet<u64>,
    /// When the newest of the manifests and plans was put, and whether it has an object version: whether the bucket
    /// keeps versions now, whatever it did when other objects were put.
    newest: Option<(Timestamp, bool)>,
    heads: BTreeMap<Id128, u64>,
    /// Manifests that records name.
    pub(super) named: HashSet<Digest>,
    /// Whether manifests are kept that no record names.
    pub(super) keeps_unnamed: bool,
    watched: Vec<(TableKey, u64)>,
    pub(super) sums: Sums,
    obstacles: Vec<String>,
    uses: Uses,
}

impl Pruner {
    /// Reads the vault and decides; writes nothing but temporary files. What is decided about each table goes to `each_table`.
    ///
    /// # Errors
    /// [`Error::PruneRefused`] when anything that says what is kept, or that a kept snapshot needs, is damaged or cannot
    /// be read; what the stores say.
    pub async fn survey(
        &self,
        patience: Patience,
        now: Timestamp,
        each_table: &mut EachTable<'_>,
    ) -> Result<Survey, Error> {
        let begun = Instant::now();
        let mut reading = Reading {
            vault: self.vault.without_pages(),
            pruner: self,
            now,
            each_table,
            facts: Sorter::new(&self.temp)?,
            manifests: HashSet::new(),
            newest: None,
            heads: BTreeMap::new(),
            named: HashSet::new(),
            keeps_unnamed: false,
            watched: Vec::new(),
            sums: Sums::default(),
            obstacles: Vec::new(),
            uses: Uses::default(),
        };
        reading.manifests().await?;
        for table in self.vault.tables().await? {
            reading.table(&table).await?;
        }
        reading.refuse()?;
        let lock_mode = self.vault.file().lock_mode;
        let min_age = patience.min_age(lock_mode);
        let young = now.checked_sub(min_age).unwrap_or(Timestamp::MIN);
        reading.unnamed(young).await?;
        reading.refuse()?;
        let ripe = reading.plans(patience.grace).await?;
        let keeps_versions = reading.newest.is_some_and(|(_, has_version)| has_version);
        let rules = Rules {
            now,
            grace: patience.grace,
            min_age,
            names_suffice: patience.names_suffice(lock_mode, keeps_versions),
            heads: std::mem::take(&mut reading.heads),
        };
        let (delete, mark) = reading.judge(&rules).await?;
        Ok(Survey {
            now,
            begun,
            watched: reading.watched,
            delete,
            mark,
            ripe,
            uses: reading.uses,
            sums: reading.sums,
        })
    }
}

impl Reading<'_, '_> {
    pub(super) fn obstacle(&mut self, what: String) {
        self.obstacles.push(what);
    }

    fn refuse(&mut self) -> Result<(), Error> {
        if self.obstacles.is_empty() {
            return Ok(());
        }
        let count = self.obstacles.len();
        let mut obstacles = std::mem::take(&mut self.obstacles);
        obstacles.truncate(OBSTACLES_NAMED);
        Err(Error::PruneRefused { obstacles, count })
    }

    /// Takes note of which manifests there are: of those that only expired snapshots name, few are left.
    async fn manifests(&mut self) -> Result<(), Error> {
        let vault = self.vault.clone();
        let mut listing = vault.store().list_versions(MANIFESTS_PREFIX, None);
        while let Some(row) = listing.try_next().await? {
            if let ListedVersion::Object(object) = row {
                self.see(&object);
                if let Some(VaultKey::Content { sha256, .. }) = VaultKey::parse(object.key.as_str())
                {
                    self.manifests.insert(hash(&sha256));
                }
                let place: Place = (object.key, object.version);
                self.manifests.insert(hash(&place));
            }
        }
        Ok(())
    }

    /// Takes note of whether an object has a version, if it is the newest of those that were seen.
    fn see(&mut self, object: &Attributes) {
        self.uses.see(object.last_modified);
        let seen = (object.last_modified, object.version.is_some());
        self.newest = self.newest.max(Some(seen));
    }

    /// Decides about the snapshots of a table, and takes note of what they name.
    async fn table(&mut self, table: &TableKey) -> Result<(), Error> {
        let TableRead {
            history,
            events,
            next_hold,
            doubts,
        } = read_table(&self.vault, table).await?;
        let name = history.name().to_owned();
        let taken = history.snapshots.iter().map(|it| it.record.taken_at);
        let done = events.iter().map(|event| event.at);
        taken.chain(done).for_each(|at| self.uses.say(at));
        for what in obstacles(&history) {
            self.obstacle(format!("{name}: {what}"));
        }
        if history.snapshots.is_empty() && !events.is_empty() {
            self.events_alone(table);
        }
        for doubt in &doubts {
            let finding = format!("{name}: {doubt}, so all of its snapshots are kept");
            self.sums.findings.push(finding);
        }
        self.named.extend(named_by(&history));
        for (id, (at, by)) in keep::held(&events) {
            if !history.ids().any(|it| it == id) {
                let forged = forged_hold(table, &events, id);
                self.sums.findings.push(format!(
                    "{name}: snapshot {id} is held by {by} since {at}, and its record is lost, or never was: `deltavault verify \
                     --repair --from REPLICA` brings a lost one back; where there never was one, {forged} treats the hold as absent"
                ));
            }
        }
        let all_kept = !doubts.is_empty();
        let newest = history.snapshots.last().map(|snapshot| snapshot.seq);
        let newer = history.newer.last().map(|newer| newer.seq);
        self.heads
            .insert(table.hash(), newest.max(newer).unwrap_or_default());
        let decisions = decide(&history, &events, self.now);
        self.sums.tables += 1;
        if !all_kept && decisions.iter().any(|it| !it.reason.keeps()) {
            self.watched.push((table.clone(), next_hold));
        }
        let mut seen = Seen::new();
        for (snapshot, decision) in most_needed_first(&history, &decisions) {
            if decision.reason.keeps() || all_kept {
                self.sums.kept += 1;
            } else {
                self.sums.expired += 1;
            }
            self.snapshot(&name, (snapshot, decision), all_kept, &mut seen)
                .await?;
        }
        (self.each_table)(TableKept {
            table: table.clone(),
            name,
            decisions,
            all_kept,
        })
    }

    /// Takes note that a table has events that decide what is kept, and no record that they could be about.
    fn events_alone(&mut self, table: &TableKey) {
        let what = format!("{table}: there are events, but no record that they could be about");
        match self.vault.file().lock_mode {
            // Whoever may write events can put one anywhere. No record can be gone that was promised or held.
            LockMode::Governance | LockMode::Compliance => self.sums.findings.push(what),
            LockMode::None => self.obstacle(format!(
                "{what}; bring its records back; where no such table ever was, `--forged KEY` treats an event as absent, each by its key"
            )),
        }
    }

    /// Takes note of what a snapshot names: the reasons of one that is not kept, too. What was collected of it needs none.
    async fn snapshot(
        &mut self,
        name: &str,
        (snapshot, decision): (&Snapshot, &Decision),
        all_kept: bool,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let keeps = decision.reason.keeps();
        let record = &snapshot.record;
        let is_there = if keeps {
            true
        } else if all_kept {
            // By its digest: in a replica it has another version, and a repair put it under another name.
            self.manifests.contains(&hash(&record.manifest.sha256))
        } else {
            self.manifests.contains(&hash(&place(&record.manifest)))
        };
        if !is_there {
            return Ok(());
        }
        let by = |reference: &Reference| {
            if !keeps && !all_kept {
                By::Expired {
                    since: decision.free_since,
                    snapshot: snapshot.id,
                    locked_until: record.locks.get(&reference.generation).copied(),
                }
            } else if keeps && !snapshot.is_distrusted {
                By::Kept
            } else {
                By::BestEffort
            }
        };
        let facts = &mut self.facts;
        let mut each = each_object(|reference| {
            let what = What::named(reference, by(reference));
            push(facts, reference.key.clone(), what)
        });
        let error = match walk(&self.vault, record, OnDamage::Refuse, seen, &mut each).await {
            Err(error) if error.is_damage() => error,
            walked => return walked,
        };
        drop(each);
        let what = format!("{name}: snapshot {}", snapshot.id.short());
        if keeps && snapshot.is_distrusted {
            // Whoever forges a record can have it lead nowhere.
            let finding = format!("{what}: {error}: it is distrusted, and not waited for");
            self.sums.findings.push(finding);
        } else if keeps {
            let (table, id) = (&snapshot.table, snapshot.id.short());
            let distrust = format!("`deltavault snapshot {table} --distrust {id}`");
            self.obstacle(format!("{what}: {error}; if it is forged, {distrust}"));
        } else if all_kept {
            self.obstacle(format!("{what} may be held: {error}"));
        }
        Ok(())
    }

    /// Takes note of what earlier plans name; returns those that are old enough to be executed.
    async fn plans(&mut self, grace: SignedDuration) -> Result<Vec<Id128>, Error> {
        let mut ripe = Vec::new();
        let mut last = None;
        let vault = self.vault.clone();
        let mut listing = vault.store().list_versions(PRUNE_PREFIX, None);
        while let Some(row) = listing.try_next().await? {
            let ListedVersion::Object(object) = row else {
                continue;
            };
            self.see(&object);
            // What was put on top of a plan is none.
            if last.replace(object.key.clone()).as_ref() == Some(&object.key) {
                continue;
            }
            let Some(VaultKey::PrunePlan(id)) = VaultKey::parse(object.key.as_str()) else {
                continue;
            };
            let age = self.now.duration_since(object.last_modified);
            if age > PLAN_LIFE || object.size > PLAN_LIMIT {
                continue;
            }
            let version = object.version.as_ref();
            let (_, bytes) = read_all(vault.store(), &object.key, version, PLAN_LIMIT).await?;
            // One that cannot be read names nothing: that is marked again, and waits again.
            let Ok(plan) = PrunePlan::decode(&bytes) else {
                continue;
            };
            let since = plan.created.max(object.last_modified);
            if self.now.duration_since(since) >= grace && !plan.rows.is_empty() {
                ripe.push(id);
            }
            for row in plan.rows {
                let planned = Planned {
                    version: row.version,
                    since,
                    locked_until: row.locked_until,
                    was_named: matches!(row.reason, GarbageReason::Expired(_)),
                };
                push(&mut self.facts, row.key, What::Planned(planned))?;
            }
        }
        Ok(ripe)
    }

    /// Merges what is named with what lies there, and decides about each version of each key.
    async fn judge(&mut self, rules: &Rules) -> Result<(Rows, Rows), Error> {
        let temp = &self.pruner.temp;
        let facts = std::mem::replace(&mut self.facts, Sorter::new(temp)?);
        let (mut delete, mut mark) = (Sorter::new(temp)?, Sorter::new(temp)?);
        let mut doubtful = Doubtful::new(temp)?;
        let vault = self.vault.clone();
        let mut prefixes = PRUNED_PREFIXES;
        prefixes.sort_unstable();
        let mut merge = KeyMerge::new(facts.finish()?, vault.store(), &prefixes);
        loop {
            let key = match merge.next().await? {
                Next::Key(key) => key,
                Next::Unlistable(_, error) => return Err(error.into()),
                Next::End => break,
            };
            let facts = match gather(&mut merge, key).await? {
                Gathered::Facts(facts) => facts,
                Gathered::Crowded(key, objects, bytes) => {
                    let foreign = &mut self.sums.foreign;
                    foreign.add(key.as_str(), bytes);
                    foreign.amount.objects += objects - 1;
                    continue;
                }
            };
            match judge(&facts, rules) {
                // What lies there instead stays.
                Err(missing) => {
                    for stored in &facts.stored {
                        self.sums.needed.add(stored.size);
                    }
                    doubtful.gone.insert(missing.key);
                }
                Ok(None) => {
                    for stored in &facts.stored {
                        self.sums.foreign.add(facts.key.as_str(), stored.size);
                    }
                }
                Ok(Some(verdicts)) => {
                    for (at, (stored, verdict)) in facts.stored.iter().zip(verdicts).enumerate() {
                        if may_be_substitute(&facts, at) {
                            doubtful.push(stored.size, verdict)?;
                        } else {
                            self.count(stored.size, verdict, &mut delete, &mut mark)?;
                        }
                    }
                }
            }
        }
        let settled = self.settle(&mut doubtful).await?;
        for verdict in doubtful.verdicts(&settled, temp)? {
            let (size, mut verdict) = verdict?;
            // Nobody looks whether it serves for what a manifest leads to that no record names.
            if self.keeps_unnamed {
                verdict = Verdict::Needed;
            }
            self.count(size, verdict, &mut delete, &mut mark)?;
        }
        for key in settled.lost {
            self.obstacle(Missing { key }.to_string());
        }
        self.refuse()?;
        let sums = &mut self.sums;
        let delete = without(
            delete,
            &settled.serve,
            &mut sums.delete,
            &mut sums.needed,
            temp,
        )?;
        let mark = without(mark, &settled.serve, &mut sums.mark, &mut sums.needed, temp)?;
        Ok((delete, mark))
    }

    fn count(
        &mut self,
        size: u64,
        verdict: Verdict,
        delete: &mut Rows,
        mark: &mut Rows,
    ) -> Result<(), Error> {
        let sums = &mut self.sums;
        let add = |to: &mut BTreeMap<Why, Amount>, row: &PlanRow| {
            to.entry(Why::from(&row.reason)).or_default().add(row.size);
        };
        match verdict {
            Verdict::Needed => sums.needed.add(size),
            Verdict::Unfinished => sums.unfinished.add(size),
            Verdict::Young => sums.young.add(size),
            Verdict::Unversioned => sums.unversioned.add(size),
            Verdict::Waits(row) => add(&mut sums.waits, &row),
            Verdict::Locked(row) => add(&mut sums.locked, &row),
            Verdict::Mark(row) => {
                add(&mut sums.mark, &row);
                mark.push(Ranked::of(row))?;
            }
            Verdict::Delete(row) => {
                add(&mut sums.delete, &row);
                delete.push(Ranked::of(row))?;
            }
        }
        Ok(())
    }
}

pub(super) type Rows = Sorter<Ranked>;

/// A row in the order in which rows are deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(super) struct Ranked {
    rank: Option<u8>,
    pub(super) row: PlanRow,
}

impl Ranked {
    fn of(row: PlanRow) -> Self {
        let rank = rank(&row.key);
        Self { rank, row }
    }
}

/// A table's snapshots in the order in which they are read: an object that several name is noted under the strongest
/// reason to keep it.
pub(super) fn most_needed_first<'a>(
    history: &'a History,
    decisions: &'a [Decision],
) -> Vec<(&'a Snapshot, &'a Decision)> {
    let snapshots = history.snapshots.iter().zip(decisions).rev();
    let mut snapshots: Vec<(&Snapshot, &Decision)> = snapshots.collect();
    snapshots.sort_by_key(|(snapshot, decision)| {
        let keeps = decision.reason.keeps();
        (!keeps, snapshot.is_distrusted)
    });
    snapshots
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The rank of a key in the order in which objects are deleted; `None` for what never is.
fn rank(key: &ObjectKey) -> Option<u8> {
    let mut prefixes = PRUNED_PREFIXES.iter();
    let rank = prefixes.position(|prefix| key.as_str().starts_with(prefix))?;
    u8::try_from(rank).ok()
}

pub(super) fn push(facts: &mut Sorter<Fact>, key: ObjectKey, what: What) -> Result<(), Error> {
    // A forged manifest may name anything; only what could be deleted has to be kept.
    if rank(&key).is_some() {
        facts.push(Fact { key, what })?;
    }
    Ok(())
}

/// The flags with which the holds of a snapshot are treated as absent.
fn forged_hold(table: &TableKey, events: &[Event], snapshot: SnapshotId) -> String {
    let hold = EventAction::Hold { snapshot };
    let holds = events.iter().filter(|event| event.action == hold);
    let flags = holds.map(|event| {
        let (table, role, seq) = (table.clone(), EventRole::Holder, event.seq);
        format!("--forged {}", VaultKey::Event { table, role, seq })
    });
    flags.collect::<Vec<_>>().join(" ")
}
