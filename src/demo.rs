//! A real Delta table for the demo and the tests, written, vacuumed and read by the `deltalake` crate: nothing
//! here goes through the vault's own reader, so what is read back proves something.
//!
//! The rows are the same on every machine; file names and times are not.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::compute::concat_batches;
use deltalake::arrow::datatypes::{DataType as ArrowType, Field, Schema};
use deltalake::arrow::error::ArrowError;
use deltalake::arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, DataType, StructField};
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::parquet::errors::ParquetError;
use deltalake::protocol::DeltaOperation;
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use deltalake::{DeltaTable, DeltaTableError, ObjectStoreError};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::ids::Version;
use crate::reader::{ReaderError, TableStore, open};

/// The partitions of the table.
pub const REGIONS: [&str; 3] = ["north", "south", "west"];

/// Rows that one append brings to each region.
pub const ROWS_PER_REGION: i64 = 1000;

/// A table could not be made, changed or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] ReaderError),
    /// The `deltalake` crate failed.
    #[error("{action}")]
    Delta {
        /// What it was asked to do, as a phrase.
        action: &'static str,
        /// What it said.
        #[source]
        source: Box<DeltaTableError>,
    },
    /// Rows could not be built or printed.
    #[error("arrange rows")]
    Arrow(#[from] ArrowError),
    /// A data file could not be decoded.
    #[error("decode {file}")]
    Parquet {
        /// The file.
        file: String,
        /// What the decoder said.
        #[source]
        source: ParquetError,
    },
    /// The rows of such a file are not simply what it holds.
    #[error("{file} has a deletion vector, which this reader does not apply")]
    DeletionVector {
        /// The file.
        file: String,
    },
}

/// What one version of a table holds, comparable without keeping the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The version that was read.
    pub version: Version,
    /// Rows.
    pub count: u64,
    /// A sum over the hashes of all rows, whatever their order; 32 hex digits.
    pub checksum: String,
}

/// What a VACUUM did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    /// The version after it.
    pub version: Version,
    /// The files that it deleted, as paths below the table.
    pub deleted: Vec<String>,
}

/// Makes a table of orders, partitioned by region: version 0 creates it, versions 1 to 3 append, version 4
/// updates one region, and there is a checkpoint of version 4. Returns the newest version.
///
/// # Errors
/// [`TableError`], also when there is a table already.
pub async fn make_table(store: impl Into<TableStore>) -> Result<Version, TableError> {
    let store = &store.into();
    let failed = failed_to("create the table");
    store
        .build()?
        .create()
        .with_table_name("orders")
        .with_columns([
            StructField::not_null("order_id", DataType::LONG),
            StructField::nullable("customer", DataType::STRING),
            StructField::nullable("cents", DataType::LONG),
            StructField::nullable("region", DataType::STRING),
        ])
        .with_partition_columns(["region"])
        .with_commit_properties(properties())
        .await
        .map_err(failed)?;
    for night in 1..=3 {
        append_night(store, night).await?;
    }
    let version = update_region(store, "north").await?;
    checkpoint_now(store).await?;
    Ok(version)
}

/// Appends the orders of the `night`-th night, counted from 1, to every region: a commit with three files.
///
/// # Errors
/// [`TableError`].
pub async fn append_night(store: impl Into<TableStore>, night: u32) -> Result<Version, TableError> {
    let store = &store.into();
    let failed = failed_to("append orders");
    let mut table = open(store, None).await?;
    let mut writer = RecordBatchWriter::for_table(&table)
        .map_err(failed)?
        .with_commit_properties(properties());
    writer.write(orders(night)?).await.map_err(failed)?;
    let version = writer.flush_and_commit(&mut table).await.map_err(failed)?;
    Ok(Version(version))
}

/// Raises every order of `region` by a cent: a commit that removes its files and adds a rewritten one.
///
/// # Errors
/// [`TableError`].
pub async fn update_region(
    store: impl Into<TableStore>,
    region: &str,
) -> Result<Version, TableError> {
    let store = &store.into();
    let failed = failed_to("update orders");
    let table = open(store, None).await?;
    let mut writer = RecordBatchWriter::for_table(&table).map_err(failed)?;
    let mut actions = Vec::new();
    for file in live_files(&table).await? {
        if file
            .partition
            .iter()
            .all(|(_, value)| value.as_deref() != Some(region))
        {
            continue;
        }
        for batch in read_file(&table, &file).await? {
            let raised = raise(&batch, region)?;
            writer.write(raised).await.map_err(failed)?;
        }
        actions.push(Action::Remove(file.remove));
    }
    let adds = writer.flush().await.map_err(failed)?;
    actions.extend(adds.into_iter().map(Action::Add));
    let operation = DeltaOperation::Update {
        predicate: Some(format!("region = '{region}'")),
    };
    let commit = CommitBuilder::from(properties())
        .with_actions(actions)
        .build(
            Some(table.snapshot().map_err(failed)?),
            table.log_store(),
            operation,
        )
        .await
        .map_err(failed)?;
    Ok(Version(commit.version()))
}

/// Writes a checkpoint of the newest version.
///
/// # Errors
/// [`TableError`].
pub async fn checkpoint_now(store: impl Into<TableStore>) -> Result<(), TableError> {
    let store = &store.into();
    let table = open(store, None).await?;
    deltalake::checkpoints::create_checkpoint(&table, None)
        .await
        .map_err(failed_to("write a checkpoint"))
}

/// Runs a real VACUUM that retains nothing: every file that the newest version does not need is deleted.
///
/// # Errors
/// [`TableError`].
#[expect(
    clippy::default_trait_access,
    reason = "the type is of a crate that only deltalake names"
)]
pub async fn vacuum_now(store: impl Into<TableStore>) -> Result<Vacuumed, TableError> {
    let store = &store.into();
    let failed = failed_to("vacuum the table");
    let table = open(store, None).await?;
    let (table, metrics) = table
        .vacuum()
        .with_retention_period(Default::default())
        .with_enforce_retention_duration(false)
        .with_commit_properties(properties())
        .await
        .map_err(failed)?;
    let version = table
        .version()
        .ok_or(DeltaTableError::NotInitialized)
        .map_err(failed)?;
    Ok(Vacuumed {
        version: Version(version),
        deleted: metrics.files_deleted,
    })
}

/// Opens the table with `deltalake`, at a version or the newest, and reads every row of every file that it
/// lists.
///
/// # Errors
/// [`TableError`], also when any file of the version is gone.
pub async fn read_rows(
    store: impl Into<TableStore>,
    version: Option<Version>,
) -> Result<Rows, TableError> {
    let store = &store.into();
    let table = open(store, version).await?;
    let mut count = 0;
    // The sum makes it independent of the order of rows and files; a hash that rows can collide in pairs, as
    // with an exclusive or, would not see a row that came back twice.
    let mut sum = 0u128;
    for file in live_files(&table).await? {
        if file.deletion_vector {
            return Err(TableError::DeletionVector { file: file.path });
        }
        for batch in read_file(&table, &file).await? {
            count += batch.num_rows() as u64;
            for hash in row_hashes(&batch, &file.partition)? {
                sum = sum.wrapping_add(hash);
            }
        }
    }
    let version = table
        .version()
        .ok_or(DeltaTableError::NotInitialized)
        .map_err(failed_to("read the table"))?;
    Ok(Rows {
        version: Version(version),
        count,
        checksum: format!("{sum:032x}"),
    })
}

fn failed_to(action: &'static str) -> impl Fn(DeltaTableError) -> TableError + Copy {
    move |source| TableError::Delta {
        action,
        source: Box::new(source),
    }
}

struct LiveFile {
    path: String,
    partition: Vec<(String, Option<String>)>,
    deletion_vector: bool,
    remove: deltalake::kernel::Remove,
}

async fn live_files(table: &DeltaTable) -> Result<Vec<LiveFile>, TableError> {
    table
        .get_active_add_actions_by_partitions(&[])
        .map_ok(|file| {
            let mut partition: Vec<_> = file.partition_values_map().into_iter().collect();
            partition.sort();
            LiveFile {
                path: file.object_store_path().to_string(),
                partition,
                deletion_vector: file.deletion_vector_descriptor().is_some(),
                remove: file.remove_action(true),
            }
        })
        .try_collect()
        .await
        .map_err(failed_to("list the files of the table"))
}

#[expect(
    clippy::default_trait_access,
    reason = "the type is of a crate that only deltalake names"
)]
async fn read_file(table: &DeltaTable, file: &LiveFile) -> Result<Vec<RecordBatch>, TableError> {
    let failed = |source: ObjectStoreError| failed_to("read a data file")(source.into());
    let path = deltalake::Path::from(file.path.as_str());
    let object = table
        .object_store()
        .get_opts(&path, Default::default())
        .await
        .map_err(failed)?;
    let bytes = object.bytes().await.map_err(failed)?;
    let undecodable = |source| TableError::Parquet {
        file: file.path.clone(),
        source,
    };
    ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(undecodable)?
        .collect::<Result<_, _>>()
        .map_err(TableError::Arrow)
}

/// Hashes every row as `column=value` in the order of the columns' names, partition columns included.
fn row_hashes(
    batch: &RecordBatch,
    partition: &[(String, Option<String>)],
) -> Result<Vec<u128>, TableError> {
    let options = FormatOptions::new().with_null("\u{0}");
    let schema = batch.schema();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        columns.push((field.name().as_str(), formatter));
    }
    columns.sort_by_key(|(name, _)| *name);
    let row_hash = |row| {
        let mut hasher = Sha256::new();
        for (name, formatter) in &columns {
            hasher.update(format!("{name}={}\n", formatter.value(row)));
        }
        for (name, value) in partition {
            hasher.update(format!("{name}={}\n", value.as_deref().unwrap_or("\u{0}")));
        }
        let hash: [u8; 32] = hasher.finalize().into();
        hash.iter()
            .take(16)
            .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte))
    };
    Ok((0..batch.num_rows()).map(row_hash).collect())
}

/// The orders of one night, for all regions.
fn orders(night: u32) -> Result<RecordBatch, ArrowError> {
    let first = i64::from(night) * 1_000_000;
    let batches = REGIONS.iter().zip(0i64..).map(|(region, n)| {
        let ids = || (0..ROWS_PER_REGION).map(move |row| first + n * ROWS_PER_REGION + row);
        let customers =
            StringArray::from_iter_values(ids().map(|id| format!("c{:04}", id * 31 % 2003)));
        let cents = Int64Array::from_iter_values(ids().map(|id| id * 7919 % 100_000));
        with_region(
            Int64Array::from_iter_values(ids()),
            customers,
            cents,
            region,
        )
    });
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema(), &batches)
}

/// The same orders a cent dearer, with their region as a column again.
fn raise(batch: &RecordBatch, region: &str) -> Result<RecordBatch, ArrowError> {
    let missing =
        || ArrowError::SchemaError("the table has not the columns it was made with".into());
    let column = |name: &str| batch.column_by_name(name).ok_or_else(missing);
    let number = |name: &str| {
        let numbers = column(name)?.as_any().downcast_ref::<Int64Array>();
        numbers.cloned().ok_or_else(missing)
    };
    let cents = number("cents")?;
    let raised: Int64Array = cents
        .iter()
        .map(|cents| cents.map(|cents| cents + 1))
        .collect();
    let customers = deltalake::arrow::compute::cast(column("customer")?, &ArrowType::Utf8)?;
    let customers = customers
        .as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(missing)?;
    with_region(number("order_id")?, customers, raised, region)
}

fn with_region(
    ids: Int64Array,
    customers: StringArray,
    cents: Int64Array,
    region: &str,
) -> Result<RecordBatch, ArrowError> {
    let regions = StringArray::from_iter_values(std::iter::repeat_n(region, ids.len()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(customers),
        Arc::new(cents),
        Arc::new(regions),
    ];
    RecordBatch::try_new(schema(), columns)
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("order_id", ArrowType::Int64, false),
        Field::new("customer", ArrowType::Utf8, true),
        Field::new("cents", ArrowType::Int64, true),
        Field::new("region", ArrowType::Utf8, true),
    ]))
}

/// Who commits, so that there is somebody to name.
fn properties() -> CommitProperties {
    CommitProperties::default().with_metadata([("userName".to_owned(), "etl-nightly".into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vacuum_that_retains_nothing_loses_an_older_version_and_no_newer_one() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("orders");
        assert_eq!(make_table(&table).await.unwrap(), Version(4));
        assert!(
            table
                .join("_delta_log/00000000000000000004.checkpoint.parquet")
                .exists()
        );
        let made = read_rows(&table, None).await.unwrap();
        assert_eq!(made.count, 9000);
        let before = read_rows(&table, Some(Version(3))).await.unwrap();
        assert_eq!(before.count, 9000);
        assert_ne!(before.checksum, made.checksum);

        append_night(&table, 4).await.unwrap();
        let updated = update_region(&table, "south").await.unwrap();
        let newest = read_rows(&table, Some(updated)).await.unwrap();
        assert_eq!(newest.count, 12_000);

        let vacuumed = vacuum_now(&table).await.unwrap();
        assert_eq!(vacuumed.deleted.len(), 7, "{:?}", vacuumed.deleted);
        assert_eq!(read_rows(&table, Some(updated)).await.unwrap(), newest);
        let now = read_rows(&table, None).await.unwrap();
        assert_eq!(
            (now.version, now.checksum),
            (vacuumed.version, newest.checksum)
        );
        assert!(read_rows(&table, Some(Version(4))).await.is_err());
    }

    #[tokio::test]
    async fn the_rows_are_the_same_on_every_machine() {
        let folder = tempfile::tempdir().unwrap();
        make_table(folder.path()).await.unwrap();
        let rows = read_rows(folder.path(), None).await.unwrap();
        assert_eq!(rows.checksum, "2c93e49ec42219a299d05650fd73a081");
    }

    #[tokio::test]
    async fn a_dropped_table_is_not_made_anew_by_reading_it() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("orders");
        let refused = read_rows(&table, None).await.unwrap_err();
        assert!(matches!(
            refused,
            TableError::Open(ReaderError::NoFolder { .. })
        ));
        assert!(!table.exists());
    }
}
