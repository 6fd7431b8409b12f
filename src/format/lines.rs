//! JSON lines under zstd: how pages and journals are packed, and how hostile ones are unpacked.

use std::io::Read as _;

use memchr::{memchr_iter, memmem};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::FormatError;

/// The zstd level of everything that this tool writes. Frozen, so that equal lines give equal bytes and a page
/// that did not change is not stored again; level 3 packs a page of a million-file table in a few milliseconds.
const LEVEL: i32 = 3;

/// The largest window that is accepted, as a power of two. Frames of this tool never need more than their own
/// content, which [`LINES_LIMIT`] bounds; without the limit a frame of a few bytes could claim gigabytes.
const WINDOW_LOG_MAX: u32 = 26;

/// Lines may unpack to this many bytes, packed or not.
pub(super) const LINES_LIMIT: u64 = 64 * 1024 * 1024;

/// Packs lines into one zstd frame.
pub(super) fn pack(what: &'static str, lines: &[u8]) -> Result<Vec<u8>, FormatError> {
    check_size(what, lines)?;
    zstd::bulk::compress(lines, LEVEL).map_err(|error| malformed(what, &error))
}

/// How many bytes lines unpack to at most: what their frame says, where there is one that says it, and the limit elsewhere.
pub(super) fn unpacked_size(bytes: &[u8]) -> u64 {
    let is_one_frame = find_frame_compressed_size(bytes) == Ok(bytes.len());
    match get_frame_content_size(bytes) {
        Ok(Some(size)) if is_one_frame => size.min(LINES_LIMIT),
        Ok(_) | Err(_) => LINES_LIMIT,
    }
}

/// Unpacks lines, reading no further than [`unpacked_size`].
pub(super) fn unpack(what: &'static str, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    check_size(what, bytes)?;
    let limit = unpacked_size(bytes);
    let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(|error| malformed(what, &error))?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(|error| malformed(what, &error))?;
    let mut lines = Vec::new();
    decoder
        .take(limit + 1)
        .read_to_end(&mut lines)
        .map_err(|error| malformed(what, &error))?;
    super::check_size(what, lines.len() as u64, limit)?;
    Ok(lines)
}

/// Splits unpacked bytes into lines: each ends in LF, none is empty.
pub(super) fn split<'a>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, FormatError> {
    let invalid = |rule| FormatError::Invalid { what, rule };
    if !bytes.ends_with(b"\n") {
        return Err(invalid("its last line ends in LF"));
    }
    if bytes.starts_with(b"\n") || memmem::find(bytes, b"\n\n").is_some() {
        return Err(invalid("no line is blank"));
    }
    let mut start = 0;
    Ok(memchr_iter(b'\n', bytes).filter_map(move |end| {
        let line = bytes.get(start..end);
        start = end + 1;
        line
    }))
}

fn check_size(what: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
    super::check_size(what, bytes.len() as u64, LINES_LIMIT)
}

fn malformed(what: &'static str, error: &std::io::Error) -> FormatError {
    FormatError::Malformed {
        what,
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_packed() {
        let lines = b"{}\n{\"a\":1}\n".repeat(1000);
        let packed = pack("page", &lines).unwrap();
        assert!(packed.len() < lines.len());
        assert_eq!(unpack("page", &packed).unwrap(), lines);
    }

    #[test]
    fn a_frame_is_taken_at_its_word_and_unpacks_to_no_more() {
        let lines = vec![b'\n'; 1 << 20];
        let mut packed = pack("page", &lines).unwrap();
        assert_eq!(unpacked_size(&packed), 1 << 20);
        // Another frame follows, of which the first one says nothing.
        let two = [packed.clone(), packed.clone()].concat();
        assert_eq!(unpacked_size(&two), LINES_LIMIT);
        assert_eq!(unpack("page", &two).unwrap().len(), 2 << 20);
        // The size is in four bytes behind the magic number and the descriptor of this frame.
        let size = packed.get_mut(5..9).unwrap();
        assert_eq!(size, &(1_u32 << 20).to_le_bytes());
        size.copy_from_slice(&1024_u32.to_le_bytes());
        assert_eq!(unpacked_size(&packed), 1024);
        unpack("page", &packed).unwrap_err();
    }

    #[test]
    fn a_small_frame_that_unpacks_to_too_much_is_refused() {
        let bomb = zstd::bulk::compress(&vec![b'\n'; 80 << 20], 3).unwrap();
        assert!(bomb.len() < 1 << 20);
        let error = unpack("page", &bomb).unwrap_err();
        assert!(!error.to_string().is_empty());
        // The same without a content size in its header, which only the running total can catch.
        let stream = zstd::encode_all(&vec![b'\n'; 80 << 20][..], 3).unwrap();
        let error = unpack("page", &stream).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
        assert_eq!(unpacked_size(&stream), LINES_LIMIT);
    }

    #[test]
    fn frames_that_end_early_or_run_on_are_refused() {
        let packed = pack("page", b"{}\n").unwrap();
        assert!(unpack("page", &packed[..packed.len() - 1]).is_err());
        let mut longer = packed.clone();
        longer.extend_from_slice(b"junk");
        assert!(unpack("page", &longer).is_err());
    }

    #[test]
    fn blank_and_unended_lines_are_refused() {
        for bad in [&b""[..], b"\n", b"{}", b"{}\n\n", b"\n{}\n", b"{}\n\n{}\n"] {
            assert!(split("page", bad).is_err(), "{bad:?}");
        }
        assert_eq!(split("page", b"a\nb\n").unwrap().count(), 2);
    }
}
