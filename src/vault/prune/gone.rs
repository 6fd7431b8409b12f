//! Tells which snapshots a prune has deleted. Their records stay, and no event says so: a snapshot is pruned when nothing
//! keeps it and its manifest is gone, which a prune deletes first.

use std::collections::{BTreeSet, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::table_read::{decide, retention_events};
use crate::error::Error;
use crate::format::layout::{Area, content_folder};
use crate::format::{Reference, VaultKey};
use crate::ids::{Digest, SnapshotId, Timestamp};
use crate::plan::choose::{History, Snapshot};
use crate::store::ListedVersion;
use crate::vault::Vault;

const LISTINGS_AT_ONCE: usize = 16;

impl Vault {
    /// Marks the snapshots that a prune has deleted. One that nothing keeps and that still has its manifest can be
    /// restored until a prune comes, and is not marked.
    ///
    /// Where a promise has ended, this reads the events of that table; where nothing keeps a snapshot, it lists the
    /// manifests whose names begin as that snapshot's does: at most 256 short listings, however many snapshots there are.
    ///
    /// # Errors
    /// What the store says.
    pub async fn mark_pruned(
        &self,
        histories: &mut [History],
        now: Timestamp,
    ) -> Result<(), Error> {
        let expired: Vec<BTreeSet<SnapshotId>> = stream::iter(histories.iter())
            .map(|history| self.expired(history, now))
            .buffered(LISTINGS_AT_ONCE)
            .try_collect()
            .await?;
        let manifests = histories
            .iter()
            .zip(&expired)
            .flat_map(|(history, expired)| {
                let snapshots = history.snapshots.iter();
                let expired = snapshots.filter(|it| expired.contains(&it.id));
                expired.map(|it| &it.record.manifest)
            });
        let lying = self.lying(manifests).await?;
        for (history, expired) in histories.iter_mut().zip(&expired) {
            for snapshot in &mut history.snapshots {
                snapshot.is_pruned = expired.contains(&snapshot.id)
                    && !lying.contains(&snapshot.record.manifest.sha256);
            }
        }
        Ok(())
    }

    /// The snapshots of a table that nothing keeps; none where its events cannot be read, because they may be held.
    async fn expired(
        &self,
        history: &History,
        now: Timestamp,
    ) -> Result<BTreeSet<SnapshotId>, Error> {
        if history.snapshots.iter().all(|it| it.record.promise > now) {
            return Ok(BTreeSet::new());
        }
        let listed = self.list_events(&history.table).await?;
        let events = match retention_events(&listed).await {
            Ok(events) => events,
            Err(Error::Ledger(_)) => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let decisions = decide(history, &events, now).into_iter();
        let expired = decisions.filter(|decision| !decision.reason.keeps());
        Ok(expired.map(|decision| decision.id).collect())
    }

    /// The digests of the manifests that lie where those of `manifests` would, under any suffix: a repair may have put
    /// one under another name.
    async fn lying(
        &self,
        manifests: impl Iterator<Item = &Reference>,
    ) -> Result<HashSet<Digest>, Error> {
        let folders = manifests.map(|it| content_folder(Area::Manifests, it.sha256));
        let folders: BTreeSet<String> = folders.collect();
        let listings = stream::iter(folders).map(|folder| async move {
            let rows: Vec<ListedVersion> = self
                .store()
                .list_versions(&folder, None)
                .try_collect()
                .await?;
            Ok::<_, Error>(rows)
        });
        let mut lying = HashSet::new();
        let mut listings = listings.buffer_unordered(LISTINGS_AT_ONCE);
        while let Some(rows) = listings.try_next().await? {
            for row in rows {
                if let ListedVersion::Object(object) = row
                    && let Some(VaultKey::Content { sha256, .. }) =
                        VaultKey::parse(object.key.as_str())
                {
                    lying.insert(sha256);
                }
            }
        }
        Ok(lying)
    }

    /// What to say when a snapshot cannot be read: that it was pruned, naming the nearest that are kept, when nothing
    /// keeps it any more; else the error as it was.
    pub async fn why_unreadable(
        &self,
        error: Error,
        snapshot: &Snapshot,
        history: &History,
        now: Timestamp,
    ) -> Error {
        if !matches!(error, Error::Damaged { .. }) || snapshot.record.promise > now {
            return error;
        }
        let Ok(listed) = self.list_events(&snapshot.table).await else {
            return error;
        };
        let Ok(events) = retention_events(&listed).await else {
            return error;
        };
        let decisions = decide(history, &events, now);
        let is_kept = |seq| {
            let mut decisions = decisions.iter();
            decisions.any(|decision| decision.seq == seq && decision.reason.keeps())
        };
        if is_kept(snapshot.seq) {
            return error;
        }
        let kept = || history.snapshots.iter().filter(|it| is_kept(it.seq));
        let before = kept().rfind(|kept| kept.seq < snapshot.seq);
        let after = kept().find(|kept| kept.seq > snapshot.seq);
        let nearest = [before, after].into_iter().flatten();
        Error::Pruned {
            snapshot: snapshot.id,
            promise: snapshot.record.promise,
            nearest: nearest
                .map(|kept| (kept.id, kept.record.version, kept.record.commit_time))
                .collect(),
        }
    }
}
