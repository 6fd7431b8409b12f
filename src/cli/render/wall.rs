//! What `wall check` prints.

use super::Output;
use crate::cli::error::CommandError;
use crate::cli::rows::{ProvenRow, WallDone, WallRow};

impl Output {
    /// Prints a call; what is as it should be only where more is to be said.
    pub(crate) fn wall_row(&mut self, row: &WallRow, verbose: bool) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let WallRow {
            role, call, what, ..
        } = row;
        let said = &row.said;
        match (row.finding, row.outcome) {
            (true, ProvenRow::Allowed) => self.print(format_args!(
                "BREACH  {call}: the {role} can {what} ({said})"
            ))?,
            (true, ProvenRow::Refused | ProvenRow::NotProven) => self.print(format_args!(
                "WARNING {call}: the {role} cannot {what}: {said}"
            ))?,
            (false, ProvenRow::NotProven) => {
                let reason = row.reason.as_deref().unwrap_or_default();
                self.print(format_args!("not proven here: {call}: {reason}"))?;
            }
            (false, ProvenRow::Refused) if verbose => {
                self.print(format_args!("refused: {what}: {said}"))?;
            }
            (false, ProvenRow::Allowed) if verbose => {
                self.print(format_args!("allowed: {what}"))?;
            }
            (false, ProvenRow::Refused | ProvenRow::Allowed) => {}
        }
        match &row.remedy {
            Some(remedy) => self.print(format_args!("        {remedy}")),
            None => Ok(()),
        }
    }

    /// Prints what came of a check.
    pub(crate) fn wall_done(&mut self, row: &WallDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        if let Some(role) = &row.role {
            self.print(format_args!(
                "{role}: {} calls refused, {} allowed, {} not proven here",
                row.refused, row.allowed, row.not_proven
            ))?;
        }
        match row.findings {
            0 => self.print(format_args!(
                "everything that could be tried is as it should be"
            )),
            1 => self.print(format_args!("1 finding")),
            more => self.print(format_args!("{more} findings")),
        }
    }
}
