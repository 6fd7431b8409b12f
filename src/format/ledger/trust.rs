//! Which records may be built on, and which snapshot a person means by the first digits of its id.

use std::collections::HashMap;
use std::ops::Range;

use super::{Chained, Link};
use crate::ids::SnapshotId;

/// Fewer digits than this do not name a snapshot.
const PREFIX_MIN: usize = 4;

/// Returns the records that may be built on, oldest first: their placements and digests may be reused.
///
/// A record that distrusts another one takes back everything from that one on, itself excluded: it was not built
/// on it. What a record distrusts counts unless it is itself distrusted, so that a forger cannot take back what
/// was there before. `distrusts` is what the run at hand distrusts. A record that only a newer tool can read is
/// not built on.
pub fn trusted<'a, B: Chained>(links: &'a [Link<B>], distrusts: &[SnapshotId]) -> Vec<&'a Link<B>> {
    let seq_of = |id: &SnapshotId| {
        links
            .iter()
            .find(|link| link.id == *id)
            .map(|link| link.seq)
    };
    // From here on, up to the record at hand, nothing is trusted.
    let mut from = distrusts.iter().filter_map(seq_of).min();
    let mut trusted = Vec::new();
    for link in links.iter().rev() {
        if from.is_some_and(|from| link.seq >= from) {
            continue;
        }
        let Some(record) = link.record() else {
            continue;
        };
        let below = record.distrusts().iter().filter_map(seq_of);
        from = below.filter(|seq| *seq < link.seq).chain(from).min();
        trusted.push(link);
    }
    trusted.reverse();
    trusted
}

/// The slots that trusted records take back, by a record each: from the lowest that it names up to its own.
pub fn taken_back<B: Chained>(links: &[Link<B>]) -> Vec<Range<u64>> {
    let ranges = trusted(links, &[]).into_iter().filter_map(|link| {
        let distrusts = link.record()?.distrusts();
        if distrusts.is_empty() {
            return None;
        }
        let named = links.iter().filter(|link| distrusts.contains(&link.id));
        Some(named.map(|link| link.seq).min()?..link.seq)
    });
    ranges.collect()
}

/// What trusted records distrust, each with the slot of the newest record that does.
pub(super) fn distrusted_by<B: Chained>(links: &[Link<B>]) -> HashMap<SnapshotId, u64> {
    let records = trusted(links, &[]).into_iter();
    let records = records.filter_map(|link| Some((link.record()?, link.seq)));
    records
        .flat_map(|(record, seq)| record.distrusts().iter().map(move |id| (*id, seq)))
        .collect()
}

/// A text that does not name one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not hex digits, or too many.
    #[error("{text:?} is not a snapshot id: 4 to 64 hex digits")]
    NotHex {
        /// The text.
        text: String,
    },
    /// Too few digits to mean one snapshot for long.
    #[error("{text:?} is too short for a snapshot id: at least 4 hex digits")]
    TooShort {
        /// The text.
        text: String,
    },
    /// No snapshot begins like that.
    #[error("no snapshot begins with {text:?}")]
    Unknown {
        /// The text.
        text: String,
        /// The snapshots there are.
        known: Vec<SnapshotId>,
    },
    /// Several snapshots begin like that.
    #[error("{} snapshots begin with {text:?}", candidates.len())]
    Ambiguous {
        /// The text.
        text: String,
        /// Those snapshots.
        candidates: Vec<SnapshotId>,
    },
}

impl PrefixError {
    /// No snapshot begins like that.
    pub fn unknown(text: &str, known: impl IntoIterator<Item = SnapshotId>) -> Self {
        Self::Unknown {
            text: text.to_owned(),
            known: known.into_iter().collect(),
        }
    }
}

/// Finds the one snapshot whose id begins with `prefix`: 4 or more hex digits, in either case.
///
/// # Errors
/// Says which snapshots there are when none fits, and which fit when several do.
pub fn resolve_prefix(
    ids: impl IntoIterator<Item = SnapshotId>,
    prefix: &str,
) -> Result<SnapshotId, PrefixError> {
    let text = prefix.to_owned();
    if prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(PrefixError::NotHex { text });
    }
    if prefix.len() < PREFIX_MIN {
        return Err(PrefixError::TooShort { text });
    }
    let prefix = prefix.to_ascii_lowercase();
    let known: Vec<SnapshotId> = ids.into_iter().collect();
    let mut candidates: Vec<SnapshotId> = known
        .iter()
        .filter(|id| id.to_string().starts_with(&prefix))
        .copied()
        .collect();
    candidates.sort_unstable();
    candidates.dedup();
    match candidates.as_slice() {
        [] => Err(PrefixError::Unknown { text, known }),
        [id] => Ok(*id),
        _ => Err(PrefixError::Ambiguous { text, candidates }),
    }
}
