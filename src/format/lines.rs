//! JSON lines under zstd: how pages and journals are packed, and how hostile ones are unpacked.

use std::io::Read as _;

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

/// Unpacks lines, reading no further than the limit.
pub(super) fn unpack(what: &'static str, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
    check_size(what, bytes)?;
    let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(|error| malformed(what, &error))?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(|error| malformed(what, &error))?;
    let mut lines = Vec::new();
    decoder
        .take(LINES_LIMIT + 1)
        .read_to_end(&mut lines)
        .map_err(|error| malformed(what, &error))?;
    check_size(what, &lines)?;
    Ok(lines)
}

/// Splits unpacked bytes into lines: each ends in LF, none is empty.
pub(super) fn split<'a>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, FormatError> {
    let invalid = |rule| FormatError::Invalid { what, rule };
    let Some(body) = bytes.strip_suffix(b"\n") else {
        return Err(invalid("its last line ends in LF"));
    };
    let lines = body.split(|byte| *byte == b'\n');
    if lines.clone().any(<[u8]>::is_empty) {
        return Err(invalid("no line is blank"));
    }
    Ok(lines)
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
    fn a_small_frame_that_unpacks_to_too_much_is_refused() {
        let bomb = zstd::bulk::compress(&vec![b'\n'; 80 << 20], 3).unwrap();
        assert!(bomb.len() < 1 << 20);
        let error = unpack("page", &bomb).unwrap_err();
        assert!(!error.to_string().is_empty());
        // The same without a content size in its header, which only the running total can catch.
        let stream = zstd::encode_all(&vec![b'\n'; 80 << 20][..], 3).unwrap();
        let error = unpack("page", &stream).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
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
