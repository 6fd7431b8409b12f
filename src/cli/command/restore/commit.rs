//! `restore --as-commit --exec`: the owner's command brings the version back as a new commit, and what it committed is
//! checked. The log is never written here: which features of a table a writer has to honour changes with every release.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

use deltavault::ExitCode;
use deltavault::ids::Version;
use deltavault::vault::restore::Committed;
use indicatif::HumanCount;
use serde::Serialize;

use super::args::Which;
use super::messages::{Engine, Purpose, Statement};
use super::told::Case;
use super::work::Work;
use super::{Context, Planned};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted, talk_of_a_child};

/// Why a version did not come back as a commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The command could not be run at all.
    #[error("run `{command}`")]
    NotRun {
        /// It.
        command: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The command failed.
    #[error("`{command}` failed: {status}")]
    Failed { command: String, status: ExitStatus },
    /// It ended well, and the live table is where it was.
    #[error("`{command}` has committed nothing: the live table is still at v{tip}")]
    Nothing { command: String, tip: Version },
}

impl CommitError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotRun { .. } => "it is run by `sh -c`: check its spelling and the PATH".into(),
            Self::Failed { .. } | Self::Nothing { .. } => {
                "the files are back: mend the command and run the same again, or run the statements above by hand before the \
                 next VACUUM"
                    .into()
            }
        }
    }
}

impl Planned<'_> {
    /// Whether the version is to come back as a new commit, and can.
    pub(super) fn commits(&self) -> bool {
        let is_wanted = self.asked.args.as_commit && self.asked.which != Which::Unsaid;
        is_wanted && !self.case().statements().is_empty()
    }

    /// Whether nothing is put back and nothing is run.
    pub(super) fn only_prints(&self) -> bool {
        self.commits() && self.found.nothing_to_do && self.asked.args.exec.is_none()
    }

    /// Lets the owner's command make the commit, where one is asked for and everything before it went well.
    pub(super) async fn commit(
        &self,
        code: ExitCode,
        context: &mut Context,
    ) -> Result<ExitCode, CommandError> {
        let Some(command) = &self.asked.args.exec else {
            return Ok(code);
        };
        let tip = self.found.situation.newer_tip().filter(|_| self.commits());
        match tip {
            Some(tip) if code == ExitCode::Done => {
                Box::pin(run(command, tip, &self.case(), &self.work, context)).await
            }
            Some(_) => {
                let what = format!("`{command}` was not run, because of what was found");
                context.progress.note(&what);
                Ok(code)
            }
            None => {
                let version = self.chosen.version;
                let what = format!(
                    "`{command}` was not run: there is no newer version than v{version} to commit to"
                );
                context.progress.note(&what);
                Ok(code)
            }
        }
    }
}

/// Runs the owner's command with the statements in its environment, and checks what it committed above `tip`.
async fn run(
    command: &str,
    tip: Version,
    case: &Case<'_>,
    work: &Work,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let statements = case.statements();
    let mut child = Command::new("sh");
    child
        .args(["-c", command])
        .env("DELTAVAULT_SQL", sql(&statements))
        .env("DELTAVAULT_PYTHON", python(&statements))
        .env("DELTAVAULT_TABLE", &case.record.table.uri)
        .env("DELTAVAULT_RESTORE_VERSION", case.version.to_string())
        .stdin(Stdio::null())
        // What is printed to stdout is the result, and only ours.
        .stdout(talk_of_a_child());
    let named = command.to_owned();
    let status = tokio::task::spawn_blocking(move || child.status()).await;
    let status = status.unwrap_or_else(|error| Err(io::Error::other(error)));
    let status = status.map_err(|source| CommitError::NotRun {
        command: named.clone(),
        source,
    })?;
    if !status.success() {
        let command = named;
        return Err(CommitError::Failed { command, status }.into());
    }
    let committed = work.restorer.look_for_commit(case.version, tip).await?;
    if committed.tip <= tip {
        let command = named;
        return Err(CommitError::Nothing { command, tip }.into());
    }
    let row = CommitDone::new(case.record.table.name.clone(), case.version, &committed);
    context.output.say(&row)?;
    Ok(ExitCode::findings_if(committed.same.is_none()))
}

/// SQL statements in the order in which they are run, a line each.
fn sql(statements: &[Statement]) -> String {
    let is_needed = |it: &&Statement| {
        it.engine == Engine::SparkSql && matches!(it.purpose, Purpose::Retention | Purpose::Restore)
    };
    let lines: Vec<&str> = (statements.iter().filter(is_needed))
        .map(|it| it.statement.as_str())
        .collect();
    lines.join("\n")
}

fn python(statements: &[Statement]) -> &str {
    let mut statements = statements.iter();
    let found = statements
        .find(|it| it.engine == Engine::PythonDeltalake && it.purpose == Purpose::Restore);
    found.map_or("", |it| it.statement.as_str())
}

/// What was committed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CommitDone {
    /// The table's name.
    pub(crate) table: String,
    /// The version that was to come back.
    pub(crate) version: Version,
    /// The newest version that has its files; none where no new one has.
    pub(crate) committed: Option<Version>,
    /// The newest version.
    pub(crate) newest: Version,
    /// Files of the version.
    pub(crate) files: u64,
    /// Those of them that the newest version lacks.
    pub(crate) lacks: u64,
    /// Files that only the newest version has.
    pub(crate) adds: u64,
    /// The first file that differs.
    pub(crate) first: Option<String>,
}

impl CommitDone {
    fn new(table: String, version: Version, committed: &Committed) -> Self {
        let Committed { lacks, adds, .. } = committed;
        Self {
            table,
            version,
            committed: committed.same,
            newest: committed.tip,
            files: committed.files,
            lacks: lacks.count,
            adds: adds.count,
            first: lacks.first.clone().or_else(|| adds.first.clone()),
        }
    }
}

impl Message for CommitDone {
    const TYPE: &'static str = "committed";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let (version, newest) = (self.version, self.newest);
        match self.committed {
            Some(same) => {
                let since = if same == newest {
                    String::new()
                } else {
                    format!("; the table has gone on to v{newest} since")
                };
                out.print(format_args!(
                    "COMMITTED v{same} has exactly the {} of v{version}{since}",
                    counted(self.files, "file")
                ))
            }
            None => out.print(format_args!(
                "COMMITTED v{newest} is not v{version}: it lacks {} of its {} files and has {} others, first {}",
                HumanCount(self.lacks),
                HumanCount(self.files),
                HumanCount(self.adds),
                self.first.as_deref().unwrap_or("?")
            )),
        }
    }
}
