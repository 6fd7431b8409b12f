//! Cuts a stream of entries into pages, and reads pages back that anybody may have written.
//!
//! Where a page ends depends on its entries alone, so that a night's change rewrites only the pages it touches
//! and everybody who writes the same entries writes the same pages. The rule is frozen; `spec.md` has it as
//! prose.

use std::collections::HashSet;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::{FormatError, decode_json, lines};
use super::{Entry, Placement};
use crate::ids::{Digest, Location};

/// A page may not be more bytes than this, packed or unpacked.
pub const PAGE_LIMIT: u64 = lines::LINES_LIMIT;

/// A page is not cut before this many entries by what an entry hashes to.
const ENTRIES_MIN: usize = 256;
/// A page ends at this many entries.
pub const ENTRIES_MAX: usize = 4096;
/// A page ends when it holds this many inlined bytes.
const INLINED_MAX: u64 = 8 * 1024 * 1024;
/// A page ends when its lines have this many bytes, so that with one more line it still unpacks.
const LINES_MAX: usize = 32 * 1024 * 1024;
/// One line may not be more bytes than this.
const LINE_LIMIT: u64 = 16 * 1024 * 1024;

const WHAT: &str = "page";

/// Appends one entry's line, LF included, in the canonical JSON of the format.
///
/// # Errors
/// [`FormatError::Invalid`] when the entry breaks a rule, [`FormatError::TooLarge`] when its line would.
pub fn encode_line(line: &mut Vec<u8>, entry: &Entry) -> Result<(), FormatError> {
    entry.check()?;
    let start = line.len();
    // Not `encode_json`: the fields are declared in sorted order, so the tree that it sorts can be spared. At a
    // million entries a snapshot that is most of the time.
    let written = serde_json::to_writer(&mut *line, entry);
    line.push(b'\n');
    let size = line.len().saturating_sub(start) as u64;
    let result = written
        .map_err(|error| FormatError::Malformed {
            what: "entry",
            detail: error.to_string(),
        })
        .and_then(|()| super::super::check_size("entry", size, LINE_LIMIT));
    if result.is_err() {
        line.truncate(start);
    }
    result
}

/// Decodes one line of a page or journal, without its LF.
pub(in crate::format) fn decode_line(line: &[u8]) -> Result<Entry, FormatError> {
    let entry: Entry = decode_json("entry", line)?;
    entry.check()?;
    Ok(entry)
}

/// A finished page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPage {
    /// The page's object.
    pub bytes: Bytes,
    /// SHA-256 of `bytes`: the page's name.
    pub sha256: Digest,
    /// Entries in it.
    pub entries: u64,
}

/// Takes entries in their order and gives out pages. Holds one page in memory.
#[derive(Debug, Default)]
pub struct PageWriter {
    lines: Vec<u8>,
    files: HashSet<Location>,
    inlined: u64,
}

impl PageWriter {
    /// Begins at the first page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry; returns the page that ends with it, if one does.
    ///
    /// The caller keeps the order: [`super::log_order`] or [`super::data_order`].
    ///
    /// # Errors
    /// As [`encode_line`], and [`FormatError::Invalid`] when the page has that file already; the entry was not
    /// taken then.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<EncodedPage>, FormatError> {
        if self.files.contains(&entry.file) {
            return Err(twice());
        }
        encode_line(&mut self.lines, entry)?;
        self.files.insert(entry.file.clone());
        if let Placement::Inline(bytes) = &entry.placement {
            self.inlined += bytes.len() as u64;
        }
        let entries = self.files.len();
        let is_full = entries >= ENTRIES_MAX
            || self.inlined >= INLINED_MAX
            || self.lines.len() >= LINES_MAX
            || (entries >= ENTRIES_MIN && is_boundary(entry));
        if is_full {
            return self.take_page();
        }
        Ok(None)
    }

    /// Returns what is left as the last page; `None` when nothing is.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when packing fails.
    pub fn finish(mut self) -> Result<Option<EncodedPage>, FormatError> {
        self.take_page()
    }

    fn take_page(&mut self) -> Result<Option<EncodedPage>, FormatError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        let bytes = lines::pack(WHAT, &self.lines)?;
        let page = EncodedPage {
            sha256: Digest::of(&bytes),
            bytes: bytes.into(),
            entries: self.files.len() as u64,
        };
        self.lines.clear();
        self.files.clear();
        self.inlined = 0;
        Ok(Some(page))
    }
}

/// Whether SHA-256(kind LF key LF size LF sha256) ends in ten zero bits: one entry in 1,024.
fn is_boundary(entry: &Entry) -> bool {
    let mut hasher = Sha256::new();
    hasher.update(entry.kind.as_str());
    hasher.update(b"\n");
    hasher.update(entry.file.as_str());
    hasher.update(b"\n");
    hasher.update(entry.size.to_string());
    hasher.update(b"\n");
    if let Some(sha256) = entry.sha256 {
        hasher.update(sha256.to_string());
    }
    let digest = Digest::from_hasher(hasher);
    let [.., before_last, last] = digest.as_bytes();
    *last == 0 && before_last & 0b11 == 0
}

/// Decodes a page. Unknown fields are tolerated; sizes, blank lines, files named twice and entries that break a
/// rule are not. The caller has compared the page's SHA-256.
///
/// # Errors
/// Every variant but those of records.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let unpacked = lines::unpack(WHAT, bytes)?;
    let mut entries = Vec::new();
    for line in lines::split(WHAT, &unpacked)? {
        if entries.len() == ENTRIES_MAX {
            let rule = "at most 4096 entries";
            return Err(FormatError::Invalid { what: WHAT, rule });
        }
        entries.push(decode_line(line)?);
    }
    let mut files = HashSet::new();
    if !entries.iter().all(|entry| files.insert(&entry.file)) {
        return Err(twice());
    }
    Ok(entries)
}

fn twice() -> FormatError {
    FormatError::Invalid {
        what: WHAT,
        rule: "no file is named twice",
    }
}
