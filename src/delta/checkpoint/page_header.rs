//! Reads the headers of Parquet pages, without what they announce.
//!
//! A column chunk is a sequence of pages, each a `PageHeader` of the [Parquet format] in Thrift's compact protocol and
//! then its bytes. The decoder reads a field by its id and takes its kind for granted; here a known field of another
//! kind is refused, so that both always see the same header.
//!
//! [Parquet format]: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift

use super::thrift::{FALSE, I32, LIST, MAP, STOP, STRUCT, TRUE, Thrift, ThriftError};

/// What a page's header says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the header itself.
    pub(super) size: usize,
    /// Bytes of the page as it lies in the file.
    pub(super) compressed: u64,
    /// Bytes of the page once it is decompressed.
    pub(super) uncompressed: u64,
    /// Bytes in front that are never compressed: what levels have in a page of the second version.
    pub(super) levels: u64,
    /// Whether it says that the rest is not compressed either.
    pub(super) is_plain: bool,
    /// Its values, nulls included.
    pub(super) values: u64,
    /// What kind of page it is.
    pub(super) page_type: i64,
    /// How its values are spelled.
    pub(super) encoding: i64,
}

/// The `PageType` of a dictionary.
pub(super) const DICTIONARY_PAGE: i64 = 2;

/// The `Encoding` in which a value shares a prefix with the one before it: it may be as long as the whole page.
pub(super) const DELTA_BYTE_ARRAY: i64 = 7;

/// How deep structs that are passed over are nested; statistics have one level.
const DEPTH: usize = 4;

impl PageHeader {
    /// Reads the header with which `bytes` begin.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ThriftError> {
        let mut thrift = Thrift::new(bytes);
        let mut header = Self::default();
        let mut before = 0;
        loop {
            let (id, kind) = thrift.field(before)?;
            before = id;
            match (id, kind) {
                (_, STOP) => break,
                (1, I32) => header.page_type = thrift.integer()?,
                (2, I32) => header.uncompressed = thrift.size()?,
                (3, I32) => header.compressed = thrift.size()?,
                (4, I32) => drop(thrift.integer()?),
                (5 | 7 | 8, STRUCT) => header.kind_of_page(&mut thrift, id)?,
                (6, STRUCT) => thrift.skip(STRUCT, DEPTH)?,
                // None of its fields is a list or a map.
                (1..=8, _) | (_, LIST..=MAP) => return Err(ThriftError::Malformed),
                _ => thrift.skip(kind, DEPTH)?,
            }
        }
        header.size = thrift.at();
        Ok(header)
    }

    /// `DataPageHeader` (5), `DictionaryPageHeader` (7) or `DataPageHeaderV2` (8).
    fn kind_of_page(&mut self, thrift: &mut Thrift<'_>, of: i64) -> Result<(), ThriftError> {
        let mut before = 0;
        loop {
            let (id, kind) = thrift.field(before)?;
            before = id;
            match (of, id, kind) {
                (_, _, STOP) => return Ok(()),
                (_, 1, I32) => self.values = thrift.size()?,
                (5 | 7, 2, I32) | (8, 4, I32) => self.encoding = thrift.integer()?,
                (5, 3 | 4, I32) | (8, 2 | 3, I32) => drop(thrift.integer()?),
                (8, 5 | 6, I32) => self.levels = self.levels.saturating_add(thrift.size()?),
                (7, 3, TRUE | FALSE) => {}
                (8, 7, TRUE | FALSE) => self.is_plain = kind == FALSE,
                (5, 5, STRUCT) | (8, 8, STRUCT) => thrift.skip(STRUCT, DEPTH)?,
                (_, _, LIST..=MAP) | (5, 1..=5, _) | (7, 1..=3, _) | (8, 1..=8, _) => {
                    return Err(ThriftError::Malformed);
                }
                _ => thrift.skip(kind, DEPTH)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 100 bytes (40 in the file), 7 values, with a field that nobody knows.
    const HEADER: &[u8] = &[
        0x15, 0x00, // 1: DATA_PAGE
        0x15, 0xc8, 0x01, // 2: 100
        0x15, 0x50, // 3: 40
        0x2c, // 5: DataPageHeader
        0x15, 0x0e, // 1: 7
        0x15, 0x0e, // 2: DELTA_BYTE_ARRAY
        0x15, 0x06, 0x15, 0x06, // 3, 4: RLE
        0x1c, 0x18, 0x02, b'a', b'b', 0x00, // 5: statistics with `max`
        0x00, // end of DataPageHeader
        0x68, 0x01, b'x', // 11: binary
        0x00,
    ];

    #[test]
    fn header_is_read_to_its_end() {
        let header = PageHeader::read(&[HEADER, b"data"].concat()).unwrap();
        let expected = PageHeader {
            size: HEADER.len(),
            compressed: 40,
            uncompressed: 100,
            levels: 0,
            is_plain: false,
            values: 7,
            page_type: 0,
            encoding: DELTA_BYTE_ARRAY,
        };
        assert_eq!(header, expected);
        for end in 0..HEADER.len() {
            let short = PageHeader::read(&HEADER[..end]);
            assert_eq!(short, Err(ThriftError::Short), "{end}");
        }
    }

    #[test]
    fn what_the_decoder_would_read_otherwise_is_refused() {
        let cases: [&[u8]; 7] = [
            // Field 2 as bytes, whose size the decoder takes for the number.
            &[0x28, 0x02, 0x00, 0x00, 0x00],
            // A number of more than 32 bits, of which the decoder takes the lower ones.
            &[0x25, 0x80, 0x80, 0x80, 0x80, 0x20, 0x00],
            // Less than no bytes.
            &[0x25, 0x01, 0x00],
            // A field id of more than 16 bits.
            &[0x05, 0x84, 0x80, 0x08, 0x00, 0x00],
            // A list.
            &[0x99, 0x15, 0x00, 0x00],
            // Structs in structs without end.
            &[0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x9c, 0x00],
            // A flag where a number belongs.
            &[0x5c, 0x11, 0x00, 0x00],
        ];
        for bytes in cases {
            assert_eq!(
                PageHeader::read(bytes),
                Err(ThriftError::Malformed),
                "{bytes:x?}"
            );
        }
    }
}
