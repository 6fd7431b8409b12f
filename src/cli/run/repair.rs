//! `verify --repair`: what a verification found to be lost is put again from wherever its bytes still are.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::vault::Vault;
use deltavault::vault::repair::{OpenTable, Origin, RepairPlan, Repaired, Repairer, outcome};
use deltavault::vault::verify::{Losses, LostKind};
use deltavault::{Error, format::record::TableIdentity};

use super::{Context, confirm};
use crate::cli::cache;
use crate::cli::rows::{MendedRow, RepairPlanned, RepairPut, RepairRow};
use crate::cli::stores::{OpenVault, Stores};

/// How many lost files a snapshot's line names.
const NAMED: usize = 3;

/// What a repair left.
pub(super) struct Left {
    /// Whether anything is still lost.
    pub(super) is_damaged: bool,
    /// Whether manifests or pages were put, whose content was not verified yet.
    pub(super) has_more: bool,
}

/// Puts again what was lost, after asking unless `yes`.
pub(super) async fn repair(
    open: &OpenVault,
    losses: &Losses,
    (from, yes): (Option<&str>, bool),
    context: &mut Context,
) -> Result<Left, Error> {
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
    let planned = planned(&plan);
    context.output.repair_planned(&planned)?;
    if planned.objects == 0 {
        return Ok(Left {
            is_damaged: planned.nowhere > 0,
            has_more: false,
        });
    }
    if !yes {
        let what = format!("put {} lost objects again", planned.objects);
        confirm(&what, context)?;
    }
    let output = &mut context.output;
    let mut told = |repaired: &Repaired| output.repaired(&row(repaired));
    let done = repairer.carry_out(plan, &mut told).await?;
    drop(shared);
    for (user, lacks) in outcome(losses, &done) {
        let Some(snapshot) = losses.snapshots.get(user) else {
            continue;
        };
        context.output.mended(&MendedRow {
            table: snapshot.name.clone(),
            snapshot: snapshot.id,
            whole: lacks.is_empty(),
            lacks: lacks.len() as u64,
            first: lacks.into_iter().take(NAMED).collect(),
        })?;
    }
    Ok(Left {
        is_damaged: done.iter().any(|it| !it.is_whole()),
        has_more: done
            .iter()
            .any(|it| it.is_whole() && matches!(it.lost.what, LostKind::Manifest | LostKind::Page)),
    })
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

fn planned(plan: &RepairPlan) -> RepairPlanned {
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
        Origin::Substitute => "an earlier repair, and only their locks are extended".to_owned(),
    }
}

fn row(repaired: &Repaired) -> RepairRow {
    let put = repaired.put.iter().map(|(key, origin)| RepairPut {
        key: key.to_string(),
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
