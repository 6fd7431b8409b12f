//! Checkpoints at or below V that the snapshot does not hold, and that name other files than the log that it does hold:
//! readers start from them, and see another table.

use super::super::content::{Content, LogReader};
use super::super::planning::Planning;
use super::LogAfter;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::error::Error;

impl Planning<'_> {
    /// Takes such checkpoints out of the log, which is as the snapshot has it apart from them.
    ///
    /// A snapshot whose own ways disagree says nothing of who is right.
    pub(in super::super) async fn set_unlike_aside(
        &mut self,
        after: &LogAfter,
    ) -> Result<(), Error> {
        let Self { request, held, .. } = self;
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
        let mut reader = LogReader::of_target(self.restorer, &after.from_vault)?;
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
            self.plan
                .broken
                .push(format!("checkpoint {}: {why}", checkpoint.version));
            self.plan.set_aside(&checkpoint, &after.files);
            rest.retain(|key, _| checkpoint.files.iter().all(|file| file.key != *key));
        }
        if rest.len() < after.files.len() {
            let rest = LogListing::new(rest.into_values());
            self.set_hint_aside(after, &rest).await?;
        }
        Ok(())
    }
}
