//! What a snapshot is asked for, and what it, or its plan, comes to.

use super::budget::MaxPrice;
use crate::error::Error;
use crate::format::record::TableIdentity;
use crate::format::{Record, Scope, TableKey, Trigger};
use crate::ids::{Id128, SnapshotId, Timestamp, Version};
use crate::plan::price::Commitment;
use crate::plan::retention::{Chosen, ClassReason, Policy, RetentionRequest};
use crate::plan::snapshot::Forecast;
use crate::plan::unheld::Unheld;
use crate::source::outside::Outside;

/// What to take a snapshot of, and how.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Name, source and URI of the table; its Delta id is found out. An empty name is that by which the ledger knows
    /// the table, else made of its URI.
    pub table: TableIdentity,
    /// The table's key in the vault.
    pub key: TableKey,
    /// What to hold.
    pub scope: Scope,
    /// Why.
    pub trigger: Trigger,
    /// The classes that there are.
    pub policy: Policy,
    /// The class or the time that was asked for.
    pub ask: RetentionRequest,
    /// What may be newly committed to; more is refused before anything is copied.
    pub max_commit: Option<MaxPrice>,
    /// The time of the run.
    pub now: Timestamp,
    /// 128 random bits.
    pub run: Id128,
    /// The set that the snapshot belongs to.
    pub set: Option<Id128>,
    /// Who takes it.
    pub principal: String,
    /// The tool and its version.
    pub tool: String,
    /// Snapshots on which nothing may be built from now on.
    pub distrust: Vec<SnapshotId>,
    /// The version that the owner calls the newest, where one stands alone far above the rest.
    pub accept_tip: Option<Version>,
    /// Where the log may name files outside the table's folder; elsewhere nothing is read.
    pub outside: Outside,
}

impl SnapshotRequest {
    /// Refuses a snapshot that would commit to more than it may.
    pub(super) fn check_commitment(&self, commitment: &Commitment) -> Result<(), Error> {
        let Some(MaxPrice { amount, prices }) = &self.max_commit else {
            return Ok(());
        };
        let estimate = commitment.estimate(prices);
        if estimate > *amount {
            return Err(Error::CommitsTooMuch {
                table: self.table.name.clone(),
                volume: commitment.terabyte_months(),
                estimate,
                limit: *amount,
            });
        }
        Ok(())
    }
}

/// A snapshot that was published.
#[derive(Debug, Clone)]
pub struct SnapshotDone {
    /// Its id.
    pub id: SnapshotId,
    /// Its record.
    pub record: Record,
    /// Why it has its class.
    pub reason: ClassReason,
    /// What was newly committed to.
    pub commitment: Commitment,
    /// Whether it names the same manifest as the one before.
    pub unchanged: bool,
    /// What it does not hold, as far as that is not true of the one before.
    pub newly_unheld: Vec<Unheld>,
}

/// What a snapshot would do.
#[derive(Debug, Clone)]
pub struct SnapshotPlan {
    /// The table's name.
    pub table: String,
    /// The version that was pinned.
    pub version: Version,
    /// The snapshot that it would build on.
    pub base: Option<SnapshotId>,
    /// Whether nothing has changed since the base.
    pub unchanged: bool,
    /// Data files to copy.
    pub files: u64,
    /// Their bytes, as far as the log says.
    pub bytes: u64,
    /// How they would go into the vault.
    pub forecast: Forecast,
    /// Data files that are held already.
    pub known_files: u64,
    /// Class and promise that it would have.
    pub chosen: Chosen,
    /// What it would newly commit to.
    pub commitment: Commitment,
    /// For how many days what is new would be paid for.
    pub days: u64,
    /// What the owner should know.
    pub findings: Vec<String>,
}
