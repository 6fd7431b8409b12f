//! What was last done to a live table, by the restorer's events: a rewind, a replacement, or the undo of one.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::event::{DeedAction, TurnedBack};
use crate::format::{Event, EventAction, EventRole, TableKey, VaultKey};
use crate::ids::{SnapshotId, Timestamp};

/// A rewind, a replacement or an undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The slot of the event that began it.
    pub seq: u64,
    /// When it began.
    pub at: Timestamp,
    /// Who began it.
    pub by: String,
    /// What it is.
    pub kind: DeedKind,
    /// Where the table was turned back to, and what it was before; of an undo, those of what it undoes.
    pub turned: TurnedBack,
    /// Whether it was finished.
    pub is_done: bool,
}

impl Deed {
    /// The key of the event that began it.
    pub fn event(&self, table: &TableKey) -> VaultKey {
        VaultKey::Event {
            table: table.clone(),
            role: EventRole::Restorer,
            seq: self.seq,
        }
    }

    /// The slot of the deed that this one has taken back.
    fn undoes(&self) -> Option<u64> {
        match self.kind {
            DeedKind::Undo { of, .. } if self.is_done => Some(of),
            DeedKind::Undo { .. } | DeedKind::Rewind | DeedKind::Replace => None,
        }
    }
}

/// What a deed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeedKind {
    /// The log went back to an older version of itself.
    Rewind,
    /// Another table, or another history, was put in the place of the live one.
    Replace,
    /// One of those is taken back.
    Undo {
        /// The slot of its event.
        of: u64,
        /// Whether that was a replacement.
        of_replace: bool,
    },
}

impl DeedKind {
    /// Whether it puts another table in the place of the live one, or takes that back.
    pub fn is_of_replace(self) -> bool {
        match self {
            Self::Replace => true,
            Self::Rewind => false,
            Self::Undo { of_replace, .. } => of_replace,
        }
    }
    /// Whether it takes another one back.
    pub fn is_undo(self) -> bool {
        matches!(self, Self::Undo { .. })
    }

    /// As a verb in the past, after the table's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rewind => "rewound",
            Self::Replace => "replaced",
            Self::Undo { .. } => "taken back",
        }
    }
}

/// The last deed of a table, from its events in the order of their slots. An event that refers to none is passed over.
pub fn last_deed<'a>(events: impl IntoIterator<Item = &'a Event>) -> Option<Deed> {
    deeds(events).pop_last().map(|(_, deed)| deed)
}

/// The safety snapshots of what the table was turned away from, and not brought back to.
pub fn turned_away<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<SnapshotId> {
    let deeds = deeds(events);
    let undone: BTreeSet<u64> = deeds.values().filter_map(Deed::undoes).collect();
    let away = deeds.values().filter(|deed| !deed.kind.is_undo());
    let away = away.filter(|deed| !undone.contains(&deed.seq));
    away.filter_map(|deed| deed.turned.safety).collect()
}

/// All deeds by the slot of the event that began them.
fn deeds<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeMap<u64, Deed> {
    let mut begun: BTreeMap<u64, Deed> = BTreeMap::new();
    for event in events {
        let EventAction::Deed(action) = &event.action else {
            continue;
        };
        let (kind, turned) = match action {
            DeedAction::Rewind(turned) => (DeedKind::Rewind, turned.clone()),
            DeedAction::Replace(turned) => (DeedKind::Replace, turned.clone()),
            DeedAction::Undo { of } => match begun.get(of) {
                Some(deed) if !matches!(deed.kind, DeedKind::Undo { .. }) => {
                    let of_replace = deed.kind == DeedKind::Replace;
                    (
                        DeedKind::Undo {
                            of: *of,
                            of_replace,
                        },
                        deed.turned.clone(),
                    )
                }
                Some(_) | None => continue,
            },
            DeedAction::Rewound { of }
            | DeedAction::Replaced { of }
            | DeedAction::Undone { of } => {
                if let Some(deed) = begun.get_mut(of) {
                    deed.is_done = true;
                }
                continue;
            }
        };
        let deed = Deed {
            seq: event.seq,
            at: event.at,
            by: event.principal.clone(),
            kind,
            turned,
            is_done: false,
        };
        begun.insert(event.seq, deed);
    }
    begun
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::samples::event;
    use crate::ids::{Digest, Version};

    fn turned(version: u64) -> TurnedBack {
        TurnedBack {
            from: Some(Version(9)),
            safety: Some(SnapshotId(Digest::of(b"safety"))),
            snapshot: SnapshotId(Digest::of(b"wanted")),
            version: Version(version),
        }
    }

    fn last(actions: Vec<DeedAction>) -> Option<(u64, DeedKind, bool)> {
        let events = actions.into_iter().zip(1..).map(|(action, seq)| Event {
            action: EventAction::Deed(action),
            ..event(seq, None)
        });
        let events: Vec<_> = events.collect();
        last_deed(&events).map(|deed| (deed.seq, deed.kind, deed.is_done))
    }

    #[test]
    fn what_the_table_was_turned_away_from_counts_until_it_is_brought_back() {
        use DeedAction::{Replace, Rewind, Undo, Undone};
        let safety = |bytes: &[u8]| SnapshotId(Digest::of(bytes));
        let to = |bytes: &[u8]| TurnedBack {
            safety: Some(safety(bytes)),
            ..turned(3)
        };
        let mut actions = vec![Rewind(to(b"one")), Replace(to(b"two")), Undo { of: 2 }];
        let away = |actions: &[DeedAction]| {
            let events = actions.iter().cloned().zip(1..).map(|(action, seq)| Event {
                action: EventAction::Deed(action),
                ..event(seq, None)
            });
            turned_away(&events.collect::<Vec<_>>())
        };
        assert_eq!(away(&actions), [safety(b"one"), safety(b"two")].into());
        actions.push(Undone { of: 3 });
        assert_eq!(away(&actions), [safety(b"one")].into());
    }

    #[test]
    fn the_last_deed_is_done_once_its_own_end_was_written() {
        use DeedAction::{Replace, Rewind, Rewound, Undo, Undone};
        assert_eq!(last(vec![]), None);
        let rewind = || Rewind(turned(3));
        assert_eq!(last(vec![rewind()]), Some((1, DeedKind::Rewind, false)));
        let done = vec![rewind(), Rewound { of: 1 }];
        assert_eq!(last(done.clone()), Some((1, DeedKind::Rewind, true)));
        let undo = |of, of_replace| DeedKind::Undo { of, of_replace };
        let undoing = [done, vec![Undo { of: 1 }]].concat();
        assert_eq!(last(undoing.clone()), Some((3, undo(1, false), false)));
        // The end of another deed ends nothing.
        let other = [undoing.clone(), vec![Rewound { of: 1 }]].concat();
        assert_eq!(last(other), Some((3, undo(1, false), false)));
        let undone = [undoing, vec![Undone { of: 3 }]].concat();
        assert_eq!(last(undone.clone()), Some((3, undo(1, false), true)));
        // An undo cannot be undone: that is a rewind like any other.
        let again = [undone, vec![Undo { of: 3 }]].concat();
        assert_eq!(last(again), Some((3, undo(1, false), true)));
        let replaced = vec![Replace(turned(3)), Undo { of: 1 }, Undo { of: 7 }];
        assert_eq!(last(replaced), Some((2, undo(1, true), false)));
    }
}
