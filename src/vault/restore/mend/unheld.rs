//! Checkpoints at or below V that the snapshot does not hold, and that name other files than the log that it does hold:
//! readers start from them, and see another table.

use super::super::content::{Content, LogReader};
use super::super::held::HeldLog;
use super::super::{Aside, RestorePlan, RestoreRequest, Restorer};
use super::{LogAfter, hint_key};
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::error::Error;

impl Restorer {
    /// Takes such checkpoints out of the log, which is as the snapshot has it apart from them.
    ///
    /// A snapshot whose own ways disagree says nothing of who is right.
    pub(in super::super) async fn set_unlike_aside(
        &self,
        request: &RestoreRequest,
        held: &HeldLog,
        after: &LogAfter,
        plan: &mut RestorePlan,
    ) -> Result<(), Error> {
        let version = request.version;
        let listing = after.listing();
        let is_held = |found: &CheckpointFiles| {
            let mut files = found.files.iter();
            files.all(|file| held.states.contains_key(&file.key))
        };
        let ways: Vec<_> = match listing.candidates(version) {
            Ok(ways) => ways.collect(),
            Err(_) => return Ok(()),
        };
        let (known, unheld): (Vec<_>, Vec<_>) = ways
            .into_iter()
            .partition(|way| way.checkpoint.as_ref().is_none_or(is_held));
        let (Some(known), false) = (
            known.first(),
            unheld.is_empty() || !request.record.disagreements.is_empty(),
        ) else {
            return Ok(());
        };
        let mut reader = LogReader::of_target(self, &after.from_vault)?;
        let truth = reader.way(known).await?;
        if !matches!(truth, Content::Says(_)) {
            return Ok(());
        }
        let mut rest = after.files.clone();
        for way in unheld {
            let said = reader.way(&way).await?;
            let Some(checkpoint) = way.checkpoint.filter(|_| said != truth) else {
                continue;
            };
            let why = match said.trouble() {
                Some(why) => why.to_owned(),
                None => "it names other files than the rest of the log".to_owned(),
            };
            plan.broken
                .push(format!("checkpoint {}: {why}", checkpoint.version));
            plan.set_aside(&checkpoint, &after.files);
            rest.retain(|key, _| checkpoint.files.iter().all(|file| file.key != *key));
        }
        let hint = hint_key()?;
        if let Some(listed) = after.files.get(&hint)
            && rest.len() < after.files.len()
            && let Some(found) = self.live_hint(&hint).await?
            && !found.is_kept_by(&LogListing::new(rest.into_values()))
        {
            plan.asides.insert(0, Aside::of(listed));
        }
        Ok(())
    }
}
