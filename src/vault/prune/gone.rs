//! Tells that a snapshot was collected, when somebody asks for what is in it.

use super::survey::decide;
use crate::error::Error;
use crate::format::Manifest;
use crate::ids::Timestamp;
use crate::plan::choose::{History, Snapshot};
use crate::vault::{Vault, oldest_version};

impl Vault {
    /// Reads a snapshot's manifest.
    ///
    /// # Errors
    /// [`Error::Pruned`], naming the nearest snapshots that are kept, when its promise is over and it is gone; else as
    /// [`Vault::manifest`].
    pub async fn manifest_of(
        &self,
        snapshot: &Snapshot,
        history: &History,
        now: Timestamp,
    ) -> Result<Manifest, Error> {
        let read = self.manifest(&snapshot.record).await;
        let Err(error @ Error::Damaged { .. }) = read else {
            return read;
        };
        if snapshot.record.promise > now {
            return Err(error);
        }
        let there = oldest_version(self.store(), &snapshot.record.manifest.key).await?;
        if there.is_some() {
            return Err(error);
        }
        self.pruned(snapshot, history, now).await
    }

    async fn pruned<T>(
        &self,
        snapshot: &Snapshot,
        history: &History,
        now: Timestamp,
    ) -> Result<T, Error> {
        let events = self.events(&snapshot.table).await?;
        let decisions = decide(history, &events, now);
        let kept = || {
            let both = history.snapshots.iter().zip(&decisions);
            both.filter(|(_, decision)| decision.reason.keeps())
                .map(|(kept, _)| kept)
        };
        let before = kept().rfind(|kept| kept.seq < snapshot.seq);
        let after = kept().find(|kept| kept.seq > snapshot.seq);
        let nearest = [before, after].into_iter().flatten();
        Err(Error::Pruned {
            snapshot: snapshot.id,
            promise: snapshot.record.promise,
            nearest: nearest
                .map(|kept| (kept.id, kept.record.version, kept.record.commit_time))
                .collect(),
        })
    }
}
