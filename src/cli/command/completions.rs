//! `completions`: a script for a shell.

use clap::{Args, CommandFactory as _};
use deltavault::ExitCode;

use super::Context;
use crate::cli::args::Arguments;
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
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Arguments::command(),
        "deltavault",
        &mut script,
    );
    context.output.raw(&script)?;
    Ok(ExitCode::Done)
}
