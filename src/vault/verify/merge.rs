//! Merges what the pages refer to, sorted by key, with one listing of the vault's objects in the same order.

use std::iter::Peekable;
use std::slice;

use futures::stream::{BoxStream, TryStreamExt};

use super::uses::{Part, Use, Want};
use crate::error::Error;
use crate::format::layout::{self, Area};
use crate::ids::ObjectKey;
use crate::plan::verify::Listed;
use crate::sort::Sorted;
use crate::store::{ListedVersion, ReadStore, StoreError};
use crate::vault::substitutes;

/// Object versions of one key that are remembered from a listing. The one that was put first comes first; without
/// a limit, whoever may create objects could fill the memory.
const VERSIONS_KEPT: usize = 64;

/// Manifests that nothing refers to that are remembered, for the same reason. A run leaves one when it ends just before it
/// publishes.
const MANIFESTS_KEPT: usize = 256;

/// One key, all that refers to it, and what the listing shows of it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: ObjectKey,
    pub(super) wants: Vec<Want>,
    /// `None`: the key has to be asked for alone.
    pub(super) listed: Option<Listed>,
}

/// What the merge comes to, key by key.
#[derive(Debug)]
pub(super) enum Merged {
    /// A key that is referred to.
    Key(Job),
    /// A part of the listing failed; the keys that it would have shown are asked for alone.
    Unlistable(&'static str, StoreError),
    /// The end.
    Unreferenced(Unreferenced),
}

/// Objects that nothing refers to.
#[derive(Debug, Default)]
pub(super) struct Unreferenced {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    /// The manifests among them, as far as they are remembered.
    pub(super) manifests: Vec<ObjectKey>,
}

/// The merge under way.
pub(super) struct Merge<'a> {
    uses: Peekable<Sorted<Use>>,
    listing: Listing<'a>,
    unreferenced: Unreferenced,
    is_done: bool,
}

impl<'a> Merge<'a> {
    /// Begins; without `lists` every key is asked for alone.
    pub(super) fn new(uses: Sorted<Use>, store: &'a dyn ReadStore, lists: bool) -> Self {
        let areas = if lists {
            &layout::OBJECT_PREFIXES[..]
        } else {
            &[]
        };
        Self {
            uses: uses.peekable(),
            listing: Listing {
                store,
                areas: areas.iter(),
                current: None,
                row: None,
                shown: areas.to_vec(),
                failure: None,
            },
            unreferenced: Unreferenced::default(),
            is_done: false,
        }
    }

    /// The next key; `None` after [`Merged::Unreferenced`].
    pub(super) async fn next(&mut self) -> Result<Option<Merged>, Error> {
        loop {
            let listed = self.listing.next_key().await;
            if let Some((prefix, error)) = self.listing.failure.take() {
                return Ok(Some(Merged::Unlistable(prefix, error)));
            }
            let wanted = match self.uses.peek() {
                Some(Ok(wanted)) => Some(wanted.key.clone()),
                Some(Err(_)) => {
                    self.uses.next().transpose()?;
                    continue;
                }
                None => None,
            };
            match (wanted, listed) {
                (None, None) if self.is_done => return Ok(None),
                (None, None) => {
                    self.is_done = true;
                    let unreferenced = std::mem::take(&mut self.unreferenced);
                    return Ok(Some(Merged::Unreferenced(unreferenced)));
                }
                (Some(key), Some(listed)) if listed == key => {
                    let listed = Some(self.listing.take(&key).await);
                    return self.job(key, listed).map(Some);
                }
                (wanted, Some(listed)) if wanted.as_ref().is_none_or(|key| listed < *key) => {
                    let Listed { objects, count, .. } = self.listing.take(&listed).await;
                    let unreferenced = &mut self.unreferenced;
                    unreferenced.objects += count;
                    unreferenced.bytes += objects.iter().map(|(_, size)| size).sum::<u64>();
                    let is_manifest = substitutes::area_of(&listed) == Area::Manifests;
                    if is_manifest && count > 0 && unreferenced.manifests.len() < MANIFESTS_KEPT {
                        unreferenced.manifests.push(listed);
                    }
                }
                (Some(key), _) => {
                    let listed = self.listing.shows(&key).then(Listed::default);
                    return self.job(key, listed).map(Some);
                }
                (None, Some(_)) => {}
            }
        }
    }

    /// Gathers what refers to a key: by object version and digest, each packed file once.
    fn job(&mut self, key: ObjectKey, listed: Option<Listed>) -> Result<Merged, Error> {
        let mut wants: Vec<Want> = Vec::new();
        while let Some(row) = self
            .uses
            .next_if(|row| row.as_ref().map_or(true, |row| row.key == key))
        {
            let row = row?;
            match wants.last_mut().filter(|want| want.is_of(&row)) {
                Some(want) => want.add(row),
                None => wants.push(Want::new(row)),
            }
        }
        Ok(Merged::Key(Job { key, wants, listed }))
    }
}

/// A listing of object versions over all areas, with one row to look ahead.
struct Listing<'a> {
    store: &'a dyn ReadStore,
    areas: slice::Iter<'static, &'static str>,
    current: Option<(
        &'static str,
        BoxStream<'a, Result<ListedVersion, StoreError>>,
    )>,
    row: Option<ListedVersion>,
    /// The areas whose keys the listing shows when they are there.
    shown: Vec<&'static str>,
    failure: Option<(&'static str, StoreError)>,
}

impl Listing<'_> {
    /// Looks at the key that comes next.
    async fn next_key(&mut self) -> Option<ObjectKey> {
        while self.row.is_none() {
            let Some((prefix, rows)) = &mut self.current else {
                let prefix = *self.areas.next()?;
                self.current = Some((prefix, self.store.list_versions(prefix, None)));
                continue;
            };
            match rows.try_next().await {
                Ok(Some(row)) => self.row = Some(row),
                Ok(None) => self.current = None,
                Err(error) => {
                    self.shown.retain(|shown| shown != prefix);
                    self.failure = Some((prefix, error));
                    self.current = None;
                    return None;
                }
            }
        }
        self.row.as_ref().map(|row| row.key().clone())
    }

    /// Takes all rows of the key that comes next.
    async fn take(&mut self, key: &ObjectKey) -> Listed {
        let mut listed = Listed::default();
        while self.next_key().await.as_ref() == Some(key) {
            if let Some(row) = self.row.take() {
                add_row(&mut listed, row);
            }
        }
        listed
    }

    fn shows(&self, key: &ObjectKey) -> bool {
        self.shown
            .iter()
            .any(|prefix| key.as_str().starts_with(prefix))
    }
}

/// Asks for the object versions of one key.
pub(super) async fn list_alone(
    store: &dyn ReadStore,
    key: &ObjectKey,
) -> Result<Listed, StoreError> {
    let mut listed = Listed::default();
    let mut rows = store.list_versions(key.as_str(), None);
    while let Some(row) = rows.try_next().await? {
        if row.key() == key {
            add_row(&mut listed, row);
        } else {
            break;
        }
    }
    Ok(listed)
}

fn add_row(listed: &mut Listed, row: ListedVersion) {
    match row {
        ListedVersion::DeleteMarker { .. } => listed.markers += 1,
        ListedVersion::Object(object) => {
            listed.count += 1;
            if listed.objects.len() < VERSIONS_KEPT {
                listed.objects.push((object.version, object.size));
            }
        }
    }
}

impl Want {
    fn new(row: Use) -> Self {
        let mut want = Self {
            version: row.version.clone(),
            sha256: row.sha256,
            size: row.size,
            is_structure: row.is_structure,
            units: Vec::new(),
            parts: Vec::new(),
        };
        want.add(row);
        want
    }

    fn is_of(&self, row: &Use) -> bool {
        (&self.version, self.sha256, self.size, self.is_structure)
            == (&row.version, row.sha256, row.size, row.is_structure)
    }

    /// Takes another row of the same object. Rows are sorted, so that equal parts follow each other.
    fn add(&mut self, row: Use) {
        let units = match row.part {
            None => &mut self.units,
            Some(of) => {
                let is_last = self.parts.last().is_some_and(|part| {
                    (part.offset, part.size, part.sha256) == (of.offset, of.size, of.sha256)
                });
                if !is_last {
                    self.parts.push(Part {
                        offset: of.offset,
                        size: of.size,
                        sha256: of.sha256,
                        file: of.file,
                        units: Vec::new(),
                    });
                }
                match self.parts.last_mut() {
                    Some(part) => &mut part.units,
                    None => return,
                }
            }
        };
        if units.last() != Some(&row.unit) {
            units.push(row.unit);
        }
    }
}
