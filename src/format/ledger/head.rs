//! Finds the head of a ledger: two reads, however long the ledger is, and more only where somebody left scars.

use std::collections::BTreeMap;

use super::finding::{LedgerFinding, ScarReason};
use super::slots::{Bodies, Body, Missing, Slots, View};
use super::{Chained, LedgerError, Link, Step};
use crate::format::Record;
use crate::format::record::Operation;
use crate::ids::{Digest, SnapshotId};

/// The head of a ledger, and where the next record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<B = Record> {
    /// The last valid record; `None` while there is none.
    pub link: Option<Link<B>>,
    /// The slot of the next record.
    pub next_free: u64,
    /// What was noticed on the way. A full walk notices more.
    pub findings: Vec<LedgerFinding>,
}

impl<B: Chained> Head<B> {
    /// Refuses to write after one that requires what this tool does not know, unless it is distrusted.
    ///
    /// # Errors
    /// [`LedgerError::NotForThisTool`].
    pub fn check_may_write(&self, distrusts: &[SnapshotId]) -> Result<(), LedgerError> {
        let mut link = self.link.iter();
        link.try_for_each(|link| link.check_for(Operation::Write, distrusts))
    }
}

/// Finds the head. `distrusts` names records that need not be readable.
///
/// # Errors
/// [`LedgerError::NewerRecord`] when the head needs a newer tool and is not distrusted.
pub fn find_head<B: Chained>(
    slots: &Slots,
    bodies: &Bodies<B>,
    distrusts: &[SnapshotId],
) -> Result<Step<Head<B>>, LedgerError> {
    let mut standing = Standing::new(View { slots, bodies });
    let link = match standing.highest_link(slots.top()) {
        Err(Missing(rows)) => return Ok(Step::Read(rows)),
        Ok(link) => link,
    };
    if let Some(link) = &link {
        link.check_readable(distrusts)?;
    }
    let head_seq = link.as_ref().map_or(0, |link| link.seq);
    let mut findings = standing.scars_between(head_seq, slots.next_free());
    findings.extend(slots.findings());
    Ok(Step::Done(Head {
        link,
        next_free: slots.next_free(),
        findings,
    }))
}

/// Which records stand, worked out slot by slot and remembered.
pub(super) struct Standing<'a, B> {
    view: View<'a, B>,
    /// By slot: the highest slot at or below it in which a record stands; 0 for none.
    highest: BTreeMap<u64, u64>,
    scars: BTreeMap<u64, ScarReason>,
}

/// What a slot and the one that it names say about it, before the slots in between are looked at.
enum Verdict {
    /// It stands.
    Stands,
    /// It stands if the highest record below it is this one; 0 for none.
    IfHighestIs(u64),
    /// It names a version that is not the oldest of its slot: it stands if nothing does from that slot on.
    IfHighestIsBelow(u64),
    /// It does not stand.
    Scar(ScarReason),
}

impl<'a, B: Chained> Standing<'a, B> {
    pub(super) fn new(view: View<'a, B>) -> Self {
        Self {
            view,
            highest: BTreeMap::new(),
            scars: BTreeMap::new(),
        }
    }

    /// The highest slot at or below `from` in which a record stands; 0 for none.
    ///
    /// Goes down to a slot that can be judged alone, then up again: no recursion, because anyone who writes scars would
    /// decide how deep it goes.
    pub(super) fn highest(&mut self, from: u64) -> Result<u64, Missing> {
        let mut undecided = Vec::new();
        let mut seq = from;
        let mut highest = loop {
            if seq == 0 {
                break 0;
            }
            if let Some(highest) = self.highest.get(&seq) {
                break *highest;
            }
            undecided.push((seq, self.verdict(seq)?));
            if let Some((_, Verdict::Stands)) = undecided.last() {
                break 0;
            }
            seq -= 1;
        };
        for (seq, verdict) in undecided.into_iter().rev() {
            let scar = match verdict {
                Verdict::Stands => None,
                Verdict::Scar(reason) => Some(reason),
                Verdict::IfHighestIs(previous) if previous == highest => None,
                Verdict::IfHighestIsBelow(previous) if previous > highest => None,
                Verdict::IfHighestIs(previous) if previous > highest => {
                    Some(ScarReason::BuildsOnScar { previous })
                }
                Verdict::IfHighestIs(_) | Verdict::IfHighestIsBelow(_) => {
                    Some(ScarReason::LeavesOut {
                        leaves_out: highest,
                    })
                }
            };
            match scar {
                None => highest = seq,
                Some(reason) => {
                    self.scars.insert(seq, reason);
                }
            }
            self.highest.insert(seq, highest);
        }
        Ok(highest)
    }

    /// The record that [`Standing::highest`] finds.
    pub(super) fn highest_link(&mut self, from: u64) -> Result<Option<Link<B>>, Missing> {
        let seq = self.highest(from)?;
        let Some((row, Body::Link(id, body))) = self.view.oldest(seq)? else {
            return Ok(None);
        };
        Ok(Some(Link {
            seq,
            id: *id,
            version: row.version.clone(),
            body: body.clone(),
        }))
    }

    /// The scars found so far in the slots between two, both exclusive.
    pub(super) fn scars_between(&self, low: u64, high: u64) -> Vec<LedgerFinding> {
        self.scars
            .iter()
            .filter(|(seq, _)| low < **seq && **seq < high)
            .map(|(seq, reason)| LedgerFinding::Scar {
                seq: *seq,
                reason: reason.clone(),
            })
            .collect()
    }

    fn verdict(&self, seq: u64) -> Result<Verdict, Missing> {
        let scar = |reason| Ok(Verdict::Scar(reason));
        let body = match self.view.oldest(seq)? {
            None => return scar(ScarReason::Gone),
            Some((_, body)) => body,
        };
        let is_gone = matches!(body, Body::Scar(ScarReason::Gone, _));
        if let Some(sealed) = self.view.slots.sealed_for_others(seq, body.id())
            && !is_gone
        {
            return scar(match body {
                Body::Scar(ScarReason::Unreadable { detail, .. }, _) => {
                    let detail = detail.clone();
                    ScarReason::Unreadable { detail, sealed }
                }
                Body::Link(..) | Body::Scar(..) => ScarReason::NotAsSealed { sealed },
            });
        }
        let link = match body {
            Body::Scar(reason, _) => return scar(reason.clone()),
            Body::Link(_, link) => link,
        };
        if link.seq() != seq {
            return scar(ScarReason::WrongSeq { found: link.seq() });
        }
        let Some(previous) = link.previous() else {
            return Ok(if seq == 1 {
                Verdict::Stands
            } else {
                Verdict::IfHighestIs(0)
            });
        };
        let follows_directly = previous.seq + 1 == seq;
        match self.named(previous.seq, previous.sha256)? {
            Named::Oldest if follows_directly => Ok(Verdict::Stands),
            Named::Oldest => Ok(Verdict::IfHighestIs(previous.seq)),
            Named::Other => Ok(Verdict::IfHighestIsBelow(previous.seq)),
            Named::Nothing => scar(ScarReason::PreviousMissing {
                previous: previous.seq,
            }),
        }
    }

    fn named(&self, seq: u64, sha256: Digest) -> Result<Named, Missing> {
        if let Some((_, body)) = self.view.oldest(seq)?
            && body.is_record(seq, sha256)
        {
            return Ok(Named::Oldest);
        }
        Ok(match self.view.other(seq, sha256)? {
            Some(_) => Named::Other,
            None => Named::Nothing,
        })
    }
}

/// Which version of a slot has the SHA-256 that a record names.
enum Named {
    Oldest,
    Other,
    Nothing,
}
