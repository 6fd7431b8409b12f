//! What a plan has found, as the decision whether it may be executed needs it.

use super::{Reading, RestorePlan};
use crate::ids::Version;
use crate::plan::restore::consent::{ChosenBy, Decision, Facts, Readability, Task, decide};
use crate::plan::snapshot::is_in;

impl RestorePlan {
    /// Whether it may be executed, by what is found at the target and by who named the snapshot.
    pub fn decision(&self, version: Version, named: ChosenBy) -> Decision {
        let is_lost =
            self.broken.is_empty() && self.reading.as_ref().is_some_and(Reading::has_no_way);
        decide(&Facts {
            situation: &self.situation,
            permission: self.permission,
            named,
            task: Task::of(self.lacks_nothing(), is_lost, self.sound),
            under: self.under(version),
            is_tip_whole: (self.situation.newer_tip())
                .is_none_or(|tip| is_in(&self.live.whole, tip)),
            outside: self.outside_missing.len() as u64,
            vanishing: self.vanishing,
            sound: self.sound,
        })
    }

    /// Whether all is there that may be put back, and nothing is in the way of it.
    pub fn lacks_nothing(&self) -> bool {
        self.is_empty()
            && self.outside_missing.is_empty()
            && self.not_put.is_empty()
            && self.useless.files == 0
    }

    fn under(&self, version: Version) -> Readability {
        let is_cleaned = self.live.readable_from.is_some_and(|from| from > version);
        Readability::of(
            !self.broken.is_empty(),
            is_cleaned && !self.serves_live,
            !self.not_put.is_empty(),
        )
    }
}
