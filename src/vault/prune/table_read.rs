//! A table's ledger and its events, read whole, with what stands in the way of a prune.

use crate::error::Error;
use crate::format::ledger::{Bodies, LedgerFinding};
use crate::format::record::{Operation, check_features};
use crate::format::{Event, EventRole, TableKey};
use crate::ids::Timestamp;
use crate::plan::choose::History;
use crate::plan::keep::{self, Candidate, Decision};
use crate::plan::verify::{Severity, ledger_problem};
use crate::vault::Vault;
use crate::vault::events::{EventChain, ListedEvents};

pub(super) struct TableRead {
    pub(super) history: History,
    /// The events that decide what is kept, each chain oldest first.
    pub(super) events: Vec<Event>,
    /// The holder's next slot.
    pub(super) next_hold: u64,
    /// Why a hold may be out of sight, or nobody knows for how long something was promised.
    pub(super) doubts: Vec<String>,
}

/// The events that decide what is kept, each chain oldest first.
///
/// # Errors
/// An event that needs a newer tool, and what the store says.
pub(super) async fn retention_events(listed: &ListedEvents<'_>) -> Result<Vec<Event>, Error> {
    let holder = listed.read(EventRole::Holder).await?;
    let pruner = listed.read(EventRole::Pruner).await?;
    Ok(holder.records().chain(pruner.records()).cloned().collect())
}

pub(super) async fn read_table(vault: &Vault, table: &TableKey) -> Result<TableRead, Error> {
    let history = vault.history(table, Bodies::new()).await?;
    let listed = vault.list_events(table).await?;
    let (mut events, mut doubts) = (Vec::new(), Vec::new());
    let mut next_hold = 1;
    let unread = |what: String| format!("events of the holder: {what}: a hold may be out of sight");
    match listed.read(EventRole::Holder).await {
        Ok(holder) => {
            next_hold = holder.chain.next_free;
            doubts.extend(hold_doubts(&holder).into_iter().map(unread));
            events.extend(holder.records().cloned());
        }
        Err(Error::Ledger(error)) => doubts.push(unread(error.to_string())),
        Err(error) => return Err(error),
    }
    // What is out of sight in this chain can only be a retirement, without which more is kept.
    match listed.read(EventRole::Pruner).await {
        Ok(pruner) => {
            let unknown = unknown_in(&pruner).into_iter();
            doubts.extend(unknown.map(|what| format!("events of the pruner: {what}")));
            events.extend(pruner.records().cloned());
        }
        Err(Error::Ledger(error)) => doubts.push(format!("events of the pruner: {error}")),
        Err(error) => return Err(error),
    }
    // Nobody knows what a lost record named, or for how long it was promised.
    let lost = history
        .findings
        .iter()
        .filter(|it| !it.lost_ids().is_empty());
    doubts.extend(lost.map(|it| format!("ledger: {it}: it may have been promised for longer")));
    Ok(TableRead {
        history,
        events,
        next_hold,
        doubts,
    })
}

/// What stands in the way of deciding about a table: then nothing at all is deleted, because objects are shared.
pub(super) fn obstacles(history: &History) -> Vec<String> {
    // Because of what is lost the table keeps all that it has, and others are not in its way.
    let findings = history.findings.iter();
    let findings = findings.filter(|it| it.lost_ids().is_empty());
    let mut found: Vec<String> = damage(findings)
        .map(|what| format!("ledger: {what}"))
        .collect();
    let newer = history.newer.iter().filter(|newer| !newer.is_distrusted);
    found.extend(newer.map(|newer| newer.error.to_string()));
    for snapshot in history.snapshots.iter().filter(|it| !it.is_distrusted) {
        let record = snapshot.record.as_ref();
        let what = ("record", snapshot.seq);
        let unknown = not_for_this_tool(what, &record.requires, &record.tool);
        found.extend(unknown.map(|what| {
            let (table, id) = (&history.table, snapshot.id);
            format!("{what}; if it is forged, `deltavault snapshot {table} --distrust {id}`")
        }));
    }
    found
}

/// Why a tool must not delete what something may need, that does not know what that requires.
fn not_for_this_tool((what, seq): (&str, u64), requires: &[String], tool: &str) -> Option<String> {
    let unknown = check_features(requires, Operation::Delete, tool).err()?;
    Some(format!("{what} {seq}: {unknown}"))
}

/// Why a hold may be out of sight, or is there and cannot be read. It can only be about this table's snapshots.
fn hold_doubts(holder: &EventChain) -> Vec<String> {
    let mut found: Vec<String> = damage(&holder.chain.findings).collect();
    found.extend(
        (holder.unread().filter(|scar| !scar.is_damage())).map(|scar| {
            format!("{scar}: `hold` what is to be kept; the event that writes ends this")
        }),
    );
    found.extend(unknown_in(holder));
    found
}

/// What this tool would have to know of a chain's events before it deletes.
fn unknown_in(events: &EventChain) -> Vec<String> {
    let mut found = Vec::new();
    for event in events.records() {
        let what = ("event", event.seq);
        found.extend(not_for_this_tool(what, &event.requires, &event.tool));
        if event.action.is_unreadable_retention() {
            let (seq, action) = (event.seq, event.action.name());
            found.push(format!(
                "event {seq}: a {action} that this tool cannot read"
            ));
        }
    }
    found
}

/// As `verify` judges them: a scar that names what is not there may be the newest snapshot.
pub(super) fn damage<'a>(
    findings: impl IntoIterator<Item = &'a LedgerFinding>,
) -> impl Iterator<Item = String> {
    let problems = findings
        .into_iter()
        .map(|finding| ledger_problem(finding).1);
    let damage = problems.filter(|problem| problem.severity == Severity::Damage);
    damage.map(|problem| problem.what)
}

pub(in crate::vault) fn decide(
    history: &History,
    events: &[Event],
    now: Timestamp,
) -> Vec<Decision> {
    let candidates: Vec<Candidate> = history
        .snapshots
        .iter()
        .map(|snapshot| Candidate {
            id: snapshot.id,
            seq: snapshot.seq,
            taken_at: snapshot.record.taken_at,
            promise: snapshot.record.promise,
            // Records of this format have no alarms.
            has_alarm: false,
            is_trusted: !snapshot.is_distrusted,
        })
        .collect();
    keep::decide(&candidates, events, now)
}
