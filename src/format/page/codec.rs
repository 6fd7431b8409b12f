//! Cuts a stream of entries into pages, and reads pages back that anybody may have written.
//!
//! Where a page ends depends on its entries alone, so that a night's change rewrites only the pages it touches
//! and everybody who writes the same entries writes the same pages. The rule is frozen; `spec.md` has it as
//! prose.

use std::collections::HashSet;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::{FormatError, check_strict, lines, parse_json};
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
/// A page ends when its entries have this many live files and spellings…
const USES_FULL: usize = 64 * 1024;
/// …and may not have more than this many.
const PAGE_USES_MAX: usize = 256 * 1024;
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
    let entry: Entry = parse_json("entry", line)?;
    entry.check()?;
    // Before it is written again: what a line of some MiB says may take far more.
    if entry.uses() > PAGE_USES_MAX {
        return Err(too_many_uses());
    }
    check_strict("entry", line, &entry)?;
    Ok(entry)
}

fn too_many_uses() -> FormatError {
    let rule = "at most 262144 live files and spellings";
    FormatError::Invalid { what: WHAT, rule }
}

/// A page that is complete and not packed yet: packing takes most of the time, and may be done elsewhere.
#[derive(Debug)]
pub struct CutPage {
    lines: Vec<u8>,
    entries: u64,
}

impl CutPage {
    /// Bytes of its lines.
    pub fn size(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Packs it.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when packing fails.
    pub fn pack(self) -> Result<EncodedPage, FormatError> {
        let bytes = lines::pack(WHAT, &self.lines)?;
        Ok(EncodedPage {
            sha256: Digest::of(&bytes),
            bytes: bytes.into(),
            entries: self.entries,
        })
    }
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
    uses: usize,
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
    pub fn push(&mut self, entry: &Entry) -> Result<Option<CutPage>, FormatError> {
        if self.files.contains(&entry.file) {
            return Err(twice());
        }
        encode_line(&mut self.lines, entry)?;
        self.files.insert(entry.file.clone());
        self.uses += entry.uses();
        if let Placement::Inline(bytes) = &entry.placement {
            self.inlined += bytes.len() as u64;
        }
        let entries = self.files.len();
        let is_full = entries >= ENTRIES_MAX
            || self.inlined >= INLINED_MAX
            || self.uses >= USES_FULL
            || self.lines.len() >= LINES_MAX
            || (entries >= ENTRIES_MIN && is_boundary(entry));
        Ok(if is_full { self.take_page() } else { None })
    }

    /// Returns what is left as the last page; `None` when nothing is.
    pub fn finish(mut self) -> Option<CutPage> {
        self.take_page()
    }

    fn take_page(&mut self) -> Option<CutPage> {
        let page = CutPage {
            lines: std::mem::take(&mut self.lines),
            entries: self.files.len() as u64,
        };
        self.files.clear();
        (self.inlined, self.uses) = (0, 0);
        (page.entries > 0).then_some(page)
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
    *last == 0 && before_last.trailing_zeros() >= 2
}

/// How many bytes a page unpacks to at most, which decoding keeps to.
pub fn unpacked_size(bytes: &[u8]) -> u64 {
    lines::unpacked_size(bytes)
}

/// Decodes a page. Unknown fields are tolerated; sizes, blank lines, files named twice and entries that break a
/// rule are not. The caller has compared the page's SHA-256.
///
/// # Errors
/// Every variant but those of records.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let unpacked = lines::unpack(WHAT, bytes)?;
    let (mut entries, mut uses) = (Vec::new(), 0);
    for line in lines::split(WHAT, &unpacked)? {
        if entries.len() == ENTRIES_MAX {
            let rule = "at most 4096 entries";
            return Err(FormatError::Invalid { what: WHAT, rule });
        }
        let entry = decode_line(line)?;
        uses += entry.uses();
        if uses > PAGE_USES_MAX {
            return Err(too_many_uses());
        }
        entries.push(entry);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::encode_json;
    use super::super::super::samples::{data_entry, entries, log_entry};
    use super::*;
    use crate::format::VaultKey;
    use crate::ids::Generation;

    fn many(n: usize) -> Vec<Entry> {
        (0..n)
            .map(|i| data_entry(&format!("part-{i:08}.parquet"), None))
            .collect()
    }

    fn pages<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<EncodedPage> {
        let mut writer = PageWriter::new();
        let mut pages = Vec::new();
        for entry in entries {
            pages.extend(writer.push(entry).unwrap().map(|page| page.pack().unwrap()));
        }
        pages.extend(writer.finish().map(|page| page.pack().unwrap()));
        pages
    }

    #[test]
    fn pages_are_cut_where_an_entry_says_so() {
        let entries = many(20_000);
        let pages = pages(&entries);
        assert_eq!(pages.iter().map(|page| page.entries).sum::<u64>(), 20_000);
        let mut end = 0;
        for page in &pages {
            end += usize::try_from(page.entries).unwrap();
            let is_last = end == entries.len();
            assert!((256..=4096).contains(&page.entries) || is_last);
            assert!(page.entries == 4096 || is_last || is_boundary(&entries[end - 1]));
            assert_eq!(page.sha256, Digest::of(&page.bytes));
        }
        let read: Vec<Entry> = pages
            .iter()
            .flat_map(|page| decode_page(&page.bytes).unwrap())
            .collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn boundary_is_ten_zero_bits_of_the_spelled_out_hash() {
        // By another implementation:
        // printf 'data\n%s\n%s\n%s' KEY SIZE SHA256 | sha256sum: the last three digits are [048c]00.
        let boundaries: Vec<String> = many(5_000)
            .iter()
            .filter(|entry| is_boundary(entry))
            .map(|entry| entry.file.to_string())
            .collect();
        assert_eq!(boundaries, BOUNDARIES);
        let absent = Entry {
            sha256: None,
            placement: Placement::Absent {},
            ..data_entry("part-00000000.parquet", None)
        };
        assert!(!is_boundary(&absent));
    }
    const BOUNDARIES: &[&str] = &[
        "part-00000280.parquet",
        "part-00000499.parquet",
        "part-00002349.parquet",
        "part-00003249.parquet",
    ];

    #[test]
    fn a_page_ends_at_4096_entries_and_at_eight_mebibytes_inlined() {
        let quiet: Vec<Entry> = many(12_000)
            .into_iter()
            .filter(|entry| !is_boundary(entry))
            .take(5_000)
            .collect();
        let counts = |pages: &[EncodedPage]| pages.iter().map(|p| p.entries).collect::<Vec<_>>();
        assert_eq!(counts(&pages(&quiet)), [4096, 904]);

        let large: Vec<Entry> = (0..300)
            .map(|i| {
                let mut entry = log_entry(&format!("_delta_log/{i:020}.json"));
                let bytes = vec![b'x'; 64 * 1024];
                entry.size = bytes.len() as u64;
                entry.sha256 = Some(Digest::of(&bytes));
                entry.placement = Placement::Inline(bytes.into());
                entry
            })
            .collect();
        assert_eq!(counts(&pages(&large)), [128, 128, 44]);
        assert_eq!(decode_page(&pages(&large)[0].bytes).unwrap(), large[..128]);
    }

    #[test]
    fn one_more_entry_changes_a_bounded_number_of_pages() {
        let entries = many(20_000);
        let before = pages(&entries);
        for at in [0, 7_777, 20_000] {
            let mut more = entries.clone();
            more.insert(at, data_entry("one more", None));
            let after = pages(&more);
            let changed = after.iter().filter(|page| !before.contains(page)).count();
            assert!(changed <= 4, "{changed} pages changed by one entry at {at}");
        }
    }

    #[test]
    fn no_entries_make_no_page() {
        assert_eq!(pages(&[]), []);
    }

    #[test]
    fn the_same_file_twice_is_refused_by_writer_and_reader() {
        let entry = data_entry("a", None);
        let mut writer = PageWriter::new();
        writer.push(&entry).unwrap();
        assert!(writer.push(&entry).is_err());
        let mut line = Vec::new();
        encode_line(&mut line, &entry).unwrap();
        let page = lines::pack("page", &line.repeat(2)).unwrap();
        assert_eq!(decode_page(&page), Err(twice()));
    }

    #[test]
    fn too_many_lines_are_refused() {
        let mut unpacked = Vec::new();
        for entry in many(4097) {
            encode_line(&mut unpacked, &entry).unwrap();
        }
        let page = lines::pack("page", &unpacked).unwrap();
        assert!(matches!(
            decode_page(&page),
            Err(FormatError::Invalid { .. })
        ));
    }

    #[test]
    fn an_entry_whose_line_is_too_long_is_refused_and_not_taken() {
        let mut entry = data_entry("a", None);
        entry.etag = Some(crate::ids::ETag("x".repeat(17 << 20)));
        let mut writer = PageWriter::new();
        assert!(matches!(
            writer.push(&entry),
            Err(FormatError::TooLarge { .. })
        ));
        assert!(writer.finish().is_none());
    }

    #[test]
    fn unknown_fields_of_an_entry_are_tolerated() {
        let entry = data_entry("a", Some("2026-01-01T00:00:00Z"));
        let mut line = Vec::new();
        encode_line(&mut line, &entry).unwrap();
        let text = String::from_utf8(line)
            .unwrap()
            .replacen('{', r#"{"future":[{}],"#, 1);
        let page = lines::pack("page", text.as_bytes()).unwrap();
        assert_eq!(decode_page(&page).unwrap(), [entry]);
    }

    #[test]
    fn entries_whose_placement_cannot_hold_them_are_refused() {
        let good = data_entry("abc", None);
        let Placement::Blob { reference, .. } = good.placement.clone() else {
            panic!("in a blob");
        };
        let blob = |offset, size| Placement::Blob {
            offset,
            reference: super::super::Reference {
                size,
                ..reference.clone()
            },
        };
        let other = super::super::Reference {
            sha256: Digest::of(b"other"),
            key: VaultKey::blob(Digest::of(b"other"), None)
                .object_key()
                .unwrap(),
            generation: Generation(0),
            ..reference.clone()
        };
        for placement in [
            Placement::Absent {},
            Placement::Inline("ab".into()),
            blob(None, 4),
            blob(Some(1), 3),
            blob(Some(u64::MAX), 3),
            Placement::Copy { reference: other },
        ] {
            let entry = Entry {
                placement,
                ..good.clone()
            };
            assert!(entry.check().is_err(), "{entry:?}");
            assert!(encode_line(&mut Vec::new(), &entry).is_err());
        }
        let entry = Entry {
            placement: blob(Some(1), 4),
            ..good.clone()
        };
        entry.check().unwrap();
        let entry = Entry {
            sha256: None,
            ..good
        };
        assert!(entry.check().is_err());
    }

    proptest! {
        #[test]
        fn lines_are_the_canonical_json_and_come_back(entry in entries()) {
            let mut line = Vec::new();
            encode_line(&mut line, &entry).unwrap();
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert_eq!(&line, &encode_json("entry", &entry).unwrap());
            prop_assert_eq!(decode_line(&line).unwrap(), entry);
        }

        #[test]
        fn damaged_pages_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = pages(&many(3))[0].bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(decode_page(&bytes));
        }
    }

    #[test]
    fn lists_that_take_much_more_memory_than_bytes_are_refused_and_never_written() {
        let line = |live: &str| {
            let mut line = Vec::new();
            encode_line(&mut line, &data_entry("part-0.parquet", None)).unwrap();
            let line = String::from_utf8(line).unwrap();
            let (before, after) = line.split_once("\"live\":[").unwrap();
            let (_, after) = after.split_once("],\"modif").unwrap();
            format!("{before}\"live\":[{live}],\"modif{after}")
        };
        let many = |element: &str, count| vec![element; count].join(",");
        let whole = line(&many("{}", 4096));
        let entry = decode_line(whole.trim_end().as_bytes()).unwrap();
        assert_eq!(entry.live.len(), 4096);
        let spelled = format!("{{\"spelled\":[{}]}}", many("\"\"", 4097));
        for live in [many("{}", 4097), many("{}", 5_000_000), spelled] {
            let refused = decode_line(line(&live).trim_end().as_bytes()).unwrap_err();
            let says = "a list of at most 4096 elements";
            assert!(refused.to_string().contains(says), "{refused}");
        }
        let mut more = entry.clone();
        more.live.push(more.live[0].clone());
        assert!(encode_line(&mut Vec::new(), &more).is_err());

        // Each is small enough, and all of them are not.
        let mut lines = String::new();
        for n in 0..65 {
            lines.push_str(&whole.replace("\"key\":\"", &format!("\"key\":\"{n}/")));
        }
        let page = lines::pack(WHAT, lines.as_bytes()).unwrap();
        let refused = decode_page(&page).unwrap_err().to_string();
        assert!(refused.contains("at most 262144"), "{refused}");
        let mut writer = PageWriter::new();
        let mut pages = Vec::new();
        for n in 0..65 {
            let mut entry = entry.clone();
            entry.file = Location::Inside(format!("{n}").parse().unwrap());
            pages.extend(writer.push(&entry).unwrap());
        }
        pages.extend(writer.finish());
        assert_eq!(
            pages.iter().map(|it| it.entries).collect::<Vec<_>>(),
            [16, 16, 16, 16, 1]
        );
    }
}
