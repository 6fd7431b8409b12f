//! `man`: the manual pages.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;
use deltavault::ExitCode;

use super::Context;
use crate::cli::error::CommandError;
use crate::cli::help;

/// Flags of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the page of every command into the folder DIR [print that of the tool]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `man`
pub(super) fn man(args: &ManArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    if let Some(dir) = &args.dir {
        clap_mangen::generate_to(help::command(), dir).map_err(CommandError::Output)?;
        return Ok(ExitCode::Done);
    }
    let mut page = Vec::new();
    let written = Man::new(help::command()).render(&mut page);
    written.map_err(CommandError::Output)?;
    context.output.raw(&page)?;
    Ok(ExitCode::Done)
}
