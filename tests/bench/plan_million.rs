//! Plans a table whose newest checkpoint has a million live files, and prints the time and the peak memory.
//!
//! `cargo bench --bench plan_million [-- FILES]`. The table is a log only: planning never touches data files. The
//! plan runs in a process of its own, so that its peak memory is nobody else's. The baseline is the least that any
//! planner has to do: decode the same columns of the same checkpoint and throw the rows away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures; it fails loudly and reads the clock"
)]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use deltalake::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use deltalake::arrow::array::{Int32Array, new_null_array};
use deltalake::arrow::datatypes::{DataType, Field, Fields, Schema};
use deltalake::parquet::arrow::ArrowWriter;
use deltavault::delta::checkpoint::{Wants, read_parquet};
use deltavault::delta::path::TableRoot;
use deltavault::format::VaultFile;
use deltavault::format::record::TableIdentity;
use deltavault::format::{Scope, TableKey, TableUri, Trigger};
use deltavault::ids::{Id128, Timestamp};
use deltavault::plan::retention::{Policy, RetentionRequest};
use deltavault::source::Source;
use deltavault::store::local::LocalStore;
use deltavault::store::{ReadStore, StoreError, StoreErrorKind};
use deltavault::vault::snapshot::{SnapshotRequest, Snapshotter};
use deltavault::vault::{Vault, init};

/// Rows written at a time, also the size of a row group.
const ROWS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|text| text != "--bench")
        .collect();
    match arguments.as_slice() {
        [what, folder] if what == "decode" => decode(Path::new(folder)),
        [what, folder] if what == "plan" => plan(Path::new(folder)),
        [files] => measure(files.parse().expect("FILES is a number")),
        _ => measure(1_000_000),
    }
}

fn measure(files: usize) {
    let folder = tempfile::tempdir().unwrap();
    let size = write_table(folder.path(), files);
    println!(
        "a checkpoint of {files} live files, {} MiB",
        size / (1024 * 1024)
    );
    for (name, what) in [("baseline: decode only", "decode"), ("plan", "plan")] {
        let started = Instant::now();
        let output = Command::new(std::env::current_exe().unwrap())
            .arg(what)
            .arg(folder.path())
            .output()
            .unwrap();
        let seconds = started.elapsed().as_secs_f64();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let told = String::from_utf8(output.stdout).unwrap();
        println!("{name:<24} {seconds:>6.1} s   {}", told.trim());
    }
}

/// The most memory that this process ever held, as the kernel counts it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    format!("peak memory {} MiB", kib / 1024)
}

fn decode(folder: &Path) {
    let root = TableRoot::new(folder.to_str().unwrap()).unwrap();
    let file = File::open(folder.join(checkpoint())).unwrap();
    let mut rows = 0_u64;
    let read = read_parquet(file, "checkpoint", &root, Wants::State, &mut |_| {
        rows += 1;
        Ok(())
    });
    read.unwrap().check("checkpoint").unwrap();
    println!("{}, {rows} actions", peak());
}

#[tokio::main]
async fn plan(folder: &Path) {
    let vault = LocalStore::create(&folder.join("vault")).unwrap();
    let now: Timestamp = "2026-11-21T03:00:00Z".parse().unwrap();
    let new = VaultFile::new(Id128::from_bytes([7; 16]), now);
    if let Err(error) = init(&vault, new).await {
        assert!(error.to_string().contains("create"), "{error}");
    }
    let store = Arc::new(vault);
    let table = LocalStore::open(folder).unwrap();
    let uri: TableUri = table.uri().parse().unwrap();
    let snapshotter = Snapshotter::new(
        Vault::open(store.clone()).await.unwrap(),
        store,
        std::env::temp_dir(),
    );
    let request = SnapshotRequest {
        key: TableKey::of("local", &uri).unwrap(),
        table: TableIdentity {
            delta_id: String::new(),
            name: "million".to_owned(),
            source: "local".to_owned(),
            uri: uri.to_string(),
        },
        scope: Scope::Live,
        trigger: Trigger::Manual,
        policy: Policy::default(),
        ask: RetentionRequest::default(),
        max_commit: None,
        now,
        run: Id128::from_bytes([1; 16]),
        set: None,
        principal: "bench".to_owned(),
        tool: "bench".to_owned(),
        distrust: Vec::new(),
        accept_tip: None,
        outside: deltavault::source::outside::Outside::default(),
    };
    let outside = Arc::new(|uri: &str| {
        let kind = StoreErrorKind::Unsupported {
            reason: "no file is outside".to_owned(),
        };
        Err(StoreError {
            action: "open",
            uri: uri.to_owned(),
            kind,
        })
    });
    let plan = snapshotter
        .plan(&Source::new(Arc::new(table), outside), &request)
        .await
        .unwrap();
    println!(
        "{}, {} files to copy, {} bytes",
        peak(),
        plan.files,
        plan.bytes
    );
}

fn checkpoint() -> String {
    format!("_delta_log/{:020}.checkpoint.parquet", 10)
}

/// Writes a log with one checkpoint and its commit; returns the checkpoint's bytes.
fn write_table(folder: &Path, files: usize) -> u64 {
    std::fs::create_dir_all(folder.join("_delta_log")).unwrap();
    let info = r#"{"commitInfo":{"timestamp":1760000000000,"operation":"WRITE"}}"#;
    std::fs::write(folder.join(format!("_delta_log/{:020}.json", 10)), info).unwrap();
    let add: Fields = vec![
        Field::new("path", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
        Field::new("modificationTime", DataType::Int64, true),
        Field::new("stats", DataType::Utf8, true),
    ]
    .into();
    let protocol: Fields = vec![
        Field::new("minReaderVersion", DataType::Int32, true),
        Field::new("minWriterVersion", DataType::Int32, true),
    ]
    .into();
    let metadata: Fields = vec![Field::new("id", DataType::Utf8, true)].into();
    let types = [
        DataType::Struct(protocol.clone()),
        DataType::Struct(metadata.clone()),
        DataType::Struct(add.clone()),
    ];
    let names = ["protocol", "metaData", "add"];
    let fields: Vec<_> = names
        .iter()
        .zip(&types)
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let path = folder.join(checkpoint());
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), schema.clone(), None).unwrap();
    let [protocol_type, metadata_type, add_type] = &types;
    let one = |array: ArrayRef, fields: Fields| -> ArrayRef {
        Arc::new(StructArray::new(fields, vec![array], None))
    };
    let versions: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1])),
        Arc::new(Int32Array::from(vec![2])),
    ];
    let first: ArrayRef = Arc::new(StructArray::new(protocol, versions, None));
    let nothing = |kind: &DataType, rows| new_null_array(kind, rows);
    let rows = [
        [first, nothing(metadata_type, 1), nothing(add_type, 1)],
        [
            nothing(protocol_type, 1),
            one(Arc::new(StringArray::from(vec!["million"])), metadata),
            nothing(add_type, 1),
        ],
    ];
    for columns in rows {
        writer
            .write(&RecordBatch::try_new(schema.clone(), columns.to_vec()).unwrap())
            .unwrap();
    }
    for start in (0..files).step_by(ROWS) {
        let numbers: Vec<usize> = (start..files.min(start + ROWS)).collect();
        let text = |render: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringArray::from(
                numbers.iter().map(|n| render(*n)).collect::<Vec<_>>(),
            ))
        };
        let number =
            |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value; numbers.len()])) };
        let columns = vec![
            // Scattered, as names with random ids are, so that sorting has something to do.
            text(&|n| {
                let scattered = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                format!(
                    "day={}/part-{n:05}-{scattered:016x}-c000.snappy.parquet",
                    n % 365
                )
            }),
            number(4096),
            number(1_760_000_000_000),
            text(&|n| {
                format!(
                    "{{\"numRecords\":100,\"minValues\":{{\"id\":{n}}},\"maxValues\":{{\"id\":{n}}}}}"
                )
            }),
        ];
        let adds: ArrayRef = Arc::new(StructArray::new(add.clone(), columns, None));
        let count = numbers.len();
        let batch = vec![
            nothing(protocol_type, count),
            nothing(metadata_type, count),
            adds,
        ];
        writer
            .write(&RecordBatch::try_new(schema.clone(), batch).unwrap())
            .unwrap();
    }
    writer.close().unwrap();
    std::fs::metadata(path).unwrap().len()
}
