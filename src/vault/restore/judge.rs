//! Opens a live table with the independent reader.

use futures::TryStreamExt as _;

use super::Restorer;
use super::content::{Content, LogReader};
use super::held::nothing_held;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::ids::Version;
use crate::reader::{self, RefusalCause, Verdict};
use crate::source::LOG_PREFIX;

impl Restorer {
    /// What the independent reader says of the target at a version. It decodes whatever a log unfolds to, so it is not asked
    /// where the checkpoint that it begins with cannot be decoded within bounds.
    pub(super) async fn judge(&self, tip: Version, about: u64) -> Result<Verdict, Error> {
        let listed: Vec<_> = self.target.list(LOG_PREFIX, None).try_collect().await?;
        let listing = LogListing::new(listed);
        let way = listing
            .candidates(tip)
            .ok()
            .and_then(|mut ways| ways.next());
        if let Some(checkpoint) = way.and_then(|way| way.checkpoint) {
            let mut reader = LogReader::of_target(self, nothing_held())?;
            if let Content::Unreadable(reason) = reader.checkpoint(&checkpoint).await? {
                let about = RefusalCause::Log;
                return Ok(Verdict::Refuses { reason, about });
            }
        }
        Ok(reader::judge(&self.table_store(), tip, about).await)
    }
}
