//! A live log that ends below V: is it V's own log, rewound, or did it go on in another way?
//!
//! A snapshot holds the log from its oldest checkpoint on, so commits below that are compared with nothing. What tells is
//! what they lead to: a file that is live there was live or was removed on the way to V, or V does not come from there.

use std::collections::HashMap;

use futures::TryStreamExt;

use super::content::LogReader;
use super::held::{HeldLog, nothing_held};
use super::judge::way_to;
use super::live::trouble;
use super::lost::unless_damaged;
use super::mend::LogAfter;
use super::planning::Planning;
use super::{RestoreRequest, Restorer, live_tip};
use crate::delta::checkpoint::Wants;
use crate::delta::{Action, LogError};
use crate::error::Error;
use crate::format::{EntryKind, Manifest};
use crate::ids::{Location, Version};
use crate::plan::restore::Healthy;
use crate::plan::restore::under::LoggedFile;
use crate::reader::Verdict;
use crate::sort::Sorter;
use crate::vault::log_replay::read_wanted;

/// A logical file: its place and the id of its deletion vector.
type Logical = (Location, Option<String>);

/// A logical file that the log of V names, and what it says of it where it adds it.
type Known = (Logical, Option<LoggedFile>);

impl Restorer {
    /// The files that the snapshot does not hold, newest first, of a log that ends below V and does not lead there.
    pub(super) async fn forked(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        held: &HeldLog,
        tip: Version,
    ) -> Result<Vec<String>, Error> {
        if tip >= request.version {
            return Ok(Vec::new());
        }
        let Some(way) = way_to(held.listed.values().cloned(), tip) else {
            return Ok(Vec::new());
        };
        let mut unheld: Vec<String> = way
            .files()
            .filter(|file| !held.states.contains_key(&file.key))
            .map(|file| file.key.to_string())
            .collect();
        if unheld.is_empty() {
            return Ok(unheld);
        }
        let mut reader = LogReader::of_target(self, nothing_held())?;
        let live = match reader.read_and_replay(&way).await {
            Ok(live) => live,
            // A log that nobody opens shows nobody a file.
            Err(error) => {
                trouble(error)?;
                return Ok(Vec::new());
            }
        };
        let mut known = self.named(request, manifest).await?.finish()?.peekable();
        for file in live.finish()?.1 {
            let add = file?.add;
            let said = LoggedFile {
                size: add.size,
                time: add.modification_time,
            };
            let logical: Logical = (add.file, add.dv.map(|dv| dv.id));
            let mut is_known = false;
            let at_or_below =
                |row: &Result<Known, _>| row.as_ref().map_or(true, |row| row.0 <= logical);
            while let Some(row) = known.next_if(at_or_below) {
                let (named, added) = row?;
                is_known |= named == logical && added.is_none_or(|added| added.is_like(said));
            }
            if !is_known {
                unheld.sort_unstable_by(|one, two| two.cmp(one));
                return Ok(unheld);
            }
        }
        Ok(Vec::new())
    }

    /// The logical files that the log of V names: added or removed.
    async fn named(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
    ) -> Result<Sorter<Known>, Error> {
        let mut reader = LogReader::of_vault(self, &request.record.table.uri, nothing_held())?;
        let mut named: Sorter<Known> = Sorter::new(&self.temp)?;
        let mut entries = self.log_entries(request, manifest);
        while let Some(entry) = entries.try_next().await? {
            let is_read = matches!(
                entry.kind,
                EntryKind::Commit | EntryKind::Checkpoint | EntryKind::Sidecar
            );
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            if !is_read || entry.unreadable {
                continue;
            }
            // What is not known to belong to V is for the owner to look at.
            let Some(body) = unless_damaged(reader.load(key, &entry).await)? else {
                continue;
            };
            let wants = Wants::StateAndTombstones;
            let read = read_wanted(key, &body, &reader.root, wants, &mut |action| {
                match action {
                    Action::Add { add, .. } => {
                        let said = LoggedFile {
                            size: add.size,
                            time: add.modification_time,
                        };
                        named.push(((add.file, add.dv.map(|dv| dv.id)), Some(said)))?;
                    }
                    Action::Remove { file, dv_id, .. } => named.push(((file, dv_id), None))?,
                    Action::Cdc { .. }
                    | Action::PassedOver { .. }
                    | Action::Unnameable { .. }
                    | Action::Sidecar { .. }
                    | Action::Protocol(_)
                    | Action::Metadata(_)
                    | Action::Txn { .. }
                    | Action::Domain { .. }
                    | Action::CheckpointMetadata { .. }
                    | Action::CommitInfo(_) => {}
                }
                Ok(())
            });
            if let Err(error @ (LogError::Sort(_) | LogError::Read { .. })) = read {
                return Err(error.into());
            }
        }
        Ok(named)
    }
}

impl Planning<'_> {
    /// Finds out whether the live table is whole at the end of its log, which is V or lower: what the plan puts is newer
    /// then, or of older versions only.
    pub(super) async fn look_for_health(&mut self) -> Result<(), Error> {
        let Self { held, plan, .. } = self;
        let version = self.request.version;
        let touches_nothing =
            plan.wrong.files == 0 && plan.asides.is_empty() && plan.removals.is_empty();
        let tip = live_tip(&held.listed);
        let Some(tip) = tip.filter(|_| touches_nothing && !plan.is_empty()) else {
            return Ok(());
        };
        let lacks_its_own = !plan.outside_missing.is_empty() || !held.lacks_only_its_beginning();
        if tip == version && lacks_its_own {
            return Ok(());
        }
        if self.is_healthy_at(tip).await? {
            self.plan.sound = Some(if tip < version {
                Healthy::Behind(tip)
            } else {
                Healthy::AtV
            });
        }
        Ok(())
    }

    /// Whether the live log can be opened at a version, with all its files.
    async fn is_healthy_at(&self, tip: Version) -> Result<bool, Error> {
        let log = &self.held.listed;
        let way = way_to(log.values().cloned(), tip);
        if way.is_none() {
            return Ok(false);
        }
        let after = LogAfter {
            files: log.clone(),
            from_vault: HashMap::new(),
        };
        let live = self.restorer.look_above(tip, tip, &after, None).await?;
        let is_whole = live.whole.iter().any(|(_, last)| *last == tip);
        if live.trouble.is_some() || !is_whole {
            return Ok(false);
        }
        let about = self.request.record.totals.live_files;
        let verdict = self.restorer.judge(way, tip, about).await?;
        Ok(matches!(verdict, Verdict::Opens { .. }))
    }
}
