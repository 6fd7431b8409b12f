//! What a rewind, a replacement or an undo needs beyond a restore: the snapshotter's keys, the restorer's events, and
//! nothing else under way.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{Scope, TableKey, Trigger, VaultKey};
use deltavault::ids::{ObjectKey, SnapshotId, Version};
use deltavault::plan::restore::deed::Deed;
use deltavault::plan::retention::RetentionRequest;
use deltavault::plan::unheld::is_catalog_managed;
use deltavault::vault::restore::{Intent, RestorePlan, Safety, TurnBack};

use super::super::Context;
use super::super::snapshot::{Run, TableToTake, Taker};
use super::args::{Asked, How, Which};
use super::choose::Chosen;
use crate::cli::error::CommandError;
use crate::cli::output::counted;
use crate::cli::stores::{OpenVault, Place};
use crate::cli::who;

/// What carries out a plan that turns the live table back; `None` for any other restore.
pub(super) async fn turn(
    asked: &Asked<'_>,
    table: &TableKey,
    chosen: &Chosen,
    (plan, under_way): (&RestorePlan, Option<&Deed>),
    open: &OpenVault,
    context: &Context,
) -> Result<Option<TurnBack>, CommandError> {
    let intent = match &asked.how {
        How::To(_) => return Ok(None),
        How::InPlace | How::Heal => {
            // Going on from what is half done would make something that never was.
            let is_safety = |deed: &Deed| deed.turned.safety == Some(chosen.id);
            if let Some(deed) = under_way.filter(|deed| !is_safety(deed))
                && asked.which != Which::Unsaid
            {
                return Err(another((table, deed), asked, chosen, context));
            }
            return Ok(None);
        }
        How::Undo(deed) => Intent::Undo(deed.clone()),
        How::Rewind | How::Replace => {
            if let Some(deed) = under_way.filter(|deed| !is_same(deed, asked, chosen)) {
                return Err(another((table, deed), asked, chosen, context));
            }
            if plan.removed() == 0 && under_way.is_none() {
                return Ok(None);
            }
            if is_catalog_managed(&chosen.record) {
                let table = chosen.record.table.name.clone();
                return Err(TurnError::CatalogManaged { table }.into());
            }
            Intent::Begin(Box::new(safety(asked, table, open, context).await?))
        }
    };
    Ok(Some(TurnBack {
        intent,
        notes: open.place.note(),
        actor: who::actor(context.clock.now(), &open.place).await,
        quiet: context.clock.quiet(),
    }))
}

/// Whether what was begun is what is asked for.
fn is_same(deed: &Deed, asked: &Asked<'_>, chosen: &Chosen) -> bool {
    deed.turned.snapshot == chosen.id
        && deed.turned.version == chosen.version
        && deed.kind.is_of_replace() == (asked.how == How::Replace)
        && !deed.kind.is_undo()
}

/// Something else was begun and not finished.
fn another(
    (table, deed): (&TableKey, &Deed),
    asked: &Asked<'_>,
    chosen: &Chosen,
    context: &Context,
) -> CommandError {
    let name = &asked.table.text;
    let undo = context.again.command(&["undo", name]);
    TurnError::UnderWay {
        table: chosen.record.table.name.clone(),
        by: deed.by.clone(),
        version: deed.turned.version,
        snapshot: deed.turned.snapshot,
        go_on: (!deed.kind.is_undo()).then(|| context.again.deed(name, deed)),
        undo,
        event: deed.event(table),
    }
    .into()
}

/// What takes the safety snapshot: on S3 with the keys of the profile that the configuration names, because the
/// restorer may not write snapshots.
async fn safety(
    asked: &Asked<'_>,
    table: &TableKey,
    open: &OpenVault,
    context: &Context,
) -> Result<Safety, CommandError> {
    let place = match (&open.place, &context.config.s3.snapshot_profile) {
        (Place::Folder(_), _) => open.place.clone(),
        (Place::Bucket(_), Some(profile)) => {
            let store = open.stores.vault_as(open.place.uri(), profile).await?;
            Place::Bucket(store).with_lock_mode(open.vault.file().lock_mode)
        }
        (Place::Bucket(_), None) => return Err(TurnError::NoSnapshotProfile.into()),
    };
    let open = OpenVault {
        place,
        ..open.clone()
    };
    let taker = Taker::new(open, Arc::clone(&context.progress));
    let configured = context.config.table(&asked.table.text);
    let take = TableToTake {
        table: asked.table.clone(),
        scope: configured.map_or(Scope::Live, |table| table.scope),
        class: None,
        outside: match configured {
            Some(table) => table.outside.clone(),
            None => asked.outside.clone(),
        },
    };
    let run = Run {
        trigger: Trigger::Safety,
        ask: RetentionRequest::default(),
        max_commit: None,
        clock: context.clock,
        set: None,
        distrust: BTreeMap::new(),
        accept_tip: None,
    };
    let job = taker.job(&take, &run, &context.config).await?;
    if job.request.key != *table {
        return Err(CommandError::AnotherSource {
            uri: job.request.table.uri,
            recorded: table.to_string(),
            today: job.request.key.to_string(),
        });
    }
    let mut snapshotter = taker.snapshotter;
    snapshotter.interrupt = context.interrupt.clone();
    Ok(Safety {
        snapshotter,
        source: job.source,
        request: job.request,
    })
}

/// Why a live table is not turned back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// Its catalog decides which versions it has.
    #[error(
        "the catalog of {table} decides which versions it has, and would go on with those that are removed"
    )]
    CatalogManaged { table: String },
    /// Something else was begun and not finished.
    #[error(
        "{table}: {by} has begun to put v{version}, snapshot {}, in its place, and that is not finished",
        snapshot.short()
    )]
    UnderWay {
        table: String,
        by: String,
        version: Version,
        snapshot: SnapshotId,
        /// The command that goes on with it, where it is not an undo.
        go_on: Option<String>,
        /// The command that takes it back, or goes on with taking it back.
        undo: String,
        /// The event that says that it was begun.
        event: VaultKey,
    },
    /// No profile is configured for the safety snapshot.
    #[error("no safety snapshot can be taken: the configuration has no snapshot_profile")]
    NoSnapshotProfile,
    /// No rewind and no replacement is to be taken back.
    #[error("{table} has no rewind or replacement to take back{why}")]
    NothingToUndo { table: String, why: String },
    /// The one that is to be taken back was made without a safety snapshot.
    #[error("the vault does not hold what {table} was before: no safety snapshot could be taken")]
    NothingHeld { table: String },
    /// Somebody has committed since.
    #[error(
        "somebody has committed to {table} since: {} that snapshot {} does not hold, first {}",
        counted(files.len() as u64, "file"),
        snapshot.short(),
        files.first().map_or("", ObjectKey::as_str)
    )]
    CommittedSince {
        table: String,
        snapshot: SnapshotId,
        files: Vec<ObjectKey>,
        /// The command that puts back what was there before, all the same.
        replace: String,
    },
}

impl TurnError {
    /// How the process ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoSnapshotProfile => ExitCode::Usage,
            Self::CatalogManaged { .. }
            | Self::UnderWay { .. }
            | Self::NothingToUndo { .. }
            | Self::NothingHeld { .. }
            | Self::CommittedSince { .. } => ExitCode::OwnerMustChoose,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::CatalogManaged { .. } => {
                "restore elsewhere with --to, and register the copy with the catalog".into()
            }
            Self::UnderWay {
                go_on, undo, event, ..
            } => {
                let ways = match go_on {
                    Some(go_on) => format!("`{go_on}` goes on with it; `{undo}` takes it back"),
                    None => format!("`{undo}` goes on with taking it back"),
                };
                format!("{ways}; where none of yours began it, `--forged {event}` treats it as absent")
            }
            Self::NoSnapshotProfile => {
                "the restorer may not write snapshots: set `snapshot_profile = \"NAME\"` under [vault], an AWS \
                 profile with the keys of the role snapshotter"
                    .into()
            }
            Self::NothingToUndo { .. } => {
                "`deltavault snapshots` lists what is held, the safety snapshots too; restore one by its id".into()
            }
            Self::NothingHeld { .. } => {
                "what was removed from its log is in _deltavault/aside beside the table".into()
            }
            Self::CommittedSince { replace, .. } => format!(
                "nothing was changed: `{replace}` puts back what was there before, and holds what is there now first"
            ),
        }
    }
}
