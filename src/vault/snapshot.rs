//! Takes snapshots: pin V, replay, copy what is missing, prove the result from the vault's own bytes, publish.
//!
//! The writes happen in one order, which `execute` spells out:
//!
//! 1. the log: log files and log pages;
//! 2. the data files, and journals that name them;
//! 3. the proof, which writes nothing: V is replayed again, from the log as the vault holds it;
//! 4. the data pages;
//! 5. the manifest;
//! 6. the record, after the locks of everything that it leads to were extended.
//!
//! The crash-consistency argument: nothing that is written is visible before the record is, the record is one
//! put-if-absent, and every object it leads to was written and checked before. A kill at any call leaves
//! unreferenced objects; journals let the next run reference them instead of copying again. The store's type has no
//! overwrite and no delete, so no bug here can harm an earlier snapshot.

use crate::error::Error;
use crate::source::Source;

mod attempt;
mod budget;
mod check_source;
mod closure;
mod data;
mod execute;
mod failure;
mod inherit;
mod inherited;
mod inputs;
mod journal;
mod left;
mod live_log;
mod lock;
mod lock_terms;
mod log;
mod log_files;
mod manifest;
mod pages;
mod pairs;
mod past;
mod pin;
mod pinned;
mod placer;
mod planned;
mod presence;
mod prove;
mod publish;
mod record;
mod replayed;
mod request;
mod run;
mod sidecars;
mod since;
mod snapshotter;
mod streams;
mod ways;
mod write_data;

pub use budget::{Budget, Interrupt, Limit, Limits, MaxPrice};
pub use check_source::SourceCheck;
pub use journal::JournalPace;
pub use pairs::Pairs;
pub use request::{SnapshotDone, SnapshotPlan, SnapshotRequest};
pub use snapshotter::Snapshotter;

impl Snapshotter {
    /// Plans a snapshot and says what it would do; writes nothing.
    ///
    /// # Errors
    /// Everything that [`Snapshotter::take`] would find out before it copies.
    pub async fn plan(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotPlan, Error> {
        let (run, _pages) = self.for_one_run()?;
        let source = source.limited_to(&request.outside);
        run.plan_once(&source, request).await
    }

    /// Takes a snapshot and publishes it.
    ///
    /// # Errors
    /// Every refusal of the log, a source file that is missing or has another size (both named), another writer's
    /// newer snapshot, and what the stores say. Nothing is visible then, and nothing that was copied is lost.
    pub async fn take(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotDone, Error> {
        let (run, _pages) = self.for_one_run()?;
        let source = source.limited_to(&request.outside);
        run.take_in_attempts(&source, request).await
    }
}
