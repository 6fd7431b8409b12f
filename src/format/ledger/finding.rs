//! Findings about a ledger, and what to do about each.

use std::fmt;

use super::super::record::Previous;
use crate::count::{are, counted};
use crate::format::{TableKey, VaultKey};
use crate::ids::SnapshotId;

/// Something about a ledger that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerFinding {
    /// A slot is occupied by no record of the chain. It is skipped and never read further.
    Scar {
        /// The slot.
        seq: u64,
        /// What is wrong with it.
        reason: ScarReason,
    },
    /// Objects were put on top of a slot's first.
    Planted {
        /// The slot.
        seq: u64,
        /// How many.
        versions: usize,
    },
    /// There are objects above an empty slot: a record was deleted, or somebody wrote ahead.
    BeyondGap {
        /// The empty slot.
        empty: u64,
        /// The lowest occupied slot above it.
        lowest: u64,
        /// How many occupied slots there are above it.
        slots: u64,
    },
    /// A slot's oldest version is not the record that the chain names; a later version is, and serves.
    OtherVersion {
        /// The slot.
        seq: u64,
    },
    /// A record of the chain names one before it that is not there.
    Broken {
        /// The record's slot.
        seq: u64,
        /// What it names.
        previous: Previous,
    },
    /// A record that others build on leaves out a record that was there before it. Both sides were read.
    Fork {
        /// The record's slot.
        seq: u64,
        /// The highest slot that it leaves out.
        leaves_out: u64,
    },
    /// Records that were published into a slot, by its seals, and that nothing has the bytes of.
    Lost {
        /// The slot.
        seq: u64,
        /// What was sealed.
        ids: Vec<SnapshotId>,
    },
    /// Seals of slots in which nothing can have been published: slots below them are empty.
    StraySeals {
        /// The lowest such slot.
        seq: u64,
        /// How many more there are.
        more: u64,
    },
    /// What is wrong with a record that a later one distrusts: its owner has decided about it.
    TakenBack(Box<LedgerFinding>),
}

/// Why an object in a slot is not a record of the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScarReason {
    /// More than a record may have.
    #[error("it has more than 1 MiB")]
    TooLarge,
    /// Listed, but gone when it was read.
    #[error("it was gone when it was to be read")]
    Gone,
    /// It is there, and the store gives its bytes to nobody.
    #[error("it cannot be read: {detail}{}", sealed_for(sealed))]
    Unreadable {
        /// What the store said.
        detail: String,
        /// What its slot was sealed for: then a record may be under it.
        sealed: Vec<SnapshotId>,
    },
    /// The owner calls it forged.
    #[error("its owner calls it forged")]
    Forged,
    /// Not the bytes of a record.
    #[error("it is not a record: {detail}")]
    NotARecord {
        /// What the parser said.
        detail: String,
    },
    /// Other bytes than those that the slot was sealed for.
    #[error("it was sealed for {}, and has other bytes", short(sealed))]
    NotAsSealed {
        /// What was sealed.
        sealed: Vec<SnapshotId>,
    },
    /// A record for another slot.
    #[error("it is a record for slot {found}")]
    WrongSeq {
        /// The slot it says it is for.
        found: u64,
    },
    /// The bytes that it names as its predecessor are gone, or are not a record.
    #[error("it names a record before it that is not there, slot {previous}")]
    PreviousMissing {
        /// The slot it names.
        previous: u64,
    },
    /// It leaves out a record that was there before it.
    #[error("it leaves out record {leaves_out}")]
    LeavesOut {
        /// The highest record that it leaves out.
        leaves_out: u64,
    },
    /// Its predecessor is not a record of the chain either.
    #[error("it builds on slot {previous}, which is not a record of the chain")]
    BuildsOnScar {
        /// The slot it names.
        previous: u64,
    },
}

impl ScarReason {
    /// The records that the slot was sealed for and that are not to be had from it.
    fn sealed(&self) -> &[SnapshotId] {
        match self {
            Self::NotAsSealed { sealed } | Self::Unreadable { sealed, .. } => sealed,
            Self::TooLarge
            | Self::Gone
            | Self::Forged
            | Self::NotARecord { .. }
            | Self::WrongSeq { .. }
            | Self::PreviousMissing { .. }
            | Self::LeavesOut { .. }
            | Self::BuildsOnScar { .. } => &[],
        }
    }
}

/// A slot of a table's ledger that cannot be read, or whose record is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {finding}")]
pub struct UnreadRecord {
    /// The object in that slot.
    pub object: VaultKey,
    /// What is wrong with it.
    pub finding: LedgerFinding,
}

impl UnreadRecord {
    /// The first of the findings of a table's ledger behind which a snapshot may be hidden.
    pub fn first(table: &TableKey, findings: &[LedgerFinding]) -> Option<Self> {
        let finding = findings
            .iter()
            .find(|finding| finding.may_hide_a_record())?;
        Some(Self {
            object: VaultKey::Record {
                table: table.clone(),
                seq: finding.slot(),
            },
            finding: finding.clone(),
        })
    }
}

impl LedgerFinding {
    /// Whether something that was in the ledger is gone, or was put out of reach. Else somebody put something where it does
    /// not belong; it was not read, and nothing is lost.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Scar { reason, .. } => !reason.sealed().is_empty(),
            Self::Planted { .. } | Self::StraySeals { .. } | Self::TakenBack(_) => false,
            Self::BeyondGap { .. }
            | Self::OtherVersion { .. }
            | Self::Broken { .. }
            | Self::Lost { .. }
            | Self::Fork { .. } => true,
        }
    }

    /// What was published and is no longer in its slot.
    pub fn lost_ids(&self) -> &[SnapshotId] {
        match self {
            Self::Lost { ids, .. } => ids,
            Self::Scar { reason, .. } => reason.sealed(),
            Self::Planted { .. }
            | Self::StraySeals { .. }
            | Self::BeyondGap { .. }
            | Self::OtherVersion { .. }
            | Self::Broken { .. }
            | Self::Fork { .. }
            | Self::TakenBack(_) => &[],
        }
    }

    /// The slot whose record another one misses.
    pub(super) fn missed(&self) -> Option<u64> {
        match self {
            Self::Broken { previous, .. } => Some(previous.seq),
            Self::Scar {
                reason: ScarReason::PreviousMissing { previous },
                ..
            } => Some(*previous),
            Self::TakenBack(finding) => finding.missed(),
            Self::Scar { .. }
            | Self::Planted { .. }
            | Self::StraySeals { .. }
            | Self::BeyondGap { .. }
            | Self::OtherVersion { .. }
            | Self::Fork { .. }
            | Self::Lost { .. } => None,
        }
    }

    /// The slot that it is about.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Scar { seq, .. }
            | Self::Planted { seq, .. }
            | Self::OtherVersion { seq }
            | Self::Broken { seq, .. }
            | Self::Fork { seq, .. }
            | Self::Lost { seq, .. }
            | Self::StraySeals { seq, .. }
            | Self::BeyondGap { empty: seq, .. } => *seq,
            Self::TakenBack(finding) => finding.seq(),
        }
    }

    /// The slot whose object is at fault: where a record names one that is not there, the one that it names.
    pub fn slot(&self) -> u64 {
        if let Self::Scar {
            reason: ScarReason::PreviousMissing { previous },
            ..
        } = self
        {
            return *previous;
        }
        self.hidden_slot()
    }

    /// The slot of the record that it may hide.
    pub fn hidden_slot(&self) -> u64 {
        if let Self::Broken { previous, .. } = self {
            return previous.seq;
        }
        self.seq()
    }

    /// Whether it may hide a record that was not read. Junk in a free slot and a damaged record look alike.
    pub fn may_hide_a_record(&self) -> bool {
        match self {
            // What its owner calls forged hides nothing.
            Self::Scar { reason, .. } => *reason != ScarReason::Forged,
            Self::BeyondGap { .. } | Self::Broken { .. } | Self::Lost { .. } => true,
            Self::Planted { .. }
            | Self::StraySeals { .. }
            | Self::OtherVersion { .. }
            | Self::Fork { .. }
            | Self::TakenBack(_) => false,
        }
    }

    /// Whether a record from a replica may be what is missing.
    pub fn may_be_put_back(&self) -> bool {
        match self {
            Self::BeyondGap { .. } | Self::Broken { .. } | Self::Lost { .. } => true,
            Self::Scar { reason, .. } => matches!(
                reason,
                ScarReason::NotARecord { .. }
                    | ScarReason::NotAsSealed { .. }
                    | ScarReason::Gone
                    | ScarReason::PreviousMissing { .. }
            ),
            Self::Planted { .. }
            | Self::StraySeals { .. }
            | Self::OtherVersion { .. }
            | Self::Fork { .. }
            | Self::TakenBack(_) => false,
        }
    }

    /// What the owner can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Scar {
                reason: ScarReason::NotAsSealed { .. },
                ..
            } => {
                "a record was changed or replaced: move the file out of its slot, and then put the record back from a \
                 replica; where there is none, `snapshot --distrust` of the id that was sealed gives it up"
            }
            Self::Scar {
                reason: ScarReason::Unreadable { .. },
                ..
            } => {
                "find out who put it there; where it is no record of yours nothing is lost, and `--forged KEY` treats it as absent"
            }
            Self::Lost { .. } => {
                "where no replica has it, or its slot was taken, `snapshot --distrust` of that id gives it up; of an event, the \
                 next one does: hold again what is to be kept; where no such table ever was, `--forged KEY` treats it as absent"
            }
            Self::Scar {
                reason: ScarReason::NotARecord { .. } | ScarReason::Gone,
                ..
            } => {
                "if it is a damaged record and none was published since, move it out of its slot first; if it never was a \
                 record, nothing is lost: find out whose credentials wrote it, and `--forged KEY` treats it as absent"
            }
            Self::Scar {
                reason: ScarReason::Forged,
                ..
            } => {
                "find out whose credentials wrote it; it is treated as absent as long as it is named"
            }
            Self::Scar { .. } | Self::StraySeals { .. } => {
                "nothing is lost and nothing has to be removed; find out whose credentials wrote it"
            }
            Self::Planted { .. } => {
                "the first version counts and nothing is lost; find out whose credentials wrote the others"
            }
            Self::BeyondGap { .. } => {
                "look in the access log for a deletion of the empty slot; where nothing was deleted and what lies beyond is nobody's, \
                 `--forged KEY` treats it as absent, the key being this one with its number"
            }
            Self::OtherVersion { .. } => {
                "the record is whole; find out in the access log who removed or replaced the slot's first \
                 version"
            }
            Self::Broken { .. } => {
                "snapshots on both sides can be restored as they are; `snapshot --distrust` of the lowest of the upper ones gives \
                 those up: nothing is built on them, and `prune` works again"
            }
            Self::Fork { .. } => {
                "snapshots on both sides can be restored; `snapshot --distrust` of the record that leaves others out gives it \
                 up: nothing is built on it, and `prune` works again"
            }
            Self::TakenBack(_) => {
                "nothing has to be done: `restore --snapshot ID` still reads what was given up, as long as its promise lasts"
            }
        }
    }
}

impl fmt::Display for LedgerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scar { seq, reason } => {
                write!(f, "slot {seq} is not a record of the chain: {reason}")
            }
            Self::Planted { seq, versions } => {
                write!(
                    f,
                    "slot {seq} has {} on top of its first",
                    counted(*versions as u64, "object version")
                )
            }
            Self::BeyondGap {
                empty,
                lowest,
                slots,
            } => write!(
                f,
                "slot {empty} is empty, but {} from {lowest} on {} not",
                counted(*slots, "slot"),
                are(*slots)
            ),
            Self::OtherVersion { seq } => write!(
                f,
                "record {seq} is not the oldest version of its slot, but the one that the chain names"
            ),
            Self::Broken { seq, previous } => write!(
                f,
                "record {seq} names a record {} with SHA-256 {} that is not there",
                previous.seq, previous.sha256
            ),
            Self::Fork { seq, leaves_out } => {
                write!(f, "record {seq} leaves out record {leaves_out}")
            }
            Self::Lost { seq, ids } => {
                write!(
                    f,
                    "what was published into slot {seq} is lost: {}",
                    short(ids)
                )
            }
            Self::StraySeals { seq, more } => write!(
                f,
                "slot {seq}{} a seal, and slots below are empty: nobody published there",
                match more {
                    0 => " has".to_owned(),
                    more => format!(" and {more} more have"),
                }
            ),
            Self::TakenBack(finding) => write!(f, "{finding}; it was given up since"),
        }
    }
}

/// Snapshots by the first digits of their ids.
fn sealed_for(ids: &[SnapshotId]) -> String {
    match ids {
        [] => String::new(),
        ids => format!("; it was sealed for {}", short(ids)),
    }
}

fn short(ids: &[SnapshotId]) -> String {
    const NAMED: usize = 8;
    let named: Vec<String> = ids.iter().take(NAMED).map(SnapshotId::short).collect();
    let more = match ids.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}
