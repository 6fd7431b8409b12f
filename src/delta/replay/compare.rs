//! Compares checkpoints with a replay at their own versions: every way through a log must give the same table.
//!
//! Two steps, since nearly all checkpoints agree. First by sums: each logical file has a random 128-bit hash, the hashes
//! of a checkpoint's files are added up while it is decoded, and the replay adds up the same for every compared version
//! from the spans in which its files are live. That takes no memory and no sort. Where the sums differ the caller
//! replays again with the rows of those checkpoints ([`Detail::Rows`]), which are sorted beside the replay's own and
//! counted one by one.
//!
//! The hash is keyed at random in each process, so nobody can craft a checkpoint whose sum is right by accident.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::TableState;
use super::event::AddBody;
use crate::delta::Protocol;
use crate::ids::{Location, Version};

/// How closely a checkpoint is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// By its sum: equal or not.
    Sum,
    /// File by file, which tells how many differ and adds what only the checkpoint names to the live set.
    Rows,
}

/// A logical file as one side of a comparison has it.
#[derive(Debug, Clone, Hash)]
pub(super) struct NamedFile<'a> {
    pub(super) file: &'a Location,
    pub(super) size: u64,
    /// Its vector's id, size and cardinality.
    pub(super) vector: Option<(&'a str, u64, u64)>,
    /// Its spellings, sorted; none where the only one is the file's own key or URI.
    pub(super) spelled: Vec<&'a str>,
}

/// What comparing one checkpoint found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// The checkpoint's version.
    pub version: Version,
    /// Which files differ.
    pub files: FilesCompared,
    /// Whether it has another protocol or another table id than the replay at its version.
    pub state_differs: bool,
    /// Its rows that name a logical file again, counted with [`Detail::Rows`].
    pub doubled: u64,
    /// Files that only the checkpoint names and that the replay has never met, live or removed; counted with
    /// [`Detail::Rows`].
    pub unmet: u64,
    /// Files that it gives another size than the replay, or another size or cardinality of their vectors, counted with
    /// [`Detail::Rows`].
    pub resized: u64,
}

/// How the files of a checkpoint compare with the replay's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesCompared {
    /// The same ones, by their sum.
    Same,
    /// Others, or other sizes or spellings of them, by their sum; or some of them twice.
    Differ,
    /// Compared file by file.
    Counted {
        /// Logical files that only the checkpoint names.
        adds: u64,
        /// Logical files that only the replay has.
        lacks: u64,
    },
}

impl Comparison {
    /// Whether checkpoint and replay give the same table.
    pub fn agrees(&self) -> bool {
        let none = FilesCompared::Counted { adds: 0, lacks: 0 };
        let has_same = self.files == FilesCompared::Same || self.files == none;
        has_same && self.resized == 0 && !self.state_differs
    }
}

/// The checkpoints that a replay is compared with, by ascending version.
#[derive(Debug, Default)]
pub(super) struct Compared {
    hashes: Hashes,
    checkpoints: Vec<Checkpoint>,
    /// Where spans of live files begin and end, to be summed up: what index `i` adds holds from checkpoint `i` on.
    steps: Vec<LiveSum>,
    has_rows: bool,
}

/// One compared checkpoint.
#[derive(Debug)]
struct Checkpoint {
    version: Version,
    detail: Detail,
    own: LiveSum,
    own_state: Identity,
    /// The replay's at this version; `None` until the replay has passed it.
    replayed_state: Option<Identity>,
    /// Files that both have, counted with [`Detail::Rows`].
    common: u64,
    adds: u64,
    unmet: u64,
    resized: u64,
    /// It could not be read to its end.
    dropped: bool,
}

/// What identifies a table beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Identity {
    protocol: Option<Protocol>,
    id: Option<String>,
}

impl Identity {
    fn of(state: &TableState) -> Self {
        Self {
            protocol: state.protocol.clone().map(sorted),
            id: state.metadata.as_ref().and_then(|found| found.id.clone()),
        }
    }
}

/// Writers list features in any order.
fn sorted(mut protocol: Protocol) -> Protocol {
    protocol.reader_features.sort_unstable();
    protocol.writer_features.sort_unstable();
    protocol
}

/// How many logical files there are, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LiveSum {
    count: u64,
    hashes: u128,
}

impl LiveSum {
    fn add(&mut self, hash: u128) {
        self.count = self.count.wrapping_add(1);
        self.hashes = self.hashes.wrapping_add(hash);
    }

    fn subtract(&mut self, hash: u128) {
        self.count = self.count.wrapping_sub(1);
        self.hashes = self.hashes.wrapping_sub(hash);
    }
}

#[derive(Debug, Default)]
struct Hashes(RandomState, RandomState);

impl Hashes {
    fn of(&self, named: &NamedFile<'_>) -> u128 {
        u128::from(self.0.hash_one(named)) << 64 | u128::from(self.1.hash_one(named))
    }
}

impl Compared {
    pub(super) fn last_version(&self) -> Option<Version> {
        self.checkpoints.last().map(|last| last.version)
    }

    /// Registers a checkpoint, whose version is not below that of the one before; returns its index.
    pub(super) fn push(&mut self, version: Version, detail: Detail) -> usize {
        self.checkpoints.push(Checkpoint {
            version,
            detail,
            own: LiveSum::default(),
            own_state: Identity::default(),
            replayed_state: None,
            common: 0,
            adds: 0,
            unmet: 0,
            resized: 0,
            dropped: false,
        });
        self.steps
            .resize(self.checkpoints.len() + 1, LiveSum::default());
        self.has_rows |= detail == Detail::Rows;
        self.checkpoints.len() - 1
    }

    pub(super) fn detail(&self, index: usize) -> Option<(Version, Detail)> {
        let found = self.checkpoints.get(index)?;
        Some((found.version, found.detail))
    }

    /// Takes a file that the checkpoint names.
    pub(super) fn names(&mut self, index: usize, named: &NamedFile<'_>) {
        let hash = self.hashes.of(named);
        if let Some(found) = self.checkpoints.get_mut(index) {
            found.own.add(hash);
        }
    }

    pub(super) fn has_protocol(&mut self, index: usize, protocol: Protocol) {
        if let Some(found) = self.checkpoints.get_mut(index) {
            found.own_state.protocol = Some(sorted(protocol));
        }
    }

    pub(super) fn has_id(&mut self, index: usize, id: Option<String>) {
        if let Some(found) = self.checkpoints.get_mut(index) {
            found.own_state.id = id;
        }
    }

    /// Leaves a checkpoint out: it could not be read to its end.
    pub(super) fn drop_one(&mut self, index: usize) {
        if let Some(found) = self.checkpoints.get_mut(index) {
            found.dropped = true;
        }
    }

    pub(super) fn is_dropped(&self, index: usize) -> bool {
        self.checkpoints
            .get(index)
            .is_none_or(|found| found.dropped)
    }

    /// Keeps the replay's state for the checkpoints that it is about to pass; `None` at its end.
    pub(super) fn pass(&mut self, next: Option<Version>, state: &TableState) {
        let passed = |found: &&mut Checkpoint| next.is_none_or(|next| found.version < next);
        // From the back: those in front were passed before.
        for found in self.checkpoints.iter_mut().filter(passed).rev() {
            if found.replayed_state.is_some() {
                break;
            }
            found.replayed_state = Some(Identity::of(state));
        }
    }

    /// Takes a span of versions in which the replay has a file live; without an end, up to the last version.
    pub(super) fn live(
        &mut self,
        named: &NamedFile<'_>,
        (from, until): (Version, Option<Version>),
    ) {
        let Range { start, end } = self.indices(from, until);
        if start >= end {
            return;
        }
        let hash = self.hashes.of(named);
        if let Some(step) = self.steps.get_mut(start) {
            step.add(hash);
        }
        if let Some(step) = self.steps.get_mut(end) {
            step.subtract(hash);
        }
    }

    /// The checkpoints whose versions lie in a span.
    fn indices(&self, from: Version, until: Option<Version>) -> Range<usize> {
        let first_at = |version| {
            self.checkpoints
                .partition_point(|found| found.version < version)
        };
        first_at(from)..until.map_or(self.checkpoints.len(), first_at)
    }

    /// How many checkpoints that were compared by their rows are at or above a version.
    pub(super) fn rows_from(&self, version: Option<Version>) -> usize {
        if !self.has_rows {
            return 0;
        }
        let from = version.unwrap_or(Version(0));
        let above = self.checkpoints.iter().rev();
        above
            .take_while(|found| found.version >= from)
            .filter(|found| found.detail == Detail::Rows && !found.dropped)
            .count()
    }

    /// Whether the newest checkpoint names a file that the replay was last about at `last`, and that `named` was the last
    /// checkpoint to name; `None` where the replay alone tells: the file changed since, or the sums are equal.
    pub(super) fn newest_has(&self, last: Option<Version>, named: Option<usize>) -> Option<bool> {
        let checkpoints = self.checkpoints.iter().enumerate().rev();
        let (index, newest) = checkpoints.into_iter().find(|(_, found)| !found.dropped)?;
        let decides = newest.detail == Detail::Rows && last <= Some(newest.version);
        decides.then_some(named == Some(index))
    }

    /// Counts a row of a checkpoint, each logical file once: what it says of the file, what the replay has live, and whether
    /// the replay has met it at all.
    pub(super) fn count(
        &mut self,
        index: usize,
        said: Option<&AddBody>,
        live: Option<&AddBody>,
        is_met: bool,
    ) {
        if let Some(found) = self.checkpoints.get_mut(index) {
            if let Some(live) = live {
                found.common += 1;
                found.resized += u64::from(!said.is_some_and(|said| said.is_same_file(live)));
            } else {
                found.adds += 1;
                found.unmet += u64::from(!is_met);
            }
        }
    }

    /// What was found, once every file has gone by; dropped checkpoints are left out.
    pub(super) fn results(&self) -> Vec<(usize, Comparison)> {
        let mut live = LiveSum::default();
        let mut results = Vec::new();
        for (index, (found, step)) in self.checkpoints.iter().zip(&self.steps).enumerate() {
            live.count = live.count.wrapping_add(step.count);
            live.hashes = live.hashes.wrapping_add(step.hashes);
            if found.dropped {
                continue;
            }
            let lacks = live.count.saturating_sub(found.common);
            let files = match found.detail {
                Detail::Sum if found.own == live => FilesCompared::Same,
                Detail::Sum => FilesCompared::Differ,
                Detail::Rows => FilesCompared::Counted {
                    adds: found.adds,
                    lacks,
                },
            };
            let replayed = found.replayed_state.as_ref();
            results.push((
                index,
                Comparison {
                    version: found.version,
                    files,
                    state_differs: replayed.is_some_and(|replayed| *replayed != found.own_state),
                    doubled: match found.detail {
                        Detail::Sum => 0,
                        Detail::Rows => found.own.count.saturating_sub(found.common + found.adds),
                    },
                    unmet: found.unmet,
                    resized: found.resized,
                },
            ));
        }
        results
    }
}
