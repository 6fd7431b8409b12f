//! How `prune`, `hold`, `release` and `retire` look.

use indicatif::{HumanBytes, HumanCount};

use super::Output;
use crate::cli::error::CommandError;
use crate::cli::rows::{
    AmountRow, HoldRow, PruneDoneRow, PruneObject, PrunePlanned, PruneTable, Reasons, RetireRow,
};

impl Output {
    /// Prints what is kept of a table; each snapshot with `all`.
    pub(crate) fn prune_table(&mut self, row: &PruneTable, all: bool) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "{}: {} snapshots kept, {} expired",
            row.table, row.kept, row.expired
        ))?;
        if all {
            for snapshot in &row.snapshots {
                self.print(format_args!(
                    "  {} {}: {}",
                    snapshot.snapshot.short(),
                    if snapshot.kept { "kept" } else { "expired" },
                    snapshot.reason
                ))?;
            }
        }
        Ok(())
    }

    /// Prints what is to become of an object.
    pub(crate) fn prune_object(&mut self, row: &PruneObject) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let snapshot = row.snapshot.map(|id| format!(" {}", id.short()));
        self.print(format_args!(
            "{} {} {} ({}{})",
            row.action,
            row.key,
            HumanBytes(row.bytes),
            row.reason,
            snapshot.unwrap_or_default()
        ))
    }

    /// Prints what a reading of the vault came to.
    pub(crate) fn prune_planned(&mut self, row: &PrunePlanned) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.print(format_args!(
            "{} tables: {} snapshots kept, which need {}; {} expired",
            HumanCount(row.tables),
            HumanCount(row.kept),
            amount(row.needed),
            HumanCount(row.expired),
        ))?;
        self.reasons(
            "of no use, in a plan that is old enough: to delete",
            &row.delete,
        )?;
        self.reasons("of no use, in a plan, still locked", &row.locked)?;
        self.reasons("of no use, in a plan that is too young", &row.waits)?;
        self.reasons("of no use, in no plan yet: to mark", &row.mark)?;
        if row.young.objects > 0 {
            self.print(format_args!(
                "too young to be judged: {}",
                amount(row.young)
            ))?;
        }
        if row.nameless.objects > 0 {
            self.print(format_args!(
                "of no use, and left alone: {}. This bucket keeps no object versions, so a deletion could mean what was \
                 put under the same name just now: turn its versioning on",
                amount(row.nameless)
            ))?;
        }
        if row.unfinished.objects > 0 {
            self.print(format_args!(
                "journals of unfinished runs: {}",
                amount(row.unfinished)
            ))?;
        }
        if row.strangers.objects > 0 {
            self.print(format_args!(
                "not the vault's, and left alone: {}, the first: {}",
                amount(row.strangers),
                row.strangers_named.join(", ")
            ))?;
        }
        for finding in &row.findings {
            self.print(format_args!("finding: {finding}"))?;
        }
        if row.delete.is_empty() && row.mark.is_empty() {
            self.print(format_args!("nothing to do"))?;
        }
        Ok(())
    }

    /// Prints what a prune did.
    pub(crate) fn prune_done(&mut self, row: &PruneDoneRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        self.reasons("deleted", &row.deleted)?;
        self.reasons(
            "marked, to be deleted by a run after the grace period",
            &row.marked,
        )?;
        for (what, kept) in [
            ("still locked", row.locked),
            ("under a legal hold", row.held),
            ("refused", row.refused),
        ] {
            if kept.objects > 0 {
                self.print(format_args!("{what}: {}", amount(kept)))?;
            }
        }
        if let Some(refusal) = &row.refusal {
            self.print(format_args!(
                "the store on the first that it refused: {refusal}"
            ))?;
        }
        Ok(())
    }

    fn reasons(&mut self, what: &str, reasons: &Reasons) -> Result<(), CommandError> {
        if reasons.is_empty() {
            return Ok(());
        }
        let mut sum = AmountRow::default();
        let mut parts = Vec::new();
        for (reason, part) in reasons {
            sum.objects += part.objects;
            sum.bytes += part.bytes;
            parts.push(format!("{} {reason}", HumanCount(part.objects)));
        }
        self.print(format_args!(
            "{what}: {} ({})",
            amount(sum),
            parts.join(", ")
        ))
    }

    /// Prints what a hold or a release did.
    pub(crate) fn hold_done(&mut self, row: &HoldRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let id = row.snapshot.short();
        let state = match (row.held, row.was_so) {
            (true, false) => "is held now, until it is released",
            (true, true) => "was held before",
            (false, false) => "is released; its promise and its locks stay",
            (false, true) => "was not held",
        };
        self.print(format_args!("snapshot {id} of {} {state}", row.table))?;
        if !row.sure {
            self.print(format_args!(
                "nothing else kept it, and a prune may have been deleting it: run the same command again in a quarter of \
                 an hour, which tells whether all of it is there"
            ))?;
        }
        match row.objects {
            None => self.print(format_args!(
                "this vault has no locks: the hold is an event that prune obeys, and nothing else enforces it"
            )),
            Some(objects) if row.held => {
                self.print(format_args!("a legal hold is on {} objects", HumanCount(objects)))
            }
            Some(objects) => self.print(format_args!(
                "the legal hold is off {} objects; {} stay held for another snapshot",
                HumanCount(objects),
                HumanCount(row.shared)
            )),
        }
    }

    /// Prints that a table was retired.
    pub(crate) fn retired(&mut self, row: &RetireRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        if row.was_so {
            return self.print(format_args!("{} was retired before", row.table));
        }
        self.print(format_args!(
            "{} is retired: prune keeps its snapshots as long as their promises last, and no longer; \
             the next snapshot takes that back",
            row.table
        ))
    }
}

fn amount(amount: AmountRow) -> String {
    format!(
        "{} objects, {}",
        HumanCount(amount.objects),
        HumanBytes(amount.bytes)
    )
}
