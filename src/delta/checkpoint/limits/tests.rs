//! Files of a few KiB that unfold to gigabytes, and honest ones that unfold to much.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{
    Array as _, ArrayRef, Int64Array, ListArray, StringArray, StructArray, new_null_array,
};
use deltalake::arrow::buffer::OffsetBuffer;
use deltalake::arrow::datatypes::{DataType, Field, Fields};
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;

use super::super::{Wants, read_parquet, read_whole};
use super::*;
use crate::delta::path::TableRoot;
use crate::ids::Digest;

fn fields(columns: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let names: Fields = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(names, arrays, None))
}

fn parquet(columns: Vec<(&str, ArrayRef)>, encoding: Option<Encoding>) -> Bytes {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(1 << 30)
        .set_data_page_size_limit(1 << 30);
    let properties = match encoding {
        Some(encoding) => {
            let stats = ColumnPath::new(vec!["add".to_owned(), "stats".to_owned()]);
            let properties = properties.set_dictionary_enabled(false);
            properties.set_column_encoding(stats, encoding)
        }
        None => properties,
    };
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

/// Adds that each have the statistics at their place.
fn adds(stats: StringArray) -> Vec<(&'static str, ArrayRef)> {
    let rows = stats.len();
    let paths: StringArray = (0..rows).map(|n| Some(format!("part-{n:05}"))).collect();
    let sizes: Int64Array = (0..rows).map(|_| Some(1)).collect();
    let add = fields(vec![
        ("path", Arc::new(paths)),
        ("size", Arc::new(sizes)),
        ("stats", Arc::new(stats)),
    ]);
    vec![("add", add)]
}

fn refusal(bytes: &Bytes) -> String {
    let root = TableRoot::new("s3://lake/t").unwrap();
    let read = read_parquet(bytes.clone(), "c", &root, Wants::State, &mut |_| Ok(()));
    let refused = read.map(|_| ()).unwrap_err().to_string();
    // All of its columns are no less.
    read_whole(bytes.clone(), "c").unwrap_err();
    refused
}

fn rows_at_a_time(bytes: &Bytes) -> usize {
    let builder = deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        bytes.clone(),
    );
    let builder = builder.unwrap();
    let columns: Vec<usize> = (0..builder.parquet_schema().num_columns()).collect();
    let (_, rows) = Allowance::check(
        &Shared(Arc::new(bytes.clone())),
        builder.metadata(),
        &columns,
    )
    .unwrap();
    rows
}

#[test]
fn value_of_a_dictionary_that_each_row_repeats_is_refused() {
    let large = "x".repeat(1 << 20);
    let stats: StringArray = (0..300).map(|_| Some(large.as_str())).collect();
    let bytes = parquet(adds(stats), None);
    assert!(bytes.len() < 64 << 10, "{}", bytes.len());
    assert_eq!(rows_at_a_time(&bytes), 63);
    let refused = refusal(&bytes);
    assert!(
        refused.contains("bytes in its values, and a file of this size may have"),
        "{refused}"
    );
}

#[test]
fn values_that_share_a_prefix_are_refused() {
    let large = "x".repeat(1 << 20);
    let stats: StringArray = (0..300).map(|n| Some(format!("{large}{n}"))).collect();
    let bytes = parquet(adds(stats), Some(Encoding::DELTA_BYTE_ARRAY));
    assert!(bytes.len() < 64 << 10, "{}", bytes.len());
    assert!(
        (1..64).contains(&rows_at_a_time(&bytes)),
        "{}",
        rows_at_a_time(&bytes)
    );
    let refused = refusal(&bytes);
    assert!(refused.contains("bytes in its values"), "{refused}");
}

#[test]
fn page_that_unfolds_to_much_is_refused_before_it_does() {
    for encoding in [None, Some(Encoding::PLAIN)] {
        let huge = "x".repeat((64 << 20) + 1);
        let bytes = parquet(adds(StringArray::from(vec![huge])), encoding);
        let refused = refusal(&bytes);
        assert!(refused.contains(" bytes in a page"), "{refused}");
    }
    // Many pages, each of which is small enough.
    let values = ["x", "y", "z"].map(|it| it.repeat(60 << 20));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(1)
        .set_write_batch_size(1)
        .build();
    let columns = adds(StringArray::from(values.to_vec()));
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let refused = refusal(&bytes.into());
    assert!(refused.contains(" bytes in its pages"), "{refused}");
}

#[test]
fn rows_and_values_without_bytes_are_refused() {
    let nothing = new_null_array(&DataType::Utf8, 2 << 20);
    let size = new_null_array(&DataType::Int64, 2 << 20);
    let bytes = parquet(
        vec![("add", fields(vec![("path", nothing), ("size", size)]))],
        None,
    );
    let refused = refusal(&bytes);
    assert!(refused.contains("it has 2097152 rows"), "{refused}");

    let items: StringArray = (0..2 << 20).map(|_| Some("a")).collect();
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let offsets = OffsetBuffer::from_lengths([2 << 20]);
    let features = ListArray::new(item, offsets, Arc::new(items), None);
    let version: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let protocol = fields(vec![
        ("minReaderVersion", Arc::clone(&version)),
        ("minWriterVersion", version),
        ("readerFeatures", Arc::new(features)),
    ]);
    let refused = refusal(&parquet(vec![("protocol", protocol)], None));
    assert!(
        refused.contains("it has 2097152 values in a column"),
        "{refused}"
    );
}

#[test]
fn end_of_a_file_that_is_most_of_it_is_refused() {
    let mut bytes = vec![0; 5 << 20];
    bytes.extend(u32::try_from(5 << 20).unwrap().to_le_bytes());
    bytes.extend(b"PAR1");
    let refused = refusal(&bytes.into());
    assert!(
        refused.contains("it has 5242880 bytes at its end"),
        "{refused}"
    );
    refusal(&Bytes::from_static(b"PAR1"));
}

#[test]
fn checkpoint_of_many_files_with_the_same_statistics_is_read_in_large_batches() {
    let stats = format!(
        r#"{{"numRecords":1,"minValues":{{"a":"{}"}}}}"#,
        "x".repeat(1000)
    );
    let stats: StringArray = (0..100_000).map(|_| Some(stats.as_str())).collect();
    let bytes = parquet(adds(stats), None);
    assert_eq!(rows_at_a_time(&bytes), 1024);
    let root = TableRoot::new("s3://lake/t").unwrap();
    let mut files = 0;
    let _ = read_parquet(bytes.clone(), "c", &root, Wants::State, &mut |_| {
        files += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(files, 100_000);
    read_whole(bytes, "c").unwrap();
}

/// Adds of which four columns hold a value of so many bytes in each of some rows.
fn wide(rows: usize, size: usize) -> Bytes {
    let texts = || -> ArrayRef {
        let text = "x".repeat(size);
        let texts: StringArray = (0..rows).map(|_| Some(text.as_str())).collect();
        Arc::new(texts)
    };
    let vector = fields(vec![("storageType", texts()), ("pathOrInlineDv", texts())]);
    let sizes: Int64Array = (0..rows).map(|_| Some(1)).collect();
    // So many bytes may unfold only in a file of some size.
    let noise: String = (0..20_000_u32)
        .map(|n| Digest::of(&n.to_le_bytes()).to_string())
        .collect();
    let noise: StringArray = (0..rows)
        .map(|row| (row == 0).then_some(noise.as_str()))
        .collect();
    let add = fields(vec![
        ("path", texts()),
        ("size", Arc::new(sizes)),
        ("stats", texts()),
        ("deletionVector", vector),
    ]);
    parquet(
        vec![("add", add), ("noise", Arc::new(noise))],
        Some(Encoding::PLAIN),
    )
}

#[test]
fn columns_that_take_too_much_together_are_refused_and_each_alone_is_not() {
    let root = TableRoot::new("s3://lake/t").unwrap();
    for (rows, size, what) in [
        (1, 40 << 20, "bytes in a row"),
        (50, 1 << 20, "bytes in pages that are read together"),
    ] {
        let bytes = wide(rows, size);
        let read = read_parquet(bytes.clone(), "c", &root, Wants::State, &mut |_| Ok(()));
        let refused = read.map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
        read_whole(bytes, "c").unwrap();
    }
}

#[test]
fn page_that_unfolds_to_more_than_it_says_is_refused_whatever_packs_it() {
    let text = "x".repeat(1 << 20);
    let columns = || adds(StringArray::from(vec![text.clone()]));
    let written = |compression| {
        let columns = columns()
            .into_iter()
            .map(|(name, array)| (name, array, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::None)
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    };
    for compression in [
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::SNAPPY,
    ] {
        let honest = written(compression);
        read_whole(Bytes::from(honest.clone()), "c").unwrap();
        // The header of the statistics' page says its size: a megabyte, and what lengths and levels take.
        let size = u32::try_from(text.len()).unwrap();
        let places = (0..16).map(|more| spelled(size + more));
        let at = places
            .filter_map(|said| honest.windows(4).position(|it| it == said))
            .min()
            .unwrap();
        let mut lie = honest.clone();
        lie.splice(at..at + 4, spelled(1 << 14));
        refusal(&Bytes::from(lie));
    }
}

/// A size as a page's header spells it, in four bytes.
fn spelled(size: u32) -> Vec<u8> {
    let zigzag = size << 1;
    let digit = |shift: u32| u8::try_from(zigzag >> shift & 0x7f).unwrap();
    vec![
        digit(0) | 0x80,
        digit(7) | 0x80,
        digit(14) | 0x80,
        digit(21),
    ]
}
