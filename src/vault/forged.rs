//! Objects that the owner of a vault declares forged. Anyone who can create records, events or journals can plant one where it
//! blocks honest ones. Commands treat these objects as absent; the objects stay where they are.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::format::layout::VaultKey;
use crate::ids::{InvalidId, ObjectKey, ObjectVersion};

/// An object, or all versions of one, written as `KEY` or `KEY@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgedObject {
    key: ObjectKey,
    version: Option<ObjectVersion>,
}

/// As it is read.
impl fmt::Display for ForgedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(ObjectVersion(version)) => write!(f, "{}@{version}", self.key),
            None => self.key.fmt(f),
        }
    }
}

impl FromStr for ForgedObject {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // No key of a vault has an at sign.
        let (key, version) = match text.split_once('@') {
            Some((key, version)) => (key, Some(ObjectVersion(version.to_owned()))),
            None => (text, None),
        };
        match VaultKey::parse(key) {
            Some(
                VaultKey::Record { .. }
                | VaultKey::Event { .. }
                | VaultKey::RecordSeal { .. }
                | VaultKey::EventSeal { .. },
            ) => Ok(Self {
                key: key.parse()?,
                version,
            }),
            // Looked for by a listing, which shows no versions.
            Some(VaultKey::Journal { .. }) if version.is_none() => Ok(Self {
                key: key.parse()?,
                version,
            }),
            _ => Err(InvalidId {
                what: "forged object",
                text: text.to_owned(),
                rule: "it is the key of a record, an event or a seal, as verify prints it, and may end in @ and an object \
                       version, or the key of a journal; a snapshot is given up with --distrust",
            }),
        }
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Forged(HashMap<ObjectKey, Vec<Option<ObjectVersion>>>);

impl Forged {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a version of a key is one of them.
    pub(super) fn has(&self, key: &ObjectKey, version: Option<&ObjectVersion>) -> bool {
        let named = self.0.get(key).into_iter().flatten();
        named
            .into_iter()
            .any(|named| named.is_none() || named.as_ref() == version)
    }
}

impl FromIterator<ForgedObject> for Forged {
    fn from_iter<I: IntoIterator<Item = ForgedObject>>(objects: I) -> Self {
        let mut forged = Self::default();
        for ForgedObject { key, version } in objects {
            forged.0.entry(key).or_default().push(version);
        }
        forged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slots_seals_and_journals_can_be_called_forged() {
        let table = "tables/orders-37def596bc86afd2280da522389b7bb0";
        let slot = format!("{table}/ledger/00000000000000000007.json");
        let all: ForgedObject = slot.parse().unwrap();
        let text = format!("{table}/events/holder/00000000000000000002.json@v3");
        let one: ForgedObject = text.parse().unwrap();
        assert_eq!((all.to_string(), one.to_string()), (slot.clone(), text));
        let (key, event) = (all.key.clone(), one.key.clone());
        let forged: Forged = [all, one].into_iter().collect();
        let version = |text: &str| ObjectVersion(text.to_owned());
        assert!(forged.has(&key, None) && forged.has(&key, Some(&version("v1"))));
        assert!(forged.has(&event, Some(&version("v3"))));
        assert!(!forged.has(&event, Some(&version("v4"))) && !forged.has(&event, None));
        let journal = format!(
            "runs/{0}/{1:020}/{0}-0.jsonl.zst",
            "37def596bc86afd2280da522389b7bb0", 4
        );
        journal.parse::<ForgedObject>().unwrap();
        let versioned = format!("{journal}@v1");
        for wrong in [
            "",
            "vault.json",
            "manifests/ab/abcd",
            &slot[1..],
            &versioned,
        ] {
            assert!(wrong.parse::<ForgedObject>().is_err(), "{wrong}");
        }
    }
}
