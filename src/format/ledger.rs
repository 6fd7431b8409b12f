//! Reads a ledger: which of the objects that lie in its slots are the chain, and what is wrong with the
//! rest. Nothing that lies there is believed before it links.
//!
//! Sans I/O: the functions are called with what a listing said ([`Slots`]) and with the bodies that have been
//! read so far ([`Bodies`]), and answer with the next bodies to read or with the result ([`Step`]).
//!
//! A record **stands** in slot `k` when the oldest object version of the slot is a record with `seq` `k`, and
//! what its `previous` names is there, is a record, and is either slot `k - 1` or the highest record that stands
//! below `k`. The **head** is the highest record that stands. From the head down, a record is the object version
//! that its successor names by SHA-256. Looking one link deep makes the head a matter of two reads however long
//! the ledger is; a longer lie, built on a record that links to nothing, costs its writer no less than an honest
//! append, hides nothing (reading goes on below it), and is a [`LedgerFinding`] of the full walk.
//!
//! A table's events are chained by the same rules: what is chained is a [`Chained`], a record unless said otherwise.
//!
//! It is not decided here what to do about a finding, and no bytes are fetched.

mod chain;
mod finding;
mod head;
mod slots;
mod trust;

pub use chain::{Chain, read_chain};
pub use finding::{LedgerFinding, ScarReason, UnreadRecord};
pub use head::{Head, find_head};
pub use slots::{Bodies, SlotRow, Slots};
pub use trust::{PrefixError, resolve_prefix, taken_back, trusted};

use std::sync::Arc;

use super::FormatError;
use super::record::{Operation, Preamble, Previous, Record, check_features};
use crate::ids::{ObjectVersion, SnapshotId};

/// The answer of a function that reads the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// Read these object versions, put them into the [`Bodies`], and call again. Never empty, never one that
    /// the bodies hold already.
    Read(Vec<SlotRow>),
    /// Done.
    Done(T),
}

/// What a chain is made of: a table's records, or its events.
pub trait Chained: Sized + Clone {
    /// What its bytes are called in an error.
    const WHAT: &'static str;

    /// Whether the next one gives up what is lost below it. Its writer is warned.
    const NEXT_GIVES_UP: bool;

    /// Whether `snapshot --distrust` gives one up by its id; else it is called forged by its key.
    const IS_DISTRUSTED_BY_ID: bool;

    /// Decodes it; what it requires was looked at before.
    ///
    /// # Errors
    /// Bytes of anything else: a scar.
    fn decode(bytes: &[u8]) -> Result<Self, FormatError>;

    /// Its slot.
    fn seq(&self) -> u64;

    /// The one before it.
    fn previous(&self) -> Option<Previous>;

    /// The features that it requires.
    fn requires(&self) -> &[String];

    /// The tool that wrote it.
    fn tool(&self) -> &str;

    /// Links on which nothing may be built any more.
    fn distrusts(&self) -> &[SnapshotId] {
        &[]
    }

    /// The error for one that only a newer tool can read.
    fn needs_newer(seq: u64, id: SnapshotId, newer: &NewerRecord) -> LedgerError;
}

impl Chained for Record {
    const WHAT: &'static str = "record";
    const NEXT_GIVES_UP: bool = false;
    const IS_DISTRUSTED_BY_ID: bool = true;

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::decode(bytes)
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn previous(&self) -> Option<Previous> {
        self.previous
    }

    fn requires(&self) -> &[String] {
        &self.requires
    }

    fn tool(&self) -> &str {
        &self.tool
    }

    fn distrusts(&self) -> &[SnapshotId] {
        &self.distrusts
    }

    fn needs_newer(seq: u64, id: SnapshotId, newer: &NewerRecord) -> LedgerError {
        LedgerError::NewerRecord {
            seq,
            id,
            tool: newer.preamble.tool.clone(),
            source: newer.reason.clone(),
        }
    }
}

/// One record of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link<B = Record> {
    /// Its slot.
    pub seq: u64,
    /// The SHA-256 of its bytes.
    pub id: SnapshotId,
    /// The object version that has these bytes, where the store keeps versions.
    pub version: Option<ObjectVersion>,
    /// What it says.
    pub body: LinkBody<B>,
}

/// What a record says, as far as this tool can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkBody<B = Record> {
    /// A record that this tool knows.
    Record(Arc<B>),
    /// A record for which a newer tool is needed. It links, and it was distrusted by its id.
    Newer(Arc<NewerRecord>),
}

/// A record of which only the four fields that never change can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerRecord {
    /// The four fields.
    pub preamble: Preamble,
    /// Why the rest cannot be read.
    pub reason: FormatError,
}

impl<B: Chained> Link<B> {
    /// The record, unless a newer tool is needed to read it.
    pub fn record(&self) -> Option<&B> {
        match &self.body {
            LinkBody::Record(record) => Some(record),
            LinkBody::Newer(_) => None,
        }
    }

    /// The record that this one names as the one before it.
    pub fn previous(&self) -> Option<Previous> {
        self.body.previous()
    }

    /// What the next record names as the one before it when this is the head.
    pub fn as_previous(&self) -> Previous {
        Previous {
            seq: self.seq,
            sha256: self.id.0,
        }
    }

    /// Refuses one that a tool must not write after, or delete for, that does not know what it requires, unless it is
    /// distrusted.
    ///
    /// # Errors
    /// [`LedgerError::NotForThisTool`].
    pub fn check_for(
        &self,
        operation: Operation,
        distrusts: &[SnapshotId],
    ) -> Result<(), LedgerError> {
        let Some(record) = self.record().filter(|_| !distrusts.contains(&self.id)) else {
            return Ok(());
        };
        let tool = record.tool();
        check_features(record.requires(), operation, tool).map_err(|source| {
            LedgerError::NotForThisTool {
                seq: self.seq,
                id: B::IS_DISTRUSTED_BY_ID.then_some(self.id),
                tool: tool.to_owned(),
                source: Box::new(source),
            }
        })
    }

    /// Refuses a newer record, unless it is distrusted.
    fn check_readable(&self, distrusts: &[SnapshotId]) -> Result<(), LedgerError> {
        match &self.body {
            LinkBody::Newer(newer) if !distrusts.contains(&self.id) => {
                Err(B::needs_newer(self.seq, self.id, newer))
            }
            LinkBody::Newer(_) | LinkBody::Record(_) => Ok(()),
        }
    }
}

impl<B: Chained> LinkBody<B> {
    fn seq(&self) -> u64 {
        match self {
            Self::Record(record) => record.seq(),
            Self::Newer(newer) => newer.preamble.seq,
        }
    }

    fn previous(&self) -> Option<Previous> {
        match self {
            Self::Record(record) => record.previous(),
            Self::Newer(newer) => newer.preamble.previous,
        }
    }
}

/// A ledger that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A record belongs to the chain but needs a newer tool.
    #[error("snapshot {} (record {seq}) was written by {tool} and cannot be read by this tool", id.short())]
    NewerRecord {
        /// Its slot.
        seq: u64,
        /// Its id.
        id: SnapshotId,
        /// The tool and version that wrote it, by its own account.
        tool: String,
        /// What this tool does not know.
        #[source]
        source: FormatError,
    },
    /// It can be read, and more must not be done by a tool that does not know what it requires.
    #[error(
        "{} {seq} was written by {tool}, and this tool must not go on from it",
        if id.is_some() { "record" } else { "event" }
    )]
    NotForThisTool {
        /// Its slot.
        seq: u64,
        /// The id of a record, by which it can be distrusted; `None` for an event.
        id: Option<SnapshotId>,
        /// The tool and version that wrote it, by its own account.
        tool: String,
        /// What this tool does not know.
        #[source]
        source: Box<FormatError>,
    },
    /// An event belongs to the chain but needs a newer tool.
    #[error("event {seq} was written by {tool} and cannot be read by this tool")]
    NewerEvent {
        /// Its slot.
        seq: u64,
        /// The tool and version that wrote it, by its own account.
        tool: String,
        /// What this tool does not know.
        #[source]
        source: FormatError,
    },
}

impl LedgerError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NewerRecord { id, tool, .. } => {
                format!(
                    "use {tool} or newer; if the record is forged, `deltavault snapshot` of the table with `--distrust {id}`, or \
                     --forged with its key, which `verify` prints"
                )
            }
            Self::NotForThisTool {
                id: Some(id), tool, ..
            } => format!(
                "use {tool} or newer; this tool may still restore what is there; if the record is forged, `deltavault snapshot` of the table \
                 with `--distrust {id}`, or --forged with its key, which `verify` prints"
            ),
            Self::NotForThisTool { id: None, tool, .. } | Self::NewerEvent { tool, .. } => format!(
                "use {tool} or newer; if the event is forged, --forged with its key, which `verify` prints, treats it as absent"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
