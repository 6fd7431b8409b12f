//! Checkpoints and sidecars whose columns have other types than the specification says.

use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use deltalake::arrow::datatypes::{Field, Fields};
use deltalake::arrow::record_batch::RecordBatch;
use deltalake::parquet::arrow::ArrowWriter;
use deltavault::store::memory::MemoryStore;

use super::{metadata, odd, protocol};
use crate::support::fault_store::{Call, FaultStore};
use crate::support::scene::take_from;
use crate::support::world::{hours_later, init};

fn group(columns: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let names = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let names: Fields = names.collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Arc::new(StructArray::new(names, arrays, None))
}

/// A checkpoint of `x.parquet`, its two columns as they are given.
fn checkpoint(size: ArrayRef, time: ArrayRef) -> Vec<u8> {
    let text =
        |values: [Option<&str>; 3]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let version = |value| -> ArrayRef { Arc::new(Int32Array::from(vec![Some(value), None, None])) };
    let columns = vec![
        (
            "protocol",
            group(vec![
                ("minReaderVersion", version(1)),
                ("minWriterVersion", version(2)),
            ]),
        ),
        // Without a configuration, and without partition columns.
        (
            "metaData",
            group(vec![(
                "id",
                text([None, Some("11111111-1111-4111-8111-111111111111"), None]),
            )]),
        ),
        (
            "add",
            group(vec![
                ("path", text([None, None, Some("x.parquet")])),
                ("size", size),
                ("modificationTime", time),
            ]),
        ),
        ("txn", text([None, Some("noise"), None])),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn checkpoints_with_columns_of_other_types() {
    let whole =
        |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![None, None, Some(value)])) };
    let double: ArrayRef = Arc::new(Float64Array::from(vec![None, None, Some(100.0)]));
    let spelled: ArrayRef = Arc::new(StringArray::from(vec![None, None, Some("1e2")]));
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
        None,
        None,
        Some(1000),
    ]));
    let word: ArrayRef = Arc::new(StringArray::from(vec![None, None, Some("soon")]));
    for (size, time) in [
        (double.clone(), whole(1)),
        (whole(100), micros.clone()),
        (spelled, word),
        (double, micros),
    ] {
        // Nothing but the checkpoint tells of the file.
        let mut table = odd("checkpoint", "").refused_by_deltalake();
        table.beside.push((
            "_delta_log/00000000000000000000.checkpoint.parquet",
            checkpoint(size, time),
        ));
        table.log = "{}".to_owned();
        table.held_and_restored().await;
    }
}

#[tokio::test]
async fn a_sidecar_that_is_named_twice_is_read_once() {
    let sidecar =
        r#"{"sidecar":{"path":"s.parquet","sizeInBytes":"many","modificationTime":{},"tags":7}}"#;
    let top = format!(
        "{{\"checkpointMetadata\":{{\"version\":0}}}}\n{}\n{}\n{sidecar}\n{}\n",
        protocol(r#""v2Checkpoint""#),
        metadata(""),
        sidecar.replace("s.parquet", "_delta_log/_sidecars/s%2Eparquet"),
    );
    let size: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(100)]));
    let time: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(1)]));
    let mut table = odd("sidecar", "").refused_by_deltalake();
    table.log = "{}".to_owned();
    table.beside = vec![
        (
            "_delta_log/00000000000000000000.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
            top.into_bytes(),
        ),
        ("_delta_log/_sidecars/s.parquet", checkpoint(size, time)),
    ];
    let live = MemoryStore::without_versions("s3://lake/odd");
    table.put(&live).await;
    let live = FaultStore::new(live);
    let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
    vault.inner().set_now(hours_later(0));
    init(&vault).await;
    let elsewhere = MemoryStore::new("s3://elsewhere");
    take_from(&live, &vault, &elsewhere, 0).await.unwrap();
    let reads = live.calls();
    let of_sidecar = |call: &&Call| call.method == "open" && call.key.ends_with("s.parquet");
    assert_eq!(reads.iter().filter(of_sidecar).count(), 1);
    table.held_and_restored().await;
}
