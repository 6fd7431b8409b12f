//! What a plan has found, as the decision whether it may be carried out needs it.

use super::{Reading, RestorePlan};
use crate::ids::Version;
use crate::plan::restore::consent::{Decision, Facts, Named, Task, Under, decide};

impl RestorePlan {
    /// Whether it may be carried out, by what is found at the target and by who named the snapshot.
    pub fn decision(&self, version: Version, named: Named) -> Decision {
        decide(&Facts {
            situation: &self.situation,
            permission: self.permission,
            named,
            task: self.task(),
            under: self.under(version),
            is_tip_whole: (self.situation.newer_tip()).is_none_or(|tip| self.live.is_whole(tip)),
            outside: self.outside_missing.len() as u64,
            vanishing: self.vanishing,
            sound: self.sound,
        })
    }

    fn task(&self) -> Task {
        let is_nothing = self.is_empty()
            && self.outside_missing.is_empty()
            && self.not_put.is_empty()
            && self.useless.files == 0;
        Task::of(is_nothing, self.is_lost(), self.sound)
    }

    /// Whether nobody can read the live table, and the snapshot has nothing that mends it.
    fn is_lost(&self) -> bool {
        let replay = match &self.reading {
            Some(Reading::Refuses { replay, .. }) => replay.as_ref(),
            Some(Reading::Opens) | None => None,
        };
        replay.is_some() && self.broken.is_empty()
    }

    fn under(&self, version: Version) -> Under {
        let is_cleaned = self.live.readable_from.is_some_and(|from| from > version);
        Under::of(
            !self.broken.is_empty(),
            is_cleaned && !self.serves_live,
            !self.not_put.is_empty(),
        )
    }
}
