//! An event: an action on a table's snapshots, and one link of a chain. Holds, releases and retirements decide what `prune`
//! may collect.
//!
//! Each role that writes events has a chain of its own, linked as records are, with the same four fields and the same
//! rules. The action says which role's chain it belongs to, and has no effect in another one. An action that this tool does
//! not know is kept as it stands: a newer tool may write one, and the events after it still count.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ledger::{Chained, LedgerError, NewerRecord};
use super::record::{Preamble, Previous, RECORD_LIMIT, check_links};
use super::{FormatError, decode_json, encode_limited};
use crate::ids::{Id128, SnapshotId, Timestamp, Version};

const WHAT: &str = "event";

/// One action, and who did it.
///
/// `format`, `requires`, `seq` and `previous` never change their meaning in any later format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What was done.
    pub action: EventAction,
    /// When it was written.
    pub at: Timestamp,
    /// The format of this object.
    pub format: u32,
    /// The event before this one; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Who did it: user and host, or the caller's ARN.
    pub principal: String,
    /// Features that a reader of this event must know.
    pub requires: Vec<String>,
    /// The run that did it.
    pub run: Id128,
    /// The slot, counted from 1.
    pub seq: u64,
    /// The tool and its version.
    pub tool: String,
}

/// A role that writes events, into a chain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventRole {
    /// Holds and releases snapshots.
    Holder,
    /// Retires tables.
    Pruner,
    /// Restores tables. Nothing in this chain decides what is kept.
    Restorer,
}

impl EventRole {
    /// Every role that writes events.
    pub const ALL: [Self; 3] = [Self::Holder, Self::Pruner, Self::Restorer];

    /// Its name, as in its policy and in the keys of its events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holder => "holder",
            Self::Pruner => "pruner",
            Self::Restorer => "restorer",
        }
    }
}

impl fmt::Display for EventRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventRole {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or(FormatError::Invalid {
            what: WHAT,
            rule: "holder, pruner and restorer have events",
        })
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventAction {
    /// A snapshot is kept until it is released, whatever its promise.
    Hold {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// A hold is over.
    Release {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The table is given up: its newest snapshot is no longer kept beyond its promise. A newer snapshot revokes that.
    Retire {
        /// The newest snapshot at that time: by its id, which nobody knows before there is one.
        snapshot: SnapshotId,
    },
    /// Something done to the live table.
    #[serde(untagged)]
    Deed(DeedAction),
    /// An action that this tool cannot read.
    #[serde(untagged)]
    Unknown(UnknownAction),
}

/// What a restore does to a live table: a beginning, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeedAction {
    /// A rewind has begun.
    Rewind(TurnedBack),
    /// The replacement of the live table by an older one, or by one with another history, has begun.
    Replace(TurnedBack),
    /// What a rewind or a replacement did is being taken back.
    Undo {
        /// The slot of its event.
        of: u64,
    },
    /// A rewind is done.
    Rewound {
        /// The slot of its event.
        of: u64,
    },
    /// A replacement is done.
    Replaced {
        /// The slot of its event.
        of: u64,
    },
    /// An undo is done.
    Undone {
        /// The slot of its event.
        of: u64,
    },
}

/// Where a live table is turned back to, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedBack {
    /// The newest version that it had; absent where its log could not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The snapshot that holds that; absent where none could be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<SnapshotId>,
    /// The snapshot that is put back.
    pub snapshot: SnapshotId,
    /// The version that is put back.
    pub version: Version,
}

/// An action as it stands: an object with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAction {
    /// What it is called.
    pub name: String,
    /// Its value.
    pub body: Value,
}

impl EventAction {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::Retire { .. } => "retire",
            Self::Deed(deed) => deed.name(),
            Self::Unknown(unknown) => &unknown.name,
        }
    }

    /// The role whose chain it belongs to; `None` for an action that this tool does not know, which may be in any.
    pub fn role(&self) -> Option<EventRole> {
        match self.name() {
            "hold" | "release" => Some(EventRole::Holder),
            "retire" => Some(EventRole::Pruner),
            "rewind" | "replace" | "undo" | "rewound" | "replaced" | "undone" => {
                Some(EventRole::Restorer)
            }
            _ => None,
        }
    }

    /// Whether it says what must be kept in a way that this tool cannot read: then it is unknown which snapshots are kept.
    pub fn is_unreadable_retention(&self) -> bool {
        match self {
            Self::Hold { .. } | Self::Release { .. } | Self::Retire { .. } | Self::Deed(_) => false,
            Self::Unknown(_) => matches!(self.role(), Some(EventRole::Holder | EventRole::Pruner)),
        }
    }
}

impl DeedAction {
    /// The snapshots that it names.
    pub fn snapshots(&self) -> impl Iterator<Item = SnapshotId> {
        let turned = match self {
            Self::Rewind(turned) | Self::Replace(turned) => Some(turned),
            Self::Undo { .. }
            | Self::Rewound { .. }
            | Self::Replaced { .. }
            | Self::Undone { .. } => None,
        };
        turned
            .into_iter()
            .flat_map(|turned| [Some(turned.snapshot), turned.safety])
            .flatten()
    }
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rewind(_) => "rewind",
            Self::Replace(_) => "replace",
            Self::Undo { .. } => "undo",
            Self::Rewound { .. } => "rewound",
            Self::Replaced { .. } => "replaced",
            Self::Undone { .. } => "undone",
        }
    }
}

impl Serialize for UnknownAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.name, &self.body)])
    }
}

impl<'de> Deserialize<'de> for UnknownAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneAction;

        impl<'de> de::Visitor<'de> for OneAction {
            type Value = UnknownAction;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one key, the name of the action")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<UnknownAction, A::Error> {
                let Some((name, body)) = map.next_entry()? else {
                    return Err(de::Error::invalid_length(0, &self));
                };
                if map.next_entry::<String, Value>()?.is_some() {
                    return Err(de::Error::invalid_length(2, &self));
                }
                Ok(UnknownAction { name, body })
            }
        }

        deserializer.deserialize_map(OneAction)
    }
}

impl Event {
    /// Encodes the event.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when it breaks a rule, [`FormatError::TooLarge`] past [`RECORD_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        encode_limited(WHAT, self, RECORD_LIMIT)
    }

    /// Decodes an event. Its format and what it requires are looked at before anything else in it.
    ///
    /// # Errors
    /// Every variant of [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Preamble::decode(WHAT, bytes)?.check_known(WHAT)?;
        let event: Self = decode_json(WHAT, bytes)?;
        event.check()?;
        Ok(event)
    }

    fn check(&self) -> Result<(), FormatError> {
        check_links(WHAT, self.format, self.seq, self.previous)
    }
}

impl Chained for Event {
    const WHAT: &'static str = WHAT;
    const NEXT_GIVES_UP: bool = true;
    const IS_DISTRUSTED_BY_ID: bool = false;

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::decode(bytes)
    }

    fn seq(&self) -> u64 {
        self.seq
    }

    fn previous(&self) -> Option<Previous> {
        self.previous
    }

    fn requires(&self) -> &[String] {
        &self.requires
    }

    fn tool(&self) -> &str {
        &self.tool
    }

    fn needs_newer(seq: u64, _id: SnapshotId, newer: &NewerRecord) -> LedgerError {
        LedgerError::NewerEvent {
            seq,
            tool: newer.preamble.tool.clone(),
            source: newer.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::event;
    use super::*;

    #[test]
    fn an_event_s_bytes_are_frozen() {
        let text = String::from_utf8(event(1, None).encode().unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"action":{"hold":{"snapshot":"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"}},"at":"2026-02-01T00:00:00Z","format":1,"principal":"legal@desk","requires":[],"run":"05050505050505050505050505050505","seq":1,"tool":"deltavault 0.1.0"}"#
        );
    }

    #[test]
    fn an_action_that_is_not_known_is_kept_as_it_stands() {
        for (action, is_retention) in [
            (r#"{"drill":{"rows":7}}"#, false),
            (r#"{"restore":null}"#, false),
            (r#"{"hold":{"set":"x"}}"#, true),
            (r#"{"retire":{}}"#, true),
        ] {
            let read: EventAction = serde_json::from_str(action).unwrap();
            assert!(matches!(read, EventAction::Unknown(_)), "{read:?}");
            assert_eq!(read.is_unreadable_retention(), is_retention, "{action}");
            assert_eq!(serde_json::to_string(&read).unwrap(), action);
        }
        // A deed in another shape is nothing that decides what is kept.
        let odd: EventAction = serde_json::from_str(r#"{"rewind":{"version":"7"}}"#).unwrap();
        assert!(matches!(odd, EventAction::Unknown(_)), "{odd:?}");
        for none in ["{}", "7", r#"{"hold":{},"retire":{}}"#, r#"{"x":1,"x":1}"#] {
            assert!(serde_json::from_str::<EventAction>(none).is_err(), "{none}");
        }
    }

    #[test]
    fn a_deed_is_spelled_as_any_other_action() {
        let id = "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a";
        let turned = format!(r#"{{"from":9,"safety":"{id}","snapshot":"{id}","version":3}}"#);
        let unsafe_one = format!(r#"{{"snapshot":"{id}","version":3}}"#);
        for (name, body) in [
            ("rewind", turned.as_str()),
            ("replace", &unsafe_one),
            ("undo", r#"{"of":4}"#),
            ("rewound", r#"{"of":4}"#),
            ("replaced", r#"{"of":4}"#),
            ("undone", r#"{"of":4}"#),
        ] {
            let action = format!(r#"{{"{name}":{body}}}"#);
            let read: EventAction = serde_json::from_str(&action).unwrap();
            assert!(matches!(read, EventAction::Deed(_)), "{read:?}");
            assert_eq!(read.name(), name);
            assert_eq!(serde_json::to_string(&read).unwrap(), action);
        }
    }

    #[test]
    fn an_event_that_requires_more_is_not_taken_for_a_scar() {
        let newer = Event {
            requires: vec!["four-eyes".to_owned()],
            ..event(1, None)
        };
        let error = Event::decode(&newer.encode().unwrap()).unwrap_err();
        assert!(
            matches!(error, FormatError::UnknownFeature { .. }),
            "{error:?}"
        );
    }

    proptest! {
        #[test]
        fn unknown_fields_are_tolerated(extra in "[a-c]{1,4}") {
            let text = String::from_utf8(event(3, None).encode().unwrap()).unwrap();
            let text = text.replacen('{', &format!(r#"{{"z{extra}":[1.5],"#), 1);
            prop_assert_eq!(Event::decode(text.as_bytes()).unwrap(), event(3, None));
        }
    }
}
