//! Why one attempt at a snapshot ended, and what the next one must not build on.

use super::budget::Limit;
use crate::error::{Error, HeldSnapshot};
use crate::format::Record;
use crate::ids::{Digest, ObjectKey, Version};
use crate::progress::PlannedWork;

/// Why one attempt ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// For good.
    Error(Error),
    /// A log file is another one than was listed, or gone: the version has to be pinned again.
    Moved {
        file: String,
    },
    /// The run took so long that a prune could be about to collect what it built on.
    Outlived,
    Gone {
        object: String,
        manifest: Digest,
    },
    /// Data files of V are gone.
    Vanished {
        version: Version,
        files: Vec<String>,
        /// An object of the vault that held one of them, and is gone, too.
        lost: Option<ObjectKey>,
    },
    Archived {
        version: Version,
        files: Vec<String>,
    },
    /// The run's owner wants it to end here.
    Limit {
        version: Version,
        limit: Limit,
        /// What this run has placed of what was planned.
        placed: PlannedWork,
        planned: PlannedWork,
        /// Data files that were held before.
        known: u64,
    },
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Failure {
    /// The error of a run that ends with this failure, where `held` is the table's newest snapshot.
    pub(super) fn into_error(self, table: &str, held: Option<HeldSnapshot>) -> Error {
        let table = table.to_owned();
        match self {
            Self::Error(Error::Log(source)) if source.is_about_log() => Error::LogUnreadable {
                table,
                held,
                source: Box::new(source),
            },
            Self::Error(error) => error,
            Self::Moved { file } => Error::SourceMoving { table, file },
            Self::Outlived => Error::TookTooLong { table },
            Self::Gone { object, .. } => Error::Damaged {
                object,
                what: "it is gone from the vault".to_owned(),
            },
            Self::Vanished {
                version,
                files,
                lost,
            } => Error::SourceFileMissing {
                table,
                version,
                files,
                held,
                lost: lost.map(Box::new),
            },
            Self::Archived { version, files } => Error::SourceArchived {
                table,
                version,
                files,
            },
            Self::Limit {
                version,
                limit,
                placed,
                planned,
                known,
            } => Error::LimitReached {
                table,
                version,
                limit: limit.as_str(),
                placed,
                planned,
                known,
            },
        }
    }
}

/// What an earlier attempt of the run has found to be no good to build on.
#[derive(Debug, Default)]
pub(super) struct Avoid {
    /// Manifests and pages that cannot be read.
    pub(super) objects: Vec<String>,
    /// Manifests that reference what is gone.
    pub(super) manifests: Vec<Digest>,
    /// Every snapshot.
    pub(super) all: bool,
}

impl Avoid {
    pub(super) fn is_whole(&self, record: &Record) -> bool {
        !self.all && !self.manifests.contains(&record.manifest.sha256)
    }
}
