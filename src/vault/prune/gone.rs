//! Tells that a snapshot was collected, when somebody asks for what is in it.

use super::survey::decide;
use crate::error::Error;
use crate::ids::Timestamp;
use crate::plan::choose::{History, Snapshot};
use crate::vault::Vault;

impl Vault {
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
        let Ok(events) = self.events(&snapshot.table).await else {
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
