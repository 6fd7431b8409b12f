//! `completions`: a script by which a shell asks this program what may follow.

use clap::Args;
use deltavault::ExitCode;

use super::Context;
use crate::cli::again::Again;
use crate::cli::complete;
use crate::cli::error::CommandError;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

pub(super) fn completions(
    args: &CompletionsArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let program = std::env::args_os().next().unwrap_or_default();
    let mut script = Vec::new();
    complete::script(args.shell, &Again::program(&program), &mut script)?;
    context.output.raw(&script)?;
    Ok(ExitCode::Done)
}
