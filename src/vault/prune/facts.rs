//! Gathers what is known of each key: what names it, sorted on disk, beside one listing of what lies there.
//!
//! Memory holds the facts of one key at a time, and never more than [`VERSIONS_MOST`] versions of it.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::format::Reference;
use crate::ids::{ObjectKey, ObjectVersion};
use crate::plan::prune::{By, KeyFacts, Named, Planned, Stored};
use crate::store::ListedVersion;
use crate::vault::key_merge::{KeyMerge, Keyed};

/// Versions of one key that are looked at; where somebody planted more, nothing is decided about any.
const VERSIONS_MOST: usize = 10_000;

/// Something that is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Fact {
    // Fields in the order in which they are compared.
    pub(super) key: ObjectKey,
    pub(super) what: What,
}

impl Keyed for Fact {
    fn key(&self) -> &ObjectKey {
        &self.key
    }
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum What {
    /// That a snapshot names a version of it with a size, and why that one counts.
    Named(Option<ObjectVersion>, u64, By),
    /// That an earlier plan names it.
    Planned(Planned),
}

impl What {
    pub(super) fn named(reference: &Reference, by: By) -> Self {
        Self::Named(reference.version.clone(), reference.size, by)
    }
}

/// One key and what is known of it.
#[derive(Debug)]
pub(super) enum Gathered {
    Facts(KeyFacts),
    /// More versions than are looked at: how many, and their bytes.
    Crowded(ObjectKey, u64, u64),
}

pub(super) async fn gather(
    merge: &mut KeyMerge<'_, Fact>,
    key: ObjectKey,
) -> Result<Gathered, Error> {
    let mut facts = KeyFacts {
        key,
        named: Vec::new(),
        stored: Vec::new(),
        planned: Vec::new(),
    };
    while let Some(fact) = merge.next_row(&facts.key)? {
        match fact.what {
            What::Named(version, size, by) => name(&mut facts.named, Named { version, size, by }),
            What::Planned(planned) => facts.planned.push(planned),
        }
    }
    let (mut objects, mut bytes) = (0_u64, 0_u64);
    while let Some(row) = merge.next_listed(&facts.key).await {
        // A delete marker hides nothing from whoever names versions.
        let ListedVersion::Object(object) = row else {
            continue;
        };
        objects += 1;
        bytes = bytes.saturating_add(object.size);
        if facts.stored.len() < VERSIONS_MOST {
            facts.stored.push(Stored {
                version: object.version,
                size: object.size,
                last_modified: object.last_modified,
            });
        }
    }
    if objects > facts.stored.len() as u64 {
        return Ok(Gathered::Crowded(facts.key, objects, bytes));
    }
    Ok(Gathered::Facts(facts))
}

/// Adds that a snapshot names a key, where it says anything new: thousands of snapshots may name one pack.
fn name(named: &mut Vec<Named>, mut new: Named) {
    let By::Expired { locked_until, .. } = &mut new.by else {
        if !named.contains(&new) {
            named.push(new);
        }
        return;
    };
    // Facts come sorted: the last one of a version expired last. It has the longest lock of all.
    if let Some(last) = named.last_mut()
        && (&last.version, last.size) == (&new.version, new.size)
        && let By::Expired {
            locked_until: seen, ..
        } = &last.by
    {
        *locked_until = (*locked_until).max(*seen);
        *last = new;
    } else {
        named.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, SnapshotId, Timestamp};

    #[test]
    fn of_expired_snapshots_the_last_one_counts_with_the_longest_lock_of_all() {
        let expired = |day: u8, locked: Option<u8>| {
            let day_of =
                |day: u8| -> Timestamp { format!("2026-03-{day:02}T00:00:00Z").parse().unwrap() };
            let by = By::Expired {
                since: day_of(day),
                snapshot: SnapshotId(Digest::of(&[day])),
                locked_until: locked.map(day_of),
            };
            let version = None;
            Named {
                version,
                size: 7,
                by,
            }
        };
        let mut named = Vec::new();
        let kept = Named {
            by: By::Kept,
            ..expired(1, None)
        };
        for new in [&kept, &kept, &expired(1, Some(9)), &expired(2, Some(5))] {
            name(&mut named, new.clone());
        }
        assert_eq!(named, [kept.clone(), expired(2, Some(9))]);
        let other = Named { size: 8, ..kept };
        name(&mut named, other.clone());
        assert_eq!(named.last(), Some(&other));
    }
}
