//! Gathers what is known of each key: what names it, sorted on disk, beside one listing of what lies there.
//!
//! Memory holds the facts of one key at a time, and never more than [`VERSIONS_MOST`] versions of it.

use std::iter::Peekable;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ids::{ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::prune::{By, KeyFacts, Lying, Named, Planned};
use crate::sort::Sorted;
use crate::store::{ListedVersion, ReadStore, StoreError};

/// What is listed, in the order in which it is deleted: from what leads to something to what it leads to.
pub(super) const PREFIXES: [&str; 5] = ["manifests/", "pages/", "copies/", "blobs/", "runs/"];

/// Versions of one key that are looked at; where somebody planted more, nothing is decided about any.
const VERSIONS_MOST: usize = 10_000;

/// The rank of a key in that order; `None` for what is never deleted.
pub(super) fn rank(key: &ObjectKey) -> Option<u8> {
    let rank = PREFIXES
        .iter()
        .position(|prefix| key.as_str().starts_with(prefix))?;
    u8::try_from(rank).ok()
}

/// Something that is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Fact {
    // Fields in the order in which they are compared.
    pub(super) rank: u8,
    pub(super) key: ObjectKey,
    pub(super) what: What,
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum What {
    Kept {
        version: Option<ObjectVersion>,
        size: u64,
    },
    Spared {
        version: Option<ObjectVersion>,
        size: u64,
    },
    Expired {
        version: Option<ObjectVersion>,
        size: u64,
        since: Timestamp,
        snapshot: SnapshotId,
        locked_until: Option<Timestamp>,
    },
    Planned {
        version: Option<ObjectVersion>,
        since: Timestamp,
        locked_until: Option<Timestamp>,
        was_named: bool,
    },
}

/// One key and what is known of it.
#[derive(Debug)]
pub(super) enum Gathered {
    /// Everything.
    Facts(KeyFacts),
    /// More versions than are looked at: how many, and their bytes.
    Crowded(ObjectKey, u64, u64),
}

/// Merges facts with listings.
pub(super) struct Gather<'a> {
    facts: Peekable<Sorted<Fact>>,
    store: &'a dyn ReadStore,
    rank: usize,
    listing: Option<BoxStream<'a, Result<ListedVersion, StoreError>>>,
    row: Option<ListedVersion>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(facts: Sorted<Fact>, store: &'a dyn ReadStore) -> Self {
        Self {
            facts: facts.peekable(),
            store,
            rank: 0,
            listing: None,
            row: None,
        }
    }

    /// The next key of either; `None` when both have ended.
    pub(super) async fn next(&mut self) -> Result<Option<Gathered>, Error> {
        loop {
            let Some(prefix) = PREFIXES.get(self.rank) else {
                return Ok(None);
            };
            if self.listing.is_none() {
                // Asked on after its end, as long as there are facts behind it.
                self.listing = Some(self.store.list_versions(prefix, None).fuse().boxed());
            }
            self.fill().await?;
            let listed = self.row.as_ref().map(|row| row.key().clone());
            let known = self.known()?;
            let key = match (listed, known) {
                (Some(listed), Some(known)) => listed.min(known),
                (Some(key), None) | (None, Some(key)) => key,
                (None, None) => {
                    self.rank += 1;
                    self.listing = None;
                    continue;
                }
            };
            return self.gather(key).await.map(Some);
        }
    }

    /// Makes sure that the next row of the listing is there, unless it has ended.
    async fn fill(&mut self) -> Result<(), Error> {
        if self.row.is_none()
            && let Some(listing) = &mut self.listing
        {
            self.row = listing.try_next().await?;
        }
        Ok(())
    }

    /// The key of the next fact of this rank.
    fn known(&mut self) -> Result<Option<ObjectKey>, Error> {
        match self.facts.peek() {
            Some(Ok(fact)) if usize::from(fact.rank) == self.rank => Ok(Some(fact.key.clone())),
            Some(Ok(_)) | None => Ok(None),
            Some(Err(_)) => match self.facts.next() {
                Some(Err(error)) => Err(error.into()),
                Some(Ok(_)) | None => Ok(None),
            },
        }
    }

    async fn gather(&mut self, key: ObjectKey) -> Result<Gathered, Error> {
        let mut facts = KeyFacts {
            key,
            named: Vec::new(),
            lying: Vec::new(),
            planned: Vec::new(),
        };
        while self.known()?.as_ref() == Some(&facts.key) {
            if let Some(fact) = self.facts.next().transpose()? {
                take(&mut facts, fact.what);
            }
        }
        let (mut objects, mut bytes) = (0_u64, 0_u64);
        loop {
            self.fill().await?;
            match self.row.take() {
                Some(row) if *row.key() == facts.key => {
                    // A delete marker hides nothing from whoever names versions.
                    if let ListedVersion::Object(object) = row {
                        objects += 1;
                        bytes = bytes.saturating_add(object.size);
                        if facts.lying.len() < VERSIONS_MOST {
                            facts.lying.push(Lying {
                                version: object.version,
                                size: object.size,
                                last_modified: object.last_modified,
                            });
                        }
                    }
                }
                other => {
                    self.row = other;
                    break;
                }
            }
        }
        if objects > facts.lying.len() as u64 {
            return Ok(Gathered::Crowded(facts.key, objects, bytes));
        }
        Ok(Gathered::Facts(facts))
    }
}

/// Adds what is known, where it says anything new: thousands of snapshots may name one pack.
fn take(facts: &mut KeyFacts, what: What) {
    let mut needed = |version, size, by| {
        let named = Named { version, size, by };
        if !facts.named.contains(&named) {
            facts.named.push(named);
        }
    };
    match what {
        What::Kept { version, size } => needed(version, size, By::Kept),
        What::Spared { version, size } => needed(version, size, By::Spared),
        What::Expired {
            version,
            size,
            since,
            snapshot,
            locked_until,
        } => {
            let by = By::Expired {
                snapshot,
                since,
                locked_until,
            };
            // Facts come sorted: the last one of a version expired last.
            let last = facts.named.last_mut().filter(|last| {
                last.version == version
                    && last.size == size
                    && matches!(last.by, By::Expired { .. })
            });
            match last {
                Some(last) => last.by = later(&last.by, by),
                None => facts.named.push(Named { version, size, by }),
            }
        }
        What::Planned {
            version,
            since,
            locked_until,
            was_named,
        } => facts.planned.push(Planned {
            version,
            since,
            locked_until,
            was_named,
        }),
    }
}

/// The later of two, with the longest lock of both.
fn later(one: &By, other: By) -> By {
    match (one, other) {
        (
            By::Expired {
                locked_until: seen, ..
            },
            By::Expired {
                snapshot,
                since,
                locked_until,
            },
        ) => By::Expired {
            snapshot,
            since,
            locked_until: locked_until.max(*seen),
        },
        (By::Kept | By::Spared | By::Expired { .. }, other) => other,
    }
}
