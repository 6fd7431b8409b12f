//! The version that one attempt takes, and what it builds on.

use super::inherited::Inherited;
use super::left::Left;
use super::past::{Base, Past};
use super::presence;
use crate::delta::LogFile;
use crate::delta::segment::LogListing;
use crate::format::Record;
use crate::ids::Version;

/// The version of one attempt, and what it builds on.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) listing: LogListing,
    /// Whether the listing has the whole log.
    pub(super) whole: bool,
    /// V.
    pub(super) version: Version,
    /// The record whose manifest serves as it is: nothing has changed since.
    pub(super) unchanged: Option<Past>,
    pub(super) base: Option<Base>,
    /// What the listing says about the base's log files.
    pub(super) inherited: Inherited,
    /// Whether the base's live set counts for nothing, although its files do: its log has been changed.
    pub(super) ended: bool,
    /// The newest snapshot that the live table does not go on from.
    pub(super) left: Option<Left>,
    /// Whether a newer snapshot than the base was passed by since the live table does not go on from it.
    pub(super) passed_by: bool,
    pub(super) findings: Vec<String>,
    /// The first of them that puts it in doubt whether V is what its writers committed.
    pub(super) doubt: Option<String>,
    /// A commit of 0 bytes whose bytes an older snapshot holds.
    pub(super) emptied: Option<Version>,
}

impl Pinned {
    pub(super) fn without_base(listing: LogListing, whole: bool, version: Version) -> Self {
        Self {
            listing,
            whole,
            version,
            unchanged: None,
            base: None,
            inherited: Inherited::default(),
            ended: false,
            left: None,
            passed_by: false,
            findings: Vec::new(),
            doubt: None,
            emptied: None,
        }
    }

    /// The base whose objects may be referenced again.
    pub(super) fn reused(&self) -> Option<&Base> {
        self.base.as_ref().filter(|base| base.reuse)
    }

    /// V's commit file, unless the log's own clean-up has removed it.
    pub(super) fn commit(&self) -> Option<&LogFile> {
        self.listing.commit(self.version)
    }

    /// Whether the base has not seen the commit of a version.
    pub(super) fn is_new(&self, version: Version) -> bool {
        let base = self.base.as_ref();
        base.is_some_and(|base| version > base.past.record.version)
    }

    /// Whether any of the base's files may have been written again although no new commit names it: the table was put
    /// again, or it has a past that the base has not seen.
    pub(super) fn may_be_put_again(&self) -> bool {
        self.inherited.put_again || self.passed_by
    }

    pub(super) fn note_doubt(&mut self, finding: String) {
        self.doubt.get_or_insert_with(|| finding.clone());
        self.findings.push(finding);
    }

    /// What the owner should know where nothing has changed since a record.
    pub(super) fn findings_of_unchanged(&self, then: &Record) -> Vec<String> {
        let findings = presence::lasting(then).chain(&self.findings);
        findings.cloned().collect()
    }
}
