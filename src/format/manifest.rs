//! A manifest: the ordered pages of one snapshot's log entries and data entries, and their totals.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::page::ENTRIES_MAX;
use super::strict::Long;
use super::{
    FormatError, Reference, check_format, check_strict_lists, encode_limited, parse_versioned,
};
use crate::ids::Version;

/// A manifest may not be more bytes than this: some 200,000 pages, or 250 million files.
pub const MANIFEST_LIMIT: u64 = 64 * 1024 * 1024;

const WHAT: &str = "manifest";

/// The list of every file of one snapshot, as references to its pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Pages of data, deletion-vector and change-data entries, in order.
    pub data_pages: Vec<PageRef>,
    /// The id in the table's `metaData`.
    pub delta_id: String,
    /// The format of this object.
    pub format: u32,
    /// Pages of log entries, in order.
    pub log_pages: Vec<PageRef>,
    /// Sums over all pages.
    pub totals: Totals,
    /// The Delta version that was pinned.
    pub version: Version,
}

/// One page of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRef {
    /// Entries in it.
    pub entries: u64,
    /// The page's object.
    pub page: Reference,
}

/// Sums over a manifest's entries. Bytes are those of the files, not of what the vault needed for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Entries that are absent.
    pub absent_files: u64,
    /// Bytes of all held files, log included.
    pub bytes: u64,
    /// Bytes of the data, deletion-vector and change-data files held.
    pub data_bytes: u64,
    /// Data, deletion-vector and change-data files held.
    pub data_files: u64,
    /// Files held, log included.
    pub files: u64,
    /// Logical files live at V.
    pub live_files: u64,
    /// Rows live at V, when every live file has statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Manifest {
    /// Encodes the manifest; the SHA-256 of these bytes is its name.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when it breaks a rule, [`FormatError::TooLarge`] past [`MANIFEST_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        check_format(WHAT, self.format)?;
        self.check()?;
        encode_limited(WHAT, self, MANIFEST_LIMIT)
    }

    /// Decodes a manifest. The caller has compared its SHA-256.
    ///
    /// # Errors
    /// Every variant of [`FormatError`] but [`FormatError::UnknownFeature`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let manifest: Self = parse_versioned(WHAT, bytes, MANIFEST_LIMIT)?;
        manifest.check()?;
        let rest = Self {
            data_pages: Vec::new(),
            delta_id: manifest.delta_id.clone(),
            log_pages: Vec::new(),
            ..manifest
        };
        let element = |pages: &[PageRef], at| serde_json::to_value(pages.get(at)?).ok();
        let data = |at| element(&manifest.data_pages, at);
        let log = |at| element(&manifest.log_pages, at);
        let lists: [Long<'_>; 2] = [("data_pages", &data), ("log_pages", &log)];
        check_strict_lists(WHAT, bytes, (&manifest, &rest), &lists)?;
        Ok(manifest)
    }

    /// Its pages: those of the log, then those of data.
    pub fn pages(&self) -> impl Iterator<Item = &PageRef> {
        self.log_pages.iter().chain(&self.data_pages)
    }

    fn check(&self) -> Result<(), FormatError> {
        let invalid = |rule| FormatError::Invalid { what: WHAT, rule };
        if !self
            .pages()
            .all(|page| (1..=ENTRIES_MAX as u64).contains(&page.entries))
        {
            return Err(invalid("a page has 1 to 4096 entries"));
        }
        let mut seen = HashSet::new();
        if !self.pages().all(|page| seen.insert(page.page.sha256)) {
            return Err(invalid("no page is named twice"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::manifests;
    use super::*;

    #[test]
    fn size_is_looked_at_before_the_bytes() {
        let bytes = vec![b' '; (64 << 20) + 1];
        assert!(matches!(
            Manifest::decode(&bytes),
            Err(FormatError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn manifests_come_back(manifest in manifests()) {
            let bytes = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        }

        #[test]
        fn page_named_twice_or_without_entries_is_refused(manifest in manifests()) {
            let mut twice = manifest.clone();
            twice.data_pages.extend(manifest.log_pages.first().cloned());
            prop_assert_eq!(twice.encode().is_ok(), manifest.log_pages.is_empty());
            let mut empty = manifest.clone();
            empty.data_pages.iter_mut().for_each(|page| page.entries = 0);
            prop_assert_eq!(empty.encode().is_ok(), manifest.data_pages.is_empty());
        }
    }
}
