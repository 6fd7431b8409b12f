//! The bytes of the vault, format v1: what every object says and what it is called.
//!
//! Pure. `spec.md` beside this file is the same as prose and the truth that users read; both change in one
//! commit. Every encoding is deterministic: keys sorted, integers, UTC times with `Z`, no blanks. Fields that a
//! reader does not know are tolerated everywhere; a format number or a required feature that it does not know
//! is refused.

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Generation, ObjectKey, ObjectVersion};

pub mod event;
pub mod journal;
pub mod layout;
pub mod ledger;
mod lines;
pub mod manifest;
pub mod pack;
pub mod page;
pub mod prune_plan;
pub mod record;
#[cfg(test)]
pub(crate) mod samples;
mod strict;
pub mod table_key;
pub mod tally;
pub mod vault_file;

pub use event::{Event, EventAction, EventRole, UnknownAction};
pub use journal::{JournalHeader, decode_journal, encode_journal};
pub use layout::VaultKey;
pub use manifest::{Manifest, PageRef, Totals};
pub use page::{
    CutPage, EncodedPage, Entry, EntryKind, LiveUse, PageWriter, Placement, data_order,
    decode_page, encode_line, log_order,
};
pub use prune_plan::{GarbageReason, PlanRow, PrunePlan};
pub use record::{Change, Disagreement, Record, Scope, Trigger};
pub use table_key::{TableKey, TableUri};
pub use tally::Tally;
pub use vault_file::VaultFile;

pub use crate::lock_mode::LockMode;

/// The format that this tool writes, and the newest that it reads.
///
/// 1: the first.
pub const FORMAT: u32 = 1;

/// The record features that this tool knows; a record that `requires` another one is refused.
pub const KNOWN_FEATURES: &[&str] = &[];

/// Points at one object of the vault. The digest decides: a reader asks for `version` and checks `sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The lock generation in which the object was put or adopted.
    #[serde(rename = "gen")]
    pub generation: Generation,
    /// The object's key below the vault's root.
    pub key: ObjectKey,
    /// SHA-256 of the whole object.
    pub sha256: Digest,
    /// Bytes of the whole object.
    pub size: u64,
    /// The object version that was written; absent where the store keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ObjectVersion>,
}

/// Bytes that are not what the format says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, or JSON of another shape.
    #[error("{what} is malformed: {detail}")]
    Malformed {
        /// `vault.json`, `record`, `page`…
        what: &'static str,
        /// What the parser said, with its position.
        detail: String,
    },
    /// Written by a newer tool.
    #[error("{what} has format {found}, this tool reads up to {FORMAT}")]
    NewerFormat {
        /// Which object.
        what: &'static str,
        /// The format it names.
        found: u32,
    },
    /// A record needs a reader that knows more.
    #[error("it requires {features:?}, which this tool does not know; it was written by {tool}")]
    UnknownFeature {
        /// The features that are not known.
        features: Vec<String>,
        /// The tool version that wrote it.
        tool: String,
    },
    /// Larger than the format allows; nothing was parsed.
    #[error("{what} has {size} bytes, more than the {limit} that the format allows")]
    TooLarge {
        /// Which object.
        what: &'static str,
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A rule between fields is broken.
    #[error("{what} breaks a rule: {rule}")]
    Invalid {
        /// Which object.
        what: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

/// Encodes `value` as the one canonical JSON text: no blanks, keys in the order of their bytes.
///
/// # Errors
/// [`FormatError::Malformed`] when the value cannot be JSON (a map with other keys than strings).
pub fn encode_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, FormatError> {
    let mut tree = serde_json::to_value(value).map_err(|error| malformed(what, &error))?;
    tree.sort_all_objects();
    serde_json::to_vec(&tree).map_err(|error| malformed(what, &error))
}

/// As [`encode_json`], of no more bytes than the format allows.
fn encode_limited<T: Serialize>(
    what: &'static str,
    value: &T,
    limit: u64,
) -> Result<Vec<u8>, FormatError> {
    let bytes = encode_json(what, value)?;
    check_size(what, bytes.len() as u64, limit)?;
    Ok(bytes)
}

/// Decodes JSON, tolerating unknown fields, and refuses whatever the format spells in another way.
///
/// # Errors
/// [`FormatError::Malformed`].
pub fn decode_json<'a, T: Deserialize<'a> + Serialize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, FormatError> {
    let read = parse_json(what, bytes)?;
    check_strict(what, bytes, &read)?;
    Ok(read)
}

/// Decodes as much of some JSON as a type has, however it is spelled.
fn parse_json<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, FormatError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(what, &error))
}

/// Refuses bytes that do not say what was read of them as the format does.
fn check_strict<T: Serialize>(
    what: &'static str,
    bytes: &[u8],
    read: &T,
) -> Result<(), FormatError> {
    strict::check(bytes, read).map_err(|error| malformed(what, &error))
}

/// As [`check_strict`], element by element of some lists: `rest` is what was read without them.
fn check_strict_lists<T: Serialize>(
    what: &'static str,
    bytes: &[u8],
    (read, rest): (&T, &T),
    lists: &[strict::Long<'_>],
) -> Result<(), FormatError> {
    strict::check_long(bytes, read, rest, lists).map_err(|error| malformed(what, &error))
}

fn malformed(what: &'static str, error: &serde_json::Error) -> FormatError {
    FormatError::Malformed {
        what,
        detail: error.to_string(),
    }
}

/// Refuses more bytes than the format allows, before anything is parsed.
fn check_size(what: &'static str, size: u64, limit: u64) -> Result<(), FormatError> {
    if size > limit {
        return Err(FormatError::TooLarge { what, size, limit });
    }
    Ok(())
}

/// Refuses a format number that this tool does not know.
fn check_format(what: &'static str, format: u32) -> Result<(), FormatError> {
    if format > FORMAT {
        return Err(FormatError::NewerFormat {
            what,
            found: format,
        });
    }
    if format == 0 {
        let rule = "format is 1 or more";
        return Err(FormatError::Invalid { what, rule });
    }
    Ok(())
}

/// The one field that is looked at before all others, so that a newer object is named as such and not as
/// malformed.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// Decodes an object that begins with nothing but a format number, however it is spelled.
fn parse_versioned<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
    limit: u64,
) -> Result<T, FormatError> {
    check_size(what, bytes.len() as u64, limit)?;
    let FormatOnly { format } = parse_json(what, bytes)?;
    check_format(what, format)?;
    parse_json(what, bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn newer_objects_are_named_as_such_even_when_nothing_else_fits() {
        let newer = |what| Some(FormatError::NewerFormat { what, found: 7 });
        let bytes = br#"{"format":7,"pages":"elsewhere"}"#;
        assert_eq!(VaultFile::decode(bytes).err(), newer("vault.json"));
        assert_eq!(Manifest::decode(bytes).err(), newer("manifest"));
        assert_eq!(PrunePlan::decode(bytes).err(), newer("prune plan"));
        let journal = lines::pack("journal", b"{\"format\":7}\n{}\n").unwrap();
        assert_eq!(decode_journal(&journal).err(), newer("journal"));
        assert!(Manifest::decode(br#"{"format":0}"#).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_are_no_object_and_never_a_panic(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert!(VaultFile::decode(&bytes).is_err());
            prop_assert!(Manifest::decode(&bytes).is_err());
            prop_assert!(Record::decode(&bytes).is_err());
            prop_assert!(Event::decode(&bytes).is_err());
            prop_assert!(PrunePlan::decode(&bytes).is_err());
            let packed = lines::pack("page", &bytes).unwrap();
            for bytes in [bytes, packed] {
                prop_assert!(decode_page(&bytes).is_err());
                prop_assert!(decode_journal(&bytes).is_err());
            }
        }
    }
}
