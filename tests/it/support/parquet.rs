//! Checkpoints in Parquet, written without an engine.

use std::sync::Arc;

use deltalake::arrow::datatypes::{DataType, Field, Schema};
use deltalake::arrow::json::ReaderBuilder;
use deltalake::parquet::arrow::ArrowWriter;
use serde_json::Value;

/// Actions as a checkpoint in Parquet.
pub(crate) fn parquet(actions: &[Value]) -> Vec<u8> {
    let text = || DataType::Utf8;
    let number = || DataType::Int64;
    let list = || DataType::List(Arc::new(Field::new("element", text(), true)));
    let map = || {
        let entry = DataType::Struct(
            vec![
                Field::new("key", text(), false),
                Field::new("value", text(), true),
            ]
            .into(),
        );
        DataType::Map(Arc::new(Field::new("key_value", entry, false)), false)
    };
    let group = |fields: Vec<(&str, DataType)>| {
        let fields = fields
            .into_iter()
            .map(|(name, of)| Field::new(name, of, true));
        DataType::Struct(fields.collect())
    };
    let vector = group(vec![
        ("storageType", text()),
        ("pathOrInlineDv", text()),
        ("offset", DataType::Int32),
        ("sizeInBytes", DataType::Int32),
        ("cardinality", number()),
    ]);
    let columns = [
        (
            "protocol",
            group(vec![
                ("minReaderVersion", DataType::Int32),
                ("minWriterVersion", DataType::Int32),
                ("readerFeatures", list()),
                ("writerFeatures", list()),
            ]),
        ),
        (
            "metaData",
            group(vec![
                ("id", text()),
                (
                    "format",
                    group(vec![("provider", text()), ("options", map())]),
                ),
                ("schemaString", text()),
                ("partitionColumns", list()),
                ("configuration", map()),
                ("createdTime", number()),
            ]),
        ),
        (
            "add",
            group(vec![
                ("path", text()),
                ("partitionValues", map()),
                ("size", number()),
                ("modificationTime", number()),
                ("dataChange", DataType::Boolean),
                ("stats", text()),
                ("deletionVector", vector.clone()),
            ]),
        ),
        (
            "remove",
            group(vec![("path", text()), ("deletionVector", vector)]),
        ),
    ];
    let fields = columns.map(|(name, of)| Field::new(name, of, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema))
        .build_decoder()
        .unwrap();
    decoder.serialize(actions).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    if let Some(batch) = decoder.flush().unwrap() {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    bytes
}
