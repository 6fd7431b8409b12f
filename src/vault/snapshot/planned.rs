//! What an attempt's plan is: everything that is known before the first byte is written.

use super::closure::{Copies, Expected};
use super::lock_terms::LockTerms;
use super::pinned::Pinned;
use super::replayed::Touched;
use super::ways::LogRead;
use crate::delta::path::TableRoot;
use crate::delta::segment::CheckpointFiles;
use crate::delta::{Metadata, Protocol};
use crate::format::Disagreement;
use crate::ids::Id128;
use crate::spool::Scratch;

/// A plan, what is to be copied, and what the proof must come to.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) copies: Copies,
    pub(super) expected: Expected,
}

/// What all writes need to know.
pub(super) struct Plan {
    pub(super) terms: LockTerms,
    pub(super) pinned: Pinned,
    pub(super) log: LogRead,
    pub(super) protocol: Protocol,
    pub(super) metadata: Metadata,
    /// Which of the base's entries are V's as they are, in the order of its pages.
    pub(super) touched: Touched,
    /// The checkpoints that were compared file by file: their files take part in V.
    pub(super) closely: Vec<CheckpointFiles>,
    /// The checkpoints that differ from the log's other ways, newest first.
    pub(super) disagreements: Vec<Disagreement>,
    /// What was odd about the live files.
    pub(super) findings: Vec<String>,
    /// The runs whose journals lend what they placed.
    pub(super) journals: Vec<Id128>,
    pub(super) root: TableRoot,
    pub(super) scratch: Scratch,
}

impl Plan {
    /// The table's Delta id; empty where it has none.
    pub(super) fn delta_id(&self) -> String {
        self.metadata.id.clone().unwrap_or_default()
    }
}
