//! Looks for traces of records newer than the head. A ledger whose newest records were deleted is a shorter, valid chain:
//! only what their runs left elsewhere can tell.
//!
//! A journal names the slot that its run meant to publish in, so that all slots below it were taken then: a journal
//! further above the head proves that records are gone, or was forged. A manifest that no record names is less: it is
//! also what a run leaves that ended just before it published. A record that named the manifest of the one before it,
//! since nothing had changed, leaves no trace at all.

use futures::TryStreamExt;

use super::table::not_read;
use super::{Verify, unreadable};
use crate::error::Error;
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::{Manifest, TableKey, VaultKey, layout};
use crate::ids::ObjectKey;
use crate::plan::choose::History;
use crate::plan::verify::{unpublished, vanished};
use crate::store::{StoreError, read_all};

/// A journal, and the slot that its run meant to publish in.
type Journal = Option<(ObjectKey, u64)>;

impl Verify<'_, '_> {
    /// The journal for the highest slot. Asked for before the ledger is read, so that what other runs publish meanwhile is
    /// not taken for missing.
    pub(super) async fn highest_journal(&self, table: &TableKey) -> Result<Journal, StoreError> {
        let prefix = layout::journals_prefix(table);
        let mut listing = self.vault.store().list(&prefix, None);
        let mut highest = None;
        while let Some(found) = listing.try_next().await? {
            if let Some(VaultKey::Journal { next_seq, .. }) = VaultKey::parse(found.key.as_str()) {
                highest = Some((found.key, next_seq));
            }
        }
        Ok(highest)
    }

    /// Tells of a journal whose run saw more records than the ledger has.
    pub(super) fn journal(
        &mut self,
        table: usize,
        history: &History,
        highest: Result<Journal, StoreError>,
    ) -> Result<(), Error> {
        let (key, next) = match highest {
            Ok(Some(highest)) => highest,
            Ok(None) => return Ok(()),
            Err(error) => {
                let prefix = layout::journals_prefix(&history.table);
                return self.tell_alone(Some(table), &prefix, unreadable(&error));
            }
        };
        match vanished(history, next) {
            Some(problem) => self.tell_alone(Some(table), key.as_str(), problem),
            None => Ok(()),
        }
    }

    /// Tells of manifests that no record names and that are of a newer version than the newest record of their table.
    pub(super) async fn unnamed(&mut self, manifests: Vec<ObjectKey>) -> Result<(), Error> {
        for key in manifests {
            let bytes = match read_all(self.vault.store(), &key, None, MANIFEST_LIMIT).await {
                Ok((_, bytes)) => bytes,
                Err(error) if error.is_permanent() => continue,
                Err(error) => {
                    self.tell_alone(None, key.as_str(), not_read(&error.into()))?;
                    continue;
                }
            };
            let Ok(manifest) = Manifest::decode(&bytes) else {
                continue;
            };
            let mut tables = self.tables.iter();
            let of = tables.position(|table| {
                let head = table.head.as_ref();
                head.is_some_and(|(id, version)| {
                    *id == manifest.delta_id && *version < manifest.version
                })
            });
            if of.is_some() {
                self.tell_alone(of, key.as_str(), unpublished(manifest.version))?;
            }
        }
        Ok(())
    }
}
