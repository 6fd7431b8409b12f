//! Looks for traces of records newer than the head. A ledger whose newest records were deleted is a shorter, valid chain:
//! only what their runs left elsewhere can tell.
//!
//! A journal names the slot that its run meant to publish in, so that all slots below it were taken then: a journal
//! further above the head proves that records are gone, or was forged. A manifest that no record names is less: it is
//! also what a run leaves that ended just before it published. A record that named the manifest of the one before it,
//! since nothing had changed, leaves no trace at all.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;

use super::{Verify, unreadable};
use crate::error::Error;
use crate::format::layout::MANIFESTS_PREFIX;
use crate::format::ledger::Bodies;
use crate::format::{Manifest, TableKey, VaultKey, layout};
use crate::ids::{ObjectKey, Version};
use crate::plan::choose::History;
use crate::plan::verify::{not_looked_at, stray, unnamed_below, unpublished, vanished};
use crate::store::StoreError;
use crate::vault::unnamed::{list_unnamed, read_manifests};

/// When single tables are verified, up to this many manifests are read to tell whose they are: most are of other tables.
const MANIFESTS_OF_OTHERS: usize = 1000;

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
            if self.vault.is_forged(&found) {
                continue;
            }
            if let Some(VaultKey::Journal { next_seq, .. }) = VaultKey::parse(found.key.as_str()) {
                highest = Some((found.key, next_seq));
            }
        }
        Ok(highest)
    }

    /// Reports a journal whose run saw more records than the ledger has.
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
                return self.report_alone(Some(table), &prefix, unreadable(&error));
            }
        };
        match vanished(history, next) {
            Some(problem) => self.report_alone(Some(table), key.as_str(), problem),
            None => Ok(()),
        }
    }

    /// Reports manifests that nothing refers to, where all tables were read: those of a newer version than the newest
    /// record of their table, and those of a table of which there is no record at all.
    pub(super) async fn unnamed(&mut self, manifests: Vec<ObjectKey>) -> Result<(), Error> {
        let mut strays: BTreeMap<String, (u64, Version, ObjectKey)> = BTreeMap::new();
        let mut older: (u64, Option<(ObjectKey, Version)>) = (0, None);
        for (key, manifest) in self.read_unnamed(manifests).await? {
            let mut tables = self.tables.iter();
            if tables.any(|table| table.delta_ids.contains(&manifest.delta_id)) {
                if !self.unnamed_manifest(&key, &manifest).await? {
                    older.0 += 1;
                    older.1.get_or_insert((key, manifest.version));
                }
                continue;
            }
            let first = (0, manifest.version, key.clone());
            let stray = strays.entry(manifest.delta_id).or_insert(first);
            stray.0 += 1;
            if stray.1 < manifest.version {
                (stray.1, stray.2) = (manifest.version, key);
            }
        }
        if let (count, Some((key, version))) = older {
            self.report_alone(None, key.as_str(), unnamed_below(count, version))?;
        }
        if !strays.is_empty() {
            for delta_id in self.delta_ids_since().await {
                strays.remove(&delta_id);
            }
        }
        for (delta_id, (manifests, version, key)) in strays {
            let problem = stray(&delta_id, manifests, version);
            self.report_alone(None, key.as_str(), problem)?;
        }
        Ok(())
    }

    /// The Delta ids of tables whose first record was published since the tables were listed.
    async fn delta_ids_since(&self) -> BTreeSet<String> {
        let mut delta_ids = BTreeSet::new();
        // Where the tables cannot be listed a second time, what was found the first time is reported.
        for key in self.vault.tables().await.unwrap_or_default() {
            if self.tables.iter().any(|table| table.key == key) {
                continue;
            }
            if let Ok(history) = self.vault.history(&key, Bodies::new()).await {
                let records = history.snapshots.iter().map(|it| &it.record);
                delta_ids.extend(records.map(|it| it.table.delta_id.clone()));
            }
        }
        delta_ids
    }

    /// As [`Verify::unnamed`], where other tables were not read: looks only at manifests that were put after the newest
    /// record of a table that was.
    pub(super) async fn unnamed_of_tables(&mut self) -> Result<(), Error> {
        let newest = self.tables.iter().filter_map(|it| it.newest.as_ref());
        let Some(since) = newest.map(|newest| newest.since).min() else {
            return Ok(());
        };
        let store = self.vault.store();
        let found = match list_unnamed(store, &self.manifests, since, usize::MAX).await {
            Ok(found) => found,
            Err(error) => return self.report_alone(None, MANIFESTS_PREFIX, unreadable(&error)),
        };
        let mut keys: Vec<ObjectKey> = found.manifests.into_iter().map(|it| it.key).collect();
        if let Some(more) = keys.len().checked_sub(MANIFESTS_OF_OTHERS)
            && more > 0
        {
            self.report_alone(None, MANIFESTS_PREFIX, not_looked_at(more as u64))?;
        }
        keys.truncate(MANIFESTS_OF_OTHERS);
        for (key, manifest) in self.read_unnamed(keys).await? {
            self.unnamed_manifest(&key, &manifest).await?;
        }
        Ok(())
    }

    /// Reads manifests, and reports those that the store could not return.
    async fn read_unnamed(
        &mut self,
        keys: Vec<ObjectKey>,
    ) -> Result<Vec<(ObjectKey, Manifest)>, Error> {
        let mut manifests = Vec::new();
        for (key, read) in read_manifests(self.vault.store(), keys).await {
            match read {
                Ok(manifest) => manifests.extend(manifest.map(|manifest| (key, manifest))),
                Err(error) => self.report_alone(None, key.as_str(), unreadable(&error))?,
            }
        }
        Ok(manifests)
    }

    /// Reports a manifest that no record named when they were read, unless one does by now: a run may just have
    /// published it. Returns whether it is newer than what a table's newest record names.
    async fn unnamed_manifest(
        &mut self,
        key: &ObjectKey,
        manifest: &Manifest,
    ) -> Result<bool, Error> {
        let of = self.tables.iter().position(|table| {
            let newest = table.newest.as_ref();
            newest.is_some_and(|newest| newest.is_before(manifest))
        });
        let Some((table, checked)) = of.and_then(|of| Some((of, self.tables.get(of)?))) else {
            return Ok(false);
        };
        let history = self.vault.history(&checked.key, Bodies::new()).await;
        let is_named = |history: &History| {
            let mut records = history.snapshots.iter().map(|it| &it.record);
            records.any(|record| record.manifest.key == *key)
        };
        if history.is_ok_and(|history| is_named(&history)) {
            return Ok(true);
        }
        self.report_alone(Some(table), key.as_str(), unpublished(manifest.version))?;
        Ok(true)
    }
}
