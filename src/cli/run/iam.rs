//! `iam render`: prints a policy. It works before the vault exists: what `vault.json` would say is then told by flags, or
//! is what `init` would write.

use std::time::Duration;

use deltavault::{Error, ExitCode, iam};

use super::Context;
use crate::cli::error::CommandError;
use crate::cli::request::IamRenderRequest;

/// A policy is printed from flags rather than late: nobody waits for credentials that this machine does not have.
const PATIENCE: Duration = Duration::from_secs(10);

/// `iam render`
pub(super) async fn render(
    request: IamRenderRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut params = request.params(context.vault()?)?;
    if request.told.is_none() && iam::uses_vault_file(request.document, request.flavor) {
        match tokio::time::timeout(PATIENCE, context.open_vault()).await {
            Ok(Ok(open)) => params.set_vault_file(open.vault.file()),
            Ok(Err(error)) if is_no_answer(&error) => {
                context.output.iam_not_asked(&error.to_string(), &params)?;
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let reason = format!("no answer for {} s", PATIENCE.as_secs());
                context.output.iam_not_asked(&reason, &params)?;
            }
        }
    }
    let rendered = iam::render(request.document, &params, request.flavor)?;
    context.output.iam_rendered(request.document, &rendered)?;
    Ok(ExitCode::Done)
}

/// Whether the vault could not be asked.
fn is_no_answer(error: &CommandError) -> bool {
    let error = error.as_library();
    error.is_some_and(|error| {
        matches!(
            error,
            Error::NoVault { .. } | Error::VaultFileLost { .. } | Error::Store(_)
        )
    })
}
