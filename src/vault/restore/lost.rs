//! Goes on past damage in the vault: looks for the bytes of a lost file wherever else they may be, before it is given up.
//!
//! Where an entry points was tried already, with every other version of that object and the file's own name under
//! `blobs/`. What is left are the other snapshots of the table, which may hold the same bytes elsewhere, and the object
//! versions that the table's own bucket still has. The digest decides, always.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures::TryStreamExt;

use super::{RestoreRequest, Restorer};
use crate::error::Error;
use crate::format::ledger::Bodies;
use crate::format::{Entry, Placement, TableKey, TableUri};
use crate::ids::{Digest, Location, ObjectKey};
use crate::plan::restore::RestoreStep;
use crate::spool::{self, IN_MEMORY_LIMIT};
use crate::store::{ListedVersion, Payload, ReadStore, StoreError, StoreErrorKind};

/// Other places of one file's bytes that are tried.
const PLACES_TRIED: usize = 4;

/// Whether an error says that the vault does not hold the bytes that an entry names; other errors say nothing of them.
pub(super) fn is_damage(error: &Error) -> bool {
    if let Error::Store(error) = error {
        return matches!(
            error.kind,
            StoreErrorKind::NotFound
                | StoreErrorKind::InvalidRange
                | StoreErrorKind::TooLarge { .. }
                | StoreErrorKind::WrongDigest { .. }
        );
    }
    matches!(error, Error::Damaged { .. })
}

/// What was read; nothing where it is damaged.
pub(super) fn unless_damaged<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where else in the vault the bytes of files may be.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    entries: HashMap<Digest, Vec<Entry>>,
}

impl Restorer {
    /// Looks through the other snapshots of the table for entries with the same bytes.
    pub(super) async fn find_elsewhere(
        &self,
        request: &RestoreRequest,
        lost: &[RestoreStep],
    ) -> Result<Elsewhere, Error> {
        let mut found = Elsewhere::default();
        let wanted: HashSet<Digest> = lost.iter().filter_map(|step| step.entry.sha256).collect();
        if wanted.is_empty() {
            return Ok(found);
        }
        let tried = lost
            .iter()
            .map(|step| (step.entry.sha256, &step.entry.placement));
        let tried: HashMap<Option<Digest>, &Placement> = tried.collect();
        let table = &request.record.table;
        let key = TableKey::of(&table.source, &table.uri.parse::<TableUri>()?)?;
        let history = self.vault.history(&key, Bodies::default()).await?;
        let mut seen = HashSet::new();
        for snapshot in history.snapshots.iter().rev() {
            // What is damaged, or was pruned, has nothing to offer.
            let manifest = self.vault.manifest(&snapshot.record).await;
            let Some(manifest) = unless_damaged(manifest)? else {
                continue;
            };
            for page in manifest.log_pages.iter().chain(&manifest.data_pages) {
                if !seen.insert(page.page.sha256) {
                    continue;
                }
                let entries = unless_damaged(self.vault.page(page).await)?;
                for entry in entries.unwrap_or_default() {
                    let Some(sha256) = entry.sha256.filter(|sha256| wanted.contains(sha256)) else {
                        continue;
                    };
                    let places = found.entries.entry(sha256).or_default();
                    let known = tried.get(&Some(sha256)) == Some(&&entry.placement)
                        || places.iter().any(|it| it.placement == entry.placement);
                    if !known && places.len() < PLACES_TRIED {
                        places.push(entry);
                    }
                }
            }
        }
        Ok(found)
    }

    /// The bytes of a lost file, from another snapshot or from an object version that the table's own store still has.
    pub(super) async fn rescue(
        &self,
        entry: &Entry,
        elsewhere: &Elsewhere,
        folder: &Path,
    ) -> Result<Option<Payload>, Error> {
        let Some(sha256) = entry.sha256 else {
            return Ok(None);
        };
        for other in elsewhere.entries.get(&sha256).into_iter().flatten() {
            match self.vault.payload(other, folder).await {
                Ok(payload) if payload.sha256 == sha256 => return Ok(Some(payload)),
                Ok(_) => {}
                Err(error) if is_damage(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let Location::Inside(key) = &entry.file else {
            return Ok(None);
        };
        match &self.origin {
            Some(origin) => older_version(origin.as_ref(), key, entry.size, sha256, folder).await,
            None => Ok(None),
        }
    }
}

/// Reads the versions of an object that have the right size, until one has the right bytes.
async fn older_version(
    store: &dyn ReadStore,
    key: &ObjectKey,
    size: u64,
    sha256: Digest,
    folder: &Path,
) -> Result<Option<Payload>, Error> {
    let mut listing = store.list_versions(key.as_str(), None);
    loop {
        let object = match listing.try_next().await {
            Ok(Some(row)) if row.key() != key => return Ok(None),
            Ok(Some(ListedVersion::Object(object))) if object.size == size => object,
            Ok(Some(ListedVersion::Object(_) | ListedVersion::DeleteMarker { .. })) => continue,
            Ok(None) => return Ok(None),
            Err(error) if tells_nothing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let reader = match store.open(key, object.version.as_ref(), None).await {
            Ok(reader) => reader,
            Err(error) if tells_nothing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let uri = || format!("{}/{key}", store.uri());
        let payload = spool::collect(reader, IN_MEMORY_LIMIT, folder, uri).await?;
        if payload.sha256 == sha256 {
            return Ok(Some(payload));
        }
    }
}

/// A place that cannot be reached, that may not be looked at, or that keeps no versions, has nothing to offer.
fn tells_nothing(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::NotFound
            | StoreErrorKind::NoBucket
            | StoreErrorKind::Archived
            | StoreErrorKind::WrongRegion { .. }
            | StoreErrorKind::Unreachable { .. }
            | StoreErrorKind::Credentials { .. }
            | StoreErrorKind::Denied { .. }
            | StoreErrorKind::Unsupported { .. }
    )
}
