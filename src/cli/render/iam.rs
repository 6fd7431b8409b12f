//! `iam render`: the document alone on stdout, what it does not enforce on stderr.

use deltavault::iam::{Document, Params, Rendered};

use super::{Output, aside};
use crate::cli::error::CommandError;
use crate::cli::rows::{IamNotEnforced, IamPolicy};

impl Output {
    /// Prints a policy, and says what it leaves open.
    pub(crate) fn iam_rendered(
        &mut self,
        document: Document,
        rendered: &Rendered,
    ) -> Result<(), CommandError> {
        if self.json {
            self.line(&IamPolicy {
                document: document.to_string(),
                policy: &rendered.policy,
            })?;
            for gap in &rendered.not_enforced {
                self.line(&IamNotEnforced {
                    statement: gap.sid.clone(),
                    reason: gap.reason.clone(),
                })?;
            }
            return Ok(());
        }
        self.raw(rendered.text()?.as_bytes())?;
        for gap in &rendered.not_enforced {
            match &gap.sid {
                Some(sid) => aside(&format!("not enforced: {sid}: {}", gap.reason)),
                None => aside(&format!("not enforced: {}", gap.reason)),
            }
        }
        Ok(())
    }

    /// Says that the vault could not be asked for its floor, its ceiling and its mode.
    pub(crate) fn iam_not_asked(
        &mut self,
        reason: &str,
        params: &Params,
    ) -> Result<(), CommandError> {
        // What waits for a terminal or a pipe comes before the talk about it.
        self.finish()?;
        aside(&format!(
            "the vault was not asked ({reason}): locks of {} to {} days, mode {}; \
             --shortest, --longest, --generation and --mode say otherwise",
            params.floor_days,
            params.ceiling_days,
            params.lock_mode_name(),
        ));
        Ok(())
    }
}
