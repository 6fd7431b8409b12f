//! Opens a live table with the independent reader.

use super::Restorer;
use super::content::{Content, LogReader};
use super::held::nothing_held;
use crate::delta::segment::{LogListing, Segment};
use crate::error::Error;
use crate::ids::Version;
use crate::reader::{self, RefusalCause, Verdict};
use crate::store::Attributes;

impl Restorer {
    /// What the independent reader says of the target at a version, to which it takes that way. It decodes whatever a log
    /// unfolds to, so it is not asked where the checkpoint that it begins with cannot be decoded within bounds.
    pub(super) async fn judge(
        &self,
        way: Option<Segment>,
        tip: Version,
        about: u64,
    ) -> Result<Verdict, Error> {
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

/// The way that readers take to a version.
pub(super) fn way_to(log: impl IntoIterator<Item = Attributes>, tip: Version) -> Option<Segment> {
    LogListing::new(log).candidates(tip).ok()?.next()
}
