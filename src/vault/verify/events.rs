//! Checks a table's events: what is wrong with their chains, and which of them have no effect or let nothing go on.

use super::Verify;
use super::table::not_read;
use crate::error::Error;
use crate::format::ledger::LedgerError;
use crate::format::record::{Operation, check_features};
use crate::format::{Event, EventRole, LockMode, TableKey, VaultKey, layout};
use crate::ids::SnapshotId;
use crate::plan::keep::{held, is_retired};
use crate::plan::verify::{EVENTS_ALONE, Problem, Severity, ledger_problem};
use crate::vault::events::EventChain;

/// What to do about an event that only a newer tool can read.
const NEWER_EVENT: &str = "use the deltavault that wrote it, or a newer one; if it is a forgery, `--forged KEY` treats it as absent";

impl Verify<'_, '_> {
    /// Reports what is wrong with the events; a snapshot on hold is not over.
    pub(super) async fn events(
        &mut self,
        table: usize,
        first: usize,
        newest: Option<SnapshotId>,
        key: &TableKey,
    ) -> Result<(), Error> {
        let prefix = layout::events_prefix(key);
        let listed = match self.vault.list_events(key).await {
            Ok(listed) => listed,
            Err(error) => return self.report_alone(Some(table), &prefix, not_read(&error)),
        };
        let mut chains = Vec::new();
        for role in EventRole::ALL {
            match listed.read(role).await {
                Ok(events) => {
                    self.event_chain(table, key, &events)?;
                    chains.push(events);
                }
                Err(Error::Ledger(error @ LedgerError::NewerEvent { seq, .. })) => {
                    let problem = Problem::unchecked(error.to_string(), NEWER_EVENT);
                    self.report_alone(Some(table), &key_of(key, role, seq), problem)?;
                }
                Err(error) => {
                    let prefix = layout::role_events_prefix(key, role);
                    self.report_alone(Some(table), &prefix, not_read(&error))?;
                }
            }
        }
        let records = || chains.iter().flat_map(EventChain::records);
        if newest.is_none()
            && let Some((role, event)) = first_event(&chains)
        {
            // In a vault with locks no record can be gone that was promised or held.
            let severity = match self.vault.file().lock_mode {
                LockMode::None => Severity::Damage,
                LockMode::Governance | LockMode::Compliance => Severity::Warning,
            };
            let what =
                "there are events, but no record that they could be about; this is the first";
            let problem = Problem::new(severity, what, EVENTS_ALONE);
            self.report_alone(Some(table), &key_of(key, role, event.seq), problem)?;
        }
        let held = held(records());
        // Where it cannot be read what is held, a retirement is no reason to look less closely.
        let knows_holds = chains.iter().any(|it| it.role == EventRole::Holder);
        let is_retired = knows_holds && newest.is_some_and(|newest| is_retired(records(), newest));
        let now = self.plan.now;
        for snapshot in self.snapshots.iter_mut().skip(first) {
            snapshot.is_over |= is_retired && snapshot.promise < now;
            snapshot.is_held = held.contains_key(&snapshot.id);
            snapshot.is_over &= !snapshot.is_held;
        }
        let seals = self.on_top(Some(table), &prefix, false).await?;
        for events in &chains {
            self.event_slots(table, key, events, &seals).await?;
        }
        Ok(())
    }

    /// Reports what is wrong with one role's events.
    fn event_chain(
        &mut self,
        table: usize,
        key: &TableKey,
        events: &EventChain,
    ) -> Result<(), Error> {
        let role = events.role;
        let object = |seq| key_of(key, role, seq);
        for finding in &events.chain.findings {
            let (seq, problem) = ledger_problem(finding);
            self.report_alone(Some(table), &object(seq), problem)?;
        }
        for event in events.misplaced() {
            let problem = Problem::warning(
                format!("a {} among the events of the {role}", event.action.name()),
                "it has no effect there, and nothing has to be removed; find out whose credentials wrote it",
            );
            self.report_alone(Some(table), &object(event.seq), problem)?;
        }
        let unreadable = events.records();
        for event in unreadable.filter(|event| event.action.is_unreadable_retention()) {
            let problem = Problem::unchecked(
                format!("a {} that this tool cannot read", event.action.name()),
                "use the deltavault that wrote it, or a newer one; until then `prune` keeps every snapshot of the table; if it \
                 is a forgery, `--forged KEY` treats it as absent",
            );
            self.report_alone(Some(table), &object(event.seq), problem)?;
        }
        for event in events.records() {
            for (operation, what) in [
                (Operation::Write, "no event is written after it"),
                (Operation::Delete, "prune deletes nothing of the table"),
            ] {
                if let Err(error) = check_features(&event.requires, operation, &event.tool) {
                    let problem = Problem::warning(format!("{error}: {what}"), NEWER_EVENT);
                    self.report_alone(Some(table), &object(event.seq), problem)?;
                }
            }
        }
        Ok(())
    }
}

/// The key of an event.
fn key_of(table: &TableKey, role: EventRole, seq: u64) -> String {
    let table = table.clone();
    VaultKey::Event { table, role, seq }.to_string()
}

fn first_event(chains: &[EventChain]) -> Option<(EventRole, &Event)> {
    let mut firsts = chains
        .iter()
        .filter_map(|it| Some((it.role, it.records().next()?)));
    firsts.next()
}
