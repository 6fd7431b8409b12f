//! Manifests that no record names. One that was put after a table's newest record is all that is left of a record that was
//! lost, or of a run that ended just before it published: nothing in the vault tells the one from the other.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;

use super::Vault;
use crate::error::Error;
use crate::format::layout::{Area, MANIFESTS_PREFIX};
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::{Manifest, VaultKey};
use crate::ids::{Digest, ObjectKey, Timestamp, Version};
use crate::plan::choose::History;
use crate::store::{Attributes, ListedVersion, ReadStore, StoreError, read_all};

pub(super) const MANIFESTS_AHEAD: usize = 16;

/// A restore lists no more manifests than one request shows, and reads no more than this many.
const LISTED_IN_PASSING: usize = 1000;
const READ_IN_PASSING: usize = 16;

/// How far the clocks of runs and of the store may be apart.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(24);

/// What is to be known of a table to tell which manifests may belong to a record after its newest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) delta_id: String,
    pub(super) version: Version,
    /// Manifests of later records were put after this.
    pub(super) since: Timestamp,
}

impl Newest {
    pub(super) fn of(history: &History) -> Option<Self> {
        let newest = history.newest_trusted();
        let record = &newest.or(history.snapshots.last())?.record;
        Some(Self {
            delta_id: record.table.delta_id.clone(),
            version: record.version,
            since: (record.taken_at)
                .checked_sub(CLOCK_SLACK)
                .unwrap_or(Timestamp::MIN),
        })
    }

    /// Whether a manifest that no record names may belong to a later record of this table.
    pub(super) fn is_before(&self, manifest: &Manifest) -> bool {
        self.delta_id == manifest.delta_id && self.version < manifest.version
    }
}

/// A listing of manifests.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// Those that nothing names, oldest first.
    pub(super) manifests: Vec<Attributes>,
    /// Whether there are more manifests than were to be listed.
    pub(super) is_cut: bool,
}

/// Lists the manifests that were put at `since` or later and that `named` lacks; of more than `limit` manifests only the
/// first.
pub(super) async fn list_unnamed(
    store: &dyn ReadStore,
    named: &HashSet<Digest>,
    since: Timestamp,
    limit: usize,
) -> Result<Unnamed, StoreError> {
    let mut listing = store.list_versions(MANIFESTS_PREFIX, None);
    let mut unnamed = Unnamed::default();
    let mut listed = 0;
    while let Some(found) = listing.try_next().await? {
        listed += 1;
        if listed > limit {
            unnamed.is_cut = true;
            break;
        }
        if let ListedVersion::Object(object) = found
            && object.last_modified >= since
            && let Some(VaultKey::Content {
                area: Area::Manifests,
                sha256,
                ..
            }) = VaultKey::parse(object.key.as_str())
            && !named.contains(&sha256)
        {
            unnamed.manifests.push(object);
        }
    }
    // Of several versions of a key the oldest.
    let manifests = &mut unnamed.manifests;
    manifests.sort_by(|one, other| {
        (&one.key, one.last_modified).cmp(&(&other.key, other.last_modified))
    });
    manifests.dedup_by(|one, before| one.key == before.key);
    manifests.sort_by_key(|it| it.last_modified);
    Ok(unnamed)
}

/// Reads manifests; `None` for what is none.
pub(super) async fn read_manifests(
    store: &dyn ReadStore,
    keys: Vec<ObjectKey>,
) -> Vec<(ObjectKey, Result<Option<Manifest>, StoreError>)> {
    let read = |key: ObjectKey| async move {
        let manifest = match read_all(store, &key, None, MANIFEST_LIMIT).await {
            Ok((_, bytes)) => Ok(Manifest::decode(&bytes).ok()),
            Err(error) if error.is_permanent() => Ok(None),
            Err(error) => Err(error),
        };
        (key, manifest)
    };
    let reads = stream::iter(keys).map(read).buffered(MANIFESTS_AHEAD);
    reads.collect().await
}

impl Vault {
    /// The newest version of which a manifest lies in the vault that no record of the table names, above the version of its
    /// newest record. One listing request and a few reads: where more would be needed, `None`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unnamed_newer(&self, history: &History) -> Result<Option<Version>, Error> {
        let Some(newest) = Newest::of(history) else {
            return Ok(None);
        };
        let named = named_by(history);
        let store = self.store();
        let found = list_unnamed(store, &named, newest.since, LISTED_IN_PASSING).await?;
        if found.is_cut || found.manifests.len() > READ_IN_PASSING {
            return Ok(None);
        }
        let keys = found.manifests.into_iter().map(|it| it.key).collect();
        let read = read_manifests(store, keys).await.into_iter();
        let manifests = read.filter_map(|(_, manifest)| manifest.ok().flatten());
        let newer = manifests.filter(|manifest| newest.is_before(manifest));
        Ok(newer.map(|manifest| manifest.version).max())
    }
}

/// The manifests that a table's records name. A copy of another table's record names none: what is known of the table, its
/// holds above all, is in its own folder.
pub(super) fn named_by(history: &History) -> HashSet<Digest> {
    let records = history.snapshots.iter();
    let own = records.filter(|it| history.table.is_of(&it.record.table));
    own.map(|it| it.record.manifest.sha256).collect()
}
