//! Merges what the pages refer to with one listing of the vault's objects, key by key.

use futures::stream::TryStreamExt;

use super::wanted::{Use, Want};
use crate::error::Error;
use crate::format::layout::{self, Area};
use crate::ids::ObjectKey;
use crate::plan::verify::Listed;
use crate::sort::Sorted;
use crate::store::{ListedVersion, ReadStore, StoreError};
use crate::vault::key_merge::{KeyMerge, Keyed, Next};
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
    Key(Job),
    /// A part of the listing failed; the keys that it would have shown are asked for alone.
    Unlistable(&'static str, StoreError),
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

impl Unreferenced {
    fn add(&mut self, key: ObjectKey, listed: &Listed) {
        self.objects += listed.count;
        self.bytes += listed.objects.iter().map(|(_, size)| size).sum::<u64>();
        let is_manifest = substitutes::area_of(&key) == Area::Manifests;
        if is_manifest && listed.count > 0 && self.manifests.len() < MANIFESTS_KEPT {
            self.manifests.push(key);
        }
    }
}

impl Keyed for Use {
    fn key(&self) -> &ObjectKey {
        &self.key
    }
}

pub(super) struct Merge<'a> {
    keys: KeyMerge<'a, Use>,
    unreferenced: Unreferenced,
    is_done: bool,
}

impl<'a> Merge<'a> {
    /// Begins; without `lists` every key is asked for alone.
    pub(super) fn new(uses: Sorted<Use>, store: &'a dyn ReadStore, lists: bool) -> Self {
        let prefixes = if lists {
            &layout::OBJECT_PREFIXES[..]
        } else {
            &[]
        };
        Self {
            keys: KeyMerge::new(uses, store, prefixes),
            unreferenced: Unreferenced::default(),
            is_done: false,
        }
    }

    /// The next key; `None` after [`Merged::Unreferenced`].
    pub(super) async fn next(&mut self) -> Result<Option<Merged>, Error> {
        loop {
            let key = match self.keys.next().await? {
                Next::Key(key) => key,
                Next::Unlistable(prefix, error) => {
                    return Ok(Some(Merged::Unlistable(prefix, error)));
                }
                Next::End if self.is_done => return Ok(None),
                Next::End => {
                    self.is_done = true;
                    let unreferenced = std::mem::take(&mut self.unreferenced);
                    return Ok(Some(Merged::Unreferenced(unreferenced)));
                }
            };
            let wants = self.wants(&key)?;
            let mut listed = Listed::default();
            while let Some(row) = self.keys.next_listed(&key).await {
                add_row(&mut listed, row);
            }
            if wants.is_empty() {
                self.unreferenced.add(key, &listed);
                continue;
            }
            let is_listed = listed != Listed::default() || self.keys.shows(&key);
            let listed = is_listed.then_some(listed);
            return Ok(Some(Merged::Key(Job { key, wants, listed })));
        }
    }

    /// Gathers what refers to a key: by object version and digest, each packed file once.
    fn wants(&mut self, key: &ObjectKey) -> Result<Vec<Want>, Error> {
        let mut wants: Vec<Want> = Vec::new();
        while let Some(row) = self.keys.next_row(key)? {
            match wants.last_mut().filter(|want| want.is_of(&row)) {
                Some(want) => want.add(row),
                None => wants.push(Want::new(row)),
            }
        }
        Ok(wants)
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
