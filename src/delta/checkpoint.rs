//! Reads checkpoints and sidecars written in Parquet.
//!
//! Only the leaves that decide about files are decoded, in small batches, so memory does not grow with the number of
//! files. Types come from the Parquet schema alone, never from the Arrow schema that a writer may have embedded, and
//! are widened to what the log's JSON has. A struct that is null, or whose fields are all null, as some writers put
//! it, is not an action. A column that is missing is an error where a table would silently lose files by it.

use std::borrow::Cow;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{Array, AsArray as _, RecordBatch};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use deltalake::parquet::basic::Repetition;
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::reader::{ChunkReader, Length};
use deltalake::parquet::schema::types::{SchemaDescriptor, Type};

use super::nesting::{Nesting, TOO_DEEP};
use super::number::Number;
use super::path::TableRoot;
use super::raw::{Origin, RawAdd, RawProtocol, RawRemove, RawSidecar, domain};
use super::{Action, LogError, Metadata, SMALL, Sink};
use crate::ids::{ObjectKey, Version};
use crate::large;

mod columns;
mod footer;
mod limits;
mod page_header;
mod thrift;

use columns::{Batch, Numbers, VectorColumns};
use limits::Allowance;

/// Columns that are decoded together where all of them are…
const COLUMNS_TOGETHER: usize = 64;
/// …and the bytes that they have at most, by their own account.
const BYTES_TOGETHER: u64 = 64 << 20;

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
/// [`LogError::CheckpointUnreadable`] when it is not Parquet, its columns are not what they should be, or it unfolds to
/// much more than a file of its size may;
/// [`LogError::MissingColumn`] when it has files without path or size; [`LogError::MissingSize`],
/// [`LogError::BadVector`] and [`LogError::Path`] for a file in it; what the sink returns.
pub fn read_parquet(
    reader: impl ChunkReader + 'static,
    file: &str,
    root: &TableRoot,
    wants: Wants,
    sink: &mut Sink<'_>,
) -> Result<Coverage, LogError> {
    let parquet = Parquet::open(reader, file)?;
    let schema = parquet.schema();
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
    let origin = Origin {
        file,
        line: None,
        root,
    };
    let leaves = parquet.leaves_below(&[STATE, tombstones, SIDECARS]);
    parquet.read(leaves, &mut |batch| {
        state(&Batch { batch, file }, origin, &mut *sink)?;
        sidecars(&Batch { batch, file }, origin, &mut |action| {
            coverage.files = true;
            sink(action)
        })
    })?;
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
    let parquet = Parquet::open(reader, file)?;
    let mut names = Vec::new();
    if !has(parquet.schema(), &["sidecar", "path"]) {
        return Ok(names);
    }
    let leaves = parquet.leaves_below(&[SIDECARS]);
    parquet.read(leaves, &mut |batch| {
        sidecars(
            &Batch { batch, file },
            Origin {
                file,
                line: None,
                root,
            },
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

/// Decodes every column of a checkpoint, a part of one, or a sidecar, a few at a time: statistics may have thousands. A
/// backup needs few of them, the engines that read the table need the others too.
///
/// # Errors
/// [`LogError::CheckpointUnreadable`].
pub fn read_whole(reader: impl ChunkReader + 'static, file: &str) -> Result<(), LogError> {
    let parquet = Parquet::open(reader, file)?;
    let mut columns = Vec::new();
    apart(parquet.schema().root_schema(), &mut 0, &mut columns);
    let (mut together, mut bytes) = (Vec::new(), 0_u64);
    let check = &mut |batch: &RecordBatch| {
        if batch.columns().iter().any(|it| is_too_deep(it)) {
            let (file, detail) = (file.to_owned(), TOO_DEEP.to_owned());
            return Err(LogError::CheckpointUnreadable { file, detail });
        }
        Ok(())
    };
    for leaves in columns {
        let more = leaves.clone().map(|leaf| parquet.largest_chunk(leaf));
        let more = more.fold(0, u64::saturating_add);
        let is_full =
            together.len() >= COLUMNS_TOGETHER || bytes.saturating_add(more) > BYTES_TOGETHER;
        if is_full && !together.is_empty() {
            parquet.read(mem::take(&mut together), check)?;
            bytes = 0;
        }
        together.extend(leaves);
        bytes = bytes.saturating_add(more);
    }
    parquet.read(together, check)
}

/// Whether a text in an array is JSON that is nested too deep to be decoded.
fn is_too_deep(array: &dyn Array) -> bool {
    if let Some(texts) = array.as_string_opt::<i32>() {
        let mut texts = texts.iter().flatten();
        return texts.any(|text| Nesting::is_too_deep(text.as_bytes()));
    }
    if let Some(group) = array.as_struct_opt() {
        return group.columns().iter().any(|it| is_too_deep(it));
    }
    if let Some(list) = array.as_list_opt::<i32>() {
        return is_too_deep(list.values());
    }
    let entries = array.as_map_opt();
    entries.is_some_and(|map| is_too_deep(map.entries()))
}

/// A Parquet file of which no more than its end was read.
struct Parquet<'a, R: ChunkReader> {
    reader: Shared<R>,
    file: &'a str,
    metadata: ArrowReaderMetadata,
}

impl<'a, R: ChunkReader + 'static> Parquet<'a, R> {
    fn open(reader: R, file: &'a str) -> Result<Self, LogError> {
        let reader = Shared(Arc::new(reader));
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = caught(|| {
            limits::check_footer(&reader)?;
            ArrowReaderMetadata::load(&reader, options)
        });
        let metadata = metadata.map_err(|error| unreadable(file, &error))?;
        Ok(Self {
            reader,
            file,
            metadata,
        })
    }

    fn schema(&self) -> &SchemaDescriptor {
        self.metadata.parquet_schema()
    }

    /// The bytes of a column that a row group unfolds to at most, by its own account.
    fn largest_chunk(&self, leaf: usize) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter();
        let chunks = groups.filter_map(|group| group.columns().get(leaf));
        let sizes =
            chunks.map(|chunk| u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
        sizes.max().unwrap_or_default()
    }

    /// The leaves below some paths.
    fn leaves_below(&self, wanted: &[&[&[&str]]]) -> Vec<usize> {
        let wanted: Vec<&[&str]> = wanted.iter().copied().flatten().copied().collect();
        let schema = self.schema();
        let leaves = (0..schema.num_columns()).filter(|&leaf| {
            let column = schema.column(leaf);
            let parts = column.path().parts();
            wanted.iter().any(|path| is_below(parts, path))
        });
        leaves.collect()
    }

    /// Decodes some leaves.
    fn read(
        &self,
        leaves: Vec<usize>,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), LogError>,
    ) -> Result<(), LogError> {
        let Self {
            reader,
            file,
            metadata,
        } = self;
        let failed = |error| unreadable(file, &error);
        let check = || Allowance::check(reader, metadata.metadata(), &leaves);
        let (mut allowance, rows) = caught(check).map_err(failed)?;
        let _alone = large::alone(allowance.memory(), SMALL);
        let mask = ProjectionMask::leaves(self.schema(), leaves);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            Shared::clone(reader),
            metadata.clone(),
        );
        let builder = builder.with_projection(mask).with_batch_size(rows);
        let mut batches = caught(|| builder.build()).map_err(failed)?;
        loop {
            let batch = caught(|| batches.next().transpose());
            let Some(batch) = batch.map_err(|error| unreadable(file, &error))? else {
                return Ok(());
            };
            allowance.take(&batch).map_err(failed)?;
            each(&batch)?;
        }
    }
}

/// Lets the reader of Parquet work, which panics on some files that are none: that is a fault of the file.
fn caught<T, E: From<ParquetError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let worked = catch_unwind(AssertUnwindSafe(work));
    worked.unwrap_or_else(|_| Err(ParquetError::General("its reader panicked".to_owned()).into()))
}

/// A file that is looked at before it is decoded.
#[derive(Debug)]
struct Shared<R>(Arc<R>);

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: ChunkReader> Length for Shared<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for Shared<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> Result<R::T, ParquetError> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.get_bytes(start, length)
    }
}

/// The leaves below a group that can be decoded apart, from leaf `next` on: those of one list or map belong together.
fn apart(group: &Type, next: &mut usize, found: &mut Vec<Range<usize>>) {
    for field in group.get_fields() {
        let info = field.get_basic_info();
        let is_repeated = info.has_repetition() && info.repetition() == Repetition::REPEATED;
        if field.is_group() && !is_repeated {
            apart(field, next, found);
            continue;
        }
        let first = *next;
        *next += leaves_of(field);
        found.push(first..*next);
    }
}

fn leaves_of(field: &Type) -> usize {
    if field.is_group() {
        field.get_fields().iter().map(|it| leaves_of(it)).sum()
    } else {
        1
    }
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
    let modification_time = batch.known_time(&["add", "modificationTime"]);
    let stats = batch.known_text(&["add", "stats"]);
    let parsed_rows = batch.known_number(&["add", "stats_parsed", "numRecords"]);
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
                modification_time: modification_time.at(row).known(),
                stats: stats.at(row).map(Cow::Borrowed),
                parsed_rows: natural(&parsed_rows, row),
                deletion_vector: add_vector.at(row, batch)?,
            };
            sink(add.into_action(origin)?)?;
        }
    }
    table(batch, origin, sink)
}

/// A number from 0 on that decides about no file.
fn natural(column: &Numbers, row: usize) -> Option<u64> {
    u64::try_from(column.at(row).known()?).ok()
}

/// The actions that are about the table as a whole.
fn table(batch: &Batch<'_>, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let reader = batch.number(&["protocol", "minReaderVersion"])?;
    let writer = batch.known_number(&["protocol", "minWriterVersion"]);
    let id = batch.text(&["metaData", "id"])?;
    let name = batch.known_text(&["metaData", "name"]);
    let app_id = batch.known_text(&["txn", "appId"]);
    let app_version = batch.known_number(&["txn", "version"]);
    let domain_name = batch.known_text(&["domainMetadata", "domain"]);
    let configuration = batch.known_text(&["domainMetadata", "configuration"]);
    let removed = batch.known_flag(&["domainMetadata", "removed"]);
    let version = batch.known_number(&["checkpointMetadata", "version"]);
    let known_list = |path: &[&str], row| batch.list(path, row).unwrap_or_default();
    for row in 0..batch.batch.num_rows() {
        let reader = reader.at(row);
        if reader != Number::Absent {
            let protocol = RawProtocol {
                min_reader_version: reader,
                min_writer_version: writer.at(row),
                reader_features: batch.list(&["protocol", "readerFeatures"], row)?,
                writer_features: known_list(&["protocol", "writerFeatures"], row),
            };
            sink(protocol.into_action(origin)?)?;
        }
        if let Some(id) = id.at(row) {
            let metadata = Metadata {
                id: Some(id.to_owned()),
                name: name.at(row).map(str::to_owned),
                partition_columns: known_list(&["metaData", "partitionColumns"], row),
                configuration: batch.known_map(&["metaData", "configuration"], row),
            };
            sink(Action::Metadata(metadata.checked(origin)?))?;
        }
        if let Some(app_id) = app_id.at(row) {
            sink(Action::Txn {
                app_id: app_id.to_owned(),
                version: app_version.at(row).known(),
            })?;
        }
        if let Some(name) = domain_name.at(row) {
            let configuration = configuration.at(row).map(str::to_owned);
            let removed = removed.at(row).unwrap_or(false);
            sink(domain(name.to_owned(), configuration, removed))?;
        }
        if let Some(version) = natural(&version, row) {
            sink(Action::CheckpointMetadata {
                version: Some(Version(version)),
            })?;
        }
    }
    Ok(())
}

fn sidecars(batch: &Batch<'_>, origin: Origin<'_>, sink: &mut Sink<'_>) -> Result<(), LogError> {
    let path = batch.text(&["sidecar", "path"])?;
    let size = batch.known_number(&["sidecar", "sizeInBytes"]);
    for row in 0..batch.batch.num_rows() {
        if let Some(path) = path.at(row) {
            let sidecar = RawSidecar {
                path: Cow::Borrowed(path),
                size_in_bytes: natural(&size, row),
            };
            sink(sidecar.into_action(origin)?)?;
        }
    }
    Ok(())
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
mod tests;
