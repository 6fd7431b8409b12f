//! What a Parquet file may unfold to, checked before memory is taken for it.
//!
//! A writer chooses freely how much its few bytes unfold to: a page says how large it is once decompressed, one value
//! of a dictionary stands for any number of rows, and null rows cost nothing. So the pages' headers are read first, and
//! what is decoded has to be in proportion to the file.

use std::io::{self, Read};
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::parquet::basic::{Compression, Type};
use deltalake::parquet::column::page::{Page, PageReader as _};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use deltalake::parquet::file::reader::{ChunkReader, Length as _};
use deltalake::parquet::file::serialized_reader::SerializedPageReader;

use super::Shared;
use super::footer;
use super::page_header::{DELTA_BYTE_ARRAY, DICTIONARY_PAGE, PageHeader};
use super::thrift::ThriftError;

/// Rows, and values of a column, that a file of any size may have; beyond it, one for each of its bytes.
const VALUES: u64 = 1 << 20;

/// Bytes that a file of any size may unfold to; beyond it, [`RATIO`] times its own size.
const UNFOLDED: u64 = 128 << 20;

/// How many more bytes a file unfolds to than it has: a million files with the same statistics of 1 KB reach 1,200.
const RATIO: u64 = 5000;

/// Bytes of a page. Writers begin a new one at 1 MiB or so, unless a single value is larger.
const PAGE: u64 = 64 << 20;

/// Bytes of what stands at the end of the file, which takes up to a hundred times as much memory when it is read.
const FOOTER: u64 = 4 << 20;

/// Bytes of a page's header. Statistics of long values are cut after a few KiB.
const HEADER: u64 = 64 << 10;

/// Rows decoded at a time, where none of them can be large.
const BATCH_ROWS: u64 = 1024;

/// Bytes decoded at a time, as far as the largest values leave a choice.
const BATCH: u64 = 64 << 20;

/// Bytes of a row, over all columns that are read together.
const ROW: u64 = 128 << 20;

/// Bytes of the pages that are in memory at once: of each column that is read a dictionary and a page of values.
const PAGES: u64 = 192 << 20;

/// Checks that the end of the file, where its columns are listed, is not too large to be read.
pub(super) fn check_footer(reader: &impl ChunkReader) -> Result<(), ParquetError> {
    let Some(at) = reader.len().checked_sub(8) else {
        return Ok(());
    };
    let size = reader.get_bytes(at, 4)?;
    let size = size
        .iter()
        .rev()
        .fold(0, |size, byte| size << 8 | u64::from(*byte));
    within("bytes at its end", size, FOOTER)?;
    let Some(start) = at.checked_sub(size) else {
        return Ok(());
    };
    let bytes = reader.get_bytes(start, usize::try_from(size)?)?;
    match footer::check_depth(&bytes) {
        Ok(true) => Ok(()),
        Ok(false) => Err(malformed("its columns are nested too deeply")),
        Err(ThriftError::Short | ThriftError::Malformed) => {
            Err(malformed("its end is not what it should be"))
        }
    }
}

/// What may still be decoded of a file.
#[derive(Debug)]
pub(super) struct Allowance {
    unfolded: u64,
    limit: u64,
    memory: u64,
}

impl Allowance {
    /// Looks at the pages of those columns; returns how many rows to decode at a time.
    pub(super) fn check<R: ChunkReader + 'static>(
        reader: &Shared<R>,
        metadata: &ParquetMetaData,
        columns: &[usize],
    ) -> Result<(Self, usize), ParquetError> {
        let size = reader.len();
        let limit = UNFOLDED.saturating_add(size.saturating_mul(RATIO));
        let values = VALUES.saturating_add(size);
        let groups = metadata.row_groups().iter();
        let rows = groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
        within("rows", rows.fold(0, u64::saturating_add), values)?;
        let (mut row, mut pages, mut unfolded) = (0_u64, 0_u64, 0_u64);
        for column in columns {
            let mut whole = Unfolded::default();
            for group in metadata.row_groups() {
                let chunk = group.columns().get(*column);
                let chunk = chunk.ok_or_else(|| malformed("a row group lacks a column"))?;
                whole.add(reader, chunk)?;
            }
            within("values in a column", whole.values, values)?;
            row = row.saturating_add(whole.largest);
            pages = pages.saturating_add(whole.dictionary.saturating_add(whole.page));
            unfolded = unfolded.saturating_add(whole.bytes);
        }
        within("bytes in its pages", unfolded, limit)?;
        within("bytes in a row", row, ROW)?;
        within("bytes in pages that are read together", pages, PAGES)?;
        let rows = (BATCH / row.max(1)).clamp(1, BATCH_ROWS);
        let allowance = Self {
            unfolded: 0,
            limit,
            memory: pages.saturating_add(rows.saturating_mul(row)),
        };
        Ok((allowance, usize::try_from(rows).unwrap_or(1)))
    }

    /// How much memory decoding takes, bytes, at most.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    /// Counts what was decoded: a value of a dictionary may have been repeated.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let bytes = batch.get_array_memory_size() as u64;
        self.unfolded = self.unfolded.saturating_add(bytes);
        within("bytes in its values", self.unfolded, self.limit)
    }
}

/// What a column unfolds to.
#[derive(Debug, Default)]
struct Unfolded {
    bytes: u64,
    values: u64,
    /// Bytes of the largest dictionary.
    dictionary: u64,
    /// Bytes of the largest page of values.
    page: u64,
    /// The most that a row of it takes, as far as one can know.
    largest: u64,
}

impl Unfolded {
    /// Adds a row group's part of the column.
    fn add<R: ChunkReader + 'static>(
        &mut self,
        reader: &Shared<R>,
        chunk: &ColumnChunkMetaData,
    ) -> Result<(), ParquetError> {
        // As the decoder takes them.
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or(chunk.data_page_offset());
        let (start, size) = (
            u64::try_from(start)?,
            u64::try_from(chunk.compressed_size())?,
        );
        let end = start.checked_add(size).filter(|end| *end <= reader.len());
        let end = end.ok_or_else(|| malformed("a column ends behind the file"))?;
        let mut at = start;
        while at < end {
            let header = page_header(reader, at, end)?;
            within("bytes in a page", header.uncompressed, PAGE)?;
            check_inflated(reader, chunk.compression(), at, &header)?;
            self.bytes = self.bytes.saturating_add(header.uncompressed);
            let largest = if header.page_type == DICTIONARY_PAGE {
                if at != start {
                    return Err(malformed("a dictionary follows the values"));
                }
                self.dictionary = self.dictionary.max(header.uncompressed);
                largest_of_dictionary(reader, chunk)?
            } else {
                self.page = self.page.max(header.uncompressed);
                self.values = self.values.saturating_add(header.values);
                match header.encoding {
                    DELTA_BYTE_ARRAY => header.uncompressed,
                    _ => header.uncompressed / header.values.max(1),
                }
            };
            self.largest = self.largest.max(largest);
            at = at
                .saturating_add(header.size as u64)
                .saturating_add(header.compressed);
        }
        Ok(())
    }
}

/// Checks that a page unfolds to no more than its header says, where the decoder would take all that it unfolds to.
fn check_inflated<R: ChunkReader + 'static>(
    reader: &Shared<R>,
    codec: Compression,
    at: u64,
    header: &PageHeader,
) -> Result<(), ParquetError> {
    let body = || -> Result<_, ParquetError> {
        let start = at
            .saturating_add(header.size as u64)
            .saturating_add(header.levels);
        let size = header.compressed.saturating_sub(header.levels);
        Ok(reader.get_read(start)?.take(size))
    };
    let inflated: Box<dyn Read> = match codec {
        _ if header.is_plain => return Ok(()),
        Compression::GZIP(_) => Box::new(flate2::read::MultiGzDecoder::new(body()?)),
        Compression::BROTLI(_) => Box::new(brotli::Decompressor::new(body()?, 4096)),
        // These get no more room than the header says.
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::LZO
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => return Ok(()),
    };
    let said = header.uncompressed.saturating_sub(header.levels);
    let found = io::copy(&mut inflated.take(said.saturating_add(1)), &mut io::sink())?;
    if found > said {
        return Err(malformed("a page has more bytes than its header says"));
    }
    Ok(())
}

fn page_header(reader: &impl ChunkReader, at: u64, end: u64) -> Result<PageHeader, ParquetError> {
    // Nearly all have less than 256 bytes.
    for size in [256, HEADER] {
        let bytes = reader.get_bytes(at, usize::try_from(size.min(end - at))?)?;
        match PageHeader::read(&bytes) {
            Ok(header) => return Ok(header),
            Err(ThriftError::Short) => {}
            Err(ThriftError::Malformed) => break,
        }
    }
    Err(malformed("a page's header cannot be read"))
}

/// The bytes of the largest value of a chunk's dictionary, whose page was found to be small enough to be read.
fn largest_of_dictionary<R: ChunkReader + 'static>(
    reader: &Shared<R>,
    chunk: &ColumnChunkMetaData,
) -> Result<u64, ParquetError> {
    match chunk.column_type() {
        Type::BYTE_ARRAY => {}
        Type::FIXED_LEN_BYTE_ARRAY => {
            return Ok(u64::try_from(chunk.column_descr().type_length())?);
        }
        Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::INT96 | Type::FLOAT | Type::DOUBLE => {
            return Ok(12);
        }
    }
    let mut pages = SerializedPageReader::new(Arc::clone(&reader.0), chunk, 0, None)?;
    let Some(Page::DictionaryPage { buf, .. }) = pages.get_next_page()? else {
        return Err(malformed("a dictionary is not one"));
    };
    // Each is its size, in 4 bytes from the lowest up, and then its bytes.
    let (mut rest, mut largest) = (buf.as_ref(), 0);
    while let Some((size, after)) = rest.split_first_chunk() {
        let size = u32::from_le_bytes(*size);
        largest = largest.max(u64::from(size));
        rest = after.get(usize::try_from(size)?..).unwrap_or_default();
    }
    Ok(largest)
}

fn malformed(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

fn within(what: &str, found: u64, limit: u64) -> Result<(), ParquetError> {
    if found <= limit {
        return Ok(());
    }
    Err(ParquetError::General(format!(
        "it has {found} {what}, and a file of this size may have {limit}"
    )))
}

#[cfg(test)]
mod tests;
