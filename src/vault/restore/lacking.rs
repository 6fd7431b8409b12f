//! Files that a snapshot names and does not hold, since only some of the log's ways led to them and the source had lost them:
//! a live table whose readers need one cannot be read.

use super::content::LogReader;
use super::mend::LogAfter;
use super::planning::Planning;
use crate::error::Error;
use crate::ids::{Location, Version};
use crate::plan::snapshot::NOT_AT_THE_SOURCE;
use crate::vault::listing::Listed;

impl Planning<'_> {
    /// Where the snapshot lacks such files: the first file that the live log leads readers to and that is gone, as a
    /// sentence.
    pub(super) async fn lacks_unheld(
        &self,
        after: &LogAfter,
        tip: Version,
    ) -> Result<Option<String>, Error> {
        let mut findings = self.request.record.findings.iter();
        if !findings.any(|it| it.contains(NOT_AT_THE_SOURCE)) {
            return Ok(None);
        }
        let listing = after.listing();
        let ways = listing.candidates(tip).ok();
        let Some(way) = ways.and_then(|mut ways| ways.next()) else {
            return Ok(None);
        };
        let mut reader = LogReader::of_target(self.restorer, &after.from_vault)?;
        // Both come in the order of their keys.
        let mut listed = Listed::of(self.restorer.target.list("", None)).await?;
        for file in reader.read_and_replay(&way).await?.finish()?.1 {
            let Location::Inside(key) = file?.add.file else {
                continue;
            };
            if listed.find(&key).await?.is_none() {
                let said = format!("{key} is gone, and readers need it");
                return Ok(Some(said));
            }
        }
        Ok(None)
    }
}
