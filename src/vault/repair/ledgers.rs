//! Puts back what a table's ledger and events have lost and a replica still has.
//!
//! A record goes back into its own slot, with a put that fails where anything lies there, and only where the chain that is
//! read with it is whole: both chains are merged, slot by slot, and read as one ledger. So what goes back is named by the
//! record above it, or goes on from the highest one below it.
//!
//! What a slot holds is never replaced. Where the slot of a record of the replica has other bytes here, [`InTheWay`] says so.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Repairer;
use crate::error::Error;
use crate::format::ledger::{
    self, Bodies, Chain, Chained, LedgerError, LedgerFinding, Link, ScarReason, SlotRow, Slots,
    Step,
};
use crate::format::record::RECORD_LIMIT;
use crate::format::{Event, EventRole, Record, TableKey};
use crate::ids::{Digest, ObjectKey, SnapshotId, Timestamp};
use crate::plan::retention::bounded_lock;
use crate::store::{Payload, StoreErrorKind, read_all};
use crate::vault::events::put_seal;
use crate::vault::{InSlots, SlotFolder, Vault};

/// What can be done about the ledgers of some tables.
#[derive(Debug, Default)]
pub struct LedgerPlan {
    /// What goes back, each chain from its lowest slot on.
    pub back: Vec<LostLink>,
    /// What does not.
    pub in_the_way: Vec<InTheWay>,
}

/// A record or an event that the vault has lost.
#[derive(Debug)]
pub struct LostLink {
    /// Its slot.
    pub key: ObjectKey,
    seal: ObjectKey,
    bytes: Bytes,
    lock_until: Option<Timestamp>,
}

/// The lowest slot of a chain in which the vault does not have what the replica has, and cannot be given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTheWay {
    /// The table.
    pub table: TableKey,
    /// The slot.
    pub key: ObjectKey,
    /// What lies there.
    pub holds: SlotHolds,
    /// The snapshot that the replica has there; `None` for an event.
    pub snapshot: Option<SnapshotId>,
}

/// What lies in a slot that does not hold what a replica has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotHolds {
    /// Nothing, but what the replica has does not fit between what lies above and below.
    Nothing,
    /// Another record of the chain.
    AnotherRecord,
    /// No record of the chain.
    NoRecord,
    /// No record of the chain, and one that was published above it goes round it: what is put there would hide that one.
    Passed,
}

/// What a replica can give back to one chain.
struct Given<B> {
    links: Vec<(Link<B>, Bytes)>,
    in_the_way: Option<(Link<B>, SlotHolds)>,
}

impl LostLink {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl Repairer {
    /// Compares the ledgers of tables, or of all, with those of the replica; writes nothing. Without a replica there is
    /// nothing to do.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn plan_ledgers(&self, tables: Option<&[TableKey]>) -> Result<LedgerPlan, Error> {
        let mut plan = LedgerPlan::default();
        let Some(replica) = &self.replica else {
            return Ok(plan);
        };
        let all = match tables {
            Some(_) => Vec::new(),
            None => replica.tables().await?,
        };
        for table in tables.unwrap_or(&all) {
            let records = self
                .given::<Record>(replica, SlotFolder::Records(table))
                .await?;
            let lock_until = |link: &Link<Record>| self.lock_of_record(table, link);
            add(&mut plan, SlotFolder::Records(table), records, lock_until)?;
            for role in EventRole::ALL {
                let slots_of = SlotFolder::Events(table, role);
                let events = self.given::<Event>(replica, slots_of).await?;
                let lock_until = |_: &Link<Event>| self.vault.floor(self.now);
                add(&mut plan, slots_of, events, lock_until)?;
            }
        }
        Ok(plan)
    }

    /// Puts back what a plan found; returns whether it is in its slot now, and was not before.
    ///
    /// # Errors
    /// What the vault's own store says.
    pub async fn put_back(&self, lost: &LostLink) -> Result<bool, Error> {
        let payload = Payload::from_bytes(lost.bytes.clone());
        let put = self.structure.put_new(&lost.key, &payload, lost.lock_until);
        let is_back = match put.await {
            Ok(written) => {
                let written = Some(&written);
                self.vault.is_first(&lost.key, &payload, written).await?
            }
            Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => false,
            Err(error) => return Err(error.into()),
        };
        if is_back {
            put_seal(self.structure.as_ref(), &lost.seal, lost.lock_until).await?;
        }
        Ok(is_back)
    }

    /// Until when a record is locked: for as long as its snapshot is promised.
    fn lock_of_record(&self, table: &TableKey, link: &Link<Record>) -> Option<Timestamp> {
        let floor = self.vault.floor(self.now)?;
        let lock =
            |record: &Record| bounded_lock(record.promise, table, self.vault.file(), self.now);
        Some(link.record().map_or(floor, lock))
    }

    async fn given<B: Chained>(
        &self,
        replica: &Vault,
        slots_of: SlotFolder<'_>,
    ) -> Result<Given<B>, Error> {
        let mut given = Given {
            links: Vec::new(),
            in_the_way: None,
        };
        let InSlots {
            rows: ours, seals, ..
        } = self.vault.in_slots(slots_of).await?;
        let replicated = replica.in_slots(slots_of).await?;
        let theirs = &replicated.rows;
        if theirs.is_empty() {
            return Ok(given);
        }
        let taken: BTreeSet<u64> = ours.iter().map(|row| row.seq).collect();
        let is_ours = |row: &SlotRow| taken.contains(&row.seq);
        let lacked: Vec<SlotRow> = theirs.iter().filter(|row| !is_ours(row)).cloned().collect();
        let own = Slots::from_listing(ours.iter().cloned()).with_seals(seals.iter().copied());
        let merged = Slots::from_listing(ours.into_iter().chain(lacked)).with_seals(seals);
        let mut bodies = Bodies::new();
        let own = self
            .walk(None, slots_of, &own, &is_ours, &mut bodies)
            .await?;
        let merged = self
            .walk(Some(replica), slots_of, &merged, &is_ours, &mut bodies)
            .await?;
        // The verification reports a ledger that this tool cannot read.
        let (Some(own), Some(merged)) = (own, merged) else {
            return Ok(given);
        };
        let is_worse = |finding: &LedgerFinding| {
            let breaks = matches!(
                finding,
                LedgerFinding::Fork { .. } | LedgerFinding::Broken { .. }
            );
            breaks && !own.findings.contains(finding)
        };
        // A slot above that names the one which is lost, or goes round it, has the last word about what goes there.
        let is_other = |finding: &LedgerFinding| {
            let LedgerFinding::Scar {
                reason:
                    ScarReason::PreviousMissing { previous: put }
                    | ScarReason::BuildsOnScar { previous: put }
                    | ScarReason::LeavesOut { leaves_out: put },
                ..
            } = finding
            else {
                return false;
            };
            let is_put = |it: &Link<B>| it.seq == *put && !taken.contains(&it.seq);
            merged.links.iter().any(is_put)
        };
        let fits = !merged
            .findings
            .iter()
            .any(|it| is_worse(it) || is_other(it));
        let has = |chain: &Chain<B>, link: &Link<B>| chain.links.iter().any(|it| it.id == link.id);
        for link in &merged.links {
            if fits && !taken.contains(&link.seq) {
                let key = slots_of.slot(link.seq).key().object_key()?;
                let version = link.version.as_ref();
                let (_, bytes) = read_all(replica.store(), &key, version, RECORD_LIMIT).await?;
                if Digest::of(&bytes) != link.id.0 {
                    break;
                }
                given.links.push((link.clone(), bytes));
            }
        }
        let slots = replicated.slots();
        let nothing_is_ours = |_: &SlotRow| false;
        let mut bodies = Bodies::new();
        let theirs = self
            .walk(
                Some(replica),
                slots_of,
                &slots,
                &nothing_is_ours,
                &mut bodies,
            )
            .await?;
        let theirs = theirs.map_or_else(Vec::new, |chain| chain.links);
        let is_left = |link: &&Link<B>| !(has(&own, link) || fits && has(&merged, link));
        if let Some(first) = theirs.iter().find(is_left) {
            let holds = if !taken.contains(&first.seq) {
                SlotHolds::Nothing
            } else if own.links.iter().any(|it| it.seq == first.seq) {
                SlotHolds::AnotherRecord
            } else if own.links.iter().any(|it| goes_round(it, first.seq)) {
                SlotHolds::Passed
            } else {
                SlotHolds::NoRecord
            };
            given.in_the_way = Some((first.clone(), holds));
        }
        Ok(given)
    }

    /// Reads a chain whose slots are the vault's where `is_ours` says so, else the replica's. `None` for one that needs a
    /// newer tool.
    async fn walk<B: Chained>(
        &self,
        replica: Option<&Vault>,
        slots_of: SlotFolder<'_>,
        slots: &Slots,
        is_ours: &(dyn Fn(&SlotRow) -> bool + Sync),
        bodies: &mut Bodies<B>,
    ) -> Result<Option<Chain<B>>, Error> {
        let mut newer = Vec::new();
        loop {
            match ledger::read_chain(slots, bodies, &newer) {
                Ok(Step::Done(chain)) => return Ok(Some(chain)),
                Ok(Step::Read(wanted)) => {
                    let (ours, theirs): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_ours);
                    self.vault.read_slots(slots_of, ours, bodies).await?;
                    if let Some(replica) = replica {
                        replica.read_slots(slots_of, theirs, bodies).await?;
                    }
                }
                Err(LedgerError::NewerRecord { id, .. }) => newer.push(id),
                Err(LedgerError::NewerEvent { .. } | LedgerError::NotForThisTool { .. }) => {
                    return Ok(None);
                }
            }
        }
    }
}

/// Whether a record was published above a slot, on one below it.
fn goes_round<B: Chained>(link: &Link<B>, seq: u64) -> bool {
    link.seq > seq && link.previous().is_none_or(|previous| previous.seq < seq)
}

fn add<B: Chained>(
    plan: &mut LedgerPlan,
    slots_of: SlotFolder<'_>,
    given: Given<B>,
    lock_until: impl Fn(&Link<B>) -> Option<Timestamp>,
) -> Result<(), Error> {
    for (link, bytes) in given.links {
        let slot = slots_of.slot(link.seq);
        plan.back.push(LostLink {
            key: slot.key().object_key()?,
            seal: slot.seal(link.id.0).object_key()?,
            bytes,
            lock_until: lock_until(&link),
        });
    }
    if let Some((first, holds)) = given.in_the_way {
        let (table, snapshot) = match slots_of {
            SlotFolder::Records(table) => (table, Some(first.id)),
            SlotFolder::Events(table, _) => (table, None),
        };
        plan.in_the_way.push(InTheWay {
            table: table.clone(),
            key: slots_of.slot(first.seq).key().object_key()?,
            holds,
            snapshot,
        });
    }
    Ok(())
}
