//! Opens a live table with the independent reader.

use super::Restorer;
use super::content::{Content, LogReader};
use super::held::nothing_held;
use crate::delta::segment::{LogListing, Segment};
use crate::error::Error;
use crate::ids::Version;
use crate::reader::{self, ListedFile, RefusalCause, Verdict};
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
        match self.refused_way(way).await? {
            Some(refusal) => Ok(refusal),
            None => Ok(reader::judge(&self.table_store(), tip, about).await),
        }
    }

    /// As [`Restorer::judge`], with the live files, where they are few enough to be listed.
    pub(super) async fn listed(
        &self,
        way: Option<Segment>,
        version: Version,
        about: u64,
    ) -> Result<Result<(Version, Option<Vec<ListedFile>>), Verdict>, Error> {
        match self.refused_way(way).await? {
            Some(refusal) => Ok(Err(refusal)),
            None => Ok(reader::list(&self.table_store(), version, about).await),
        }
    }

    async fn refused_way(&self, way: Option<Segment>) -> Result<Option<Verdict>, Error> {
        let Some(checkpoint) = way.and_then(|way| way.checkpoint) else {
            return Ok(None);
        };
        let mut reader = LogReader::of_target(self, nothing_held())?;
        Ok(match reader.checkpoint(&checkpoint).await? {
            Content::Unreadable(reason) => Some(Verdict::Refuses {
                reason,
                about: RefusalCause::Log,
            }),
            Content::Says(_) | Content::Lost => None,
        })
    }
}

/// The way that readers take to a version.
pub(super) fn way_to(log: impl IntoIterator<Item = Attributes>, tip: Version) -> Option<Segment> {
    LogListing::new(log).candidates(tip).ok()?.next()
}
