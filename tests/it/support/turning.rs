//! What turns a live table back: rewinds, replacements and their undo, as the command line would carry them out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows only test functions as tests, not the functions that they share"
)]

use std::sync::Arc;
use std::time::Duration;

use deltavault::Error;
use deltavault::format::Trigger;
use deltavault::format::ledger::Bodies;
use deltavault::ids::{Id128, Timestamp};
use deltavault::plan::restore::Mode;
use deltavault::plan::restore::deed::Deed;
use deltavault::store::{NoteStore, ReadStore, WriteStore};
use deltavault::vault::events::Actor;
use deltavault::vault::restore::{
    Intent, RestoreRequest, Restorer, Safety, TurnBack, TurnedBackDone,
};
use deltavault::vault::snapshot::SnapshotRequest;

use super::world::{key_of, request_at, snapshotter, source};

/// What carries out an intent, without the wait for late writers.
pub(crate) fn turn(vault: Arc<dyn NoteStore>, intent: Intent, now: Timestamp) -> TurnBack {
    TurnBack {
        intent,
        notes: vault,
        actor: Actor {
            now,
            principal: "test@host".to_owned(),
            run: Id128::from_bytes([9; 16]),
            tool: "deltavault test".to_owned(),
        },
        quiet: Duration::ZERO,
    }
}

/// Begins after a safety snapshot of the live table.
pub(crate) async fn after_safety_snapshot(
    vault: Arc<dyn WriteStore>,
    live: Arc<dyn ReadStore>,
    now: Timestamp,
) -> Result<Intent, Error> {
    let request = request_at(live.uri(), now);
    Ok(Intent::Begin(Box::new(Safety {
        snapshotter: snapshotter(vault).await?,
        source: source(live),
        request: SnapshotRequest {
            trigger: Trigger::Safety,
            ..request
        },
    })))
}

/// Plans and carries out.
pub(crate) async fn carry_out(
    restorer: &Restorer,
    request: &RestoreRequest,
    turn: &TurnBack,
) -> Result<TurnedBackDone, Error> {
    let plan = restorer.plan(request).await?;
    restorer.turn_back(request, plan, turn).await
}

/// What takes the last rewind or replacement of a table back; `like` says who restores, and when.
pub(crate) async fn undo_of(
    restorer: &Restorer,
    uri: &str,
    like: RestoreRequest,
) -> Result<(RestoreRequest, Deed), Error> {
    let table = key_of(uri);
    let history = restorer.vault.history(&table, Bodies::default()).await?;
    let deed = restorer.vault.deeds(&history).await?.last.unwrap();
    let id = deed.turned.safety.unwrap();
    let record = Arc::clone(&history.find(id).unwrap().unwrap().record);
    let mode = if deed.kind.is_of_replace() {
        Mode::Replace
    } else {
        Mode::Undo
    };
    let request = RestoreRequest {
        id,
        version: record.version,
        record,
        mode,
        ..like
    };
    Ok((request, deed))
}
