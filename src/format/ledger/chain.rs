//! Walks the whole chain, from the head down, with every finding about the ledger.

use std::collections::{HashMap, HashSet};

use super::finding::LedgerFinding;
use super::head::Standing;
use super::slots::{Bodies, Body, Missing, SlotRow, Slots, View};
use super::trust::{distrusted_by, taken_back};
use super::{Chained, LedgerError, Link, Step};
use crate::format::Record;
use crate::format::record::Previous;
use crate::ids::SnapshotId;

/// A table's records and the findings about its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain<B = Record> {
    /// The records, oldest first.
    pub links: Vec<Link<B>>,
    /// The slot of the next record.
    pub next_free: u64,
    /// What is not as it should be.
    pub findings: Vec<LedgerFinding>,
}

impl<B: Chained> Chain<B> {
    /// The records that this tool can read, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &B> + Clone {
        self.links.iter().filter_map(Link::record)
    }
}

/// Walks the chain. Where it is broken, or leaves out records that stand, the walk goes on below: no record that
/// was published is out of sight because of what was written after it.
///
/// `distrusts` names records that need not be readable; so do the records above them.
///
/// # Errors
/// [`LedgerError::NewerRecord`] when a record needs a newer tool and nobody distrusts it.
pub fn read_chain<B: Chained>(
    slots: &Slots,
    bodies: &Bodies<B>,
    distrusts: &[SnapshotId],
) -> Result<Step<Chain<B>>, LedgerError> {
    let view = View { slots, bodies };
    let mut walk = Walk {
        view,
        standing: Standing::new(view),
        links: Vec::new(),
        findings: slots.findings(),
    };
    if let Err(Missing(rows)) = walk.run() {
        return Ok(Step::Read(rows));
    }
    let mut distrusts = distrusts.to_vec();
    for link in &walk.links {
        link.check_readable(&distrusts)?;
        if let Some(record) = link.record() {
            distrusts.extend(record.distrusts());
        }
    }
    let Walk {
        standing,
        mut links,
        mut findings,
        ..
    } = walk;
    links.reverse();
    let taken_back = taken_back(&links);
    let is_taken_back = |seq| taken_back.iter().any(|range| range.contains(&seq));
    for finding in &mut findings {
        let is_about_a_link = matches!(
            finding,
            LedgerFinding::Broken { .. } | LedgerFinding::Fork { .. }
        );
        if is_about_a_link && is_taken_back(finding.seq()) {
            *finding = LedgerFinding::TakenBack(Box::new(finding.clone()));
        }
    }
    let is_link = |seq: u64| links.binary_search_by_key(&seq, |link| link.seq).is_ok();
    let scars = standing.scars_between(0, slots.next_free());
    let scars = scars.into_iter().filter(|scar| !is_link(scar.seq()));
    let distrusted_by = distrusted_by(&links);
    findings.extend(scars.map(|scar| {
        let seq = scar.seq();
        let ids = view.id(seq).into_iter().chain(slots.other_seals(seq, None));
        let mut by = ids.filter_map(|id| distrusted_by.get(&id));
        if by.any(|by| *by > seq) {
            LedgerFinding::TakenBack(Box::new(scar))
        } else {
            scar
        }
    }));
    for finding in &mut findings {
        let ids = finding.lost_ids();
        let is_of_empty_slot = finding.seq() >= slots.next_free() && !ids.is_empty();
        if is_of_empty_slot && ids.iter().all(|id| distrusted_by.contains_key(id)) {
            *finding = LedgerFinding::TakenBack(Box::new(finding.clone()));
        }
    }
    let missed: HashSet<u64> = findings.iter().filter_map(LedgerFinding::missed).collect();
    let others = |link: &Link<B>| slots.other_seals(link.seq, Some(link.id));
    for link in links.iter().filter(|link| !missed.contains(&link.seq)) {
        findings.extend(lost(link.seq, others(link), &distrusted_by));
    }
    if B::NEXT_GIVES_UP
        && let Some(head) = links.last()
    {
        let is_lost = |it: &&mut LedgerFinding| !it.lost_ids().is_empty() && it.seq() < head.seq;
        for finding in findings.iter_mut().filter(is_lost) {
            *finding = LedgerFinding::TakenBack(Box::new(finding.clone()));
        }
    }
    findings.sort_by_key(LedgerFinding::seq);
    Ok(Step::Done(Chain {
        links,
        next_free: slots.next_free(),
        findings,
    }))
}

/// What is said of seals of a slot that the record there does not have; those that a record from there on distrusts are
/// given up.
fn lost(
    seq: u64,
    ids: Vec<SnapshotId>,
    distrusted_by: &HashMap<SnapshotId, u64>,
) -> impl Iterator<Item = LedgerFinding> {
    let is_open = |id: &SnapshotId| distrusted_by.get(id).is_none_or(|by| *by < seq);
    let (open, given_up): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_open);
    let finding =
        move |ids: Vec<SnapshotId>| (!ids.is_empty()).then_some(LedgerFinding::Lost { seq, ids });
    let given_up = finding(given_up).map(|it| LedgerFinding::TakenBack(Box::new(it)));
    finding(open).into_iter().chain(given_up)
}

struct Walk<'a, B> {
    view: View<'a, B>,
    standing: Standing<'a, B>,
    /// Newest first.
    links: Vec<Link<B>>,
    findings: Vec<LedgerFinding>,
}

impl<B: Chained> Walk<'_, B> {
    fn run(&mut self) -> Result<(), Missing> {
        let mut from = self.view.slots.top();
        while let Some(link) = self.standing.highest_link(from)? {
            let lowest = self.follow(link)?;
            from = lowest - 1;
        }
        Ok(())
    }

    /// Follows the chain down from `link` until it ends; returns the slot of the last record reached.
    fn follow(&mut self, link: Link<B>) -> Result<u64, Missing> {
        let mut link = link;
        loop {
            let next = self.before(&link)?;
            let seq = link.seq;
            self.links.push(link);
            match next {
                Some(next) => link = next,
                None => return Ok(seq),
            }
        }
    }

    /// The record before `link`, when it is there and `link` leaves out none that stands.
    fn before(&mut self, link: &Link<B>) -> Result<Option<Link<B>>, Missing> {
        let seq = link.seq;
        let named = match link.previous() {
            None => None,
            Some(previous) => match self.named(previous)? {
                None => {
                    self.findings.push(LedgerFinding::Broken { seq, previous });
                    return Ok(None);
                }
                Some(named) => Some(named),
            },
        };
        // A standing record that the chain goes round, and what lies on top of one, is not replaced by what
        // came later.
        let passes = match &named {
            Some(named) if named.is_oldest && named.link.seq + 1 == seq => None,
            Some(named) if named.is_oldest => Some(named.link.seq + 1),
            Some(named) => Some(named.link.seq),
            None => Some(1),
        };
        if let Some(passes) = passes {
            let highest = self.standing.highest(seq - 1)?;
            if highest >= passes {
                self.findings.push(LedgerFinding::Fork {
                    seq,
                    leaves_out: highest,
                });
                return Ok(None);
            }
        }
        Ok(named.map(|named| {
            if !named.is_oldest {
                self.findings.push(LedgerFinding::OtherVersion {
                    seq: named.link.seq,
                });
            }
            named.link
        }))
    }

    /// The object version that a record names as the one before it.
    fn named(&self, previous: Previous) -> Result<Option<Named<B>>, Missing> {
        let Previous { seq, sha256 } = previous;
        let found = |row: &SlotRow, body: &Body<B>, is_oldest| match body {
            Body::Link(id, body) if body.seq() == seq && id.0 == sha256 => Some(Named {
                link: Link {
                    seq,
                    id: *id,
                    version: row.version.clone(),
                    body: body.clone(),
                },
                is_oldest,
            }),
            Body::Link(..) | Body::Scar(..) => None,
        };
        // A remembered body serves only where it cannot hide which of several versions the bytes are in.
        if let [row] = self.view.slots.versions(seq)
            && self.view.bodies.body(row).is_none()
            && let Some(body) = self.view.bodies.remembered(sha256)
        {
            return Ok(found(row, body, true));
        }
        if let Some((row, body)) = self.view.oldest(seq)?
            && let Some(named) = found(row, body, true)
        {
            return Ok(Some(named));
        }
        Ok(self
            .view
            .other(seq, sha256)?
            .and_then(|(row, body)| found(row, body, false)))
    }
}

/// A record that another one names.
struct Named<B> {
    link: Link<B>,
    is_oldest: bool,
}
