//! Reads checkpoints and sidecars written in Parquet.
//!
//! Only the leaves that decide about files are decoded, in small batches, so memory does not grow with the number of
//! files. Types come from the Parquet schema alone, never from the Arrow schema that a writer may have embedded, and
//! are widened to what the log's JSON has. A struct that is null, or whose fields are all null, as some writers put
//! it, is no action. A column that is missing is an error where a table would silently lose files by it.

use std::borrow::Cow;

use deltalake::arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use deltalake::arrow::buffer::NullBuffer;
use deltalake::arrow::compute::{CastOptions, cast_with_options};
use deltalake::arrow::datatypes::{DataType, Int64Type};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use deltalake::parquet::file::reader::ChunkReader;
use deltalake::parquet::schema::types::SchemaDescriptor;
use serde_json::Value;

use super::path::TableRoot;
use super::raw::{
    Object, Origin, RawAdd, RawCheckpointMetadata, RawDomain, RawMetadata, RawRemove, RawSidecar,
    RawTxn, RawVector, Stats,
};
use super::{Action, LogError, Protocol, Sink};
use crate::ids::ObjectKey;

/// Rows decoded at a time. Statistics of a wide table are 10 KB a row, so a batch stays near 10 MB.
const BATCH_ROWS: usize = 1024;

/// What is wanted of a checkpoint. The rest is not even decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Everything but tombstones: what the state of its version consists of.
    State,
    /// Tombstones too.
    StateAndTombstones,
}

/// Whether what was read of a checkpoint can tell which files are live: it has a column for them, or names sidecars.
///
/// A single part of a multi-part checkpoint may hold nothing but transactions, and then has no such column. A whole
/// checkpoint without one is not an empty table, so the coverages of all its files are merged and checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "a checkpoint that cannot tell about files must not pass for an empty table"]
pub struct Coverage {
    files: bool,
}

impl Coverage {
    /// That of JSON lines, which have no columns that could be missing.
    pub const JSON: Self = Self { files: true };

    /// That of both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            files: self.files || other.files,
        }
    }

    /// Makes sure that the checkpoint, named for errors by one of its files, can tell about files.
    ///
    /// # Errors
    /// [`LogError::MissingColumn`].
    pub fn check(self, file: &str) -> Result<(), LogError> {
        if self.files {
            Ok(())
        } else {
            Err(missing(file, "add"))
        }
    }
}

/// The leaves of the state, as paths from the top; what lies below a path belongs to it.
const STATE: &[&[&str]] = &[
    &["add", "path"],
    &["add", "size"],
    &["add", "modificationTime"],
    &["add", "stats"],
    &["add", "stats_parsed", "numRecords"],
    &["add", "deletionVector", "storageType"],
    &["add", "deletionVector", "pathOrInlineDv"],
    &["add", "deletionVector", "offset"],
    &["add", "deletionVector", "sizeInBytes"],
    &["add", "deletionVector", "cardinality"],
    &["protocol", "minReaderVersion"],
    &["protocol", "minWriterVersion"],
    &["protocol", "readerFeatures"],
    &["protocol", "writerFeatures"],
    &["metaData", "id"],
    &["metaData", "name"],
    &["metaData", "partitionColumns"],
    &["metaData", "configuration"],
    &["txn", "appId"],
    &["txn", "version"],
    &["domainMetadata", "domain"],
    &["domainMetadata", "configuration"],
    &["domainMetadata", "removed"],
    &["checkpointMetadata", "version"],
];

const TOMBSTONES: &[&[&str]] = &[
    &["remove", "path"],
    &["remove", "deletionVector", "storageType"],
    &["remove", "deletionVector", "pathOrInlineDv"],
    &["remove", "deletionVector", "offset"],
];

const SIDECARS: &[&[&str]] = &[&["sidecar", "path"], &["sidecar", "sizeInBytes"]];

/// Reads the actions of a checkpoint, a part of one, or a sidecar. `file` is its name for errors.
///
/// # Errors
/// [`LogError::CheckpointUnreadable`] when it is not Parquet or its columns are not what they should be;
/// [`LogError::MissingColumn`] when it has files without path or size; [`LogError::MissingSize`],
/// [`LogError::BadVector`] and [`LogError::Path`] for a file in it; what the sink returns.
pub fn read_parquet(
    reader: impl ChunkReader + 'static,
    file: &str,
    root: &TableRoot,
    wants: Wants,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    let builder = open(reader, file)?;
    let schema = builder.parquet_schema();
    let mut coverage = Coverage {
        files: has(schema, &["add"]),
    };
    if coverage.files {
        for (path, column) in [(["add", "path"], "add.path"), (["add", "size"], "add.size")] {
            if !has(schema, &path) {
                return Err(missing(file, column));
            }
        }
    }
    let tombstones = match wants {
        Wants::State => &[],
        Wants::StateAndTombstones => TOMBSTONES,
    };
    let origin = Origin { file, root };
    read(
        builder,
        file,
        &[STATE, tombstones, SIDECARS],
        &mut |batch| {
            state(&Batch { batch, file }, origin, &mut *sink)?;
            sidecars(&Batch { batch, file }, origin, &mut |action| {
                coverage.files = true;
                sink(action)
            })
        },
    )?;
    Ok(coverage)
}

/// Reads which sidecars a checkpoint names, with their sizes where it says so, and nothing else of it.
///
/// # Errors
/// As [`read_parquet`], apart from missing columns: a checkpoint without sidecars names none.
pub fn read_sidecar_names(
    reader: impl ChunkReader + 'static,
    file: &str,
    root: &TableRoot,
) -> Result<Vec<(ObjectKey, Option<u64>)>, LogError> {
    let builder = open(reader, file)?;
    let mut names = Vec::new();
    if !has(builder.parquet_schema(), &["sidecar", "path"]) {
        return Ok(names);
    }
    read(builder, file, &[SIDECARS], &mut |batch| {
        sidecars(
            &Batch { batch, file },
            Origin { file, root },
            &mut |action| {
                if let Action::Sidecar { key, size } = action {
                    names.push((key, size));
                }
                Ok(())
            },
        )
    })?;
    Ok(names)
}

type Builder<R> = ParquetRecordBatchReaderBuilder<R>;

fn open<R: ChunkReader + 'static>(reader: R, file: &str) -> Result<Builder<R>, LogError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    Builder::try_new_with_options(reader, options).map_err(|error| unreadable(file, &error))
}

fn read<R: ChunkReader + 'static>(
    builder: Builder<R>,
    file: &str,
    wanted: &[&[&[&str]]],
    each: &mut dyn FnMut(&RecordBatch) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let wanted: Vec<&[&str]> = wanted.iter().copied().flatten().copied().collect();
    let schema = builder.parquet_schema();
    let leaves = (0..schema.num_columns()).filter(|&leaf| {
        let column = schema.column(leaf);
        let parts = column.path().parts();
        wanted.iter().any(|path| is_below(parts, path))
    });
    let mask = ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>());
    let batches = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| unreadable(file, &error))?;
    for batch in batches {
        each(&batch.map_err(|error| unreadable(file, &error))?)?;
    }
    Ok(())
}

fn has(schema: &SchemaDescriptor, path: &[&str]) -> bool {
    let mut columns = schema.columns().iter();
    columns.any(|column| is_below(column.path().parts(), path))
}

fn is_below(parts: &[String], path: &[&str]) -> bool {
    parts.len() >= path.len() && parts.iter().zip(path).all(|(part, name)| part == name)
}

fn state(batch: &Batch<'_>, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let add_path = batch.text(&["add", "path"])?;
    let size = batch.number(&["add", "size"])?;
    let modification_time = batch.number(&["add", "modificationTime"])?;
    let stats = batch.text(&["add", "stats"])?;
    let parsed_rows = batch.number(&["add", "stats_parsed", "numRecords"])?;
    let add_vector = VectorColumns::of(batch, "add")?;
    let remove_path = batch.text(&["remove", "path"])?;
    let remove_vector = VectorColumns::of(batch, "remove")?;
    for row in 0..batch.batch.num_rows() {
        if let Some(path) = remove_path.at(row) {
            let remove = RawRemove {
                path: Cow::Borrowed(path),
                deletion_vector: remove_vector.at(row, batch)?,
            };
            sink(remove.into_action(origin)?)?;
        }
        if let Some(path) = add_path.at(row) {
            let add = RawAdd {
                path: Cow::Borrowed(path),
                size: size.at(row),
                modification_time: modification_time.at(row),
                stats: stats.at(row).map(Cow::Borrowed),
                stats_parsed: parsed_rows.at(row).map(|rows| {
                    Object(Stats {
                        num_records: Some(Value::from(rows)),
                    })
                }),
                deletion_vector: add_vector.at(row, batch)?,
            };
            sink(add.into_action(origin)?)?;
        }
    }
    table(batch, sink)
}

/// The actions that are about the table as a whole.
fn table(batch: &Batch<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let reader = batch.number(&["protocol", "minReaderVersion"])?;
    let writer = batch.number(&["protocol", "minWriterVersion"])?;
    let id = batch.text(&["metaData", "id"])?;
    let name = batch.text(&["metaData", "name"])?;
    let app_id = batch.text(&["txn", "appId"])?;
    let app_version = batch.number(&["txn", "version"])?;
    let domain = batch.text(&["domainMetadata", "domain"])?;
    let configuration = batch.text(&["domainMetadata", "configuration"])?;
    let removed = batch.flag(&["domainMetadata", "removed"])?;
    let version = batch.number(&["checkpointMetadata", "version"])?;
    for row in 0..batch.batch.num_rows() {
        if let Some(reader) = reader.at(row) {
            let number = |number: i64| {
                let detail = "protocol version out of range";
                u32::try_from(number).map_err(|_| unreadable(batch.file, &detail))
            };
            sink(Action::Protocol(Protocol {
                min_reader_version: number(reader)?,
                min_writer_version: number(writer.at(row).unwrap_or(0))?,
                reader_features: batch.list(&["protocol", "readerFeatures"], row)?,
                writer_features: batch.list(&["protocol", "writerFeatures"], row)?,
            }))?;
        }
        if let Some(id) = id.at(row) {
            let metadata = RawMetadata {
                id: Some(id.to_owned()),
                name: name.at(row).map(str::to_owned),
                partition_columns: Some(batch.list(&["metaData", "partitionColumns"], row)?),
                configuration: Some(batch.map(&["metaData", "configuration"], row)?.collect()),
            };
            sink(metadata.into_action())?;
        }
        if let Some(app_id) = app_id.at(row) {
            let txn = RawTxn {
                app_id: app_id.to_owned(),
                version: app_version.at(row),
            };
            sink(txn.into_action())?;
        }
        if let Some(domain) = domain.at(row) {
            let domain = RawDomain {
                domain: domain.to_owned(),
                configuration: configuration.at(row).map(str::to_owned),
                removed: removed.at(row),
            };
            sink(domain.into_action())?;
        }
        if let Some(version) = version.at(row) {
            let metadata = RawCheckpointMetadata {
                version: u64::try_from(version).ok(),
            };
            sink(metadata.into_action())?;
        }
    }
    Ok(())
}

fn sidecars(batch: &Batch<'_>, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let path = batch.text(&["sidecar", "path"])?;
    let size = batch.number(&["sidecar", "sizeInBytes"])?;
    for row in 0..batch.batch.num_rows() {
        if let Some(path) = path.at(row) {
            let sidecar = RawSidecar {
                path: Cow::Borrowed(path),
                size_in_bytes: size.at(row),
            };
            sink(sidecar.into_action(origin)?)?;
        }
    }
    Ok(())
}

struct VectorColumns {
    storage: Text,
    path_or_inline: Text,
    offset: Number,
    size: Number,
    cardinality: Number,
}

impl VectorColumns {
    fn of(batch: &Batch<'_>, action: &str) -> Result<Self, LogError> {
        let below = |field| [action, "deletionVector", field];
        Ok(Self {
            storage: batch.text(&below("storageType"))?,
            path_or_inline: batch.text(&below("pathOrInlineDv"))?,
            offset: batch.number(&below("offset"))?,
            size: batch.number(&below("sizeInBytes"))?,
            cardinality: batch.number(&below("cardinality"))?,
        })
    }

    fn at(&self, row: usize, batch: &Batch<'_>) -> Result<Option<Object<RawVector<'_>>>, LogError> {
        match (self.storage.at(row), self.path_or_inline.at(row)) {
            (None, None) => Ok(None),
            (Some(storage), Some(path_or_inline)) => Ok(Some(Object(RawVector {
                storage_type: Cow::Borrowed(storage),
                path_or_inline_dv: Cow::Borrowed(path_or_inline),
                offset: self.offset.at(row),
                size_in_bytes: self.size.at(row),
                cardinality: self.cardinality.at(row),
            }))),
            _ => Err(unreadable(batch.file, &"half a deletion vector")),
        }
    }
}

/// A batch of rows, and ways to its columns by name. A column that is not there is one of nulls.
struct Batch<'a> {
    batch: &'a RecordBatch,
    file: &'a str,
}

impl Batch<'_> {
    fn text(&self, path: &[&str]) -> Result<Text, LogError> {
        self.leaf(path, &DataType::Utf8, |array| {
            array.as_string_opt::<i32>().cloned()
        })
    }

    fn number(&self, path: &[&str]) -> Result<Number, LogError> {
        self.leaf(path, &DataType::Int64, |array| {
            array.as_primitive_opt::<Int64Type>().cloned()
        })
    }

    fn flag(&self, path: &[&str]) -> Result<Flag, LogError> {
        self.leaf(path, &DataType::Boolean, |array| {
            array.as_boolean_opt().cloned()
        })
    }

    fn list(&self, path: &[&str], row: usize) -> Result<Vec<String>, LogError> {
        let Some((array, nulls)) = self.column(path)? else {
            return Ok(Vec::new());
        };
        if is_null(nulls.as_ref(), row) {
            return Ok(Vec::new());
        }
        let list = array.as_list_opt::<i32>().ok_or_else(|| self.odd(path))?;
        let items = self.cast(&list.value(row), &DataType::Utf8)?;
        let items = items.as_string_opt::<i32>().ok_or_else(|| self.odd(path))?;
        Ok(items.iter().flatten().map(str::to_owned).collect())
    }

    fn map(
        &self,
        path: &[&str],
        row: usize,
    ) -> Result<impl Iterator<Item = (String, Option<String>)>, LogError> {
        let mut entries = Vec::new();
        if let Some((array, nulls)) = self.column(path)?
            && !is_null(nulls.as_ref(), row)
        {
            let map = array.as_map_opt().ok_or_else(|| self.odd(path))?;
            let value = map.value(row);
            let [keys, values] = value.columns() else {
                return Err(self.odd(path));
            };
            let keys = self.cast(keys, &DataType::Utf8)?;
            let values = self.cast(values, &DataType::Utf8)?;
            let keys = keys.as_string_opt::<i32>().ok_or_else(|| self.odd(path))?;
            let values = values
                .as_string_opt::<i32>()
                .ok_or_else(|| self.odd(path))?;
            for (key, value) in keys.iter().zip(values.iter()) {
                let key = key.ok_or_else(|| self.odd(path))?;
                entries.push((key.to_owned(), value.map(str::to_owned)));
            }
        }
        Ok(entries.into_iter())
    }

    fn leaf<A>(
        &self,
        path: &[&str],
        data_type: &DataType,
        downcast: impl FnOnce(&ArrayRef) -> Option<A>,
    ) -> Result<Leaf<A>, LogError> {
        let Some((array, nulls)) = self.column(path)? else {
            return Ok(Leaf(None));
        };
        let array = self.cast(&array, data_type)?;
        let array = downcast(&array).ok_or_else(|| self.odd(path))?;
        Ok(Leaf(Some((array, nulls))))
    }

    /// A column, however deep, with the rows that are null because it or a struct around it is.
    fn column(&self, path: &[&str]) -> Result<Option<(ArrayRef, Option<NullBuffer>)>, LogError> {
        let Some((top, below)) = path.split_first() else {
            return Ok(None);
        };
        let Some(mut array) = self.batch.column_by_name(top).cloned() else {
            return Ok(None);
        };
        let mut nulls = array.logical_nulls();
        for name in below {
            let fields = array.as_struct_opt().ok_or_else(|| self.odd(path))?;
            let Some(field) = fields.column_by_name(name).cloned() else {
                return Ok(None);
            };
            nulls = NullBuffer::union(nulls.as_ref(), field.logical_nulls().as_ref());
            array = field;
        }
        Ok(Some((array, nulls)))
    }

    fn cast(&self, array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, LogError> {
        // A cast that turned what does not fit into null would lose files.
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(array, data_type, &options).map_err(|error| unreadable(self.file, &error))
    }

    fn odd(&self, path: &[&str]) -> LogError {
        let detail = format!("column {} is of an unexpected type", path.join("."));
        unreadable(self.file, &detail)
    }
}

/// A column of a batch, or nothing where the file has no such column.
struct Leaf<A>(Option<(A, Option<NullBuffer>)>);

type Text = Leaf<StringArray>;
type Number = Leaf<Int64Array>;
type Flag = Leaf<BooleanArray>;

impl<A> Leaf<A> {
    fn array(&self, row: usize) -> Option<&A> {
        let (array, nulls) = self.0.as_ref()?;
        (!is_null(nulls.as_ref(), row)).then_some(array)
    }
}

impl Text {
    fn at(&self, row: usize) -> Option<&str> {
        self.array(row).map(|array| array.value(row))
    }
}

impl Number {
    fn at(&self, row: usize) -> Option<i64> {
        self.array(row).map(|array| array.value(row))
    }
}

impl Flag {
    fn at(&self, row: usize) -> Option<bool> {
        self.array(row).map(|array| array.value(row))
    }
}

fn is_null(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.is_null(row))
}

fn unreadable(file: &str, detail: &dyn std::fmt::Display) -> LogError {
    LogError::CheckpointUnreadable {
        file: file.to_owned(),
        detail: detail.to_string(),
    }
}

fn missing(file: &str, column: &'static str) -> LogError {
    LogError::MissingColumn {
        file: file.to_owned(),
        column,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use deltalake::arrow::array::{
        Int32Array, LargeStringArray, ListArray, MapArray, StructArray, new_null_array,
    };
    use deltalake::arrow::buffer::OffsetBuffer;
    use deltalake::arrow::datatypes::{Field, Fields};
    use deltalake::parquet::arrow::ArrowWriter;

    use super::*;
    use crate::delta::{Add, Metadata};
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

    fn refusal(columns: Vec<(&str, ArrayRef)>) -> String {
        read_all(parquet(columns), Wants::State)
            .unwrap_err()
            .to_string()
    }

    fn adds(actions: Vec<Action>) -> Vec<Add> {
        actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Add { add, .. } => Some(add),
                _ => None,
            })
            .collect()
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
        let add = fields(
            vec![
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
            ],
            None,
        );
        let (_, actions) = read_all(parquet(vec![("add", add)]), Wants::State).unwrap();
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
            read_all(parquet(vec![("add", fields(add, None))]), Wants::State)
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
        let list = |item: &str| -> ArrayRef {
            let field = Arc::new(Field::new("element", DataType::Utf8, true));
            let offsets = OffsetBuffer::from_lengths([1]);
            Arc::new(ListArray::new(field, offsets, text([Some(item)]), None))
        };
        let entries = StructArray::from(vec![
            (
                Arc::new(Field::new("key", DataType::Utf8, false)),
                text([Some("k"), Some("l")]),
            ),
            (
                Arc::new(Field::new("value", DataType::Utf8, true)),
                text([Some("v"), None]),
            ),
        ]);
        let field = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
        let map = MapArray::new(field, OffsetBuffer::from_lengths([2]), entries, None, false);
        let columns = vec![
            (
                "add",
                fields(vec![("path", text([None])), ("size", number([None]))], None),
            ),
            (
                "protocol",
                fields(
                    vec![
                        (
                            "minReaderVersion",
                            Arc::new(Int32Array::from(vec![3])) as ArrayRef,
                        ),
                        ("minWriterVersion", Arc::new(Int32Array::from(vec![7]))),
                        ("readerFeatures", list("v2Checkpoint")),
                    ],
                    None,
                ),
            ),
            (
                "metaData",
                fields(
                    vec![
                        ("id", text([Some("x")])),
                        ("partitionColumns", list("p")),
                        ("configuration", Arc::new(map) as ArrayRef),
                    ],
                    None,
                ),
            ),
            (
                "txn",
                fields(
                    vec![
                        ("appId", text([Some("app")])),
                        ("version", number([Some(5)])),
                    ],
                    None,
                ),
            ),
            (
                "domainMetadata",
                fields(
                    vec![
                        ("domain", text([Some("d")])),
                        ("configuration", text([Some("c")])),
                    ],
                    None,
                ),
            ),
            (
                "checkpointMetadata",
                fields(vec![("version", number([Some(4)]))], None),
            ),
            (
                "sidecar",
                fields(
                    vec![
                        ("path", text([Some("s%20.parquet")])),
                        ("sizeInBytes", number([Some(6)])),
                    ],
                    None,
                ),
            ),
        ];
        let bytes = parquet(columns);
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
        let error = without.check("c.parquet").unwrap_err();
        assert_eq!(error.to_string(), "checkpoint c.parquet has no column add");
        without
            .and(coverage(vec![("add", add)]))
            .check("c.parquet")
            .unwrap();
        coverage(vec![("sidecar", sidecar(Some("s")))])
            .check("c.parquet")
            .unwrap();
        assert!(
            coverage(vec![("sidecar", sidecar(None))])
                .check("c.parquet")
                .is_err()
        );
        let bytes = parquet(vec![("txn", txn())]);
        assert!(
            read_sidecar_names(bytes, "c.parquet", &root())
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn files_without_path_or_size_are_refused() {
        let path = || text([Some("a")]);
        let add = |columns| vec![("add", fields(columns, None))];
        assert_eq!(
            refusal(add(vec![("size", number([Some(1)]))])),
            "checkpoint c.parquet has no column add.path"
        );
        assert_eq!(
            refusal(add(vec![("path", path())])),
            "checkpoint c.parquet has no column add.size"
        );
        for size in [None, Some(-1)] {
            assert_eq!(
                refusal(add(vec![("path", path()), ("size", number([size]))])),
                "c.parquet gives no size for a"
            );
        }
    }

    #[test]
    fn columns_of_the_wrong_shape_are_refused() {
        let size = || number([Some(1)]);
        for columns in [
            vec![(
                "add",
                fields(
                    vec![("path", number([Some(1)])), ("size", text([Some("x")]))],
                    None,
                ),
            )],
            vec![
                (
                    "add",
                    fields(vec![("path", text([Some("a")])), ("size", size())], None),
                ),
                (
                    "protocol",
                    fields(vec![("minReaderVersion", number([Some(-1)]))], None),
                ),
            ],
            vec![
                (
                    "add",
                    fields(vec![("path", text([Some("a")])), ("size", size())], None),
                ),
                (
                    "metaData",
                    fields(
                        vec![("id", text([Some("x")])), ("configuration", size())],
                        None,
                    ),
                ),
            ],
        ] {
            let error = refusal(columns);
            assert!(
                error.starts_with("checkpoint c.parquet cannot be read: "),
                "{error}"
            );
        }
        // A column that should be a struct has none of the fields that are asked for.
        assert_eq!(
            refusal(vec![("add", size())]),
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
}
