//! Several tables: the plans one after the other, one question for all, then each is carried out. One that fails stops no
//! other; the errors come last.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use deltavault::ids::ObjectKey;
use deltavault::shell::{operand, quoted};
use deltavault::vault::look::{TableRef, address};
use deltavault::vault::restore::{RestoreDone, RestorePlan};
use deltavault::{Error, ExitCode};
use indicatif::HumanBytes;

use super::args::{Asked, How, RestoreArgs};
use super::messages::{RestoreRun, RestoreRunPlan};
use super::{Begun, Context, Planned, begin, confirm, find};
use crate::cli::error::CommandError;
use crate::cli::output::counted;
use crate::cli::stores::OpenVault;
use crate::cli::table_name::{TableName, pattern};

/// Puts several tables back, or says what that would be.
pub(super) async fn restore(
    args: &RestoreArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let one_only = [
        ("--snapshot", args.snapshot.is_some()),
        ("--version", args.version.is_some()),
        ("--without-checkpoint", args.without_checkpoint.is_some()),
        ("--rewind", args.rewind),
        ("--replace", args.replace),
        ("--exec", args.exec.is_some()),
    ];
    if let Some((flag, _)) = one_only.iter().find(|(_, is_given)| *is_given) {
        return Err(CommandError::UnusableFlag {
            flag,
            rule: "it is about one table: name that table alone; --latest and --at are for several",
        });
    }
    let here = context.here();
    let open = context.open_vault().await?;
    let mut run = Run::default();
    let mut asked = Vec::new();
    let named = if args.all {
        configured(context)?
    } else {
        named(&args.tables, &open, context).await?
    };
    for named in named {
        match named {
            Named::Table(name, table) => {
                asked.push((args.read(name, &context.folder, &here)?, table));
            }
            Named::Nothing(pattern, error) => run.take(&pattern, Err(error), context)?,
        }
    }
    for (asked, table) in asked {
        let name = asked.table.text.clone();
        let begun = Box::pin(run.begin(asked, table, &open, context)).await;
        run.take(&name, begun, context)?;
    }
    if !args.dry_run && !args.yes && !run.ready.is_empty() {
        // Whoever is asked has read what will not be done.
        run.print_errors(context)?;
        confirm(&run.question(args), context)?;
    }
    let ended = if args.dry_run {
        Ok(())
    } else {
        run.carry_out(context).await
    };
    run.end(args, ended, context)
}

/// What one of the words means.
enum Named {
    /// A table, and what is known of one that a pattern found.
    Table(TableName, Option<TableRef>),
    /// Nothing: a pattern that no table matches, among other words.
    Nothing(String, CommandError),
}

/// Every table of the configuration, in its order.
fn configured(context: &Context) -> Result<Vec<Named>, CommandError> {
    let tables = context.config.tables.iter();
    let named = tables.map(|table| Named::Table(TableName::configured(table), None));
    let named: Vec<_> = named.collect();
    if named.is_empty() {
        return Err(CommandError::NoTableGiven);
    }
    Ok(named)
}

/// What the words mean, in their order; the tables that a pattern found come in the order of the configuration.
async fn named(
    texts: &[String],
    open: &OpenVault,
    context: &Context,
) -> Result<Vec<Named>, CommandError> {
    let config = &context.config;
    let mut named = Vec::new();
    let mut all = None;
    for text in texts {
        let Some(pattern) = pattern(text, config)? else {
            named.push(Named::Table(context.table(text)?, None));
            continue;
        };
        let tables: &Vec<TableRef> = match &all {
            Some(tables) => tables,
            None => all.insert(open.vault.table_refs().await?),
        };
        let mut found = tables.clone();
        found.retain(|it| pattern.matches(it.name()));
        let found = open.without_twins(text, found, context.progress.as_ref());
        let mut found = match found.await {
            Ok(found) => found,
            Err(error) if texts.len() == 1 => return Err(error),
            Err(error) => {
                named.push(Named::Nothing(text.clone(), error));
                continue;
            }
        };
        if found.is_empty() {
            let known = tables.iter().map(|it| it.name().to_owned()).collect();
            let name = text.clone();
            let error = Error::UnknownTable { name, known }.into();
            if texts.len() == 1 {
                return Err(error);
            }
            named.push(Named::Nothing(text.clone(), error));
        }
        let place = |it: &TableRef| {
            config
                .tables
                .iter()
                .position(|table| table.name == it.name())
        };
        found.sort_by_key(|it| place(it).unwrap_or(usize::MAX));
        for table in found {
            let is_taken = |table: &TableRef, name: &str| {
                let configured = config.table(name);
                configured.is_some_and(|it| it.uri != table.uri())
            };
            let name = TableName {
                text: address(tables, &table.key, is_taken),
                configured: None,
                uri: table.uri(),
            };
            named.push(Named::Table(name, Some(table)));
        }
    }
    Ok(named)
}

/// What became of the tables so far.
#[derive(Default)]
struct Run<'a> {
    /// How many tables there are.
    tables: usize,
    /// Tables that were planned, so that none is planned twice.
    keys: HashSet<String>,
    /// Where the copy of each table goes, by the name that was typed.
    places: BTreeMap<String, String>,
    ready: Vec<(String, Box<Planned<'a>>, Box<RestorePlan>)>,
    code: ExitCode,
    done: RestoreRun,
    /// Tables that were not restored, with the error that was not printed yet, and the code of each.
    failed: Vec<(String, Option<CommandError>, ExitCode)>,
}

impl<'a> Run<'a> {
    /// Plans the restore of a table; `None` where it was planned already.
    async fn begin(
        &mut self,
        mut asked: Asked<'a>,
        table: Option<TableRef>,
        open: &OpenVault,
        context: &mut Context,
    ) -> Result<Option<Begun<'a>>, CommandError> {
        let table = match table {
            Some(table) => table,
            None => find(&asked.table, open, context.progress.as_ref()).await?,
        };
        if !self.keys.insert(table.key.to_string()) {
            return Ok(None);
        }
        if let How::To(place) = &mut asked.how {
            *place = below(place, table.name())?;
            let name = asked.table.text.clone();
            let is_taken = self.places.values().any(|taken| taken == place);
            if is_taken || self.places.insert(name, place.clone()).is_some() {
                return Err(CommandError::InvalidUri {
                    uri: place.clone(),
                    rule: "another of the tables has the same name, and its copy goes there",
                });
            }
        }
        let begun = Box::pin(begin(asked, &table, open, context)).await?;
        Ok(Some(begun))
    }

    fn take(
        &mut self,
        name: &str,
        begun: Result<Option<Begun<'a>>, CommandError>,
        context: &mut Context,
    ) -> Result<(), CommandError> {
        self.tables += 1;
        match begun {
            Ok(None) => self.tables -= 1,
            Ok(Some(Begun::Ended(code, _))) if code == ExitCode::OwnerMustChoose => {
                self.failed.push((name.to_owned(), None, code));
            }
            Ok(Some(Begun::Ended(code, done))) => {
                self.done.unchanged += 1;
                self.add(code, &done);
            }
            Ok(Some(Begun::Ready(planned, plan))) => {
                self.ready.push((name.to_owned(), planned, plan));
            }
            Err(error) => self.fail(name, error, context)?,
        }
        // A plan is read while the next one is made.
        context.output.finish()
    }

    fn add(&mut self, code: ExitCode, done: &RestoreDone) {
        self.code = self.code.max(code);
        self.done.files_written += done.files_written;
        self.done.bytes_written += done.bytes_written;
        self.done.files_kept += done.files_kept;
    }

    fn fail(
        &mut self,
        name: &str,
        error: CommandError,
        context: &mut Context,
    ) -> Result<(), CommandError> {
        if error.is_interrupted() {
            return Err(error);
        }
        // A program that reads along does not look for what is last.
        if context.output.is_json() {
            context.output.table_failed(name, &error)?;
        }
        let code = error.exit_code();
        self.failed.push((name.to_owned(), Some(error), code));
        Ok(())
    }

    /// Prints the errors that were not printed yet.
    fn print_errors(&mut self, context: &mut Context) -> Result<(), CommandError> {
        for (name, error, _) in &mut self.failed {
            if let Some(error) = error.take()
                && !context.output.is_json()
            {
                context.output.table_failed(name, &error)?;
            }
        }
        Ok(())
    }

    /// What the owner is asked.
    fn question(&self, args: &RestoreArgs) -> String {
        let tables = counted(self.ready.len() as u64, "table");
        let verb = if args.to.is_some() {
            "copy"
        } else {
            "put back"
        };
        match self.to_put() {
            (0, _) => format!("repair the logs of {tables}"),
            (files, bytes) => {
                let files = counted(files, "file");
                format!("{verb} {files} ({}) of {tables}", HumanBytes(bytes))
            }
        }
    }

    /// Carries out what can be.
    async fn carry_out(&mut self, context: &mut Context) -> Result<(), CommandError> {
        let begun = Instant::now();
        context.progress.tables(self.ready.len() as u64);
        let mut interrupted = None;
        for (name, planned, plan) in std::mem::take(&mut self.ready) {
            if interrupted.is_some() {
                self.failed.push((name, None, ExitCode::Interrupted));
                continue;
            }
            match planned.carry_out(plan, context).await {
                Ok((code, done)) => {
                    self.done.restored += 1;
                    self.add(code, &done);
                }
                Err(error) if error.is_interrupted() => {
                    self.failed.push((name, None, ExitCode::Interrupted));
                    interrupted = Some(error);
                }
                Err(error) => self.fail(&name, error, context)?,
            }
            context.progress.table_done();
            context.output.finish()?;
        }
        self.done.seconds = begun.elapsed().as_secs_f64();
        interrupted.map_or(Ok(()), Err)
    }

    /// Files to put back, and their bytes.
    fn to_put(&self) -> (u64, u64) {
        let ready = self.ready.iter().map(|(_, it, _)| it.found.to_put);
        ready.fold((0, 0), |(files, bytes), it| {
            (files + it.files, bytes + it.bytes)
        })
    }

    /// Prints the sums, and the errors last.
    fn end(
        mut self,
        args: &RestoreArgs,
        ended: Result<(), CommandError>,
        context: &mut Context,
    ) -> Result<ExitCode, CommandError> {
        let not_restored: Vec<_> = self.failed.iter().map(|(name, ..)| name.clone()).collect();
        if args.dry_run {
            let (files, bytes) = self.to_put();
            context.output.say(&RestoreRunPlan {
                tables: self.tables,
                ready: self.ready.len(),
                unchanged: self.done.unchanged,
                not_restorable: not_restored.clone(),
                files,
                bytes,
            })?;
        } else {
            self.done.tables = self.tables;
            self.done.not_restored.clone_from(&not_restored);
            context.output.say(&self.done)?;
        }
        self.print_errors(context)?;
        if let Err(error) = ended {
            if error.is_interrupted() {
                let again = context.again.in_text(&self.again(args, &not_restored));
                context.progress.note(&format!("{again} goes on"));
            }
            return Err(error);
        }
        if self.failed.is_empty() {
            return Ok(self.code);
        }
        Err(CommandError::SomeTablesFailed {
            verb: "not restored",
            again: self.again(args, &not_restored),
            failed: not_restored,
            of: self.tables,
            codes: self.failed.iter().map(|(_, _, code)| *code).collect(),
        })
    }

    /// The command that restores `tables` as this one would have.
    fn again(&self, args: &RestoreArgs, tables: &[String]) -> String {
        let mut words: Vec<&str> = Vec::new();
        if let Some(at) = &args.at {
            words.extend(["--at", at]);
        }
        if let Some(to) = &args.to {
            // A table that is named alone is copied right there.
            let own = match tables {
                [name] => self.places.get(name),
                _ => None,
            };
            words.extend(["--to", own.unwrap_or(to)]);
        }
        for place in &args.outside {
            words.extend(["--outside", place]);
        }
        let flags = [
            ("--latest", args.latest),
            ("--heal", args.heal),
            ("--as-commit", args.as_commit),
            ("--as-it-was", args.as_it_was),
            ("--accept-damaged", args.accept_damaged),
            ("--take-over", args.take_over),
            ("--dry-run", args.dry_run),
            ("--yes", args.yes),
        ];
        let given = flags.iter().filter(|(_, is_given)| *is_given);
        words.extend(given.map(|(flag, _)| *flag));
        let tables = tables.iter().map(|table| operand(table));
        let words = tables.chain(words.into_iter().map(quoted));
        let words: Vec<_> = words.collect();
        format!("`deltavault restore {}`", words.join(" "))
    }
}

/// The place of a table's copy below a place for several.
fn below(place: &str, name: &str) -> Result<String, CommandError> {
    let is_folder = name.parse::<ObjectKey>().is_ok() && !name.contains('/');
    let is_folder = is_folder && !matches!(name, "." | "..");
    if is_folder {
        return Ok(format!("{}/{name}", place.trim_end_matches('/')));
    }
    Err(CommandError::InvalidUri {
        uri: format!("{place}/{name}"),
        rule: "the name of the table is not the name of a folder: copy that table alone",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_several_tables_stay_below_their_place() {
        assert_eq!(below("s3://b/x/", "a b").unwrap(), "s3://b/x/a b");
        for name in ["", ".", "..", "a/b", "../x", "/x"] {
            assert!(below("/copies", name).is_err(), "{name}");
        }
    }
}
