//! The trailer of a pack: which files lie in it, so that it can be split although its page is lost.
//!
//! JSON lines and a footer, behind the files. Not compressed: whoever puts a lost pack together again writes the same
//! bytes, whatever a newer zstd would make of them.

use serde::Serialize;

use super::{FORMAT, FormatError, TableKey, check_size, encode_json};
use crate::ids::{Digest, Location};

/// A trailer may not be more bytes than this, its footer included.
pub const TRAILER_LIMIT: u64 = 16 * 1024 * 1024;

/// What a line of a trailer takes beside the name of its file, in bytes.
const LINE: usize = 160;

const WHAT: &str = "trailer of a pack";

#[derive(Serialize)]
struct Header {
    format: u32,
    table: String,
}

/// A file in a pack.
#[derive(Debug, Serialize)]
pub struct PackLine<'a> {
    /// Its name.
    pub file: &'a Location,
    /// Where it begins.
    pub offset: u64,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Encodes what stands behind the files of a pack.
///
/// # Errors
/// [`FormatError::TooLarge`] past [`TRAILER_LIMIT`]: such a pack has none.
pub fn encode_trailer<'a>(
    table: &TableKey,
    files: impl IntoIterator<Item = PackLine<'a>>,
) -> Result<Vec<u8>, FormatError> {
    let table = table.to_string();
    let format = FORMAT;
    let mut trailer = encode_json(WHAT, &Header { format, table })?;
    trailer.push(b'\n');
    for file in files {
        trailer.extend(encode_json(WHAT, &file)?);
        trailer.push(b'\n');
        check_size(WHAT, trailer.len() as u64, TRAILER_LIMIT)?;
    }
    let footer = format!("deltavault-pack {:015}\n", trailer.len());
    trailer.extend(footer.into_bytes());
    check_size(WHAT, trailer.len() as u64, TRAILER_LIMIT)?;
    Ok(trailer)
}

/// About how many bytes the trailer of a pack with these files takes.
pub fn likely_trailer<'a>(files: impl IntoIterator<Item = &'a Location>) -> usize {
    let lines = files.into_iter().map(|file| file.as_str().len() + LINE);
    lines.sum::<usize>() + LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableKey {
        TableKey::of("aws", &"s3://lake/orders".parse().unwrap()).unwrap()
    }

    fn line(file: &Location) -> PackLine<'_> {
        PackLine {
            file,
            offset: 7,
            sha256: Digest::of(b"a"),
            size: 1,
        }
    }

    #[test]
    fn a_trailer_says_its_own_length_in_its_last_32_bytes() {
        let file = Location::Inside("p=ü/\n\" 1.parquet".parse().unwrap());
        let trailer = encode_trailer(&table(), [line(&file)]).unwrap();
        assert!(
            trailer.len() <= likely_trailer([&file]),
            "{}",
            trailer.len()
        );
        let (lines, footer) = trailer.split_at(trailer.len() - 32);
        let footer = std::str::from_utf8(footer).unwrap();
        assert_eq!(footer, format!("deltavault-pack {:015}\n", lines.len()));
        let expected = format!(
            "{{\"format\":1,\"table\":\"{}\"}}\n{{\"file\":{{\"key\":\"p=ü/\\n\\\" 1.parquet\"}},\"offset\":7,\
             \"sha256\":\"{}\",\"size\":1}}\n",
            table(),
            Digest::of(b"a")
        );
        assert_eq!(std::str::from_utf8(lines).unwrap(), expected);
    }

    #[test]
    fn a_trailer_of_huge_names_is_refused() {
        let file = Location::Outside("x".repeat(1 << 20));
        let files = (0..16).map(|_| line(&file));
        let error = encode_trailer(&table(), files).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
    }
}
