//! Plans a rewind or a replacement: as if what is removed from the live log were gone already.
//!
//! What is left is judged and mended as any other table is. A rewind is a heal of the table that ends at V; a replacement
//! puts a table where none is.

use std::collections::HashMap;

use super::held::HeldLog;
use super::mend::LogAfter;
use super::{LiveTable, RestoreRequest, Restorer, live_tip};
use crate::error::Error;
use crate::plan::restore::removal::{is_hint, removals};
use crate::plan::restore::{FileState, Mode, Situation};

use crate::store::Attributes;

/// What a plan is made on.
#[derive(Debug)]
pub(super) struct TurnedBack {
    /// What stands at the target once the files are removed.
    pub(super) basis: Situation,
    /// The files, in the order in which they are removed.
    pub(super) removals: Vec<Attributes>,
    /// The live table as it is now, where any of it is removed.
    pub(super) live: Option<LiveTable>,
}

impl Restorer {
    /// Takes what is to be removed out of the log that a plan is made on.
    pub(super) async fn turned_back(
        &self,
        request: &RestoreRequest,
        situation: &Situation,
        held: &mut HeldLog,
    ) -> Result<TurnedBack, Error> {
        let listed = || held.listed.values().cloned();
        let (basis, mut files) = match (situation, request.mode) {
            (Situation::NewerLive { .. }, Mode::Rewind) => (
                Situation::NothingAbove,
                removals(listed(), Some(request.version)),
            ),
            (Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }, Mode::Replace) => {
                (Situation::NoLog, removals(listed(), None))
            }
            // Back to a newer version: the hint of the older one is in the way of its own.
            (Situation::NothingAbove, Mode::Undo) => {
                let hint = listed().filter(|file| is_hint(&file.key));
                (situation.clone(), hint.collect())
            }
            (situation, _) => (situation.clone(), Vec::new()),
        };
        files.retain(|file| {
            !is_hint(&file.key) || held.states.get(&file.key) != Some(&FileState::Right)
        });
        let mut live = None;
        if basis != *situation {
            live = Some(match (situation, live_tip(&held.listed)) {
                (Situation::NewerLive { tip }, _) => {
                    let log = LogAfter {
                        files: held.listed.clone(),
                        from_vault: HashMap::new(),
                    };
                    self.look_above(request.version, *tip, &log, None).await?
                }
                (_, _) => LiveTable::default(),
            });
        }
        held.remove(&files);
        Ok(TurnedBack {
            basis,
            removals: files,
            live,
        })
    }
}

impl HeldLog {
    /// Forgets files of the target, which are about to be removed.
    fn remove(&mut self, files: &[Attributes]) {
        for file in files {
            self.listed.remove(&file.key);
            self.broken.remove(&file.key);
            if let Some(state) = self.states.get_mut(&file.key) {
                *state = FileState::Missing;
            }
        }
    }
}
