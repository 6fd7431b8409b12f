//! Substitutes: objects that no snapshot names and that serve in the place of one that a snapshot does name. A repair puts
//! them under the digest's own name with a suffix; nothing records them, because a reader finds them by that name.
//!
//! Nothing here reads bytes: who prunes or holds may not. A substitute with wrong bytes serves nobody, and is found by
//! `verify`, which reads it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::Vault;
use super::walk::{Place, Use};
use crate::error::Error;
use crate::format::layout::Area;
use crate::format::{Reference, VaultKey};
use crate::ids::{Digest, ObjectKey};
use crate::store::StoreError;

const LISTINGS_AT_ONCE: usize = 32;

/// Under which name the bytes of something could lie: where, their digest and their size.
pub(super) type Name = (Area, Digest, u64);

/// The name under which a substitute of a whole object would lie.
pub(super) fn name_of(reference: &Reference) -> Name {
    let area = area_of(&reference.key);
    (area, reference.sha256, reference.size)
}

/// The names under which substitutes of what is used would lie: that of the object, and of the file in it.
pub(super) fn names_of(used: Use<'_>) -> impl Iterator<Item = Name> {
    let file = match (used, used.reference()) {
        (Use::File(entry), Some(reference)) => {
            let sha256 = entry.sha256.filter(|sha256| *sha256 != reference.sha256);
            sha256.map(|sha256| (Area::Blobs, sha256, entry.size))
        }
        (Use::Structure(_) | Use::File(_), _) => None,
    };
    used.reference().map(name_of).into_iter().chain(file)
}

/// Where the substitutes of an object lie: beside it, or among the blobs for a copy.
pub(super) fn area_of(key: &ObjectKey) -> Area {
    match VaultKey::parse(key.as_str()) {
        Some(VaultKey::Content { area, .. }) => area,
        _ => Area::Blobs,
    }
}

/// Names of which only a hash is remembered: a few bytes for each. Two with one hash count as one, so that more is
/// kept than has to be.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<u64>);

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, name: &Name) {
        self.0.insert(hash(name));
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.0.contains(&hash(name))
    }
}

fn hash(name: &Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Objects that are gone, and what snapshots need of each.
#[derive(Debug, Default)]
pub(super) struct Gone {
    objects: BTreeMap<ObjectKey, BTreeMap<Name, Needed>>,
}

/// What is needed of one object.
#[derive(Debug, Default)]
struct Needed {
    files: BTreeSet<(Digest, u64)>,
    /// Whether it counts when nothing serves.
    is_relied_on: bool,
}

/// What serves in the place of objects that are gone.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) by: HashSet<Place>,
    /// Objects that are relied on and of which something is nowhere.
    pub(super) lost: Vec<ObjectKey>,
}

impl Gone {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub(super) fn insert(&mut self, key: ObjectKey) {
        self.objects.entry(key).or_default();
    }

    /// Takes note of what is used of an object, if it is gone.
    pub(super) fn note(&mut self, used: Use<'_>, is_relied_on: bool) {
        let Some(reference) = used.reference() else {
            return;
        };
        let Some(of_object) = self.objects.get_mut(&reference.key) else {
            return;
        };
        let needed = of_object.entry(name_of(reference)).or_default();
        needed.is_relied_on |= is_relied_on;
        if let Use::File(entry) = used {
            let file = entry.sha256.map(|sha256| (sha256, entry.size));
            needed.files.extend(file);
        }
    }

    /// Looks for what serves in their place: the whole object, or every file in it that is needed.
    pub(super) async fn served(&self, vault: &Vault) -> Result<Served, Error> {
        let mut served = Served::default();
        for (key, of_object) in &self.objects {
            let mut is_lost = of_object.is_empty();
            for (name, needed) in of_object {
                let whole = substitutes(vault, key, *name).await?;
                if !whole.is_empty() {
                    served.by.extend(whole);
                    continue;
                }
                let files = needed.files.iter().copied();
                let names = files.map(|(sha256, size)| (Area::Blobs, sha256, size));
                let found: Vec<Vec<Place>> = stream::iter(names)
                    .map(|name| substitutes(vault, key, name))
                    .buffer_unordered(LISTINGS_AT_ONCE)
                    .try_collect()
                    .await?;
                let is_whole = !found.is_empty() && found.iter().all(|found| !found.is_empty());
                is_lost |= needed.is_relied_on && !is_whole;
                served.by.extend(found.into_iter().flatten());
            }
            if is_lost {
                served.lost.push(key.clone());
            }
        }
        Ok(served)
    }
}

/// The objects under a name, other than those under the key that they would stand in for.
pub(super) async fn substitutes(
    vault: &Vault,
    key: &ObjectKey,
    name: Name,
) -> Result<Vec<Place>, StoreError> {
    let mut found = vault.under_name(name).await?;
    found.retain(|(at, _)| at != key);
    Ok(found)
}
