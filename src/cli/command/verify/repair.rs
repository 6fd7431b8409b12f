//! `verify --repair`: what a verification found to be lost is put again from wherever its bytes still are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::TableKey;
use deltavault::format::record::TableIdentity;
use deltavault::ids::SnapshotId;
use deltavault::plan::verify::{Finding, Severity};
use deltavault::shell::{operand, quoted};
use deltavault::source::outside::Outside;
use deltavault::spool::Scratch;
use deltavault::store::local_path;
use deltavault::vault::Vault;
use deltavault::vault::repair::{
    InTheWay, LedgerPlan, LostLink, OpenTable, Origin, RepairPlan, Repaired, Repairer, SlotHolds,
    outcome,
};
use deltavault::vault::verify::{Hurt, Losses, LostKind};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::super::{Context, confirm};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};
use crate::cli::stores::{OpenVault, Stores};
use crate::cli::{cache, place};

/// How many lost files a snapshot's line names.
const NAMED: usize = 3;

/// What the rounds of a repair came to.
#[derive(Default)]
pub(super) struct Repairs {
    /// Objects of which all was put.
    repaired: BTreeSet<String>,
    /// What the snapshots that had lost something lack by now, in the order in which they were met.
    snapshots: BTreeMap<usize, (Hurt, Vec<String>)>,
    /// Whether records, manifests or pages were put in the last round, whose content was not verified since.
    pub(super) has_more: bool,
}

impl Repairs {
    /// How many objects were repaired.
    pub(super) fn count(&self) -> u64 {
        self.repaired.len() as u64
    }

    /// Whether all that was lost of an object was put.
    pub(super) fn has(&self, object: &str) -> bool {
        self.repaired.contains(object)
    }

    /// Takes note that a verification found nothing lost any more.
    pub(super) fn found_nothing(&mut self) {
        self.has_more = false;
        for (_, lacks) in self.snapshots.values_mut() {
            lacks.clear();
        }
    }

    fn add(&mut self, losses: &Losses, done: &[Repaired]) {
        self.found_nothing();
        for (user, lacks) in outcome(losses, done) {
            if let Some(hurt) = losses.snapshots.get(user) {
                self.snapshots.insert(user, (hurt.clone(), lacks));
            }
        }
        let whole = || done.iter().filter(|it| it.is_whole());
        self.repaired
            .extend(whole().map(|it| it.lost.key.to_string()));
        // An object may be lost in several ways, or once more.
        for it in done.iter().filter(|it| !it.is_whole()) {
            self.repaired.remove(it.lost.key.as_str());
        }
        let leads_on = |it: &Repaired| matches!(it.lost.what, LostKind::Manifest | LostKind::Page);
        self.has_more = whole().any(|it| leads_on(it) && !it.lost.is_only_locked_short());
    }

    /// Takes note of records that are in their slots again.
    fn put_back(&mut self, records: Vec<String>) {
        self.has_more |= !records.is_empty();
        self.repaired.extend(records);
    }

    /// Says of every snapshot that had lost something whether it is whole by now. `others` says what else is wrong with
    /// one.
    pub(super) fn tell(
        self,
        output: &mut Output,
        others: impl Fn(SnapshotId) -> Option<&'static str>,
    ) -> Result<(), CommandError> {
        let unverified = (self.has_more).then_some("what was put was not verified: verify again");
        for (hurt, lacks) in self.snapshots.into_values() {
            let otherwise = others(hurt.id).or(unverified);
            output.say(&MendedRow {
                table: hurt.name,
                snapshot: hurt.id,
                whole: lacks.is_empty() && otherwise.is_none(),
                lacks: lacks.len() as u64,
                first: lacks.into_iter().take(NAMED).collect(),
                otherwise,
            })?;
        }
        Ok(())
    }
}

/// Opens the replica that `--from` names.
///
/// # Errors
/// [`CommandError::NoReplica`], a replica of another vault, and what opening a vault refuses.
pub(super) async fn replica(
    open: &OpenVault,
    from: Option<&str>,
) -> Result<Option<OpenVault>, CommandError> {
    let Some(uri) = from else {
        return Ok(None);
    };
    let replica = match OpenVault::open(&open.stores, uri).await {
        Err(error) if error.is_without_vault() => {
            let uri = uri.to_owned();
            return Err(CommandError::NoReplica { uri });
        }
        opened => opened?,
    };
    is_the_same(&open.vault, &replica.vault)?;
    Ok(Some(replica))
}

/// What a repair is to do.
pub(super) struct Job<'a> {
    /// The tables; all without.
    pub(super) tables: Option<&'a [TableKey]>,
    /// What else to take bytes from.
    pub(super) replica: Option<&'a OpenVault>,
    /// Whether nobody need be asked.
    pub(super) yes: bool,
}

/// Puts again what was lost, after asking unless told otherwise; returns what a replica has and the vault cannot be given.
pub(super) async fn repair(
    open: &OpenVault,
    losses: &Losses,
    job: &Job<'_>,
    context: &mut Context,
    repairs: &mut Repairs,
) -> Result<Vec<InTheWay>, CommandError> {
    if job.replica.is_none() && losses.needed().next().is_none() {
        repairs.found_nothing();
        return Ok(Vec::new());
    }
    let shared = open.share()?;
    let temp = Scratch::create(&std::env::temp_dir()).map_err(Error::Scratch)?;
    let repairer = Repairer {
        vault: open.vault.clone(),
        store: open.bulk(),
        structure: open.place.write(),
        open: open_table(open.stores.clone()),
        replica: job.replica.map(|replica| replica.vault.clone()),
        pages: cache::page_cache(open.vault.file().id),
        now: context.clock.now(),
        temp: temp.path().to_owned(),
        progress: Arc::clone(&context.progress),
    };
    let ledgers = repairer.plan_ledgers(job.tables).await?;
    if losses.needed().next().is_none() && ledgers.back.is_empty() {
        repairs.found_nothing();
        return Ok(ledgers.in_the_way);
    }
    let plan = repairer.plan(losses).await?;
    let replica = repairer.replica.as_ref().map(Vault::uri);
    let planned = planned(&plan, &ledgers, replica, job.yes);
    context.output.say(&planned)?;
    if planned.objects == 0 {
        repairs.add(losses, &plan.into_lost());
        return Ok(ledgers.in_the_way);
    }
    if !job.yes {
        let what = format!("repair {}", counted(planned.objects, "lost object"));
        confirm(&what, context)?;
    }
    let output = &mut context.output;
    let mut put_back = Vec::new();
    for lost in &ledgers.back {
        let is_back = repairer.put_back(lost).await?;
        output.say(&link_row(lost, replica, is_back))?;
        if is_back {
            put_back.push(lost.key.to_string());
        }
    }
    let mut told = |repaired: &Repaired| Ok(output.say(&row(repaired))?);
    let done = repairer.execute(plan, &mut told).await?;
    drop(shared);
    repairs.add(losses, &done);
    repairs.put_back(put_back);
    Ok(ledgers.in_the_way)
}

/// The finding for a slot of which the replica has something that cannot be put into the vault. `typed` is what means the
/// table on a command line.
pub(super) fn in_the_way(
    slot: &InTheWay,
    typed: &str,
    open: &OpenVault,
    replica: &OpenVault,
) -> Finding<String> {
    let kind = slot.snapshot.map_or("event", |_| "record");
    let what = match slot.holds {
        SlotHolds::AnotherRecord => format!(
            "the replica has another {kind} in this slot: the vault lost that one, and a later one took its place"
        ),
        SlotHolds::NoRecord => {
            format!("the replica has a {kind} in this slot, and something else lies here")
        }
        SlotHolds::Passed => format!(
            "the replica has a {kind} in this slot, and something else lies here, over which a later one was published"
        ),
        SlotHolds::Nothing => {
            format!("the {kind} that the replica has in this slot fits none of those around it")
        }
    };
    let remedy = match (slot.holds, slot.snapshot) {
        (SlotHolds::NoRecord, _) => {
            format!(
                "{}, and repair again",
                move_away(open.vault.uri(), slot.key.as_str())
            )
        }
        (SlotHolds::AnotherRecord | SlotHolds::Passed | SlotHolds::Nothing, Some(snapshot)) => {
            let back = match slot.holds {
                SlotHolds::Nothing => "if something was moved out of the slot, move it back: ",
                SlotHolds::AnotherRecord | SlotHolds::Passed | SlotHolds::NoRecord => "",
            };
            format!(
                "{back}both ledgers can be read: `deltavault --vault {} restore {} --snapshot {}` restores what is only in the \
                 replica",
                quoted(place::typed(replica.vault.uri())),
                operand(typed),
                snapshot.short()
            )
        }
        (SlotHolds::AnotherRecord | SlotHolds::Passed | SlotHolds::Nothing, None) => {
            "compare the events of both, and `hold` again what was held".to_owned()
        }
    };
    Finding {
        severity: Severity::Warning,
        table: Some(typed.to_owned()),
        key: Some(slot.table.clone()),
        snapshots: Vec::new(),
        object: slot.key.to_string(),
        what,
        remedy,
    }
}

/// How something is taken out of its slot and kept.
fn move_away(vault: &str, key: &str) -> String {
    let uri = format!("{vault}/{key}");
    match local_path(&uri) {
        Some(path) => format!(
            "take it out of the slot: `mv {} .`",
            quoted(&path.display().to_string())
        ),
        None => format!(
            "take it out of the slot: `aws s3 mv {} .`, and where the bucket keeps versions delete that object version",
            quoted(&uri)
        ),
    }
}

/// Only a copy of this very vault is a replica of it.
fn is_the_same(vault: &Vault, replica: &Vault) -> Result<(), CommandError> {
    let flag = "--from";
    let rule = if vault.file().id != replica.file().id {
        "it names another vault, not a replica of this one"
    } else if vault.uri() == replica.uri() {
        "it names this vault itself, not a replica of it"
    } else {
        return Ok(());
    };
    Err(CommandError::UnusableFlag { flag, rule })
}

fn open_table(stores: Stores) -> OpenTable {
    Arc::new(move |identity: &TableIdentity| {
        let (stores, identity) = (stores.clone(), identity.clone());
        Box::pin(async move {
            let place = stores.home(&identity.source, &identity.uri).await?;
            // Only what has the right SHA-256 is taken from there.
            Ok(stores.source(&place, Outside::default()))
        })
    })
}

fn planned(
    plan: &RepairPlan,
    ledgers: &LedgerPlan,
    replica: Option<&str>,
    is_agreed: bool,
) -> RepairPlanned {
    let (objects, bytes) = plan.amount();
    let mut from: BTreeMap<String, u64> = BTreeMap::new();
    for step in plan.steps() {
        if let Some(origin) = &step.from {
            *from.entry(kind(origin)).or_default() += 1;
        }
    }
    let records = ledgers.back.len() as u64;
    if let Some(replica) = replica.filter(|_| records > 0) {
        *from.entry(replica.to_owned()).or_default() += records;
    }
    RepairPlanned {
        objects: objects + records,
        bytes: bytes + ledgers.back.iter().map(LostLink::size).sum::<u64>(),
        nowhere: (plan.steps().len() as u64).saturating_sub(objects),
        replica: replica.map(ToOwned::to_owned),
        from,
        is_agreed,
    }
}

fn link_row(lost: &LostLink, replica: Option<&str>, is_back: bool) -> RepairRow {
    let key = lost.key.to_string();
    let put = is_back.then(|| RepairPut {
        key: key.clone(),
        from: replica.unwrap_or_default().to_owned(),
        relocked: false,
    });
    RepairRow {
        still_lost: if is_back {
            Vec::new()
        } else {
            vec![key.clone()]
        },
        put: put.into_iter().collect(),
        object: key,
    }
}

/// Where bytes come from, whichever object.
fn kind(origin: &Origin) -> String {
    match origin {
        Origin::Vault(_) => "other objects of the vault".to_owned(),
        Origin::Live(_) => "the live table".to_owned(),
        Origin::Replica(uri) => uri.clone(),
        Origin::Cache => "this machine's page cache".to_owned(),
        Origin::Mixed => "several places".to_owned(),
        Origin::Substitute => "an earlier repair, to be locked for longer".to_owned(),
    }
}

fn row(repaired: &Repaired) -> RepairRow {
    let put = repaired.put.iter().map(|(key, origin)| RepairPut {
        key: key.to_string(),
        relocked: *origin == Origin::Substitute,
        from: match origin {
            Origin::Vault(key) => key.to_string(),
            Origin::Live(uri) | Origin::Replica(uri) => uri.clone(),
            Origin::Cache | Origin::Mixed | Origin::Substitute => kind(origin),
        },
    });
    RepairRow {
        object: repaired.lost.key.to_string(),
        put: put.collect(),
        still_lost: repaired.still_lost.clone(),
    }
}

/// What a repair would do.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairPlanned {
    /// Objects that would be put again, and their bytes.
    pub(crate) objects: u64,
    /// Bytes that are lost of them.
    pub(crate) bytes: u64,
    /// Lost objects of which nothing was found.
    pub(crate) nowhere: u64,
    /// The replica that was looked into.
    pub(crate) replica: Option<String>,
    /// Where the bytes are, with how many objects come from there.
    pub(crate) from: BTreeMap<String, u64>,
    /// Whether nobody is asked before they are put.
    #[serde(skip)]
    pub(crate) is_agreed: bool,
}

impl Message for RepairPlanned {
    const TYPE: &'static str = "repair_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let put = match (self.is_agreed, self.objects) {
            (false, _) => "would be put again",
            (true, 1) => "is put again",
            (true, _) => "are put again",
        };
        out.print(format_args!(
            "repair: {}, {}, {put}",
            counted(self.objects, "object"),
            HumanBytes(self.bytes)
        ))?;
        for (from, objects) in &self.from {
            out.print(format_args!("  {} from {from}", HumanCount(*objects)))?;
        }
        if self.nowhere > 0 {
            let nowhere = HumanCount(self.nowhere);
            match &self.replica {
                None => out.print(format_args!(
                    "  {nowhere} are nowhere to be had: name a replica with --from"
                ))?,
                Some(replica) => out.print(format_args!(
                    "  {nowhere} are nowhere to be had, not in {replica} either"
                ))?,
            }
        }
        Ok(())
    }
}

/// What became of a lost object.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairRow {
    pub(crate) object: String,
    /// What was put, and where its bytes came from.
    pub(crate) put: Vec<RepairPut>,
    /// What of it is still lost.
    pub(crate) still_lost: Vec<String>,
}

impl Message for RepairRow {
    const TYPE: &'static str = "repaired";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        for put in &self.put {
            if put.relocked {
                out.print(format_args!("locked for longer {}", put.key))?;
            } else {
                out.print(format_args!("put again {} from {}", put.key, put.from))?;
            }
        }
        for lost in &self.still_lost {
            out.print(format_args!("still lost: {lost}"))?;
        }
        Ok(())
    }
}

/// One object that was put.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairPut {
    pub(crate) key: String,
    /// Where its bytes came from.
    pub(crate) from: String,
    /// Whether it was there and its lock was extended.
    pub(crate) relocked: bool,
}

/// A snapshot that had lost something.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MendedRow {
    pub(crate) table: String,
    pub(crate) snapshot: SnapshotId,
    /// Whether it has nothing lost any more, and nothing else is wrong with it.
    pub(crate) whole: bool,
    /// How many files or objects it still lacks.
    pub(crate) lacks: u64,
    /// The first of them.
    pub(crate) first: Vec<String>,
    /// What else keeps it from being whole.
    pub(crate) otherwise: Option<&'static str>,
}

impl Message for MendedRow {
    const TYPE: &'static str = "mended";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let (table, id) = (&self.table, self.snapshot.short());
        if self.whole {
            return out.print(format_args!("{table} {id} is whole again"));
        }
        if self.lacks > 0 {
            return out.print(format_args!(
                "{table} {id} is still damaged: {} lost, first {}",
                HumanCount(self.lacks),
                self.first.join(", ")
            ));
        }
        let otherwise = self.otherwise.unwrap_or_default();
        out.print(format_args!(
            "{table} {id} lacks nothing any more, but {otherwise}"
        ))
    }
}
