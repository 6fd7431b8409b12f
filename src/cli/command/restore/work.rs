//! A restore that is about to be planned or carried out.

use std::sync::Arc;
use std::time::Duration;

use deltavault::Error;
use deltavault::ids::Timestamp;
use deltavault::plan::restore::consent::ChosenBy;
use deltavault::plan::restore::{Mode, Situation};
use deltavault::plan::streams::{self, Txns};
use deltavault::progress::Progress;
use deltavault::source::outside::Outside;
use deltavault::vault::restore::{
    self, Checked, Expected, LogWanted, RestorePlan, Restorer, TurnBack, TurnedBackDone,
};
use deltavault::vault::snapshot::Interrupt;
use futures::TryStreamExt as _;

use super::super::Context;
use super::args::How;
use super::args::{Asked, Which};
use super::choose::Chosen;
use super::told::{Found, Streams};
use crate::cli::cache;
use crate::cli::error::CommandError;
use crate::cli::place::overlap;
use crate::cli::stores::{OpenVault, Place, listed};
use crate::cli::who;

/// How long what is left of a dropped table is watched.
const WATCHED: Duration = Duration::from_secs(1);

/// How much is put back.
#[derive(Debug, Clone, Default)]
pub(in crate::cli::command) struct Extent {
    /// Where files outside the table's folder may be.
    pub(in crate::cli::command) outside: Outside,
    /// Which checkpoints are.
    pub(in crate::cli::command) log: LogWanted,
    /// Whether what the vault has lost is left out.
    pub(in crate::cli::command) accept_damaged: bool,
}

/// A restore that is about to be planned or carried out.
pub(in crate::cli::command) struct Work {
    pub(super) restorer: Restorer,
    pub(super) request: restore::RestoreRequest,
    pub(super) target: Place,
    /// Whether a snapshot of the table takes in files outside of it.
    takes_outside: bool,
}

impl Work {
    /// Makes the restore of a chosen snapshot ready, as it was asked for.
    pub(super) async fn ready(
        open: &OpenVault,
        chosen: &Chosen,
        request: &Asked<'_>,
        context: &Context,
    ) -> Result<Self, CommandError> {
        let extent = Extent {
            outside: listed(&request.outside),
            log: request.log,
            accept_damaged: request.args.accept_damaged,
        };
        let (now, progress) = (context.clock.now(), Arc::clone(&context.progress));
        let mut work = Self::new(open, chosen, &request.how, extent, now, progress).await?;
        let to = work.target.uri();
        let mut configured = context.config.tables.iter();
        if matches!(request.how, How::To(_)) && configured.any(|table| overlap(to, &table.uri)) {
            return Err(CommandError::InvalidUri {
                uri: to.to_owned(),
                rule: "the configuration has a table there, above or below: a copy goes to a place of its own",
            });
        }
        work.restorer.interrupt = context.interrupt.clone();
        work.request.take_over = request.args.take_over;
        work.request.named = request.which.named();
        work.takes_outside = match context.config.table(&request.table.text) {
            Some(table) => !table.outside.is_empty(),
            None => !request.outside.is_empty(),
        };
        Ok(work)
    }

    /// Makes a restore ready; nothing is read or written yet.
    pub(in crate::cli::command) async fn new(
        open: &OpenVault,
        chosen: &Chosen,
        how: &How,
        extent: Extent,
        now: Timestamp,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, CommandError> {
        let stores = &open.stores;
        let table = &chosen.record.table;
        let home = stores.home(&table.source, &table.uri).await;
        let origin = home.as_ref().ok().map(Place::read);
        let (target, mode) = match how {
            How::To(place) => {
                let target = stores.table(place).await?;
                // The place where the table was may be out of reach; a copy needs nothing of it.
                if home.is_ok_and(|home| target.contains(&home) || home.contains(&target)) {
                    return Err(CommandError::InvalidUri {
                        uri: target.uri().to_owned(),
                        rule: "a copy goes to a place of its own, not above, below or in that of the table",
                    });
                }
                (target, Mode::To)
            }
            How::Heal => (home?, Mode::Heal),
            How::InPlace => (home?, Mode::InPlace),
            How::Rewind => (home?, Mode::Rewind),
            How::Replace => (home?, Mode::Replace),
            How::Undo(deed) if deed.kind.is_of_replace() => (home?, Mode::Replace),
            How::Undo(_) => (home?, Mode::Undo),
        };
        open.refuse_overlap(&target)?;
        Ok(Self {
            restorer: Restorer {
                vault: cache::with_pages(open.vault.clone()).watched_by(Arc::clone(&progress)),
                target: target.restore(),
                origin,
                outside: stores.outside_for_restore(extent.outside.clone()),
                temp: std::env::temp_dir(),
                progress,
                interrupt: Interrupt::default(),
            },
            request: restore::RestoreRequest {
                id: chosen.id,
                record: Arc::clone(&chosen.record),
                version: chosen.version,
                mode,
                outside: extent.outside,
                log: extent.log,
                accept_damaged: extent.accept_damaged,
                now,
                by: who::principal(&open.place).await,
                take_over: false,
                named: ChosenBy::ByOwner,
            },
            target,
            takes_outside: false,
        })
    }

    /// Plans it.
    pub(in crate::cli::command) async fn plan(&self) -> Result<RestorePlan, Error> {
        self.restorer.plan(&self.request).await
    }

    /// What is told of a plan: what it found, the live table where that is asked about, and how far streams have
    /// written.
    pub(super) async fn found(
        &self,
        plan: &RestorePlan,
        which: &Which,
    ) -> Result<Found, CommandError> {
        let mut found = Found::new(plan);
        let in_place = found.situation == Situation::NothingAbove;
        if in_place && found.is_all_there() && *which == Which::Unsaid {
            let live = self.restorer.look_at_live(&self.request).await?;
            found = found.with_live(live);
        }
        self.allow_outside(&mut found);
        let live = &plan.live;
        match found.situation {
            // Without any now, there is none that could have gone on.
            Situation::NewerLive { .. } if live.txns.as_ref().is_some_and(Txns::is_empty) => {
                found.streams = Streams::Known(Vec::new());
                return Ok(found);
            }
            Situation::NoLog | Situation::EmptyTarget | Situation::NewerLive { .. } => {}
            Situation::NothingAbove
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => return Ok(found),
        }
        let held = match &live.txns_at {
            Some(txns) => Ok(txns.clone()),
            None => self.restorer.held_txns(&self.request).await,
        };
        found.streams = match held {
            Ok(held) => Streams::Known(streams::compare(&held, live.txns.as_ref())),
            // Damage stops whatever needs the damaged bytes; telling of streams does not.
            Err(error @ (Error::Damaged { .. } | Error::Log(_))) => {
                Streams::Unknown(error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(found)
    }

    /// What is told once files were put back under a newer live table: they may have made its newest versions whole.
    pub(super) async fn found_after(&self, found: &Found) -> Result<Option<Found>, CommandError> {
        if !matches!(found.situation, Situation::NewerLive { .. }) {
            return Ok(None);
        }
        let live = self.restorer.look_at_live(&self.request).await?;
        let mut found = found.clone().with_live(live);
        self.allow_outside(&mut found);
        Ok(Some(found))
    }

    /// Forgets files outside of the table where a snapshot of it takes them in: they stand in the way of nothing.
    fn allow_outside(&self, found: &mut Found) {
        if self.takes_outside {
            found.live.outside = None;
        }
    }

    /// Looks at what was put back.
    pub(super) async fn check(&self, expected: &Expected) -> Result<Checked, Error> {
        self.restorer.check(&self.request, expected).await
    }

    /// Watches for a moment whether objects vanish: who deletes a table may not be done with it.
    pub(super) async fn vanishing(&self) -> Result<u64, CommandError> {
        let before = self.count().await?;
        tokio::time::sleep(WATCHED).await;
        Ok(before.saturating_sub(self.count().await?))
    }

    pub(super) async fn count(&self) -> Result<u64, CommandError> {
        let store = self.target.read();
        let listing = store.list("", None);
        Ok(listing.try_fold(0, async |count, _| Ok(count + 1)).await?)
    }

    /// Turns the live table back as the plan says. The claim counts from `now`.
    pub(super) async fn turn_back(
        &self,
        plan: RestorePlan,
        turn: &TurnBack,
        now: Timestamp,
    ) -> Result<TurnedBackDone, CommandError> {
        self.target.make()?;
        let request = restore::RestoreRequest {
            now,
            ..self.request.clone()
        };
        Ok(self.restorer.turn_back(&request, plan, turn).await?)
    }

    /// Makes the target's folder where it is gone, and does what the plan says.
    /// The claim counts from `now`: whoever was asked may have taken an hour to answer.
    pub(in crate::cli::command) async fn carry_out(
        &self,
        plan: RestorePlan,
        now: Timestamp,
    ) -> Result<restore::RestoreDone, CommandError> {
        self.target.make()?;
        let request = restore::RestoreRequest {
            now,
            ..self.request.clone()
        };
        Ok(self.restorer.execute(&request, plan).await?)
    }
}
