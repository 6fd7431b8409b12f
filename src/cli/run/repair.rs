//! `verify --repair`: what a verification found to be lost is put again from wherever its bytes still are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::Error;
use deltavault::format::record::TableIdentity;
use deltavault::ids::SnapshotId;
use deltavault::vault::Vault;
use deltavault::vault::repair::{OpenTable, Origin, RepairPlan, Repaired, Repairer, outcome};
use deltavault::vault::verify::{Hurt, Losses, LostKind};

use super::{Context, confirm};
use crate::cli::cache;
use crate::cli::render::Output;
use crate::cli::rows::{MendedRow, RepairPlanned, RepairPut, RepairRow};
use crate::cli::stores::{OpenVault, Stores};

/// How many lost files a snapshot's line names.
const NAMED: usize = 3;

/// What the rounds of a repair came to.
#[derive(Default)]
pub(super) struct Repairs {
    /// Objects of which all was put.
    repaired: BTreeSet<String>,
    /// What the snapshots that had lost something lack by now, in the order in which they were met.
    snapshots: BTreeMap<usize, (Hurt, Vec<String>)>,
    /// Whether manifests or pages were put in the last round, whose content was not verified since.
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

    /// Says of every snapshot that had lost something whether it is whole by now. `others` says what else is wrong with
    /// one.
    pub(super) fn tell(
        self,
        output: &mut Output,
        others: impl Fn(SnapshotId) -> Option<&'static str>,
    ) -> Result<(), Error> {
        let unverified = (self.has_more).then_some("what was put was not verified: verify again");
        for (hurt, lacks) in self.snapshots.into_values() {
            let otherwise = others(hurt.id).or(unverified);
            output.mended(&MendedRow {
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

/// Puts again what was lost, after asking unless `yes`.
pub(super) async fn repair(
    open: &OpenVault,
    losses: &Losses,
    (from, yes): (Option<&str>, bool),
    context: &mut Context,
    repairs: &mut Repairs,
) -> Result<(), Error> {
    let shared = open.share()?;
    let temp = tempfile::tempdir().map_err(Error::Scratch)?;
    let replica = match from {
        Some(uri) => Some(OpenVault::open(&open.stores, uri).await?.vault),
        None => None,
    };
    if let Some(replica) = &replica {
        is_the_same(&open.vault, replica)?;
    }
    let repairer = Repairer {
        vault: open.vault.clone(),
        store: open.bulk(),
        structure: open.place.write(),
        open: open_table(open.stores.clone()),
        replica,
        pages: cache::page_cache(open.vault.file().id),
        now: context.clock.now(),
        temp: temp.path().to_owned(),
        progress: Arc::clone(&context.progress),
    };
    let plan = repairer.plan(losses).await?;
    let replica = repairer.replica.as_ref();
    let planned = planned(&plan, replica.map(Vault::uri));
    context.output.repair_planned(&planned)?;
    if planned.objects == 0 {
        repairs.add(losses, &plan.into_lost());
        return Ok(());
    }
    if !yes {
        let what = format!("repair {} lost objects", planned.objects);
        confirm(&what, context)?;
    }
    let output = &mut context.output;
    let mut told = |repaired: &Repaired| output.repaired(&row(repaired));
    let done = repairer.carry_out(plan, &mut told).await?;
    drop(shared);
    repairs.add(losses, &done);
    Ok(())
}

/// Only a copy of this very vault is a replica of it.
fn is_the_same(vault: &Vault, replica: &Vault) -> Result<(), Error> {
    if vault.file().id == replica.file().id {
        return Ok(());
    }
    Err(Error::UnusableFlag {
        flag: "--from",
        rule: "it names another vault, not a replica of this one",
    })
}

fn open_table(stores: Stores) -> OpenTable {
    Arc::new(move |identity: &TableIdentity| {
        let (stores, identity) = (stores.clone(), identity.clone());
        Box::pin(async move {
            let place = stores.home(&identity.source, &identity.uri).await?;
            Ok(stores.source(&place))
        })
    })
}

fn planned(plan: &RepairPlan, replica: Option<&str>) -> RepairPlanned {
    let (objects, bytes) = plan.amount();
    let mut from: BTreeMap<String, u64> = BTreeMap::new();
    for step in plan.steps() {
        if let Some(origin) = &step.from {
            *from.entry(kind(origin)).or_default() += 1;
        }
    }
    RepairPlanned {
        objects,
        bytes,
        nowhere: (plan.steps().len() as u64).saturating_sub(objects),
        replica: replica.map(ToOwned::to_owned),
        from,
    }
}

/// Where bytes come from, whichever object.
fn kind(origin: &Origin) -> String {
    match origin {
        Origin::Vault(_) => "other objects of the vault".to_owned(),
        Origin::Live(_) => "the live table".to_owned(),
        Origin::Replica(uri) => uri.clone(),
        Origin::Cache => "this machine's page cache".to_owned(),
        Origin::Several => "several places".to_owned(),
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
            Origin::Cache | Origin::Several | Origin::Substitute => kind(origin),
        },
    });
    RepairRow {
        object: repaired.lost.key.to_string(),
        put: put.collect(),
        still_lost: repaired.still_lost.clone(),
    }
}
