//! What one attempt at a snapshot works on.

use super::failure::Avoid;
use super::request::SnapshotRequest;
use crate::source::Source;
use crate::vault::LedgerView;

/// The table, what is asked for, and the ledger as it was read when the attempt began.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) source: &'a Source,
    pub(super) request: &'a SnapshotRequest,
    pub(super) view: &'a LedgerView,
    pub(super) avoid: &'a Avoid,
}
