//! Where the history of a table breaks: what a list of snapshots shows as one line of versions may be several.

use super::{History, Snapshot};
use crate::ids::Version;

/// Why a snapshot does not continue the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Another table under the same name: dropped and created again.
    Recreated,
    /// The table went back to a lower version.
    Rewound,
    /// The same version was committed again, with other content, or a commit below it was overwritten.
    Rewritten,
}

impl Mark {
    /// The mark in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recreated => "re-created",
            Self::Rewound => "rewound",
            Self::Rewritten => "rewritten",
        }
    }
}

impl History {
    /// Each snapshot with its mark, oldest first. Distrusted ones are marked and no trusted one is compared with them.
    pub fn marked(&self) -> impl Iterator<Item = (&Snapshot, Option<Mark>)> {
        let mut before: Option<&Snapshot> = None;
        self.snapshots.iter().map(move |snapshot| {
            let mark = before.and_then(|before| snapshot.mark_after(before));
            if !snapshot.is_distrusted || before.is_none_or(|before| before.is_distrusted) {
                before = Some(snapshot);
            }
            (snapshot, mark)
        })
    }
}

impl History {
    /// Whether a newer snapshot found that the commits which led to a version were overwritten since this one held it.
    pub fn is_overwritten(&self, snapshot: &Snapshot, version: Version) -> bool {
        let newer = self.snapshots.iter().filter(|it| it.seq > snapshot.seq);
        let mut newer = newer.filter(|it| {
            !it.is_distrusted && it.record.table.delta_id == snapshot.record.table.delta_id
        });
        newer.any(|it| {
            let from = it.record.overwritten_from;
            from.is_some_and(|from| from <= version)
        })
    }
}

impl Snapshot {
    fn mark_after(&self, before: &Self) -> Option<Mark> {
        let (record, earlier) = (&self.record, &before.record);
        if record.table.delta_id != earlier.table.delta_id {
            return Some(Mark::Recreated);
        }
        if record.version < earlier.version {
            return Some(Mark::Rewound);
        }
        let commits = record.commit.as_ref().zip(earlier.commit.as_ref());
        let rewritten = record.version == earlier.version
            && commits.is_some_and(|(commit, before)| commit.sha256 != before.sha256);
        let overwritten = record.overwritten_from.is_some();
        (rewritten || overwritten).then_some(Mark::Rewritten)
    }
}
