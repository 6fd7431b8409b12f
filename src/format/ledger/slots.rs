//! What is known of a ledger's slots: the listing, and the bodies that have been read so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::FormatError;
use super::super::record::{Preamble, RECORD_LIMIT, Record};
use super::finding::{LedgerFinding, ScarReason};
use super::{Chained, LinkBody, NewerRecord};
use crate::ids::{Digest, ObjectVersion, SnapshotId};

/// Of a slot with many versions, this many of the oldest are looked at. Only one can be the record; without a
/// limit, anyone who may create objects could make every reading of the ledger arbitrarily long.
const VERSIONS_LOOKED_AT: usize = 32;

/// One object version in a slot, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotRow {
    /// The slot.
    pub seq: u64,
    /// The object version, where the store keeps versions.
    pub version: Option<ObjectVersion>,
    /// Bytes.
    pub size: u64,
}

/// The occupied slots of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The run from slot 1: each slot's versions, oldest first, never none.
    run: Vec<Vec<SlotRow>>,
    /// The lowest slot above the first empty one, and how many there are.
    beyond: Option<(u64, u64)>,
    /// By slot: the SHA-256 of what was published there.
    seals: BTreeMap<u64, Vec<Digest>>,
}

impl Slots {
    /// Takes the rows of a listing of object versions: each slot's oldest first, delete markers left out.
    pub fn from_listing(rows: impl IntoIterator<Item = SlotRow>) -> Self {
        let mut by_seq: BTreeMap<u64, Vec<SlotRow>> = BTreeMap::new();
        for row in rows {
            by_seq.entry(row.seq).or_default().push(row);
        }
        let mut slots = Self::default();
        for (seq, versions) in by_seq {
            if seq == slots.next_free() {
                slots.run.push(versions);
            } else {
                let (lowest, count) = slots.beyond.unwrap_or((seq, 0));
                slots.beyond = Some((lowest, count + 1));
            }
        }
        slots
    }

    /// Adds the seals of a listing, each by its slot.
    #[must_use]
    pub fn with_seals(mut self, seals: impl IntoIterator<Item = (u64, Digest)>) -> Self {
        for (seq, sha256) in seals {
            self.seals.entry(seq).or_default().push(sha256);
        }
        self
    }

    /// The seals of a slot that are not of these bytes.
    pub(super) fn other_seals(&self, seq: u64, id: Option<SnapshotId>) -> Vec<SnapshotId> {
        let seals = self.seals.get(&seq).into_iter().flatten();
        let ids = seals.map(|sha256| SnapshotId(*sha256));
        ids.filter(|seal| Some(*seal) != id).collect()
    }

    /// The seals of a slot that has some, and none of these bytes.
    pub(super) fn sealed_for_others(
        &self,
        seq: u64,
        id: Option<SnapshotId>,
    ) -> Option<Vec<SnapshotId>> {
        let others = self.other_seals(seq, id);
        let is_sealed = id.is_some_and(|id| self.has_seal(seq, id));
        (!others.is_empty() && !is_sealed).then_some(others)
    }

    /// Whether a slot has a seal of these bytes.
    pub(super) fn has_seal(&self, seq: u64, id: SnapshotId) -> bool {
        let seals = self.seals.get(&seq);
        seals.is_some_and(|seals| seals.contains(&id.0))
    }

    /// The first empty slot: where the next record goes.
    pub fn next_free(&self) -> u64 {
        self.top() + 1
    }

    /// The highest slot of the run from 1; 0 when slot 1 is empty.
    pub fn top(&self) -> u64 {
        self.run.len() as u64
    }

    /// The versions in a slot of the run, oldest first.
    pub fn versions(&self, seq: u64) -> &[SlotRow] {
        seq.checked_sub(1)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.run.get(index))
            .map_or(&[], Vec::as_slice)
    }

    /// The version of a slot that was there first: the one that was published, whatever was put on top.
    pub fn oldest(&self, seq: u64) -> Option<&SlotRow> {
        self.versions(seq).first()
    }

    /// What the listing alone gives away.
    pub(super) fn findings(&self) -> Vec<LedgerFinding> {
        let planted = self
            .run
            .iter()
            .filter_map(|versions| match versions.as_slice() {
                [oldest, planted @ ..] if !planted.is_empty() => Some(LedgerFinding::Planted {
                    seq: oldest.seq,
                    versions: planted.len(),
                }),
                _ => None,
            });
        let beyond = self.beyond.map(|(lowest, slots)| LedgerFinding::BeyondGap {
            empty: self.next_free(),
            lowest,
            slots,
        });
        planted.chain(beyond).chain(self.lost()).collect()
    }

    /// What is lost from the empty slots, unless something lies above them anyway: what was published there one after the
    /// other. Seals further above follow nothing, so nobody published there.
    fn lost(&self) -> Vec<LedgerFinding> {
        if self.beyond.is_some() {
            return Vec::new();
        }
        let mut findings = Vec::new();
        let mut seq = self.next_free();
        while let Some(ids) = self.seals.get(&seq) {
            let ids = ids.iter().copied().map(SnapshotId).collect();
            findings.push(LedgerFinding::Lost { seq, ids });
            seq += 1;
        }
        let mut stray = self.seals.range(seq..).map(|(seq, _)| *seq);
        findings.extend(stray.next().map(|seq| {
            let more = stray.count() as u64;
            LedgerFinding::StraySeals { seq, more }
        }));
        findings
    }
}

/// The bodies that have been read so far. Each is hashed and parsed once, when it comes.
#[derive(Debug, Clone)]
pub struct Bodies<B = Record> {
    read: HashMap<SlotRow, Body<B>>,
    remembered: HashMap<Digest, Body<B>>,
}

impl<B> Default for Bodies<B> {
    fn default() -> Self {
        Self {
            read: HashMap::new(),
            remembered: HashMap::new(),
        }
    }
}

/// What was found in one object version.
#[derive(Debug, Clone)]
pub(super) enum Body<B> {
    /// A record by its four fields, and the SHA-256 of its bytes.
    Link(SnapshotId, LinkBody<B>),
    /// Something else, and the SHA-256 of its bytes where they were read.
    Scar(ScarReason, Option<SnapshotId>),
}

impl<B: Chained> Bodies<B> {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes of an object version that [`super::Step::Read`] asked for.
    pub fn insert(&mut self, row: SlotRow, bytes: &[u8]) {
        self.read.insert(row, Body::parse(bytes));
    }

    /// Takes note that an object version is gone since it was listed.
    pub fn insert_gone(&mut self, row: SlotRow) {
        self.read.insert(row, Body::Scar(ScarReason::Gone, None));
    }

    /// Takes note that the store gives nobody the bytes of an object version.
    pub fn insert_unreadable(&mut self, row: SlotRow, detail: String) {
        let sealed = Vec::new();
        let reason = ScarReason::Unreadable { detail, sealed };
        self.read.insert(row, Body::Scar(reason, None));
    }

    /// Takes note that the owner calls an object version forged.
    pub fn insert_forged(&mut self, row: SlotRow) {
        self.read.insert(row, Body::Scar(ScarReason::Forged, None));
    }

    /// Takes the bytes of a record from a cache. They serve, in a full walk, where the chain names their SHA-256
    /// and the slot has one version; a verification that is to see what the vault holds does without.
    pub fn remember(&mut self, bytes: &[u8]) {
        let body = Body::parse(bytes);
        if let Body::Link(id, _) = &body {
            self.remembered.insert(id.0, body);
        }
    }

    pub(super) fn remembered(&self, sha256: Digest) -> Option<&Body<B>> {
        self.remembered.get(&sha256)
    }

    /// The body of one version of a slot; too large ones are scars without being read.
    pub(super) fn body(&self, row: &SlotRow) -> Option<&Body<B>> {
        if row.size > RECORD_LIMIT {
            return Some(&const { Body::Scar(ScarReason::TooLarge, None) });
        }
        self.read.get(row)
    }

    /// How many slots to ask for at once: as many as were read already, so that a short search reads little and
    /// a long walk takes few rounds.
    fn batch(&self) -> u64 {
        (self.read.len() as u64).clamp(2, 1000)
    }
}

impl<B> Body<B> {
    /// The SHA-256 of its bytes.
    pub(super) fn id(&self) -> Option<SnapshotId> {
        match self {
            Self::Link(id, _) => Some(*id),
            Self::Scar(_, id) => *id,
        }
    }
}

impl<B: Chained> Body<B> {
    fn parse(bytes: &[u8]) -> Self {
        // A listing may have lied about the size.
        if bytes.len() as u64 > RECORD_LIMIT {
            return Self::Scar(ScarReason::TooLarge, None);
        }
        let id = SnapshotId(Digest::of(bytes));
        let malformed = |error: FormatError| {
            let detail = error.to_string();
            Self::Scar(ScarReason::NotARecord { detail }, Some(id))
        };
        let preamble = match Preamble::decode(B::WHAT, bytes) {
            Ok(preamble) => preamble,
            Err(error) => return malformed(error),
        };
        match preamble.check_known(B::WHAT) {
            Err(reason) => {
                let newer = NewerRecord { preamble, reason };
                Self::Link(id, LinkBody::Newer(Arc::new(newer)))
            }
            Ok(()) => match B::decode(bytes) {
                Ok(record) => Self::Link(id, LinkBody::Record(Arc::new(record))),
                Err(error) => malformed(error),
            },
        }
    }
}

/// Object versions that have to be read before a question can be answered.
pub(super) struct Missing(pub(super) Vec<SlotRow>);

/// A listing and bodies, looked at together.
pub(super) struct View<'a, B> {
    pub(super) slots: &'a Slots,
    pub(super) bodies: &'a Bodies<B>,
}

impl<B> Clone for View<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for View<'_, B> {}

impl<'a, B: Chained> View<'a, B> {
    /// The oldest version of a slot. When it was not read yet, slots below are asked for along with it.
    pub(super) fn oldest(self, seq: u64) -> Result<Option<(&'a SlotRow, &'a Body<B>)>, Missing> {
        let Some(row) = self.slots.oldest(seq) else {
            return Ok(None);
        };
        match self.bodies.body(row) {
            Some(body) => Ok(Some((row, body))),
            None => Err(Missing(
                (seq.saturating_sub(self.bodies.batch() - 1)..=seq)
                    .rev()
                    .filter_map(|seq| self.slots.oldest(seq))
                    .filter(|row| self.bodies.body(row).is_none())
                    .cloned()
                    .collect(),
            )),
        }
    }

    /// The id of the record that is the oldest version of a slot, if it was read and is one.
    pub(super) fn id(self, seq: u64) -> Option<SnapshotId> {
        match self.bodies.body(self.slots.oldest(seq)?)? {
            Body::Link(id, _) => Some(*id),
            Body::Scar(..) => None,
        }
    }

    /// A version of a slot, other than the oldest, with that SHA-256.
    pub(super) fn other(
        self,
        seq: u64,
        sha256: Digest,
    ) -> Result<Option<(&'a SlotRow, &'a Body<B>)>, Missing> {
        let others = || {
            let versions = self.slots.versions(seq).iter();
            versions.skip(1).take(VERSIONS_LOOKED_AT)
        };
        let missing: Vec<SlotRow> = others()
            .filter(|row| self.bodies.body(row).is_none())
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Missing(missing));
        }
        Ok(others().find_map(|row| {
            let body = self.bodies.body(row)?;
            body.is_record(seq, sha256).then_some((row, body))
        }))
    }
}

impl<B: Chained> Body<B> {
    /// Whether this is a record that says it belongs into that slot, with that SHA-256.
    pub(super) fn is_record(&self, seq: u64, sha256: Digest) -> bool {
        match self {
            Self::Link(id, link) => id.0 == sha256 && link.seq() == seq,
            Self::Scar(..) => false,
        }
    }
}
