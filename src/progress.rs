//! Progress as events: the core says what it is about to do and what is done, and never knows a terminal.
//!
//! Several tables may report into one [`Progress`] at once; planned totals add up.

use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt as _;

use crate::store::ObjectReader;

/// What a command is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the transaction log.
    ReadLog,
    /// Deciding what to do.
    Plan,
    /// Copying files into the vault.
    Copy,
    /// Replaying the pinned version from the vault's own bytes.
    Check,
    /// Writing pages, manifest and record.
    Publish,
    /// Looking whether the source still has every file.
    CheckSource,
    /// Putting files back.
    PutBack,
    /// Comparing the vault with what it says of itself.
    Verify,
    /// Putting into the vault again what is lost.
    Repair,
}

impl Phase {
    /// The phase as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadLog => "reading the log",
            Self::Plan => "planning",
            Self::Copy => "copying",
            Self::Check => "checking",
            Self::Publish => "publishing",
            Self::CheckSource => "looking for the files of",
            Self::PutBack => "putting back",
            Self::Verify => "verifying",
            Self::Repair => "repairing",
        }
    }
}

/// What a plan is going to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlannedWork {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Takes the events of a command that is running.
pub trait Progress: fmt::Debug + Send + Sync {
    /// `table` has entered a phase.
    fn phase(&self, table: &str, phase: Phase);

    /// A plan is made, and this comes on top of what was planned before.
    fn planned(&self, work: PlannedWork);

    /// Bytes of a planned file were read; its [`Progress::file_done`] counts them, too. Not of files that a store copies
    /// itself.
    fn moved(&self, _bytes: u64) {}

    /// One planned file of that many bytes is done.
    fn file_done(&self, bytes: u64);

    /// The command works on so many tables.
    fn tables(&self, _count: u64) {}

    /// One of the tables is done, or has failed.
    fn table_done(&self) {}

    /// Something a person who watches should know; nothing that a result depends on.
    fn note(&self, text: &str);
}

/// A reader of a planned file that reports its bytes as they come.
#[must_use]
pub fn watched(reader: ObjectReader, progress: &Arc<dyn Progress>) -> ObjectReader {
    let progress = Arc::clone(progress);
    let body = (reader.body).inspect_ok(move |chunk| progress.moved(chunk.len() as u64));
    ObjectReader {
        body: Box::pin(body),
        ..reader
    }
}

/// Takes no notice.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn phase(&self, _table: &str, _phase: Phase) {}

    fn planned(&self, _work: PlannedWork) {}

    fn file_done(&self, _bytes: u64) {}

    fn note(&self, _text: &str) {}
}
