//! Tests of reading checkpoints: each writes the Parquet file that it needs.

use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, MapArray,
    StringArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array, new_null_array,
};
use deltalake::arrow::buffer::{NullBuffer, OffsetBuffer};
use deltalake::arrow::datatypes::{DataType, Field, Fields};
use deltalake::parquet::arrow::ArrowWriter;

use super::*;
use crate::delta::{Add, Metadata, Protocol};
use crate::ids::{Location, Version};

fn text<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn number<const N: usize>(values: [Option<i64>; N]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// A struct column; `valid` says in which rows the struct itself is there.
fn fields(columns: Vec<(&str, ArrayRef)>, valid: Option<&[bool]>) -> ArrayRef {
    let names = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let names: Fields = names.collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(names, arrays, valid.map(NullBuffer::from)))
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

type Columns = Vec<(&'static str, ArrayRef)>;

/// A checkpoint whose actions are structs of these columns, in every row.
fn actions(actions: Vec<(&str, Columns)>) -> Bytes {
    let structs = actions.into_iter();
    parquet(
        structs
            .map(|(name, columns)| (name, fields(columns, None)))
            .collect(),
    )
}

fn add_of(columns: Columns) -> Bytes {
    actions(vec![("add", columns)])
}

/// An add of one file, with more columns.
fn file_with(more: Columns) -> Columns {
    let file = [("path", text([Some("a")])), ("size", number([Some(1)]))];
    file.into_iter().chain(more).collect()
}

fn root() -> TableRoot {
    TableRoot::new("s3://lake/t").unwrap()
}

fn read_all(bytes: Bytes, wants: Wants) -> Result<(Coverage, Vec<Action>), LogError> {
    let mut actions = Vec::new();
    let coverage = read_parquet(bytes, "c.parquet", &root(), wants, &mut |action| {
        actions.push(action);
        Ok(())
    })?;
    Ok((coverage, actions))
}

fn read_state(bytes: Bytes) -> Vec<Action> {
    read_all(bytes, Wants::State).unwrap().1
}

fn refusal(bytes: Bytes) -> String {
    read_all(bytes, Wants::State).unwrap_err().to_string()
}

fn adds(actions: Vec<Action>) -> Vec<Add> {
    let add = |action| {
        let Action::Add { add, .. } = action else {
            return None;
        };
        Some(add)
    };
    actions.into_iter().filter_map(add).collect()
}

/// A checkpoint with one action of every kind that is not about a data file.
fn table_actions() -> Bytes {
    let list = |item: &str| -> ArrayRef {
        let field = Arc::new(Field::new("element", DataType::Utf8, true));
        let offsets = OffsetBuffer::from_lengths([1]);
        Arc::new(ListArray::new(field, offsets, text([Some(item)]), None))
    };
    let field = |name, nullable| Arc::new(Field::new(name, DataType::Utf8, nullable));
    let entries = StructArray::from(vec![
        (field("key", false), text([Some("k"), Some("l")])),
        (field("value", true), text([Some("v"), None])),
    ]);
    let field = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    let map = MapArray::new(field, OffsetBuffer::from_lengths([2]), entries, None, false);
    let int = |value| -> ArrayRef { Arc::new(Int32Array::from(vec![value])) };
    let protocol = vec![
        ("minReaderVersion", int(3)),
        ("minWriterVersion", int(7)),
        ("readerFeatures", list("v2Checkpoint")),
    ];
    let metadata = vec![
        ("id", text([Some("x")])),
        ("partitionColumns", list("p")),
        ("configuration", Arc::new(map) as ArrayRef),
    ];
    let txn = vec![
        ("appId", text([Some("app")])),
        ("version", number([Some(5)])),
    ];
    let domain = vec![
        ("domain", text([Some("d")])),
        ("configuration", text([Some("c")])),
    ];
    let sidecar = vec![
        ("path", text([Some("s%20.parquet")])),
        ("sizeInBytes", number([Some(6)])),
    ];
    actions(vec![
        (
            "add",
            vec![("path", text([None])), ("size", number([None]))],
        ),
        ("protocol", protocol),
        ("metaData", metadata),
        ("txn", txn),
        ("domainMetadata", domain),
        ("checkpointMetadata", vec![("version", number([Some(4)]))]),
        ("sidecar", sidecar),
    ])
}

#[test]
fn structs_that_are_null_or_full_of_nulls_are_no_actions() {
    let add = fields(
        vec![
            ("path", text([Some("a%20b"), Some("hidden"), None])),
            ("size", number([Some(1), Some(2), None])),
        ],
        Some(&[true, false, true]),
    );
    let remove = fields(vec![("path", text([None, None, Some("gone")]))], None);
    let txn = fields(
        vec![("appId", text([None; 3])), ("version", number([None; 3]))],
        None,
    );
    let bytes = parquet(vec![("add", add), ("remove", remove), ("txn", txn)]);
    let (_, actions) = read_all(bytes.clone(), Wants::State).unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    let add = &adds(actions)[0];
    assert_eq!(add.file, Location::Inside("a b".parse().unwrap()));
    assert_eq!((add.size, add.rows), (1, None));
    let (_, actions) = read_all(bytes, Wants::StateAndTombstones).unwrap();
    assert_eq!(actions.len(), 2);
    assert!(
        matches!(&actions[1], Action::Remove { file, dv_id: None, .. } if file.as_str() == "gone")
    );
}

#[test]
fn types_of_other_writers_are_widened_and_statistics_taken_from_either_column() {
    let add = vec![
        (
            "path",
            Arc::new(LargeStringArray::from(vec!["a", "b", "c"])) as ArrayRef,
        ),
        ("size", Arc::new(Int32Array::from(vec![7, 8, 9]))),
        (
            "stats",
            text([Some(r#"{"numRecords":3}"#), Some("broken"), None]),
        ),
        (
            "stats_parsed",
            fields(vec![("numRecords", number([Some(9), Some(4), None]))], None),
        ),
    ];
    let actions = read_state(add_of(add));
    let found: Vec<_> = adds(actions)
        .iter()
        .map(|add| (add.size, add.rows))
        .collect();
    assert_eq!(found, [(7, Some(3)), (8, Some(4)), (9, None)]);
}

#[test]
fn vectors_are_read_whole_or_refused() {
    let with = |path: Option<&'static str>| {
        let vector = fields(
            vec![
                ("storageType", text([Some("i"), None])),
                ("pathOrInlineDv", text([path, None])),
                ("offset", new_null_array(&DataType::Int32, 2)),
                ("sizeInBytes", number([Some(40), None])),
                ("cardinality", number([Some(2), None])),
            ],
            None,
        );
        let add = vec![
            ("path", text([Some("a"), Some("b")])),
            ("size", number([Some(1), Some(2)])),
            ("deletionVector", vector),
        ];
        read_all(add_of(add), Wants::State)
    };
    let adds = adds(with(Some("bits")).unwrap().1);
    let dv = adds[0].dv.as_ref().unwrap();
    assert_eq!(
        (dv.id.as_str(), dv.size, dv.cardinality, dv.offset),
        ("ibits", 40, 2, None)
    );
    assert_eq!(adds[1].dv, None);
    let error = with(None).unwrap_err().to_string();
    assert!(error.contains("half a deletion vector"), "{error}");
}

#[test]
fn actions_about_the_table_are_read() {
    let bytes = table_actions();
    let (_, actions) = read_all(bytes.clone(), Wants::State).unwrap();
    let sidecar = "_delta_log/_sidecars/s .parquet"
        .parse::<ObjectKey>()
        .unwrap();
    assert_eq!(
        actions,
        [
            Action::Protocol(Protocol {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: vec!["v2Checkpoint".to_owned()],
                writer_features: Vec::new(),
            }),
            Action::Metadata(Metadata {
                id: Some("x".to_owned()),
                name: None,
                partition_columns: vec!["p".to_owned()],
                configuration: [("k".to_owned(), "v".to_owned())].into(),
            }),
            Action::Txn {
                app_id: "app".to_owned(),
                version: Some(5)
            },
            Action::Domain {
                domain: "d".to_owned(),
                configuration: Some("c".to_owned())
            },
            Action::CheckpointMetadata {
                version: Some(Version(4))
            },
            Action::Sidecar {
                key: sidecar.clone(),
                size: Some(6)
            },
        ]
    );
    let names = read_sidecar_names(bytes, "c.parquet", &root()).unwrap();
    assert_eq!(names, [(sidecar, Some(6))]);
}

#[test]
fn checkpoint_that_cannot_tell_about_files_is_refused_as_a_whole_but_not_in_part() {
    let txn = || fields(vec![("appId", text([Some("a")]))], None);
    let sidecar = |path| fields(vec![("path", text([path]))], None);
    let add = fields(vec![("path", text([None])), ("size", number([None]))], None);
    let coverage = |columns| read_all(parquet(columns), Wants::State).unwrap().0;
    let without = coverage(vec![("txn", txn())]);
    let check = |coverage: Coverage| coverage.check("c.parquet");
    let error = check(without).unwrap_err();
    assert_eq!(error.to_string(), "checkpoint c.parquet has no column add");
    check(without.and(coverage(vec![("add", add)]))).unwrap();
    check(coverage(vec![("sidecar", sidecar(Some("s")))])).unwrap();
    check(coverage(vec![("sidecar", sidecar(None))])).unwrap_err();
    let names = read_sidecar_names(parquet(vec![("txn", txn())]), "c.parquet", &root());
    assert!(names.unwrap().is_empty());
}

#[test]
fn files_without_path_or_size_are_refused() {
    let path = || text([Some("a")]);
    let refusal = |columns| refusal(add_of(columns));
    assert_eq!(
        refusal(vec![("size", number([Some(1)]))]),
        "checkpoint c.parquet has no column add.path"
    );
    assert_eq!(
        refusal(vec![("path", path())]),
        "checkpoint c.parquet has no column add.size"
    );
    let of_size = |size| refusal(vec![("path", path()), ("size", size)]);
    assert_eq!(of_size(number([None])), "c.parquet gives no size for a");
    let odd: [(ArrayRef, &str); 7] = [
        (number([Some(-1)]), "-1"),
        (Arc::new(Float64Array::from(vec![100.5])), "100.5"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "NaN"),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        (text([Some("soon")]), "soon"),
        (Arc::new(BooleanArray::from(vec![true])), "Boolean"),
        (fields(vec![("x", number([Some(1)]))], None), "Struct"),
    ];
    for (size, value) in odd {
        let error = of_size(size);
        let says = format!("c.parquet gives size of a as {value}");
        assert!(error.starts_with(&says), "{error}");
        assert!(error.ends_with(": not a whole number in range"), "{error}");
    }
}

#[test]
fn whole_numbers_are_taken_from_columns_of_any_type() {
    let decimal = Decimal128Array::from(vec![10_000, 20_000]);
    let sizes: [ArrayRef; 7] = [
        Arc::new(Float64Array::from(vec![100.0, 200.0])),
        Arc::new(Float32Array::from(vec![100.0, 200.0])),
        Arc::new(decimal.with_precision_and_scale(20, 2).unwrap()),
        text([Some("100"), Some("2e2")]),
        Arc::new(BinaryArray::from(vec![&b"100"[..], b"200.0"])),
        Arc::new(UInt64Array::from(vec![100, 200])),
        Arc::new(Int16Array::from(vec![100, 200])),
    ];
    for size in sizes {
        let vector = fields(
            vec![
                ("storageType", text([Some("p"), Some("")])),
                ("pathOrInlineDv", text([Some("s3://x/dv"), Some("")])),
                ("offset", size.clone()),
                ("sizeInBytes", size.clone()),
                ("cardinality", size.clone()),
            ],
            None,
        );
        let add = vec![
            ("path", text([Some("a"), Some("b")])),
            ("size", size.clone()),
            ("deletionVector", vector),
        ];
        let adds = adds(read_state(add_of(add)));
        let dv = adds[0].dv.as_ref().unwrap();
        assert_eq!((adds[0].size, adds[1].size), (100, 200), "{size:?}");
        assert_eq!((dv.id.as_str(), dv.size), ("ps3://x/dv@100", 100));
        assert_eq!(adds[1].dv, None, "an empty storage type and path are none");
    }
}

#[test]
fn times_are_milliseconds_whatever_the_column_is() {
    const DAY: i64 = 86_400_000;
    let times: [ArrayRef; 6] = [
        number([Some(DAY)]),
        Arc::new(TimestampMicrosecondArray::from(vec![DAY * 1000])),
        Arc::new(TimestampNanosecondArray::from(vec![DAY * 1_000_000]).with_timezone("UTC")),
        Arc::new(TimestampMillisecondArray::from(vec![DAY])),
        Arc::new(Float64Array::from(vec![86_400_000.0])),
        Arc::new(Date32Array::from(vec![1])),
    ];
    let read = |time: ArrayRef| {
        let add = file_with(vec![("modificationTime", time)]);
        adds(read_state(add_of(add)))[0].modification_time
    };
    for time in times {
        assert_eq!(read(time.clone()), Some(DAY), "{time:?}");
    }
    for odd in [
        text([Some("soon")]),
        fields(vec![("x", number([Some(1)]))], None),
        number([None]),
    ] {
        assert_eq!(read(odd.clone()), None, "{odd:?}");
    }
}

#[test]
fn columns_that_decide_about_no_file_may_be_of_any_type() {
    let odd: [ArrayRef; 5] = [
        number([Some(1)]),
        text([Some("x")]),
        fields(vec![("x", number([Some(1)]))], None),
        Arc::new(Float64Array::from(vec![1.5])),
        Arc::new(BinaryArray::from(vec![&b"\xff"[..]])),
    ];
    for odd in odd {
        let add = ["stats", "stats_parsed", "modificationTime", "tags"];
        let add = file_with(add.map(|name| (name, odd.clone())).into());
        let metadata = vec![
            ("id", text([Some("x")])),
            ("name", odd.clone()),
            ("partitionColumns", odd.clone()),
            ("configuration", odd.clone()),
        ];
        let protocol = vec![
            ("minReaderVersion", number([Some(1)])),
            ("minWriterVersion", odd.clone()),
            ("writerFeatures", odd.clone()),
        ];
        let txn = vec![("appId", text([Some("t")])), ("version", odd.clone())];
        let domain = vec![
            ("domain", text([Some("d")])),
            ("configuration", odd.clone()),
            ("removed", odd.clone()),
        ];
        let sidecar = vec![("path", text([Some("s")])), ("sizeInBytes", odd.clone())];
        let found = read_state(actions(vec![
            ("add", add),
            ("metaData", metadata),
            ("protocol", protocol),
            ("txn", txn),
            ("domainMetadata", domain),
            ("checkpointMetadata", vec![("version", odd.clone())]),
            ("sidecar", sidecar),
        ]));
        assert!(found.len() >= 6, "{odd:?}: {found:?}");
        // What should be structs and are none.
        let bytes = parquet(vec![
            ("add", fields(file_with(vec![]), None)),
            ("txn", odd.clone()),
            ("domainMetadata", odd.clone()),
            ("checkpointMetadata", odd.clone()),
            ("commitInfo", odd),
        ]);
        assert_eq!(read_state(bytes).len(), 1);
    }
}

#[test]
fn columns_of_the_wrong_shape_are_refused() {
    let size = || number([Some(1)]);
    let path = fields(vec![("x", size())], None);
    let features = vec![
        ("minReaderVersion", number([Some(3)])),
        ("readerFeatures", text([Some("deletionVectors")])),
    ];
    let add = || ("add", file_with(vec![]));
    for bytes in [
        add_of(vec![("path", path), ("size", size())]),
        actions(vec![add(), ("protocol", features)]),
    ] {
        let error = refusal(bytes);
        assert!(
            error.starts_with("checkpoint c.parquet cannot be read: "),
            "{error}"
        );
    }
    let protocol = vec![("minReaderVersion", number([Some(-1)]))];
    assert_eq!(
        refusal(actions(vec![add(), ("protocol", protocol)])),
        "c.parquet gives minReaderVersion of protocol as -1: not a whole number in range"
    );
    // A column that should be a struct has none of the fields that are asked for.
    assert_eq!(
        refusal(parquet(vec![("add", size())])),
        "checkpoint c.parquet has no column add.path"
    );
}

#[test]
fn file_that_is_no_parquet_or_is_cut_off_is_unreadable() {
    let whole = parquet(vec![(
        "txn",
        fields(vec![("appId", text([Some("a")]))], None),
    )]);
    for bytes in [
        Bytes::new(),
        Bytes::from_static(b"PAR1"),
        whole.slice(..whole.len() - 9),
        whole.slice(9..),
    ] {
        let error = read_all(bytes, Wants::State).unwrap_err();
        assert!(
            matches!(error, LogError::CheckpointUnreadable { .. }),
            "{error}"
        );
        assert!(error.is_about_content());
    }
}

#[test]
fn columns_can_be_decoded_apart_and_those_of_a_map_only_together() {
    let bytes = table_actions();
    read_whole(bytes.clone(), "c").unwrap();
    let parquet = Parquet::open(bytes, "c").unwrap();
    let mut columns = Vec::new();
    apart(parquet.schema().root_schema(), &mut 0, &mut columns);
    let leaves: Vec<usize> = columns.iter().cloned().flatten().collect();
    assert_eq!(
        leaves,
        (0..parquet.schema().num_columns()).collect::<Vec<_>>()
    );
    let together: Vec<_> = columns.iter().filter(|it| it.len() > 1).collect();
    let [map] = together[..] else {
        panic!("{columns:?}");
    };
    let path = parquet.schema().column(map.start).path().string();
    assert_eq!(path, "metaData.configuration.key_value.key");
    for leaves in columns {
        parquet.read(leaves.collect(), &mut |_| Ok(())).unwrap();
    }
}
