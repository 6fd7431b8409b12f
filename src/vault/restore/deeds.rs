//! What was done to a live table, by the restorer's events: who turned it back, and whether that is finished.

use std::collections::{BTreeSet, HashSet};

use super::Restorer;
use super::rewind::{is_commit, record_of};
use crate::delta::LogFile;
use crate::error::Error;
use crate::format::{Event, EventAction, EventRole};
use crate::ids::SnapshotId;
use crate::plan::choose::History;
use crate::plan::restore::deed::{Deed, last_deed, turned_away};
use crate::vault::Vault;

/// What was done to a live table by rewinds, replacements and their undo.
#[derive(Debug, Clone, Default)]
pub struct Deeds {
    /// The last one.
    pub last: Option<Deed>,
    /// The safety snapshots of what the table was turned away from.
    pub turned_away: BTreeSet<SnapshotId>,
}

impl Vault {
    /// What was done to a live table. An event that names a snapshot which the table's history does not have says nothing.
    ///
    /// # Errors
    /// An event that needs a newer tool, and what the store says.
    pub async fn deeds(&self, history: &History) -> Result<Deeds, Error> {
        let events = self.events(&history.table, EventRole::Restorer).await?;
        let known: HashSet<SnapshotId> = history.ids().collect();
        let is_known = |event: &&Event| match &event.action {
            EventAction::Deed(action) => action.snapshots().all(|id| known.contains(&id)),
            EventAction::Hold { .. }
            | EventAction::Release { .. }
            | EventAction::Retire { .. }
            | EventAction::Unknown(_) => false,
        };
        let events = events.records().filter(is_known);
        Ok(Deeds {
            last: last_deed(events.clone()),
            turned_away: turned_away(events),
        })
    }
}

impl Restorer {
    /// Whether a deed that was not finished can be: the live log has no commit but those of the snapshot that is put back and
    /// of the safety snapshot. Where somebody has committed since, it is over.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn is_under_way(&self, history: &History, deed: &Deed) -> Result<bool, Error> {
        if deed.is_done {
            return Ok(false);
        }
        let log = self.list_log().await?;
        let mut left: Vec<_> = log.into_values().filter(is_commit).collect();
        let holders = [Some(deed.turned.snapshot), deed.turned.safety];
        for id in holders.into_iter().flatten() {
            let held = match record_of(history, id) {
                Ok(record) => self.held_entries(&record, &left).await,
                Err(error) => Err(error),
            };
            left = match held {
                Ok(held) => self.unheld(&held, &left).await?,
                // What is gone holds nothing.
                Err(error) if error.is_damage() => continue,
                Err(error) => return Err(error),
            };
        }
        // A log that was cleaned has commits that neither needs, and that were there before.
        let oldest = deed.turned.version;
        left.retain(|file| {
            LogFile::parse(file.clone()).is_some_and(|it| it.version > Some(oldest))
        });
        Ok(left.is_empty())
    }
}
