//! What a run tells of its tables: of each what became of it as soon as that is known, then the sums, and the errors last,
//! where they are on the screen when somebody comes back.

use std::time::Instant;

use deltavault::ExitCode;
use deltavault::shell::operand;

use super::TableToTake;
use super::fleet::Outcome;
use super::messages::{RunPlanned, RunSummary, SnapshotDone, SnapshotPlanned};
use crate::cli::error::CommandError;
use crate::cli::output::Output;

/// What one table came to.
pub(super) enum Taken {
    /// What its snapshot would be.
    Planned(SnapshotPlanned),
    /// Its snapshot.
    Done(SnapshotDone),
}

/// What was told so far.
pub(super) struct Report<'a> {
    output: &'a mut Output,
    tables: &'a [TableToTake],
    is_plan: bool,
    begun: Instant,
    code: ExitCode,
    planned: RunPlanned,
    done: RunSummary,
    failed: Vec<(String, CommandError)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(output: &'a mut Output, tables: &'a [TableToTake], is_plan: bool) -> Self {
        Self {
            output,
            tables,
            is_plan,
            begun: Instant::now(),
            code: ExitCode::Done,
            planned: RunPlanned::default(),
            done: RunSummary::default(),
            failed: Vec::new(),
        }
    }

    /// Tells what became of a table.
    pub(super) fn tell(
        &mut self,
        table: &TableToTake,
        outcome: Outcome<Taken>,
    ) -> Result<(), CommandError> {
        let name = &table.table.text;
        match outcome {
            Outcome::Done(Taken::Planned(row)) => {
                self.output.say(&row)?;
                self.planned.add(&row);
                self.judge(&row.findings, None);
            }
            Outcome::Done(Taken::Done(row)) => {
                self.output.say(&row)?;
                self.done.add(&row);
                self.judge(&row.findings, row.source_lost);
            }
            Outcome::Waits(error) => self.output.table_waits(name, &error)?,
            Outcome::Failed(error) => {
                // A program that reads along does not look for what is last.
                if self.is_of_many() && self.output.is_json() {
                    self.output.table_failed(name, &error)?;
                }
                self.failed.push((name.clone(), error));
            }
        }
        // What is done is told even when the next table takes an hour.
        self.output.finish()
    }

    fn judge(&mut self, findings: &[String], lost: Option<u64>) {
        if lost.is_some_and(|lost| lost > 0) {
            self.code = ExitCode::Damage;
        } else if !findings.is_empty() {
            self.code = self.code.max(ExitCode::Findings);
        }
    }

    fn is_of_many(&self) -> bool {
        self.tables.len() > 1
    }

    /// Ends a run that was not cut short, and returns how the process ends.
    ///
    /// # Errors
    /// That tables failed; one that was asked for alone says itself what it failed with.
    pub(super) fn end(mut self) -> Result<ExitCode, CommandError> {
        let of = self.tables.len();
        let failed = || self.failed.iter().map(|(name, _)| name.clone()).collect();
        if self.is_of_many() && self.is_plan {
            (self.planned.tables, self.planned.failed) = (of, failed());
            self.output.say(&self.planned)?;
        } else if self.is_of_many() {
            (self.done.tables, self.done.failed) = (of, failed());
            self.done.seconds = self.begun.elapsed().as_secs_f64();
            self.output.say(&self.done)?;
        }
        if self.is_plan && self.failed.len() < of {
            self.output.text("NOTHING CHANGED")?;
        }
        self.errors()?;
        if !self.is_of_many()
            && let Some((_, error)) = self.failed.pop()
        {
            return Err(error);
        }
        if self.failed.is_empty() {
            return Ok(self.code);
        }
        let failed = self.failed.into_iter();
        let (failed, codes): (Vec<String>, _) = failed
            .map(|(name, error)| (name, error.exit_code()))
            .unzip();
        let names: Vec<_> = failed.iter().map(|name| operand(name)).collect();
        Err(CommandError::SomeTablesFailed {
            verb: "failed",
            again: format!(
                "`deltavault snapshot {}`, with the flags of this run,",
                names.join(" ")
            ),
            failed,
            of,
            codes,
        })
    }

    /// Tells the errors of tables that were not told when they happened, in the order in which the tables were named.
    pub(super) fn errors(&mut self) -> Result<(), CommandError> {
        let place = |name: &str| self.tables.iter().position(|it| it.table.text == name);
        self.failed.sort_by_key(|(name, _)| place(name));
        if self.is_of_many() && !self.output.is_json() {
            for (name, error) in &self.failed {
                self.output.table_failed(name, error)?;
            }
        }
        Ok(())
    }
}
