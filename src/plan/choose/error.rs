//! How a choice can fail.

use crate::format::ledger::{LedgerError, PrefixError, UnreadRecord};
use crate::ids::{Timestamp, Version};

/// Why no snapshot was chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// A record that needs a newer tool may be the one.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A text names no snapshot, or several.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The table has no snapshot that counts.
    #[error("there is no snapshot of {table}")]
    NoSnapshot {
        /// The table.
        table: String,
    },
    /// No snapshot holds that version.
    #[error("no snapshot of {table} holds version {version}")]
    VersionNotHeld {
        /// The table.
        table: String,
        /// The version that was asked for.
        version: Version,
        /// The versions that are held, newest first, each stretch by its first and last.
        held: Vec<(Version, Version)>,
    },
    /// Every snapshot is of a version committed later.
    #[error("no snapshot of {table} holds a version committed at or before {at}")]
    NothingHeldAt {
        /// The table.
        table: String,
        /// The time that was asked for.
        at: Timestamp,
        /// When the oldest version held was committed.
        oldest: Option<Timestamp>,
    },
    /// What was asked for is not in what can be read of a ledger, and some of that ledger cannot be read.
    #[error(
        "the ledger of {table} cannot be read completely: it is unknown whether {wanted} is held"
    )]
    LedgerNotWhole {
        /// What was asked for.
        wanted: String,
        /// The table.
        table: String,
        /// The first record that cannot be read.
        #[source]
        source: Box<UnreadRecord>,
    },
    /// Several snapshots answer, with different content.
    #[error("{what}: the owner must choose")]
    Several {
        /// What there is to choose about.
        what: String,
        /// Each snapshot, as a flag with what is known of it.
        choices: Vec<String>,
    },
}
