//! Journals: what an unfinished run has already placed, so that the next one, on whatever machine, copies
//! nothing twice. zstd of JSON lines: a header, then entries.

use serde::{Deserialize, Serialize};

use super::page::{ENTRIES_MAX, Entry, codec, encode_line};
use super::{FormatError, FormatOnly, check_format, decode_json, encode_json, lines, parse_json};

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// The id in the table's `metaData`.
    pub delta_id: String,
    /// The format of this object.
    pub format: u32,
    /// Who wrote it.
    pub principal: String,
}

/// A journal may not be more bytes than this, packed or unpacked.
pub const JOURNAL_LIMIT: u64 = lines::LINES_LIMIT;

const WHAT: &str = "journal";

/// Encodes a journal of up to 4,096 entries.
///
/// # Errors
/// [`FormatError::Invalid`] for more entries or one that breaks a rule, [`FormatError::TooLarge`] past
/// [`JOURNAL_LIMIT`]: whoever journals inlined files writes a journal every few megabytes of them.
pub fn encode_journal(header: &JournalHeader, entries: &[Entry]) -> Result<Vec<u8>, FormatError> {
    check_format(WHAT, header.format)?;
    check_count(entries.len())?;
    let mut unpacked = encode_json(WHAT, header)?;
    unpacked.push(b'\n');
    for entry in entries {
        encode_line(&mut unpacked, entry)?;
    }
    lines::pack(WHAT, &unpacked)
}

/// Decodes a journal. Nothing names its digest: what it says counts only after the object versions that it
/// names were proven to be there, and their content is what the next snapshot's check says it is.
///
/// # Errors
/// Every variant of [`FormatError`] but [`FormatError::UnknownFeature`].
pub fn decode_journal(bytes: &[u8]) -> Result<(JournalHeader, Vec<Entry>), FormatError> {
    let unpacked = lines::unpack(WHAT, bytes)?;
    let mut lines = lines::split(WHAT, &unpacked)?;
    let first = lines.next().unwrap_or_default();
    let FormatOnly { format } = parse_json(WHAT, first)?;
    check_format(WHAT, format)?;
    let header = decode_json(WHAT, first)?;
    let mut entries = Vec::new();
    for line in lines {
        check_count(entries.len() + 1)?;
        entries.push(codec::decode_line(line)?);
    }
    Ok((header, entries))
}

fn check_count(entries: usize) -> Result<(), FormatError> {
    if entries > ENTRIES_MAX {
        let rule = "at most 4096 entries";
        return Err(FormatError::Invalid { what: WHAT, rule });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{data_entry, entries, journal_headers};
    use super::*;

    #[test]
    fn more_entries_than_allowed_are_refused() {
        let header = JournalHeader {
            delta_id: String::new(),
            format: 1,
            principal: String::new(),
        };
        let entries = vec![data_entry("a", None); 4097];
        assert!(encode_journal(&header, &entries).is_err());
        assert!(encode_journal(&header, &entries[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn journals_come_back(
            header in journal_headers(),
            entries in proptest::collection::vec(entries(), 0..5),
        ) {
            let bytes = encode_journal(&header, &entries).unwrap();
            prop_assert_eq!(decode_journal(&bytes).unwrap(), (header, entries));
        }
    }
}
